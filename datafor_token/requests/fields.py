"""Fields and schema of requests: each field reads a form's text as the type of its value, and checks it by a rule."""

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, TypeVar

from marshmallow import RAISE, Schema, ValidationError, fields, missing

from datafor_token.applications import rules
from datafor_token.errors import InvalidInput, MalformedRequest, Message, RuleError, about
from datafor_token.requests import unknown_fields
from datafor_token.requests.forms import Body
from datafor_token.validation import strict_json

T = TypeVar("T")
_EMPTY = ("[]", "{}")
_MAX_ERRORS = 100  # in one response; a body can have thousands of unknown fields
_PREDICATES = {"Missing data for required field.": Message("is missing")}
# The documented message has the name of the record's field.
_DOCUMENTED = {"privateKey can not be empty": Message("secret can not be empty")}


class RuleField(fields.Field[T]):
    """A field whose value is checked by a rule: a function that returns the value to use, or raises ``RuleError``.

    A required field has no default. ``description`` is for the OpenAPI document, which finds the JSON Schema of the
    field by ``schema_rule``.
    """

    def __init__(
        self,
        rule: Callable[[Any], T],
        description: str = "",
        *,
        required: bool = False,
        load_default: Any = missing,
    ) -> None:
        # Marshmallow's validators and hooks have no effect: ``deserialize`` calls only the rule.
        metadata = {"description": description} if description else {}
        super().__init__(metadata=metadata, required=required, load_default=load_default)
        self.rule = rule
        self.schema_rule: Callable[..., object] = inspect.unwrap(rule)

    def from_form(self, value: Any) -> Any:
        """Read a form's text as the type that the rule takes; return it unchanged if that is not possible."""
        return value

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **options: Any) -> Any:
        """Check a value by the rule; let Marshmallow handle a missing one."""
        if value is missing or value is None:
            return super().deserialize(value, attr, data, **options)
        try:
            return self.rule(value)
        except RuleError as error:
            raise ValidationError(error.message) from None


class Text(RuleField[str]):
    """Text, checked by a rule that takes text only."""

    def __init__(self, rule: Callable[[str], str] = rules.text, description: str = "", **options: Any) -> None:
        super().__init__(rules.of_text(rule), description, **options)


class Integer(RuleField[int]):
    """A whole number; in a form a plain decimal number."""

    def from_form(self, value: Any) -> Any:
        """Read the digits; any other text is unchanged, and the rule refuses it."""
        # ASCII digits only: int() takes "1_000", " 12 ", "+5" and digits of any script.
        return int(value) if isinstance(value, str) and re.fullmatch("[1-9][0-9]{0,9}|0", value) else value


class Flag(RuleField[bool]):
    """``"1"`` or ``"0"``."""

    def __init__(self, rule: Callable[[Any], bool] = rules.flag, description: str = "", **options: Any) -> None:
        super().__init__(rule, description, **options)


class Structure(RuleField[T]):
    """An object or a list; in a form it may be sent as JSON text."""

    def from_form(self, value: Any) -> Any:
        """Read JSON text; raise ``RuleError`` for text that begins like JSON and is not valid JSON."""
        # A file that was pasted into the field can begin with a byte order mark.
        text = value.removeprefix("\ufeff") if isinstance(value, str) else ""
        if not text.strip().startswith(("{", "[")):
            return value
        try:
            return strict_json.loads(text)
        except strict_json.JSONError as error:
            raise RuleError(error.message) from None


class Names(Structure[tuple[str, ...]]):
    """A list of names; in a form a single name may be sent without a list."""

    def from_form(self, value: Any) -> Any:
        """Read JSON text, or return a list of the single name."""
        found = super().from_form(value)
        return [found] if isinstance(found, str) else found


class PolicyNames(Names):
    """A list of names that an empty text clears."""

    def from_form(self, value: Any) -> Any:
        """Return an empty text unchanged, and anything else as a list."""
        return value if value == "" else super().from_form(value)


class PolicyText(RuleField[T]):
    """A text, which an empty list or object clears, in a form as JSON text."""

    def from_form(self, value: Any) -> Any:
        """Return an empty text for the JSON text of an empty list or object, and anything else unchanged."""
        return "" if value in _EMPTY else value


