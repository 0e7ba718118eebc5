"""Schemas of calls that rehearse a change: the fields of a dry run, and ``token/rehearse``."""

import re
from typing import Any, ClassVar

from marshmallow import ValidationError, validates_schema

from datafor_token.applications import rules
from datafor_token.errors import Message, RuleError
from datafor_token.requests.fields import CallSchema, Flag, Integer, RuleField
from datafor_token.settings import table

DRY_RUN = "dry_run"
MOST_DAYS = 90  # of the setting REHEARSAL_DAYS
# Settings that can refuse a sign-in, or the secret of an application.
SETTINGS = ("tokens_may_administer", "require_strong_secrets", "leeway")
_check_leeway = next(field.metadata["check"] for field in table() if field.name == "leeway")
_SEND = Message("is missing: send tokens_may_administer, require_strong_secrets or leeway")


def days(value: object) -> int:
    """Return the number of days whose sign-ins a rehearsal checks."""
    if type(value) is not int or not 1 <= value <= MOST_DAYS:
        raise RuleError("must be a whole number of days from 1 to %(most)s", most=MOST_DAYS)
    return value


def leeway(value: object) -> float:
    """Return a value of the setting ``LEEWAY`` in seconds."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise RuleError("must be a number")
    _check_leeway(value)
    return float(value)


class _Decimal(RuleField[float]):
    """A number; in a form with digits and at most one point."""

    def from_form(self, value: Any) -> Any:
        """Read the digits; any other text is unchanged, and the rule refuses it."""
        return float(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value) else value


class DryRunSchema(CallSchema):
    """The fields of a change that can be tried: with ``dry_run``, nothing is stored, and the response rehearses it."""

    dry_run = Flag(
        rules.flag, "1: store nothing, and return which sign-ins the change would have refused.", load_default=False
    )
    days = Integer(days, "With `dry_run`: of how many days. Left out: of all that are kept (REHEARSAL_DAYS).")

    @validates_schema
    def _check_days(self, values: dict[str, Any], **_: Any) -> None:
        if "days" in values and not values["dry_run"]:
            # Somebody who asks about days does not expect a change.
            raise ValidationError({"days": [Message("can only be given with dry_run")]})


class RehearseSchema(CallSchema):
    """``token/rehearse``: the settings as they would be."""

    example: ClassVar = {"tokens_may_administer": "0", "leeway": 5}

    tokens_may_administer = Flag(rules.flag, "The setting TOKENS_MAY_ADMINISTER.")
    require_strong_secrets = Flag(rules.flag, "The setting REQUIRE_STRONG_SECRETS.")
    leeway = _Decimal(leeway, "The setting LEEWAY in seconds.")
    days = Integer(days, "Of how many days. Left out: of all that are kept (REHEARSAL_DAYS).")

    @validates_schema
    def _check_settings(self, values: dict[str, Any], **_: Any) -> None:
        if not any(name in values for name in SETTINGS):
            raise ValidationError({SETTINGS[0]: [_SEND]})
