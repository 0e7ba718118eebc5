"""Options of ``datafor-token application add`` and ``set``: one for each field of an application."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from datafor_token.applications.policy import REPORTABLE
from datafor_token.cli.parameters import Seconds
from datafor_token.crypto.algorithms import ALGORITHMS
from datafor_token.errors import RuleError
from datafor_token.validation import strict_json, times

# Options for the fields of an application: name, default of a new one, help, and more for click. The defaults are those
# of ``record.DEFAULTS``, which the help must not import: a test compares them.
_FIELD_OPTIONS: Sequence[tuple[str, str, str, dict[str, Any]]] = (
    ("--algorithm", "HS256", "Signature algorithm of its tokens.", {"type": click.Choice(ALGORITHMS)}),
    ("--token-name", "token", "Name of the URL parameter for its tokens.", {}),
    ("--expire", "86400", "Token lifetime in seconds.", {"type": Seconds()}),
    ("--claim-username", "username", "Claim with the user name, by name or JSON Pointer.", {}),
    ("--claim-name", "name", "Claim with the display name; '': none.", {}),
    ("--claim-email", "email", "Claim with the email address; '': none.", {}),
    ("--inituser", "0", "Create unknown users (1) or not (0).", {"type": click.Choice(["1", "0"])}),
    ("--initrole", "SYS_Reader", "Role of created users; can be repeated.", {"multiple": True}),
    ("--self-service", "0", "Allow personal tokens (1) or not (0).", {"type": click.Choice(["1", "0"])}),
)


class _ClearableSeconds(Seconds):
    """Whole number of seconds, or an empty text."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or the empty text; fail with an example."""
        return value if value == "" else super().convert(value, param, ctx)


class _ClearableChoice(click.Choice[str]):
    """One of several texts, or an empty text."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text unchanged; fail with the choices."""
        return value if value == "" else super().convert(value, param, ctx)


class _Pair(click.ParamType[tuple[str, Any]]):
    """Two texts around a ``=``, or an empty text, which is read as a pair of empty texts.

    ``split`` returns what is before the separator, the separator (empty if it is missing), and what is after.
    """

    def __init__(self, name: str, example: str, split: Callable[[str], tuple[str, str, Any]]) -> None:
        self.name = name
        self._example = example
        self._split = split

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """Return the two parts; fail with an example."""
        if isinstance(value, tuple):
            # Click converts a converted value again.
            return value
        left, separator, right = self._split(value)
        if value and not (separator and left):
            self.fail(f"'{value}' is not {self.name}, such as {self._example}", param, ctx)
        return left, right


def _requirement(text: str) -> tuple[str, str, Any]:
    """Split ``CLAIM=VALUE``, whose value is JSON if it is a truth value, number, text or list.

    The first ``=`` separates, since values such as Base64 contain it more often than claims. Blanks around it are
    ignored, as in the console.
    """
    claim, separator, value = (part.strip() for part in text.partition("="))
    parsed = _json(value)
    return claim, separator, value if parsed is None else parsed


def _json(text: str) -> Any:
    """Return the value of a JSON text if it is a truth value, number, text or list, else None."""
    try:
        parsed = strict_json.loads(text)
    except RuleError:
        return None
    return parsed if isinstance(parsed, bool | int | float | str | list) else None


def _role_of_value(text: str) -> tuple[str, str, Any]:
    """Split ``VALUE=ROLE``. The last ``=`` separates: names of groups such as ``CN=Sales,OU=x`` contain it."""
    claimed, separator, role = (part.strip() for part in text.rpartition("="))
    return claimed, separator, role


