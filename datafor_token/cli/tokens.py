"""``datafor-token token``: generate, explain, decode and revoke tokens, and list personal ones."""

import base64
import datetime as dt
import functools
import json
from collections.abc import Sequence
from typing import Any

import click

from datafor_token.cli.failures import Failed
from datafor_token.cli.groups import Commands
from datafor_token.cli.inputs import read_token, text_of
from datafor_token.cli.output import done, echo, show, show_dated, show_json, show_one, wants_json
from datafor_token.cli.parameters import Number, application_name, user_name
from datafor_token.cli.services import services
from datafor_token.errors import InvalidInput, NotFound, RuleError
from datafor_token.validation import strict_json
from datafor_token.validation.times import parse_time

token = Commands("token", help="Manage tokens. Example: datafor-token token explain < token.txt")


@token.command("generate")
@click.argument("application", type=application_name)
@click.option("--username", type=user_name, required=True, help="User name in the token.")
@click.option("--payload", help="Further claims, as JSON.")
@click.option(
    "--private-key-file", "file", type=click.File("rb"), help="File with the private key; not for HS* algorithms."
)
def generate(application: str, username: str, payload: str | None, file: Any) -> None:
    """Generate a token and print it alone.

    Example: datafor-token token generate ERP --username lena
    """
    from datafor_token.audit.events import Kind
    from datafor_token.requests.forms import Body
    from datafor_token.requests.schemas import GenerateSchema

    try:
        further = strict_json.loads((payload or "{}").encode("utf-8", "surrogateescape"))
    except strict_json.JSONError as error:
        raise InvalidInput.of(
            "payload", '%(fault)s: use a form such as --payload \'{"email": "l@x"}\'', fault=error.message
        ) from None
    sent = {"name": application, "username": username, "payload": further}
    if file:
        sent["privateKey"] = text_of("privateKey", file)
    wanted = GenerateSchema().read(Body(sent, is_form=False))
    found, claims = services().issuer.application_and_claims(wanted, wanted["username"])
    text = services().issuer.issue(Kind.TOKEN_GENERATED, found, wanted.get("privateKey"), claims)
    # Otherwise only the first sign-in would show it.
    verdict = services().signin.explain(text, found)
    done(
        f"The token of {found.name} for {wanted['username']} expires in {found.expire} seconds",
        result=text,
        warnings=[] if verdict.reason is None else [f"it does not sign in here: {verdict.steps[-1].detail}"],
        token=text,
        expire=found.expire,
    )


@token.command("explain")
@click.argument("text", metavar="[TOKEN]", required=False)
@click.option("--application", "name", type=application_name, help="Application that should accept the token.")
@click.option("--request", "request_id", metavar="ID", help="Reference on an error page: why that request was refused.")
def explain(text: str | None, name: str | None, request_id: str | None) -> None:
    """Explain step by step whether a token is accepted. The exit code is 1 if it is not.

    With --request, the refusal of a request is searched in the whole audit log. The exit code is 1 if it has none.

    Example: datafor-token token explain < token.txt
    """
    if request_id is not None:
        if text is not None or name is not None:
            raise click.UsageError("Give either a token or --request", click.get_current_context())
        _explain_request(request_id)
        return
    application = services().registry.get(name) if name else None
    verdict = services().signin.explain(read_token(text), application)
    explanation = verdict.to_response()
    if wants_json():
        show_json(explanation)
    else:
        show(explanation["steps"])
        echo("accepted" if verdict.reason is None else f"refused: {verdict.reason}")
    if verdict.reason is not None:
        click.get_current_context().exit(1)


def _explain_request(request_id: str) -> None:
    from datafor_token.requests.explain_schema import ExplainSchema
    from datafor_token.requests.forms import Body

    wanted = ExplainSchema().read(Body({"request_id": request_id}, is_form=True))
    refusal = services().past_refusals.find(wanted["request_id"], in_all=True)
    explanation = refusal.to_response()
    if wants_json():
        show_json(explanation)
        return
    show(explanation.pop("steps"))
    del explanation["accepted"]
    echo(", ".join(f"{name}: {value}" for name, value in explanation.items() if value is not None))


@token.command("decode")
@click.argument("text", metavar="[TOKEN]", required=False)
def decode(text: str | None) -> None:
    """Show the header and claims of any JWT, signed or not, and its identifier in the audit log.

    Nothing is verified. A "Bearer" prefix and white space are ignored. There are several identifiers if the key of the
    service was changed, and none for a token that this service cannot read; the reason is printed.

    Example: datafor-token token decode < token.txt
    """
    from datafor_token.applications.rules import TIME_CLAIMS
    from datafor_token.tokens import verifier

    text = _bare(read_token(text))
    identifiers: Sequence[str] = ()
    refusal = None
    try:
        found = verifier.read(text, explain=True)
        header, claims = found.header, found.claims
        identifiers = services().signin.audit_identifiers(found, text)
    except verifier.Refused as refused:
        try:
            header, claims = _read_leniently(text)
        except ValueError:
            raise Failed(refused.step.detail) from None
        refusal = refused.step.detail
    if wants_json():
        show_json({"header": header, "claims": claims, "identifiers": identifiers, "refused": refusal})
        return
    if refusal is not None:
        echo(f"this service does not accept it: {refusal}", err=True)
    show_one({f"header {name}": value for name, value in header.items()})
    now = services().clock()
    show_one({name: _readable_time(value, now) if name in TIME_CLAIMS else value for name, value in claims.items()})
    if identifiers:
        show_one({"audit identifier": identifiers})


def _bare(text: str) -> str:
    """Return a token without the prefix of an HTTP header and without white space."""
    words = text.split()
    while len(words) > 1 and words[0].lower() in ("authorization:", "bearer"):
        del words[0]
    return "".join(words)


