"""``flask token``: issue tokens, look into them, say why one is refused, revoke them."""

import base64
import datetime as dt
import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from datafor_token.applications.rules import TIME_CLAIMS
from datafor_token.audit.events import Kind
from datafor_token.cli.output import Commands, echo, json_option, read_token, show, show_one, text_of
from datafor_token.errors import InvalidInput
from datafor_token.requests.forms import Body
from datafor_token.requests.schemas import GenerateSchema
from datafor_token.tokens import issuer, verifier
from datafor_token.validation import strict_json
from datafor_token.web.services import services

token = Commands("token", help="Look after tokens. Example: flask token explain < token.txt")


@token.command("generate")
@click.argument("application")
@click.option("--username", required=True, help="Who the token is for.")
@click.option("--payload", help="Further claims, as JSON.")
@click.option("--private-key-file", "file", type=click.File("rb"), help="The private key, but for HS*.")
def generate(application: str, username: str, payload: str | None, file: Any) -> None:
    """Issue a token and print it.

    Example: flask token generate ERP --username lena
    """
    try:
        claims = strict_json.loads((payload or "{}").encode("utf-8", "surrogateescape"))
    except strict_json.JSONError as error:
        raise InvalidInput.of("payload", error.message) from None
    sent = {"name": application, "username": username, "payload": claims}
    if file:
        sent["privateKey"] = text_of("privateKey", file.read())
    wanted = GenerateSchema().read(Body(sent, is_form=False))
    found = services().registry.get(wanted["name"])
    name = issuer.username_for(wanted["username"], wanted["payload"], wanted["username"])
    about = issuer.claims_for(found.fieldmap, name, wanted["payload"])
    echo(services().issuer.issue(Kind.TOKEN_GENERATED, found, wanted.get("privateKey"), about))


@token.command("explain")
@click.argument("text", metavar="[TOKEN]", required=False)
@click.option("--application", "name", help="The application that should accept it.")
@json_option
def explain(text: str | None, name: str | None, *, as_json: bool) -> None:
    """Say step by step whether a token is accepted; exit code 1 when it is not.

    Example: flask token explain < token.txt
    """
    application = services().registry.get(name) if name else None
    verdict = services().signin.explain(read_token(text), application)
    answer = verdict.to_response()
    if as_json:
        show_one(answer, as_json=True)
    else:
        show(answer["steps"], as_json=False)
        echo("accepted" if verdict.reason is None else f"refused: {verdict.reason}")
    if verdict.reason is not None:
        sys.exit(1)


@token.command("decode")
@click.argument("text", metavar="[TOKEN]", required=False)
@json_option
def decode(text: str | None, *, as_json: bool) -> None:
    """Show the header and claims of any signed or unsigned JWT, with times in words, and its audit log identifier.

    Nothing is verified. "Bearer" in front of the token and white space are ignored. There are several identifiers when
    the service's key was changed, and none for a token that this service does not read; the reason is printed.

    Example: flask token decode < token.txt
    """
    text = _bare(read_token(text))
    identifiers: Sequence[str] = ()
    try:
        found = verifier.read(text, explain=True)
        header, claims = found.header, found.claims
        identifiers = services().signin.audit_identifiers(found, text)
    except verifier.Refused as refused:
        try:
            header, claims = _read_leniently(text)
        except ValueError:
            echo(refused.step.detail, err=True)
            sys.exit(1)
        echo(f"this service does not accept it: {refused.step.detail}", err=True)
    if as_json:
        show_one({"header": header, "claims": claims, "identifiers": identifiers}, as_json=True)
        return
    show_one({f"header {name}": value for name, value in header.items()}, as_json=False)
    now = services().clock()
    show_one(
        {name: in_words(value, now) if name in TIME_CLAIMS else value for name, value in claims.items()},
        as_json=False,
    )
    if identifiers:
        show_one({"audit identifier": identifiers}, as_json=False)


def _bare(text: str) -> str:
    """Return a token without the words of an HTTP header in front of it, and without white space."""
    words = text.split()
    while len(words) > 1 and words[0].lower() in ("authorization:", "bearer"):
        del words[0]
    return "".join(words)


def _read_leniently(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and claims of a token that need not be one for this service; raise ``ValueError``."""
    parts = text.split(".")
    if len(text) > verifier.LONGEST_TOKEN or len(parts) not in (2, 3):
        raise ValueError("this is not a signed or unsigned JWT")
    header, claims = (_json_object(part) for part in parts[:2])
    return header, claims


def _json_object(part: str) -> dict[str, Any]:
    data = base64.b64decode(part.rstrip("=") + "=" * (-len(part.rstrip("=")) % 4), altchars=b"-_", validate=True)
    try:
        value = json.loads(data)
    except RecursionError:
        raise ValueError("this is nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError("this is not a JSON object")  # noqa: TRY004 - of the text, not of a caller
    return value


@token.command("revoke")
@click.argument("text", metavar="[TOKEN]", required=False)
def revoke(text: str | None) -> None:
    """Revoke a token; exit code 1 when it is none of an application here, or has expired.

    Example: flask token revoke < token.txt
    """
    reason = services().signin.revoke(read_token(text), None)
    if reason is not None:
        echo(f"Nothing was revoked: {reason}", err=True)
        sys.exit(1)
    echo("The token is revoked")


def in_words(value: object, now: float) -> object:
    """A time claim as a moment and how far away it is; what is none stays as it is."""
    if type(value) not in (int, float) or not 0 <= float(str(value)) <= verifier.LATEST_TIME:
        return value
    seconds = float(str(value))
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    away = abs(seconds - now)
    units = (("d", 86400), ("h", 3600), ("min", 60))
    unit, size = next((one for one in units if away >= one[1]), ("s", 1))
    distance = f"{away / size:.0f} {unit}"
    return f"{value} ({moment}, {f'in {distance}' if seconds > now else f'{distance} ago'})"
