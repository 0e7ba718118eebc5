"""Replay of kept sign-ins: would these rules have accepted it? The checks are those of a real sign-in."""

import bisect
import dataclasses
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from datafor_token.applications import policy
from datafor_token.applications.record import Application
from datafor_token.applications.rules import TIME_CLAIMS
from datafor_token.applications.signing import Signer
from datafor_token.crypto.keys import Key
from datafor_token.errors import Message
from datafor_token.providers.key_sets import ProviderKeys
from datafor_token.rehearsal.fingerprints import Fingerprints
from datafor_token.rehearsal.records import KeptSignIn, revocations_of
from datafor_token.tokens.claim_checks import check_claims, check_times
from datafor_token.tokens.cut_offs import CutOffs
from datafor_token.tokens.networks import Client
from datafor_token.tokens.signin import SignIn
from datafor_token.tokens.verifier import Instant, Refused, Token, VerifiedToken
from datafor_token.users.users import User
from datafor_token.validation import claims
from datafor_token.validation.names import fold

ACCEPTED: Final = "accepted"
UNKNOWN: Final = "unknown"
# The value of a claim of which only the name is kept. No rule compares it: see ``_asked``.
_NOT_KEPT: Final = "(not kept)"
_NO_ADDRESS = Message("the client's address was not known")
_CHANGED_KEY = Message("no application has the key that signed the token")
_CHANGED_ALGORITHM = Message("no application has the algorithm of the token")
# Refusals that depend on the user, who is not known if the claim that names the user is not kept.
_OF_USER = frozenset({"unknown_user", "disabled_user", "not_own_user", "administrator_refused", "revoked"})


class Verdict(NamedTuple):
    """Verdict on a sign-in. ``reason`` is ``ACCEPTED``, ``UNKNOWN`` or a code that ``explain`` returns.

    ``application`` is the one that accepts or refuses it, or of which it is not known; ``detail`` says why. ``passed``
    is the number of checks before the refusal. ``open`` are the rules of which the result is not known.
    """

    reason: str
    application: str = ""
    detail: Message = Message("")
    passed: int = 0
    open: frozenset[Hashable] = frozenset()

    @property
    def is_refused(self) -> bool:
        """True if the sign-in would have been refused for certain."""
        return self.reason not in (ACCEPTED, UNKNOWN)


