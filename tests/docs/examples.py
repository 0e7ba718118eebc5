"""Examples of a page: commands, and the JSON that is shown below them."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from tests.docs import pages
from tests.support import token_parts

# A block of commands, and the block of JSON below it, if any.
_EXAMPLE = re.compile(r"```sh\n(.*?)```(?:\n\n```json\n(.*?)\n```)?", re.DOTALL)
# Members with another value each time: random, a time or a duration.
_VARIABLE = {
    "url",
    "time",
    "until",
    "looked_back_to",
    "createdDate",
    "lastModifiedDate",
    "exp",
    "request_id",
    "node",
    "key",
    "settings",
    "jsessionid",
    "id",
    "since",
    "last_seen",
    "jti",
    "issued_at",
    "expires_at",
    "next",
}


class Example(NamedTuple):
    """A block of commands, and the response that the page shows below it; empty without one."""

    command: str
    response: str


def examples(page: str) -> list[Example]:
    """Return the examples of a page in their order."""
    return [Example(*found) for found in _EXAMPLE.findall(pages.text(page))]


def check(found: list[Example], folder: Path, port: int | None = None) -> None:
    """Run examples in their order in ``folder``: each must print the response that the page shows, and no warning.

    ``port``: that of the server, which replaces the documented one; None: the examples need no server.
    """
    # One shell for all, because later commands use the variables of earlier ones.
    commands = "".join(f"{one.command}printf '\\f'\n" for one in found)
    script = f'curl() {{ command curl -sS "$@"; }}\n{commands}'
    replace = {} if port is None else {"127.0.0.1:28080": f"127.0.0.1:{port}"}
    done = pages.shell(script, folder, replace=replace)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    *outputs, rest = done.stdout.split("\f")
    assert (len(outputs), rest) == (len(found), "")
    for one, output in zip(found, outputs, strict=True):
        if one.response:
            assert _comparable(json.loads(output)) == _comparable(json.loads(one.response)), one.command


def _comparable(value: Any) -> Any:
    """Return a response with the type instead of each variable value, and with the parts of tokens that are fixed."""
    match value:
        case dict():
            return [(name, _member(name, member)) for name, member in value.items()]
        case list():
            return [_comparable(member) for member in value]
    return value


def _member(name: str, member: Any) -> Any:
    if name in _VARIABLE:
        return type(member)
    return _fixed_part(member) if name == "token" else _comparable(member)


def _fixed_part(token: str) -> Any:
    """Return header and claims of a token without its time, or the length of an audit identifier."""
    if "." not in token:
        return len(token)
    header, claims = token_parts(token)
    return header, {name: type(value) if name in ("jti", "iat", "exp") else value for name, value in claims.items()}
