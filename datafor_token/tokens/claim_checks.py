"""Checks of the claims of a token whose signature fits: its times, and the trust policy of the application.

Each check is a function in a table. It takes the token, the application and the time, and raises ``Refused`` with a
reason and a sentence with values, or returns the step that ``explain`` shows, or ``None`` if the application's policy
does not have that rule. A rule that the application only reports refuses nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datafor_token.applications import policy
from datafor_token.applications.record import Application
from datafor_token.applications.rules import TIME_CLAIMS
from datafor_token.applications.signing import Signer
from datafor_token.errors import Message, RuleError
from datafor_token.tokens.verifier import Instant, Refused, Step, Token, VerifiedToken, if_reported, passed
from datafor_token.validation import claims, times
from datafor_token.validation.names import user_name

LATEST_TIME = 253_402_300_799  # seconds since 1970: the end of the year 9999
_UNITS = (Message("milliseconds"), 1e3), (Message("microseconds"), 1e6), (Message("nanoseconds"), 1e9)


def check_type(token: Token, application: Application, _: Instant) -> Step | None:
    """Check the type of the token, ``JWT`` if its header has none."""
    kind = token.header.get("typ", "JWT")
    accepted = application.token_types or ("JWT",)
    if policy.plain_type(kind) not in map(policy.plain_type, accepted):
        detail = Message(
            "the header's typ is %(type)s; %(name)s accepts %(types)s",
            type=claims.show_text(kind),
            name=application.name,
            types=", ".join(accepted),
        )
        raise Refused("header", "header", detail)
    if application.token_types is None:
        return None
    return passed("header", lambda: Message("the header's typ is %(type)s, which is accepted", type=kind))


def check_audience(token: Token, application: Application, _: Instant) -> Step | None:
    """Check that the token is for this application, or for nobody in particular (RFC 7519 section 4.1.3)."""
    named = claims.find(token.claims, "aud")
    if application.accepts_any_audience:
        if named is claims.MISSING:
            return None
        name = application.name
        return passed(
            "audience", lambda: Message("%(name)s accepts any aud, such as %(aud)s", name=name, aud=claims.show(named))
        )
    accepted = application.audience or ()
    if named is claims.MISSING:
        if accepted:
            detail = Message(
                "the token has no aud; %(name)s accepts %(accepted)s",
                name=application.name,
                accepted=_listed(accepted),
            )
            raise Refused("audience", "audience", detail)
        return passed(
            "audience", lambda: Message("the token has no aud, and %(name)s needs none", name=application.name)
        )
    audiences = [named] if isinstance(named, str) else named
    if not isinstance(audiences, list) or not any(one in audiences for one in accepted):
        if accepted:
            detail = Message(
                "aud is %(value)s; %(name)s accepts %(accepted)s",
                value=claims.show(named),
                name=application.name,
                accepted=_listed(accepted),
            )
        else:
            detail = Message(
                "aud is %(value)s, and %(name)s has no audience: set its audience to accept the token",
                value=claims.show(named),
                name=application.name,
            )
        raise Refused("audience", "audience", detail)
    return passed("audience", lambda: Message("aud is %(value)s, which is accepted", value=claims.show(named)))


def check_issuer(token: Token, application: Application, _: Instant) -> Step | None:
    """Check that the token names the application's issuer."""
    if application.issuer is None:
        return None
    issuer = token.claims.get("iss")
    if issuer != application.issuer:
        detail = Message(
            "iss is %(value)s; %(name)s accepts %(issuer)s",
            value=claims.show(issuer) if "iss" in token.claims else Message("missing"),
            name=application.name,
            issuer=claims.show(application.issuer),
        )
        raise Refused("issuer", "issuer", detail)
    return passed(
        "issuer", lambda: Message("iss is %(issuer)s, as %(name)s asks", issuer=issuer, name=application.name)
    )


def check_required_claims(token: Token, application: Application, _: Instant) -> Step | None:
    """Check that each claim that the application requires has one of the values."""
    required = application.require or {}
    for claim, values in required.items():
        found = claims.find(token.claims, claim)
        candidates = found if isinstance(found, list) else [] if found is claims.MISSING else [found]
        if not any(_is_equal(one, value) for one in candidates for value in values):
            detail = Message(
                "the claim %(claim)s is %(found)s; %(name)s requires %(values)s",
                claim=claim,
                found=Message("missing") if found is claims.MISSING else claims.show(found),
                name=application.name,
                values=_listed(values),
            )
            if any(_as_text(one) == _as_text(value) for one in candidates for value in values):
                detail = Message("%(first)s: only a text has double quotes, so the types differ", first=detail)
            raise Refused("claims", "claim", detail)
    if not required:
        return None
    return passed("claims", lambda: Message("the token has the required claims %(claims)s", claims=", ".join(required)))


def _listed(values: Sequence[object]) -> str:
    # Texts in quotes: "a, b" is one, and "a", "b" are two.
    return ", ".join(claims.show(value) for value in values)


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else claims.show(value)


def _is_equal(one: object, other: object) -> bool:
    # By type: in Python, JSON true equals 1.
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def check_lifetime(token: Token, application: Application, _: Instant) -> Step | None:
    """Check that the token is not valid for longer than the application allows."""
    most = application.max_lifetime
    if most is None:
        return None
    if "iat" not in token.claims:
        detail = Message("the token has no iat, which %(name)s needs: it has a max_lifetime", name=application.name)
        raise Refused("lifetime", "too_long_lived", detail)
    lifetime = token.claims["exp"] - token.claims["iat"]
    if lifetime > most:
        detail = Message(
            "the token is valid for %(seconds)s s; %(name)s accepts at most %(most)s s",
            seconds=f"{lifetime:.15g}",
            name=application.name,
            most=most,
        )
        raise Refused("lifetime", "too_long_lived", detail)
    return passed("lifetime", lambda: Message("the token is valid for %(seconds)s s", seconds=f"{lifetime:.15g}"))