class PolicyInteger(Integer):
    """A whole number, which an empty list or object clears, in a form as JSON text."""

    def from_form(self, value: Any) -> Any:
        """Return an empty text for the JSON text of an empty list or object, else read the digits."""
        return "" if value in _EMPTY else super().from_form(value)


class CallSchema(Schema):
    """Base class of the schema of a call: reads forms and JSON alike, and reports all errors as one ``InvalidInput``.

    A member that is ``null`` counts as left out. An unknown field is an error.
    """

    ignored: ClassVar[tuple[str, ...]] = ()  # fields that are accepted and not read
    example: ClassVar[Mapping[str, Any]] = {}  # for the OpenAPI document

    class Meta:
        """Refuse unknown fields."""

        unknown = RAISE

    @functools.cached_property
    def _form_readers(self) -> Sequence[tuple[str, Callable[[Any], Any]]]:
        """The ``from_form`` methods that do more than return the value."""
        own = [(name, field) for name, field in self.fields.items() if isinstance(field, RuleField)]
        return [(name, field.from_form) for name, field in own if type(field).from_form is not RuleField.from_form]

    def read(self, body: Body) -> dict[str, Any]:
        """Return the checked fields of a request; raise ``InvalidInput`` with all errors."""
        if not isinstance(body.values, dict):
            raise MalformedRequest("the request body must be an object with the fields of this call")
        values, errors = dict(body.values), {}
        for name, from_form in self._form_readers if body.is_form else ():
            if name in values:
                try:
                    values[name] = from_form(values[name])
                except RuleError as error:
                    errors[name] = [error.message]
        # Here and not in a hook of Marshmallow, which searches for hooks of every kind in every call.
        if self.ignored or None in values.values():
            values = {name: value for name, value in values.items() if value is not None and name not in self.ignored}
        try:
            loaded: dict[str, Any] = self.load(values)
        except ValidationError as error:
            more = self.more_errors(error.valid_data if isinstance(error.valid_data, dict) else {})
            errors = {**more, **error.messages_dict, **errors}
            raise InvalidInput(self._ordered(errors, values, is_form=body.is_form)) from None
        if errors:
            raise InvalidInput(self._ordered(errors, values, is_form=body.is_form))
        return loaded

    def more_errors(self, valid: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG002 - for those that override it
        """Return errors, by field, of values that are valid on their own; called when the request has other errors."""
        return {}

    def _ordered(
        self, messages: Mapping[str, Any], values: Mapping[str, Any], *, is_form: bool
    ) -> dict[str, list[str]]:
        # Fields of the call first, then unknown ones in the order of the request; Marshmallow has those in no order.
        own = [name for name in self.fields if name in messages]
        found: dict[str, list[str]] = {}
        for name in own:
            inner, sent = messages[name], values.get(name)
            if isinstance(inner, Mapping) and isinstance(sent, Mapping):
                members = getattr(self.fields[name], "members", Schema)().fields
                found |= _about({member: inner[member] for member in members if member in inner}, f"{name}.")
                unknown = unknown_fields.messages(sent, members, parent=f"{name}.", is_form=is_form)
                found |= {path: [*found.get(path, []), *texts] for path, texts in unknown.items()}
            else:
                found |= _about({name: inner})
        found |= _about({name: texts for name, texts in messages.items() if "." in name and name not in values})
        unknown = unknown_fields.messages(values, self.fields, is_form=is_form)
        found |= {path: [*found.get(path, []), *texts] for path, texts in unknown.items()}
        return dict(islice(found.items(), _MAX_ERRORS))


def _about(predicates: Mapping[str, Sequence[str]], parent: str = "") -> dict[str, list[str]]:
    """Return messages by the path of the field, for predicates by the name of the field."""
    found: dict[str, list[str]] = {}
    for name, texts in predicates.items():
        messages = [about(f"{parent}{name}", _PREDICATES.get(text, text)) for text in texts]
        found[f"{parent}{name}"] = [_DOCUMENTED.get(message, message) for message in messages]
    return found