def _usual_types(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the usual ``typ`` of tokens that begin with ``incomplete``, regardless of case."""
    return [one for one in ("JWT", "at+jwt") if one.lower().startswith(incomplete.lower())]


_REQUIRE = (
    "Value that a claim must have; several of one claim: one of them. It is JSON if it is true, false, a number, a list"
    ' or a text in double quotes, and else text as it stands: level=5 is a number, level="5" a text.'
)
# Options for the trust policy, which have no default: name, field, help, and more for click.
_POLICY_OPTIONS: Sequence[tuple[str, str, str, dict[str, Any]]] = (
    ("--jwks-uri", "jwks_uri", "URL of a provider's keys, or of its discovery document, instead of a secret.", {}),
    ("--audience", "audience", "Audience of which a token must name one; *: any.", {"multiple": True}),
    ("--issuer", "issuer", "Issuer that a token must name.", {}),
    (
        "--require",
        "require",
        _REQUIRE,
        {"multiple": True, "type": _Pair("CLAIM=VALUE", "azp=erp", _requirement)},
    ),
    (
        "--token-type",
        "token_types",
        "Accepted typ of tokens.",
        {"multiple": True, "metavar": "TYPE", "shell_complete": _usual_types},
    ),
    (
        "--max-lifetime",
        "max_lifetime",
        "Longest accepted time from iat to exp in seconds.",
        {"type": _ClearableSeconds()},
    ),
    ("--network", "networks", "Network from which its tokens are accepted.", {"multiple": True}),
    ("--users", "users", "Accept tokens of any user, or only of its own.", {"type": _ClearableChoice(["any", "own"])}),
    (
        "--sync",
        "sync",
        "What of a user follows the token.",
        {"multiple": True, "type": _ClearableChoice(["name", "email", "roles"])},
    ),
    ("--roles-claim", "roles_claim", "Claim with the user's roles, by name or JSON Pointer.", {}),
    (
        "--roles-map",
        "roles_map",
        "Role or user type that a value of the roles claim gives; the last = separates.",
        {"multiple": True, "type": _Pair("VALUE=ROLE", "staff=Sales", _role_of_value)},
    ),
    (
        "--origin",
        "origins",
        "Origin whose pages may embed its pages, such as https://portal.example.",
        {"multiple": True},
    ),
    (
        "--session-idle",
        "session_idle",
        "How long a gate session lasts without a request, in seconds.",
        {"type": _ClearableSeconds()},
    ),
    (
        "--session-max",
        "session_max",
        "How long a gate session lasts at most, in seconds.",
        {"type": _ClearableSeconds()},
    ),
    (
        "--report",
        "report",
        "Field whose rule refuses nothing, and is only reported.",
        {"multiple": True, "type": _ClearableChoice(REPORTABLE)},
    ),
    ("--rate", "rate", "How many tokens are issued at most, such as 600/minute.", {}),
)


def field_options(*, new: bool) -> Callable[[Any], Any]:
    """Return the options for the fields of an application, for a ``new`` one with the defaults in their help."""

    def decorator(command: Any) -> Any:
        for name, field, text, more in reversed(_POLICY_OPTIONS):
            repeated = " Can be repeated." if more.get("multiple") else ""
            cleared = "" if new else " '' clears it."
            command = click.option(name, field, help=f"{text}{repeated}{cleared}", **more)(command)
        for name, default, text, more in reversed(_FIELD_OPTIONS):
            names = (name, "initroles") if name == "--initrole" else (name,)
            command = click.option(*names, help=f"{text}  [default: {default}]" if new else text, **more)(command)
        return command

    return decorator


def shown(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an application for people: ``require`` as its option takes it, and the time of the keys."""
    found = dict(fields)
    if "require" in found:
        found["require"] = {claim: _shown_requirement(value) for claim, value in found["require"].items()}
    if "fetched" in found.get("keys", {}):
        fetched, error = found["keys"]["fetched"], found["keys"]["error"]
        found["keys"] = {
            "fetched": "never" if fetched is None else times.show(fetched / 1000),
            **({"kids": " ".join(found["keys"]["kids"])} if found["keys"]["kids"] else {}),
            **({} if error is None else {"error": error}),
        }
    return found


def _shown_requirement(value: Any) -> str:
    is_plain = isinstance(value, str) and value == value.strip() and _json(value) is None
    return value if is_plain else json.dumps(value, ensure_ascii=False)


def is_given(value: object) -> bool:
    """Return whether an option was on the command line."""
    return value not in (None, ())


def changed(before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields to save: those before the change, replaced by the given options.

    Raise ``click.UsageError`` for a value of the roles claim that is given twice.
    """
    claims = {}
    for name, claim in before["fieldmap"].items():
        other = given[f"claim_{name}"]
        claims[name] = claim if other is None else other
    after = {name: _value(name, value) for name, value in given.items() if is_given(value)}
    fields = {name: value for name, value in after.items() if not name.startswith("claim_")}
    return {**before, **fields, "fieldmap": claims}


def _value(name: str, value: Any) -> Any:
    """Return the value of a field, for that of its option; an empty text clears the field."""
    match name, value:
        case _, str() | int():
            return value
        case _, ("",) | (("", ""),):
            return ""
        case "require", _:
            return _requirements(value)
        case "roles_map", _:
            claimed = [one for one, _ in value]
            twice = next((one for one in claimed if claimed.count(one) > 1), None)
            if twice is not None:
                raise click.UsageError(f"Give --roles-map once for {twice}", click.get_current_context())
            return dict(value)
        case _:
            return list(value)


def _requirements(pairs: Sequence[tuple[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for claim, value in pairs:
        found.setdefault(claim, []).extend(value if isinstance(value, list) else [value])
    return found