class Replay:
    """Replays by the rules of ``applications`` and of ``signin``, whose settings and cut-offs count.

    A sign-in is checked as of its own time; keys, users and revocations are those of now, ``now`` (seconds since 1970).
    ``present`` are the applications as they are now; ``revoked`` are the names of all revocations. ``leeway`` is in
    seconds. Methods raise ``StoreUnavailable`` in an outage.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what counts
        self,
        applications: Iterable[Application],
        present: Iterable[Application],
        signin: SignIn,
        revoked: Collection[str],
        cut_offs: CutOffs,
        fingerprints: Fingerprints,
        now: float,
        leeway: float,
    ) -> None:
        self._signin = signin
        self._present = {fold(one.name): one for one in present}
        self._revoked = revoked
        self._cut_offs = cut_offs
        self._leeway = leeway
        # Of one user. Its key has the identity of an object that the record of the user keeps alive.
        self._cached: dict[Hashable, Verdict] = {}
        self._user: User | None = None
        self._by_key: dict[tuple[str, str], list[tuple[Application, Signer]]] = {}
        # Those of which no key is known now, by algorithm.
        self._without_keys: dict[str, list[tuple[Application, Signer]]] = {}
        self._relaxed: dict[Hashable, Application] = {}
        ordered = sorted(applications, key=lambda one: fold(one.name))
        self._limits_networks = any(one.networks is not None for one in ordered)
        self._limits_lifetime = any(one.max_lifetime is not None for one in ordered)
        self._asks_for_times = any(name in TIME_CLAIMS for one in ordered for name, _ in _asked(one))
        self._changed = sorted(one.last_modified_date for one in self._present.values())
        self._token_names = {one.token_name for one in ordered if one.enable}
        # With the parameter of an enabled application, or None for all.
        self._algorithms: set[tuple[str | None, str]] = {(None, one.algorithm) for one in ordered}
        self._algorithms |= {(one.token_name, one.algorithm) for one in ordered if one.enable}
        for application in ordered:
            signers = list(application.accepted_signers(now))
            for signer in signers:
                for fingerprint in fingerprints.every(signer.key):
                    self._by_key.setdefault((application.algorithm, fingerprint), []).append((application, signer))
            if not signers and isinstance(application.key, ProviderKeys):
                signer = Signer(Key(application.algorithm, None), "", is_previous=False)
                self._without_keys.setdefault(application.algorithm, []).append((application, signer))

    def may_accept(self, kept: KeptSignIn, names: Collection[str]) -> bool:
        """Return whether one of the applications of these names, which are folded, has the key of a sign-in."""
        return any(fold(one.name) in names for one, _ in self._with_key(kept))

    def verdict(self, kept: KeptSignIn, user: User | None) -> Verdict:
        """Return the verdict on a sign-in of a user: that of the first application that accepts it, as for a token.

        If none does, return the refusal of the application whose checks it passes furthest. Call it for one user after
        the other: verdicts are cached, as most sign-ins of a user differ only in their times.
        """
        if user is None or user is not self._user:
            self._user = user
            self._cached.clear()
        key = self._key(kept)
        found = None if key is None else self._cached.get(key)
        if found is None:
            found = self._verdict(kept, user)
            if key is not None and not self._is_cut_off(kept):
                self._cached[key] = found
        return found

    def _key(self, kept: KeptSignIn) -> Hashable | None:
        """Return what the verdict on a sign-in depends on beside its user, or ``None`` if also on its own times."""
        times, time = kept.times, kept.time
        expires, issued = times.get("exp"), times.get("iat")
        begins = max(times.get("nbf", 0), issued or 0)
        if (
            expires is None
            or kept.late is not None
            or not begins - self._leeway <= time < expires + self._leeway
            or self._asks_for_times
            or (self._revoked and any(name in self._revoked for name in revocations_of(kept)))
        ):
            return None
        lifetime = None if issued is None else expires - issued if self._limits_lifetime else 0
        changes = bisect.bisect_left(self._changed, time * 1000)
        return id(kept.circumstances), kept.address if self._limits_networks else "", lifetime, changes

    def _is_cut_off(self, kept: KeptSignIn) -> bool:
        """Return whether a cut-off may refuse a sign-in, depending on when its token was issued."""
        return any(self._cut_offs.concerning(kept.user, one.name) for one, _ in self._with_key(kept))

    def _with_key(self, kept: KeptSignIn) -> Sequence[tuple[Application, Signer]]:
        """Return the applications that have the key of a sign-in."""
        return self._by_key.get((kept.circumstances.algorithm, kept.circumstances.key), ())

    def _verdict(self, kept: KeptSignIn, user: User | None) -> Verdict:
        about = kept.circumstances
        if about.token_name is not None and about.token_name not in self._token_names:
            detail = Message("no enabled application has the token_name %(name)s", name=about.token_name)
            return Verdict("token_name", about.application, detail)
        verdicts = [
            self._by_application(kept, user, application, signer)
            for application, signer in self._with_key(kept)
            if _receives(application, kept)
        ]
        verdicts += [
            self._by_unknown_key(kept, user, application, signer)
            for application, signer in self._without_keys.get(about.algorithm, ())
            if _receives(application, kept)
        ]
        if not verdicts:
            if (about.token_name, about.algorithm) in self._algorithms:
                return Verdict("signature", about.application, _CHANGED_KEY)
            return Verdict("algorithm", about.application, _CHANGED_ALGORITHM)
        found = min(verdicts, key=_order)
        if found.reason != UNKNOWN or len(verdicts) == 1:
            return found
        return found._replace(open=frozenset().union(*(verdict.open for verdict in verdicts)))

    def _by_application(self, kept: KeptSignIn, user: User | None, application: Application, signer: Signer) -> Verdict:
        about = kept.circumstances
        if about.is_link:
            return self._by_use(kept, user, application, signer, {})
        asked_for = [(name, field) for name, field in _asked(application) if not _is_kept(kept, name)]
        asked = self._without(application, dict.fromkeys(name for name, _ in asked_for), kept)
        try:
            token = Token({"alg": about.algorithm, "typ": about.typ}, _claims_of(kept), b"", b"")
            verified, steps = check_claims(token, asked, signer, Instant(kept.time, self._leeway))
            if kept.late is not None:
                check_times(token, asked, Instant(kept.late, self._leeway))
        except Refused as refused:
            return Verdict(refused.reason, application.name, refused.step.detail)
        verdict = self._by_use(kept, user, asked, signer, verified.claims)
        if verdict.is_refused:
            verdict = verdict._replace(passed=verdict.passed + len(steps))
        unknown = [
            name
            for name, field in asked_for
            if not application.reports(field) and not self._has_passed(kept, application, name)
        ]
        is_user_unknown = application.fieldmap.username in unknown and verdict.reason in _OF_USER
        if unknown and (verdict.reason == ACCEPTED or is_user_unknown):
            detail = Message(
                "%(name)s asks for values of claims that are not kept: %(claims)s",
                name=application.name,
                claims=", ".join(dict.fromkeys(unknown)),
            )
            rules = frozenset((application.name, name, _rule(application, name)) for name in unknown)
            return Verdict(UNKNOWN, application.name, detail, open=rules)
        return verdict

    def _by_unknown_key(self, kept: KeptSignIn, user: User | None, application: Application, signer: Signer) -> Verdict:
        verdict = self._by_application(kept, user, application, signer)
        if verdict.is_refused:
            return verdict
        detail = Message("the keys of the provider of %(name)s are not known here", name=application.name)
        rule = application.name, application.jwks_uri, application.issuer
        return Verdict(UNKNOWN, application.name, detail, open=verdict.open | {rule})

    def _by_use(
        self,
        kept: KeptSignIn,
        user: User | None,
        application: Application,
        signer: Signer,
        found: Mapping[str, Any],
    ) -> Verdict:
        """Return the verdict of the checks at each use, which do not depend on the claims."""
        expires = float(kept.times.get("exp", kept.time))
        # A link was created shortly before it was redeemed: a cut-off between them would have refused it.
        issued = kept.time if kept.circumstances.is_link else kept.times.get("iat")
        # Without those that do not exist, of which each would be looked up in the store.
        revocations = tuple(name for name in revocations_of(kept) if name in self._revoked)
        token = VerifiedToken(application, kept.user, expires, found, signer, kept.token, issued, revocations)
        client = Client(kept.address, None if kept.circumstances.is_known else _NO_ADDRESS)
        verification = self._signin.authenticate(token, client=lambda: client, create=False, user=user)
        if verification.reason is None:
            return Verdict(ACCEPTED, application.name)
        steps = verification.steps
        return Verdict(verification.reason, application.name, steps[-1].detail, len(steps))

    def _has_passed(self, kept: KeptSignIn, application: Application, name: str) -> bool:
        """Return whether a token passed the rule about a claim, whose value is not kept, when it was accepted."""
        present = self._present.get(fold(application.name))
        return (
            present is not None
            and fold(kept.circumstances.application) == fold(application.name)
            and present.last_modified_date < kept.time * 1000
            and present.report is None
            and _rule(present, name) == _rule(application, name)
        )

    def _without(self, application: Application, unknown: Collection[str], kept: KeptSignIn) -> Application:
        """Return the application without its rules about claims that are not kept."""
        if not unknown:
            return application
        key = application.name, (*unknown, kept.circumstances.username_claim)
        if key not in self._relaxed:
            changes: dict[str, Any] = {}
            required = {name: values for name, values in (application.require or {}).items() if name not in unknown}
            changes["require"] = required or None
            if "aud" in unknown:
                changes["audience"] = (policy.ANY,)
            if "iss" in unknown:
                changes["issuer"] = None
            if application.fieldmap.username in unknown:
                changes["fieldmap"] = dataclasses.replace(
                    application.fieldmap, username=kept.circumstances.username_claim
                )
            self._relaxed[key] = dataclasses.replace(application, **changes)
        return self._relaxed[key]


def _order(verdict: Verdict) -> tuple[int, int]:
    """Return the order in which verdicts decide: one application that accepts a token is enough."""
    return {ACCEPTED: 0, UNKNOWN: 1}.get(verdict.reason, 2), -verdict.passed


def _receives(application: Application, kept: KeptSignIn) -> bool:
    """Return whether an application could receive a token that came in this way; a link is one application's."""
    about = kept.circumstances
    if about.is_link:
        return fold(application.name) == fold(about.application)
    return about.token_name is None or (application.enable and application.token_name == about.token_name)


