"""Events of the audit log as rows of a table, in words.

A line may have been edited by hand: any value can be of any type.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from datafor_token.applications.record import DEFAULTS
from datafor_token.audit.changes import changes_of
from datafor_token.audit.events import REFUSALS
from datafor_token.console import application_form, history
from datafor_token.console.event_words import EVENTS, OTHER_FIELDS, OUTCOMES, REASONS, USER_FIELDS, WAYS
from datafor_token.console.language import format_duration, format_list, format_time, gettext, iso, ngettext
from datafor_token.printable import printable
from datafor_token.validation.times import parse_time

_DURATIONS = ("expire", "max_lifetime", "session_idle", "session_max")
_SHOWN_DIGITS = 12
_JSON = json.JSONEncoder(ensure_ascii=False)


@dataclasses.dataclass(frozen=True)
class ChangedField:
    """A changed field in words; ``before`` and ``after`` are None where the values are not recorded."""

    label: str
    before: str | None
    after: str | None


@dataclasses.dataclass(frozen=True)
class Row:
    """An event in words. ``time`` is in milliseconds since 1970; ``kind`` is that of a badge: off, warn or empty.

    ``identifier`` is that of the token or one-time link, ``facts`` are further pairs of a label and a text.
    """

    time: float
    event: str
    kind: str
    actor: str
    way: str
    address: str
    application: str
    user: str
    is_unknown_user: bool
    identifier: str
    request_id: str
    summary: str
    is_refusal: bool
    changes: Sequence[ChangedField]
    facts: Sequence[tuple[str, str]]

    @property
    def short_identifier(self) -> str:
        """The first digits of the identifier."""
        return self.identifier[:_SHOWN_DIGITS]


def row(event: Mapping[str, Any]) -> Row:
    """Return the row of an event."""
    kind, target = event["event"], event["target"]
    unknown = text(target.get("unknown_user"))
    changes = [
        ChangedField(
            label_of(one.field, kind),
            _value(one.field, one.before) if one.has_values else None,
            _value(one.field, one.after) if one.has_values else None,
        )
        for one in changes_of(event)
    ]
    return Row(
        time=history.milliseconds(event),
        event=gettext(EVENTS[kind]) if kind in EVENTS else printable(kind),
        kind="off" if kind in REFUSALS else "warn" if event.get("outcome") else "",
        actor=text(event.get("actor")),
        way=_word(WAYS, event.get("way")),
        address=text(event.get("address")),
        application=text(target.get("application")),
        user=text(target.get("user")) or unknown,
        is_unknown_user=bool(unknown),
        identifier=text(target.get("token")),
        request_id=text(event.get("request_id")),
        summary=_summary(event, changes),
        is_refusal=kind in REFUSALS,
        changes=changes,
        facts=[(label, one) for label, one in _facts(event) if one],
    )


def label_of(field: str, kind: str) -> str:
    """Return the label of a field that an event of this kind changed."""
    if kind.startswith("user_") and field in USER_FIELDS:
        return gettext(USER_FIELDS[field])
    if field in OTHER_FIELDS:
        return gettext(OTHER_FIELDS[field])
    return application_form.labels().get(field, printable(field))


def text(value: object) -> str:
    """Return a value of any type as one line of text, without control characters."""
    if value is None:
        return ""
    return printable(value if isinstance(value, str) else _JSON.encode(value))


def _word(words: Mapping[str, str], code: object) -> str:
    return gettext(words[code]) if isinstance(code, str) and code in words else text(code)


def _summary(event: Mapping[str, Any], changes: Sequence[ChangedField]) -> str:
    """Return one line about what happened beside the kind of the event."""
    found = []
    if "reason" in event:
        found.append(_word(REASONS, event["reason"]))
    if event["event"] not in ("application_added", "user_made"):
        found.append(format_list(_change(one) for one in changes))
    if "count" in event:
        count = history.event_count(event)
        found.append(ngettext("%(num)s more time", "%(num)s more times", count) % {"num": count})
    if "outcome" in event:
        found.append(_word(OUTCOMES, event["outcome"]))
    return " · ".join(one for one in found if one)


def _change(one: ChangedField) -> str:
    if one.before is None or one.after is None or len(one.before) + len(one.after) > 40:
        return one.label
    return gettext("%(name)s: %(detail)s") % {"name": one.label, "detail": f"{one.before} → {one.after}"}


def _facts(event: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    first, counted, prefix = event.get("first"), event.get("request_ids"), event.get("request_prefix")
    return [
        (gettext("First request"), text(first)),
        (gettext("Revoked up to"), _time(event.get("tokens_before"), 1)),
        (gettext("Valid until"), _time(event.get("expires"), 1000)),
        (gettext("Audience"), _value("audience", event["audience"]) if "audience" in event else ""),
        ("jti", text(event.get("jti"))),
        (gettext("Requests"), ", ".join(map(text, counted)) if isinstance(counted, list) else ""),
        (gettext("Further requests begin with"), text(prefix)),
        (gettext("Reason"), text(event.get("reason"))),
        (gettext("Rule"), label_of(text(event["rule"]), "") if "rule" in event else ""),
        (gettext("Node"), text(event.get("node"))),
    ]


def _time(value: object, factor: int) -> str:
    """Return a time that is a number of milliseconds, or of ``factor`` milliseconds each."""
    try:
        return format_time(value * factor, seconds=True) if isinstance(value, int | float) else text(value)
    except (ValueError, OverflowError, OSError):
        return text(value)


def _value(field: str, value: object) -> str:
    """Return the value of a field in words."""
    if value is None or value in ("", [], {}):
        return gettext("none")
    if isinstance(value, bool) or (DEFAULTS.get(field) in ("0", "1") and value in ("0", "1")):
        return gettext("yes") if value in (True, "1") else gettext("no")
    if field in _DURATIONS and type(value) is int and 0 <= value < 10**10:
        return format_duration(value)
    if field == "previous" and isinstance(value, Mapping):
        return _time(value.get("until"), 1)
    if field == "secret" and isinstance(value, Mapping):
        # Of public keys.
        value = value.get("kids")
    return _joined(value)


def _joined(value: object) -> str:
    if isinstance(value, list):
        return format_list(map(text, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(name)} = {text(one)}" for name, one in value.items())
    return text(value)


def input_time(value: str) -> str:
    """Return a time in RFC 3339 as a browser's input has it, in UTC; empty for any other text, such as an age."""
    try:
        return iso(parse_time(value, 0) * 1000).removesuffix("Z") if ":" in value else ""
    except (ValueError, OverflowError, OSError):
        return ""