def check_times(token: Token, application: Application, instant: Instant) -> Step:
    """Check that the token has begun and has not expired."""
    step = check_expiry(token, application, instant)
    now, leeway = instant
    for claim in ("nbf", "iat"):
        begins = token.claims.get(claim, 0)
        if now + leeway < begins:
            detail = Message(
                "%(claim)s is %(seconds)s s ahead; %(clock)s, with a leeway of %(leeway)s s",
                claim=claim,
                seconds=f"{begins - now:.0f}",
                clock=_clock(now),
                leeway=f"{leeway:g}",
            )
            raise Refused("time", "not_yet_valid", detail)
    return step


def check_expiry(token: Token, _: Application, instant: Instant) -> Step:
    """Check that all times are numbers of seconds, and that the token has not expired."""
    now, leeway = instant
    for claim in TIME_CLAIMS:
        value = token.claims.get(claim, 0)
        # By type: JSON true is a number in Python.
        if type(value) not in (int, float) or not 0 <= value <= LATEST_TIME:
            raise Refused("time", "invalid_time", _invalid_time(claim, value))
    if "exp" not in token.claims:
        detail = Message("the token has no exp: every token must say when it expires")
        raise Refused("time", "no_expiry", detail)
    expires = float(token.claims["exp"])
    if now >= expires + leeway:
        detail = Message(
            "expired %(seconds)s s ago; %(clock)s, with a leeway of %(leeway)s s",
            seconds=f"{now - expires:.0f}",
            clock=_clock(now),
            leeway=f"{leeway:g}",
        )
        raise Refused("time", "expired", detail)
    return passed(
        "time",
        lambda: Message("expires in %(seconds)s s; %(clock)s", seconds=f"{expires - now:.0f}", clock=_clock(now)),
    )


def check_username(token: Token, application: Application, _: Instant) -> Step:
    """Check that the claim that names the user holds a user name."""
    claim = application.fieldmap.username
    if claims.find(token.claims, claim) is claims.MISSING:
        others = ", ".join(sorted(map(claims.show_text, token.claims))[:10]) or Message("no claim at all")
        detail = Message("the claim is called %(claim)s, the token has %(others)s", claim=claim, others=others)
        raise Refused("username", "no_username", detail)
    try:
        name = _username(token, application)
    except RuleError as error:
        detail = Message("the user name in %(claim)s %(predicate)s", claim=claim, predicate=error.message)
        raise Refused("username", "invalid_username", detail) from None
    return passed("username", lambda: Message("%(claim)s names the user %(name)s", claim=claim, name=name))


ClaimCheck = Callable[[Token, Application, Instant], Step | None]
# In this order. The result is cached until any application changes: a check whose result depends on the time must be
# repeated in ``VerifiedToken.is_valid_at``.
CLAIM_CHECKS: Sequence[ClaimCheck] = (
    check_type,
    check_times,
    check_audience,
    check_issuer,
    check_required_claims,
    check_lifetime,
    check_username,
)
# The same for revocation: a token that is not valid yet, or that the policy refuses now, can be revoked.
REVOCATION_CHECKS: Sequence[ClaimCheck] = (check_expiry, check_username)


# The field of the policy that each check is about.
FIELDS_OF_CHECKS: Mapping[ClaimCheck, str] = {
    check_type: "token_types",
    check_audience: "audience",
    check_issuer: "issuer",
    check_required_claims: "require",
    check_lifetime: "max_lifetime",
}


def check_claims(
    token: Token,
    application: Application,
    signer: Signer,
    instant: Instant,
    checks: Sequence[ClaimCheck] = CLAIM_CHECKS,
) -> tuple[VerifiedToken, list[Step]]:
    """Check the claims of a token that ``signer``, a key of ``application``, signed; raise ``Refused``.

    Return the verified token, without its identifiers, and the steps that it passed.
    """
    steps = [step for check in checks if (step := _step(check, token, application, instant)) is not None]
    reported = () if application.report is None else tuple(step for step in steps if step.reported is not None)
    username, expires = _username(token, application), float(token.claims["exp"])
    issued, typ = token.claims.get("iat"), token.header.get("typ", "JWT")
    verified = VerifiedToken(
        application, username, expires, token.claims, signer, None, issued, typ=typ, reported=reported
    )
    return verified, steps


def _step(check: ClaimCheck, token: Token, application: Application, instant: Instant) -> Step | None:
    """Return the step of a check; raise ``Refused``, unless its rule is only reported."""
    try:
        return check(token, application, instant)
    except Refused as refused:
        return if_reported(application, FIELDS_OF_CHECKS.get(check, ""), refused)


def _username(token: Token, application: Application) -> str:
    value = claims.find(token.claims, application.fieldmap.username)
    if not isinstance(value, str):
        raise RuleError("must be text")
    return user_name(value)


def _invalid_time(claim: str, value: Any) -> Message:
    """Return the sentence about a time that is no number of seconds; it names the unit that seems to be meant."""
    for unit, size in _UNITS:
        # A time between 2001 and 2286.
        if type(value) in (int, float) and 1e9 <= value / size < 1e10:
            return Message(
                "%(claim)s is %(value)s: that looks like %(unit)s; it must be seconds",
                claim=claim,
                value=f"{value:.0f}",
                unit=unit,
            )
    return Message(
        "%(claim)s must be a number of seconds from 0 to %(latest)s, as a JSON number", claim=claim, latest=LATEST_TIME
    )


def _clock(now: float) -> Message:
    return Message("this server's clock says %(time)s", time=times.show(now))
