"""Replay of kept sign-ins: would these rules have accepted it? The checks are those of a real sign-in."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from datafor_token.applications.record import Application
from datafor_token.applications.signing import Signer
from datafor_token.errors import Message
from datafor_token.rehearsal.fingerprints import Fingerprints
from datafor_token.rehearsal.records import KeptSignIn, revocations_of
from datafor_token.tokens.claim_checks import check_claims, check_times
from datafor_token.tokens.networks import Client
from datafor_token.tokens.signin import SignIn
from datafor_token.tokens.verifier import Instant, Refused, Token, VerifiedToken
from datafor_token.validation import claims
from datafor_token.validation.names import fold

ACCEPTED: Final = "accepted"
UNKNOWN: Final = "unknown"
_NOT_KEPT: Final = object()  # the value of a claim of which only the name is kept
_NO_ADDRESS = Message("the client's address was not known")
_CHANGED_KEY = Message("no application has the key that signed the token")


class Verdict(NamedTuple):
    """Verdict on a sign-in. ``reason`` is ``ACCEPTED``, ``UNKNOWN`` or a code that ``explain`` returns.

    ``application`` is the one that refuses it, or of which it is not known; ``detail`` says why.
    """

    reason: str
    application: str = ""
    detail: Message = Message("")

    @property
    def is_refused(self) -> bool:
        """True if the sign-in would have been refused for certain."""
        return self.reason not in (ACCEPTED, UNKNOWN)


_ACCEPTED = Verdict(ACCEPTED)


class Replay:
    """Replays by the rules of ``applications`` and of ``signin``, whose settings, users and revocations count.

    A sign-in is checked as of its own time; keys, users and revocations are those of now, ``now`` (seconds since 1970).
    ``leeway`` is in seconds. Methods raise ``StoreUnavailable`` in an outage.
    """

    def __init__(
        self,
        applications: Iterable[Application],
        signin: SignIn,
        fingerprints: Fingerprints,
        now: float,
        leeway: float,
    ) -> None:
        self._signin = signin
        self._leeway = leeway
        self._by_key: dict[tuple[str, str], list[tuple[Application, Signer]]] = {}
        self._relaxed: dict[tuple[str, Sequence[str]], Application] = {}
        ordered = sorted(applications, key=lambda one: fold(one.name))
        self._token_names = {one.token_name for one in ordered if one.enable}
        for application in ordered:
            for signer in application.accepted_signers(now):
                for fingerprint in fingerprints.every(signer.key):
                    self._by_key.setdefault((application.algorithm, fingerprint), []).append((application, signer))

    def verdict(self, kept: KeptSignIn) -> Verdict:
        """Return the verdict on a sign-in: that of the first application that accepts it, as for a token."""
        if kept.token_name is not None and kept.token_name not in self._token_names:
            detail = Message("no enabled application has the token_name %(name)s", name=kept.token_name)
            return Verdict("token_name", kept.application, detail)
        verdicts = [
            self._by_application(kept, application, signer)
            for application, signer in self._by_key.get((kept.algorithm, kept.key), ())
            if (kept.token_name is None or (application.enable and application.token_name == kept.token_name))
            and (not kept.is_link or fold(application.name) == fold(kept.application))
        ]
        if not verdicts:
            return Verdict("signature", kept.application, _CHANGED_KEY)
        return min(verdicts, key=_order)

    def _by_application(self, kept: KeptSignIn, application: Application, signer: Signer) -> Verdict:
        if kept.is_link:
            return self._by_use(kept, application, signer, {})
        unknown = _unknown_claims(kept, application)
        asked = self._without(application, unknown, kept)
        try:
            token = Token({"alg": kept.algorithm, "typ": kept.typ}, _claims_of(kept), b"", b"")
            verified, _ = check_claims(token, asked, signer, Instant(kept.time, self._leeway))
            if kept.late is not None:
                check_times(token, asked, Instant(kept.late, self._leeway))
        except Refused as refused:
            return Verdict(refused.reason, application.name, refused.step.detail)
        verdict = self._by_use(kept, asked, signer, verified.claims)
        if verdict is _ACCEPTED and unknown:
            detail = Message(
                "%(name)s asks for values of claims that are not kept: %(claims)s",
                name=application.name,
                claims=", ".join(unknown),
            )
            return Verdict(UNKNOWN, application.name, detail)
        return verdict

    def _by_use(self, kept: KeptSignIn, application: Application, signer: Signer, found: Mapping[str, Any]) -> Verdict:
        """Return the verdict of the checks at each use, which do not depend on the claims."""
        expires = float(kept.times.get("exp", kept.time))
        issued = kept.times.get("iat")
        token = VerifiedToken(
            application, kept.user, expires, found, signer, kept.token, issued, tuple(revocations_of(kept))
        )
        client = Client(kept.address, None if kept.is_known else _NO_ADDRESS)
        verification = self._signin.authenticate(token, client=lambda: client, create=False)
        if verification.reason is None:
            return _ACCEPTED
        return Verdict(verification.reason, application.name, verification.steps[-1].detail)

    def _without(self, application: Application, unknown: Sequence[str], kept: KeptSignIn) -> Application:
        """Return the application without its rules about claims that are not kept."""
        if not unknown:
            return application
        key = application.name, (*unknown, kept.username_claim)
        if key not in self._relaxed:
            require = {name: values for name, values in (application.require or {}).items() if name not in unknown}
            fieldmap = application.fieldmap
            if fieldmap.username in unknown:
                fieldmap = dataclasses.replace(fieldmap, username=kept.username_claim)
            self._relaxed[key] = dataclasses.replace(application, require=require or None, fieldmap=fieldmap)
        return self._relaxed[key]


def _order(verdict: Verdict) -> int:
    """Return the order in which verdicts decide: one application that accepts a token is enough."""
    return {ACCEPTED: 0, UNKNOWN: 1}.get(verdict.reason, 2)


def _unknown_claims(kept: KeptSignIn, application: Application) -> Sequence[str]:
    """Return the claims that the application's rules ask for and of which only the name is kept."""
    asked = (*(application.require or ()), application.fieldmap.username)
    return [name for name in dict.fromkeys(asked) if not _is_known(kept, name)]


def _is_known(kept: KeptSignIn, name: str) -> bool:
    if name == kept.username_claim or name in kept.values or name in kept.times or name in kept.missing:
        return True
    return not any(outermost in kept.claims for outermost in claims.outermost(name))


def _claims_of(kept: KeptSignIn) -> Mapping[str, Any]:
    """Return claims in which each known one is found under the name or JSON Pointer that a rule asks for."""
    names = dict.fromkeys(kept.claims, _NOT_KEPT)
    return {**names, **kept.times, **kept.values, kept.username_claim: kept.user}