def _read_leniently(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and claims of any JWT; raise ``ValueError`` if it is not one."""
    from datafor_token.tokens import verifier

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
        raise ValueError("the JSON is nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError("this is not a JSON object")  # noqa: TRY004 - of the text, not of a caller
    return value


@token.command("issued")
@click.option("--user", type=user_name, help="User of the token.")
@click.option("--application", type=application_name, help="Application of the token.")
@click.option("--status", type=click.Choice(["active", "expired", "revoked"]), help="Status of the token.")
@click.option("--id", help="Identifier of the token in the audit log: 32 hex digits.")
@click.option("--since", help="Earliest time of issuing: a time (RFC 3339), a day, or an age such as 90m, 24h, 7d.")
@click.option("--until", help="End of the time of issuing, not included; the same forms.")
@click.option("--limit", type=Number(1), default=50, show_default=True, help="Maximum number of tokens.")
def issued(*, limit: int, **given: str | None) -> None:
    """Show the tokens that were issued, newest first, from the audit log.

    "id" identifies a token, to revoke it without having it. In `audit show --event sign_in` the same identifier shows
    where a token was used. Tokens that versions before 0.3.0 issued are not shown.

    Example: datafor-token token issued --user lena --status active
    """
    from datafor_token.audit.search import newest
    from datafor_token.requests.forms import Body
    from datafor_token.requests.schemas import IssuedSchema
    from datafor_token.tokens.issued import IssuedFilter

    sent = {name: value for name, value in given.items() if value is not None}
    wanted = IssuedFilter.of(IssuedSchema().read(Body(sent, is_form=True)), services().clock())
    found = newest(functools.partial(services().issued.page, wanted), limit).events
    show_dated(found, "issued_at", "expires_at")


@token.command("revoke")
@click.argument("text", metavar="[TOKEN]", required=False)
@click.option("--id", help="Identifier of the token in the audit log: 32 hex digits.")
@click.option("--jti", help="Claim jti of the token, with --application.")
@click.option("--user", type=user_name, help="User whose tokens are revoked, with --before.")
@click.option("--application", type=application_name, help="Application of the tokens, with --before or --jti.")
@click.option(
    "--before",
    metavar="TIME",
    help="Revoke all tokens issued up to this time: now, a time (UTC unless it has a zone), a day, or an age like 90m.",
)
def revoke(text: str | None, **options: str | None) -> None:
    """Revoke a token, or all tokens of a user, an application or both.

    Without options, the token is an argument or read from standard input, and the exit code is 1 if no application here
    accepts it. With options, names and identifiers that are unknown here are revoked all the same, with a warning.
    --before also ends sessions that these tokens opened; those opened with a password remain: see user end-sessions.

    Example: datafor-token token revoke --user lena --before now
    """
    given = {name: value for name, value in options.items() if value is not None}
    if given:
        _revoke_named(given if text is None else {"token": text, **given})
        return
    reason = services().signin.revoke(read_token(text), None)
    if reason is not None:
        raise Failed(f"Nothing was revoked: {reason}")
    done("The token is revoked", revoked=True)


def _revoke_named(given: dict[str, Any]) -> None:
    from datafor_token.requests.forms import Body
    from datafor_token.requests.revoke_schema import RevokeSchema

    if given.get("before", "now") != "now":
        try:
            given["before"] = int(parse_time(given["before"], services().clock()) * 1000)
        except RuleError as error:
            raise InvalidInput.of("before", error.message) from None
    wanted, revoker = RevokeSchema().read(Body(given, is_form=False)), services().revoker
    if "id" in wanted:
        done("The token is revoked", warnings=revoker.by_identifier(wanted["id"]), revoked=True)
    elif "jti" in wanted:
        warnings = revoker.by_jti(wanted["application"], wanted["jti"])
        done("The token is revoked", warnings=warnings, revoked=True)
    else:
        cut_off, warnings = revoker.up_to(wanted["before"], wanted.get("user"), wanted.get("application"))
        # Tokens without iat are named only while any from before can still be valid.
        sentence = str(cut_off.refusal(None) if cut_off.until > services().clock() else cut_off.describe())
        done(f"{sentence[:1].upper()}{sentence[1:]}", warnings=warnings, revoked=True)


@token.command("personal")
@click.argument("user", type=user_name)
@click.option("--revoke", "jti", metavar="JTI", help="Revoke the token with this identifier.")
def personal(user: str, jti: str | None) -> None:
    """List the personal tokens of a user, newest first, or revoke one of them.

    Example: datafor-token token personal lena
    """
    found = services().accounts.get(user)
    if jti is not None:
        try:
            services().personal_tokens.revoke(found.name, jti)
        except NotFound as error:
            raise Failed(
                f"{found.name} has no personal token {jti}: `datafor-token token personal {found.name}` lists them"
            ) from error
        done("The token is revoked", revoked=jti)
        return
    show_dated(services().personal_tokens.listed(found.name), "issued_at", "expires_at", "last_used_at")


def _readable_time(value: object, now: float) -> object:
    """Return a time claim with its date and its distance from ``now``; return any other value as it is."""
    from datafor_token.tokens import claim_checks

    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= claim_checks.LATEST_TIME:
        return value
    seconds = float(value)
    date = dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    away = abs(seconds - now)
    units = (("d", 86400), ("h", 3600), ("min", 60))
    unit, size = next((one for one in units if away >= one[1]), ("s", 1))
    distance = f"{away / size:.0f} {unit}"
    return f"{value} ({date}, {f'in {distance}' if seconds > now else f'{distance} ago'})"
