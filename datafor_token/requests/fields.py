"""How the fields of a request are read: Marshmallow fields for each kind of value, and the schema that all calls share.

A form's text is first read as what its field says (``from_form``); from there on a form and a JSON
body go the same way, through a rule of ``rules`` or ``names``.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, TypeVar

from marshmallow import RAISE, Schema, ValidationError, fields, missing

from datafor_token.applications import rules
from datafor_token.errors import InvalidInput, MalformedRequest, RuleError, about
from datafor_token.requests import unknown_fields
from datafor_token.requests.forms import Body
from datafor_token.validation import strict_json

T = TypeVar("T")


class Ruled(fields.Field[T]):
    """A field whose value is what a rule of the domain makes of it.

    ``says`` is what the API description says of it; ``stated`` is the rule by which it finds the JSON Schema.
    """

    def __init__(
        self, rule: Callable[[object], T], *, says: str = "", required: bool = False, load_default: Any = missing
    ) -> None:
        # No validators or hooks of Marshmallow's: the rule is all there is, see ``deserialize``.
        about = {"description": says} if says else {}
        super().__init__(metadata=about, required=required, load_default=load_default)
        self.rule = rule
        self.stated: Callable[..., object] = rule

    def from_form(self, value: Any) -> Any:
        """Read a form's text as the kind of value that the rule takes; left as it is where it cannot be."""
        return value

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **options: Any) -> Any:
        """What the rule makes of a value that is there; of one that is not, what Marshmallow does."""
        if value is missing or value is None:
            return super().deserialize(value, attr, data, **options)
        try:
            return self.rule(value)
        except RuleError as error:
            raise ValidationError(error.message) from None


class Text(Ruled[str]):
    """Text that keeps a rule of its own."""

    def __init__(self, rule: Callable[[str], str] = str, **options: Any) -> None:
        super().__init__(lambda value: rule(rules.text(value)), **options)
        self.stated = rule


class Seconds(Ruled[int]):
    """A number of seconds; in a form a plain decimal number."""

    def from_form(self, value: Any) -> Any:
        """Read the digits; whatever else stays text, which the rule refuses."""
        # ASCII only, and nothing around it: int() takes "1_000", " 12 ", "+5" and digits of any script.
        return int(value) if isinstance(value, str) and re.fullmatch("[1-9][0-9]{0,9}|0", value) else value


class Flag(Ruled[bool]):
    """``"1"`` or ``"0"``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(rules.flag, **options)


class Structure(Ruled[T]):
    """An object or a list; in a form it may come as JSON text."""

    def from_form(self, value: Any) -> Any:
        """Read JSON text; raise ``RuleError`` for text that begins as JSON and is none."""
        # A byte order mark comes from a file that was put into the field.
        text = value.removeprefix("\ufeff") if isinstance(value, str) else ""
        if not text.strip().startswith(("{", "[")):
            return value
        try:
            return strict_json.loads(text)
        except strict_json.JSONError as error:
            raise RuleError(error.message) from None


class Names(Structure[tuple[str, ...]]):
    """A list of names; in a form a single one may come alone."""

    def from_form(self, value: Any) -> Any:
        """Read JSON text, or take a single name for a list of one."""
        found = super().from_form(value)
        return [found] if isinstance(found, str) else found


class CallSchema(Schema):
    """What every call's schema does: forms and ``null`` evened out, all faults as one ``InvalidInput``."""

    ignored: ClassVar[tuple[str, ...]] = ()  # fields that are accepted and not read
    example: ClassVar[Mapping[str, Any]] = {}  # for the OpenAPI document

    class Meta:
        """No field that the call does not know."""

        unknown = RAISE

    @functools.cached_property
    def _from_form(self) -> Sequence[tuple[str, Callable[[Any], Any]]]:
        """What reads a form's text, of the fields that do not take it as it is."""
        ruled = [(name, field) for name, field in self.fields.items() if isinstance(field, Ruled)]
        return [(name, field.from_form) for name, field in ruled if type(field).from_form is not Ruled.from_form]

    def read(self, body: Body) -> dict[str, Any]:
        """The checked fields of a request body; raises ``InvalidInput`` with every fault there is."""
        if not isinstance(body.values, dict):
            raise MalformedRequest("the request body must be an object with the fields of this call")
        values, faults = dict(body.values), {}
        for name, from_form in self._from_form if body.is_form else ():
            if name in values:
                try:
                    values[name] = from_form(values[name])
                except RuleError as error:
                    faults[name] = [error.message]
        # Before and not as a hook of Marshmallow's, which looks for those of every kind each time.
        if self.ignored or None in values.values():
            values = {name: value for name, value in values.items() if value is not None and name not in self.ignored}
        try:
            loaded: dict[str, Any] = self.load(values)
        except ValidationError as error:
            also = self.further_faults(error.valid_data if isinstance(error.valid_data, dict) else {})
            faults = {**also, **error.messages_dict, **faults}
            raise InvalidInput(self._ordered(faults, values, is_form=body.is_form)) from None
        if faults:
            raise InvalidInput(self._ordered(faults, values, is_form=body.is_form))
        return loaded

    def further_faults(self, valid: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG002 - for those that override it
        """Return the faults of values that are valid by themselves, by field, where the request has others anyway."""
        return {}

    def _ordered(
        self, messages: Mapping[str, Any], values: Mapping[str, Any], *, is_form: bool
    ) -> dict[str, list[str]]:
        # The call's own fields first, then the others as they were sent: Marshmallow has those in no order.
        own = [name for name in self.fields if name in messages]
        found: dict[str, list[str]] = {}
        for name in own:
            inner, sent = messages[name], values.get(name)
            if isinstance(inner, Mapping) and isinstance(sent, Mapping):
                members = getattr(self.fields[name], "members", Schema)().fields
                found |= _sentences({member: inner[member] for member in members if member in inner}, f"{name}.")
                unknown = unknown_fields.sentences(sent, members, parent=f"{name}.", is_form=is_form)
                found |= {path: [*found.get(path, []), *texts] for path, texts in unknown.items()}
            else:
                found |= _sentences({name: inner})
        found |= _sentences({name: texts for name, texts in messages.items() if "." in name and name not in values})
        unknown = unknown_fields.sentences(values, self.fields, is_form=is_form)
        found |= {path: [*found.get(path, []), *texts] for path, texts in unknown.items()}
        return dict(islice(found.items(), _MOST_FAULTS))


_MOST_FAULTS = 100  # named in one answer: a body can hold thousands of unknown fields
_WORDS = {"Missing data for required field.": "is missing"}
# The documented product's own words, which name the record's field.
_DOCUMENTED = {"privateKey can not be empty": "secret can not be empty"}


def _sentences(messages: Mapping[str, Sequence[str]], parent: str = "") -> dict[str, list[str]]:
    """Turn Marshmallow's messages into sentences, by the path of the field."""
    found = {}
    for name, texts in messages.items():
        sentences = [about(f"{parent}{name}", _WORDS.get(text, text)) for text in texts]
        found[f"{parent}{name}"] = [_DOCUMENTED.get(sentence, sentence) for sentence in sentences]
    return found