def _asked(application: Application) -> Iterator[tuple[str, str]]:
    """Yield the claims that the application's rules ask for, each with the field that has the rule."""
    yield from ((name, "require") for name in application.require or ())
    if application.audience and not application.accepts_any_audience:
        yield "aud", "audience"
    if application.issuer is not None:
        yield "iss", "issuer"
    yield application.fieldmap.username, "fieldmap"


def _rule(application: Application, name: str) -> str:
    """Return what an application's rules ask of a claim, to be compared."""
    values = (application.require or {}).get(name)
    audience = application.audience if name == "aud" else None
    issuer = application.issuer if name == "iss" else None
    return repr((values, audience, issuer, application.fieldmap.username == name))


def _is_kept(kept: KeptSignIn, name: str) -> bool:
    about = kept.circumstances
    known = (about.username_claim, *about.values, *kept.times)
    if name in known or name in about.missing:
        return True
    # A value inside of a kept one is known too.
    return all(one in known or not (about.further or one in about.claims) for one in claims.outermost(name))


def _claims_of(kept: KeptSignIn) -> Mapping[str, Any]:
    """Return claims in which each known one is found under the name or JSON Pointer that a rule asks for."""
    about = kept.circumstances
    return {
        **dict.fromkeys(about.claims, _NOT_KEPT), about.username_claim: kept.user, **kept.times, **about.values
    }  # fmt: skip
