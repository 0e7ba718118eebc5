"""Changes of an application's form beside changes of others: what they changed, and values for another attempt.

A form has the values of its fields when it was opened (``BASE``), so that a change by somebody else in the meantime is
noticed, and so that Undo works as long as nobody has changed the same page again.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from datafor_token.console import application_form, trust_form
from datafor_token.console.language import gettext
from datafor_token.errors import Conflict
from datafor_token.validation import strict_json

BASE = "base"  # the hidden field
# The units of durations, by their numbers: one is meaningless without the other.
_UNITS = {"unit": "expire"}
_UNIT_SUFFIX = "_unit"


class Overtaken(Conflict):
    """Somebody else has changed fields of the page; ``stored`` are its present values."""

    def __init__(self, stored: Mapping[str, Any]) -> None:
        super().__init__("the application was changed meanwhile")
        self.stored = stored


@dataclasses.dataclass(frozen=True)
class OthersChange:
    """A field that somebody else has changed, with both values as text.

    ``contested``: the reader has changed it too, to another value.
    """

    label: str
    before: str
    after: str
    contested: bool


def flat(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values of a form as a browser sends them: each member of an object is a field of its own."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{name}[{member}]": _plain(one) for member, one in value.items()}
        else:
            found[name] = _plain(value)
    return found


def to_base(values: Mapping[str, Any]) -> str:
    """Return the text of the hidden field for the values of a page."""
    return json.dumps(flat(values), ensure_ascii=False)


def read_base(text: str) -> dict[str, str]:
    """Return the values of the hidden field; none, if it is missing or damaged: then nothing is compared."""
    try:
        found = strict_json.loads(text.encode("utf-8", "replace"))
    except strict_json.JSONError:
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}


def check(base: Mapping[str, str], stored: Mapping[str, Any]) -> None:
    """Raise ``Overtaken`` if a field has another value than when the form was opened."""
    now = flat(stored)
    if any(now.get(name, value) != value for name, value in base.items()):
        raise Overtaken(stored)


def merge(
    base: Mapping[str, str], stored: Mapping[str, Any], typed: Mapping[str, Any]
) -> tuple[dict[str, Any], Sequence[OthersChange]]:
    """Return the values for another attempt, and what others have changed.

    A field that the reader did not change has the present value; one that both changed has the reader's.
    """
    theirs, mine = flat(stored), flat(typed)
    groups: dict[str, list[str]] = {}
    for name in theirs:
        groups.setdefault(_UNITS.get(name, name.removesuffix(_UNIT_SUFFIX)), []).append(name)
    merged, changes = dict(mine), []
    for number, names in groups.items():
        old, present, own = (_shown(number, names, values) for values in (base, theirs, mine))
        if old == present:
            continue
        if own == old:
            merged |= {name: theirs[name] for name in names}
        changes.append(OthersChange(_label(number), old, present, own not in (old, present)))
    return _nested(typed, merged), changes


def _nested(typed: Mapping[str, Any], merged: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: {member: merged[f"{name}[{member}]"] for member in value} if isinstance(value, Mapping) else merged[name]
        for name, value in typed.items()
    }


def _plain(value: Any) -> str:
    # Browsers send other line breaks than the page has.
    return str(value).replace("\r\n", "\n")


def _shown(number: str, names: Sequence[str], values: Mapping[str, str]) -> str:
    """Return the value of a field as text; of a duration, with its unit, which means nothing without a number."""
    if len(names) > 1 and not values.get(number):
        return ""
    return " ".join(values.get(name, "") for name in sorted(names, key=len))


def _label(name: str) -> str:
    labels = application_form.labels()
    outer, _, member = name.rstrip("]").partition("[")
    if outer in trust_form.BOXES:
        return f"{labels[outer]}: {(synced_labels() if outer == 'sync' else labels)[member]}"
    return labels.get(f"{outer}.{member}" if member else outer, name)


def synced_labels() -> dict[str, str]:
    """Return the labels of the members of a user that can follow the tokens."""
    return {"name": gettext("Display name"), "email": gettext("Email"), "roles": gettext("Roles")}
