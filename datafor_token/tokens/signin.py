"""A token becomes a user, or the reason why not: the accept rule of contract section 6, whole."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from datafor_token.applications.index import EMPTY_INDEX, ApplicationIndex, IndexEntry
from datafor_token.applications.record import Application
from datafor_token.applications.registry import Registry
from datafor_token.crypto import keys
from datafor_token.crypto.strength import weakness
from datafor_token.errors import Forbidden, NotFound, RecordDamaged
from datafor_token.settings import Settings
from datafor_token.store.base import AlreadyExists
from datafor_token.tokens import identifiers, verifier
from datafor_token.tokens.cache import VerifiedTokens
from datafor_token.tokens.near_misses import near_miss
from datafor_token.tokens.revocations import Revocations
from datafor_token.tokens.verifier import Instant, Refused, Step, Token, VerifiedToken
from datafor_token.users.users import ADMINISTRATOR, User, Users
from datafor_token.validation import logs, names

log = logging.getLogger(__name__)
_FEW = 100  # applications: a look at each of so many takes a third of a millisecond


class Verification(NamedTuple):
    """What became of a token. ``reason`` is ``None`` when it is accepted, else one of contract section 7.

    ``application`` accepts it, or came furthest; ``username`` is whom it names, as far as that was asked;
    ``user`` is ``None`` where the token would make one and was only asked about.
    """

    reason: str | None
    steps: Sequence[Step]
    application: Application | None = None
    token: VerifiedToken | None = None
    user: User | None = None
    username: str | None = None
    cached: bool = False  # it was accepted before
    identifier: str | None = None  # the token's, where an application's key signed it

    def to_response(self) -> dict[str, Any]:
        """The judgement step by step, as ``explain`` answers it."""
        return {
            "accepted": self.reason is None,
            "reason": self.reason,
            "application": self.application.name if self.application else None,
            "steps": [step._asdict() for step in self.steps],
        }


def unexpected_algorithm(
    token: Token, entries: Sequence[IndexEntry], steps: list[Step], only: Application | None, near_miss: str | None
) -> Verification:
    """No application expects the token's algorithm; ``only`` is the application where just one was asked."""
    expected = shown([f"{one.name} expects {one.algorithm}" for one in entries], "; ")
    detail = f"{expected or 'there is no application'}, the token says {token.algorithm[:16]}"
    if near_miss is not None:
        detail = f"{detail}; {near_miss}"
    return Verification("algorithm", [*steps, Step("algorithm", ok=False, detail=detail)], only)


def unknown_signature(
    fitting: Sequence[IndexEntry], steps: list[Step], only: Application | None, near_miss: str | None
) -> Verification:
    """None of those that expect the algorithm has the secret that signed the token; ``only`` is the one of just one."""
    names = shown([entry.name for entry in fitting])
    algorithm = Step("algorithm", ok=True, detail=f"expected by {names}")
    detail = f"not signed with the secret of {names}: {near_miss or _NO_NEAR_MISS}"
    return Verification("signature", [*steps, algorithm, Step("signature", ok=False, detail=detail)], only)


_NO_NEAR_MISS = "it was changed, or the token is another's"


def shown(texts: Sequence[str], separator: str = ", ") -> str:
    """The first few of many."""
    return separator.join(texts[:5]) + (f"{separator}and {len(texts) - 5} more" if len(texts) > 5 else "")


class SignIn:
    """Judges tokens. ``clock`` answers seconds since 1970.

    Every method raises ``StoreUnavailable`` in an outage.
    """

    def __init__(
        self,
        registry: Registry,
        users: Users,
        revocations: Revocations,
        clock: Callable[[], float],
        settings: Settings,
    ) -> None:
        self.registry = registry
        self.verified = VerifiedTokens()
        self._users = users
        self._revocations = revocations
        self.identifiers = revocations.identifiers
        self._clock = clock
        self._settings = settings

    def sign_in(self, text: str, token_name: str | None = None) -> Verification:
        """Sign in: an unknown user is made where the application says so.

        ``token_name``: by the enabled applications alone whose tokens come under that name.
        """
        listing = self._asked(token_name, thorough=False)
        known = self.verified.get(text, listing, self._moment())
        if known is not None and known.application is self._present(known.application.name):
            verdict = self.authenticate(known)
            if verdict.reason is None:
                return verdict._replace(cached=True)
        # Somebody may have written into a record by hand: of a few, and before a refusal, every one is looked at.
        few = len(listing.entries) <= _FEW
        accepted = self._accepted(text, self._asked(token_name, thorough=few), token_name)
        return accepted or self._judge(text, self._asked(token_name, thorough=not few).entries, create=True)

    def _asked(self, token_name: str | None, *, thorough: bool) -> ApplicationIndex:
        listing = self.registry.index(thorough=thorough)
        return listing if token_name is None else listing.by_token_name.get(token_name, EMPTY_INDEX)

    def _present(self, name: str) -> Application | None:
        """The application as its record is at this moment, also where somebody wrote into it by hand."""
        try:
            return self.registry.get(name)
        except (NotFound, RecordDamaged):
            return None

    def _only(self, entries: Sequence[IndexEntry]) -> Application | None:
        return self._present(entries[0].name) if len(entries) == 1 else None

    def _signers(
        self, token: Token, entries: Iterable[IndexEntry], token_name: str | None = None
    ) -> Iterator[tuple[Application, str]]:
        """Those of the token's algorithm that signed it, as they are at this moment, each with the secret that did."""
        now = self._clock()
        for entry in verifier.signers(token, entries, now):
            application = self._present(entry.name)
            if application is not None and application.algorithm == token.algorithm:
                secret = verifier.signing_secret(token, application, now)
                # The name that its tokens come under is the present one, too.
                if secret is not None and token_name in (None, application.token_name):
                    yield application, secret

    def _accepted(self, text: str, listing: ApplicationIndex, token_name: str | None) -> Verification | None:
        """The verdict of the first application that accepts the token; ``None`` where why not is to be found out."""
        try:
            token = verifier.read(text)
        except Refused:
            return None
        for application, secret in self._signers(token, listing.candidates(token.algorithm, token.claims), token_name):
            verdict = self._of_signer(token, application, secret, (), create=True)
            if verdict.reason is None and verdict.token is not None:
                self.verified.keep(text, listing, verdict.token)
                return verdict
        return None

    def verify(self, text: str) -> Verification:
        """The same judgement without any effect."""
        return self._judge(text, self.registry.index().entries, create=False)

    def explain(self, text: str, application: Application | None) -> Verification:
        """The same for one application, or for all, with near misses of a wrong signature."""
        listing = self.registry.index()
        if application is not None:
            return self._judge(text, [IndexEntry.of(application)], create=False, everyone=listing.entries)
        verdict = self._judge(text, listing.entries, create=False, everyone=listing.entries)
        if verdict.reason is None or not listing.damaged:
            return verdict
        left_out = f"not asked, since their records cannot be read: {shown(listing.damaged)}"
        return verdict._replace(steps=[*verdict.steps, Step("damaged", ok=False, detail=left_out)])

    def revoke(self, text: str, owner: str | None) -> str | None:
        """Revoke a token, if it is one that an application signed and that has not expired (RFC 7009).

        Return ``None``, or why there was nothing to revoke: no error for a client (RFC 7009 section 2.2).
        ``owner``: the user whose token it must be, else ``Forbidden``; ``None`` for anybody's.
        """
        try:
            token = verifier.read(text)
        except Refused as refused:
            return refused.step.detail
        listing = self.registry.index()
        readings, reasons = self._readings(token, listing.entries)
        mine = [one for one in readings if owner is None or names.fold(one.username) == names.fold(owner)]
        for verified in mine:
            self._revocations.add(verified)
        if readings and not mine:
            raise Forbidden
        if listing.damaged and not readings:
            # It may be the damaged application's: nobody may believe that it is dead.
            raise RecordDamaged(reason=f"whether a token can be revoked is not known without {listing.damaged[0]}")
        if mine:
            return None
        return reasons[0] if reasons else "no application here signed it"

    def audit_identifier(self, text: str, verdict: Verification) -> str:
        """Return the token's identifier as the audit log shows it, given the verdict on it."""
        if verdict.identifier is None:
            return self.identifiers.of_text(text)
        return identifiers.short(verdict.identifier)

    def audit_identifiers(self, token: Token, text: str) -> Sequence[str]:
        """Return the identifiers under which the audit log may show the token: the present one first.

        Several where the service's key was changed, or where the secret that signed the token has been replaced.
        """
        found: list[str] = []
        fitting = _fitting(token, self.registry.index().entries)
        for entry in fitting:
            for key in (entry.key, entry.previous):
                if key is not None and key.verify(token.signing_input, token.signature):
                    found += self.identifiers.every(identifiers.digest(token.signing_input, key))
        shown = [identifiers.short(one) for one in found]
        if not any(verifier.signers(token, fitting, self._clock())):
            # Refused without a key that is accepted.
            shown.append(self.identifiers.of_text(text))
        return list(dict.fromkeys(shown))

    def _readings(self, token: Token, entries: Sequence[IndexEntry]) -> tuple[list[VerifiedToken], list[str]]:
        """Whom the token names, by each application that signed it, enabled or not; and why others vouch for nobody."""
        readings, reasons = [], []
        for application, secret in self._signers(token, _fitting(token, entries)):
            moment = self._moment()
            try:
                verified, _ = verifier.check_claims(token, application, secret, moment, must_have_begun=False)
            except Refused as refused:
                reasons.append(f"{application.name}: {refused.step.detail}")
            else:
                readings.append(self._identified(verified))
        return readings, reasons

    def _judge(
        self, text: str, entries: Sequence[IndexEntry], *, create: bool, everyone: Sequence[IndexEntry] | None = None
    ) -> Verification:
        """The verdict; ``everyone``: those among whose keys an explanation looks for near misses; ``None``: none."""
        explain = everyone is not None
        try:
            token = verifier.read(text, explain=explain)
        except Refused as refused:
            return Verification(refused.reason, [refused.step])
        steps = [Step("read", ok=True, detail=f"the token can be read; its alg is {token.algorithm[:16]}")]
        fitting = _fitting(token, entries)
        if not fitting:
            hint = near_miss(token, entries, everyone or (), self._clock()) if explain else None
            return unexpected_algorithm(token, entries, steps, self._only(entries), hint)
        verdicts = []
        for application, secret in self._signers(token, fitting):
            verdict = self._of_signer(token, application, secret, steps, create=create)
            if verdict.reason is None:
                return verdict
            verdicts.append(verdict)
        if not verdicts:
            hint = near_miss(token, fitting, everyone or (), self._clock()) if explain else None
            return unknown_signature(fitting, steps, self._only(fitting), hint)
        # The first by name of those that came furthest.
        return max(verdicts, key=lambda verdict: len(verdict.steps))

    def _moment(self) -> Instant:
        return Instant(self._clock(), self._settings.leeway)

    def _of_signer(
        self, token: Token, application: Application, secret: str, before: Sequence[Step], *, create: bool
    ) -> Verification:
        which = "secret" if secret == application.secret else "previous secret, whose grace time is running"
        steps = [
            *before,
            Step("algorithm", ok=True, detail=f"{application.name} expects {application.algorithm}"),
            Step("signature", ok=True, detail=f"signed with the {which} of {application.name}"),
        ]
        try:
            verified, passed = verifier.check_claims(token, application, secret, self._moment())
        except Refused as refused:
            key = keys.verification_key(application.algorithm, secret)
            identifier = self.identifiers.present(identifiers.digest(token.signing_input, key))
            return Verification(refused.reason, [*steps, refused.step], application, identifier=identifier)
        return self.authenticate(self._identified(verified), [*steps, *passed], create=create)

    def _identified(self, verified: VerifiedToken) -> VerifiedToken:
        identifier = None if verified.digest is None else self.identifiers.present(verified.digest)
        return dataclasses.replace(verified, identifier=identifier)

    def authenticate(
        self, verified: VerifiedToken, steps: Sequence[Step] = (), *, create: bool = True, user: User | None = None
    ) -> Verification:
        """What becomes of who an application vouches for; ``steps`` are those that led here.

        ``create``: whether an unknown user is made where the application says so; ``user``: who was just looked up.
        """
        application, passed = verified.application, list(steps)
        try:
            if verified in self._revocations:
                raise Refused("revocation", "revoked", "the token was revoked")
            passed.append(Step("revocation", ok=True, detail="the token was not revoked"))
            if not application.enable:
                detail = f"{application.name} is not enabled: set enable to 1 to accept its tokens"
                raise Refused("application", "disabled_application", detail)
            passed.append(Step("application", ok=True, detail=f"{application.name} is enabled"))
            user, last = self._user(verified, user or self._users.get(verified.username), create=create)
        except Refused as refused:
            found = Verification(refused.reason, [*passed, refused.step], application, username=verified.username)
            return found._replace(identifier=verified.identifier)
        if create and verified.by_previous:
            self.registry.note_previous_use(application)
        about = (application, verified, user, verified.username)
        return Verification(None, [*passed, *last], *about, identifier=verified.identifier)

    def _user(self, verified: VerifiedToken, user: User | None, *, create: bool) -> tuple[User | None, list[Step]]:
        """The user that the token names, made where that is meant; a user that is there is never changed."""
        if user is not None:
            if not user.enabled:
                raise Refused("user", "disabled_user", f"the user {user.name} is disabled")
            found = Step("user", ok=True, detail=f"the user {user.name} is known and enabled")
            return user, [found, self._check_administrator(user.type, verified)]
        application = verified.application
        if not application.inituser:
            detail = f"there is no user {verified.username}, and {application.name} makes none: inituser is 0"
            raise Refused("user", "unknown_user", detail)
        kind, roles = names.user_type_and_roles(application.initroles)
        made = Step("user", ok=True, detail=f"the user {verified.username} is made at the first sign-in, as {kind}")
        administrator = self._check_administrator(kind, verified)
        if not create:
            return None, [made, administrator]
        newcomer = User(
            name=verified.username,
            full_name=names.display_text(verified.text(application.fieldmap.name)),
            email=names.display_text(verified.text(application.fieldmap.email)),
            type=kind,
            roles=roles,
            created_date=int(self._clock() * 1000),
        )
        try:
            user = self._users.create(newcomer, application.initpwd, application.name)
        except AlreadyExists:
            # Another request made it in the meantime: from here on it is a known user, with whatever it has.
            return self._user(verified, self._users.get(verified.username), create=create)
        log.info(logs.event(event="user made", user=user.name, type=kind, application=application.name))
        return user, [made, administrator]

    def _check_administrator(self, user_type: str, verified: VerifiedToken) -> Step:
        if user_type != ADMINISTRATOR:
            return Step("administrator", ok=True, detail="the user is no Administrator: nothing more is asked")
        if not self._settings.tokens_may_administer:
            detail = "no token signs an Administrator in: TOKENS_MAY_ADMINISTER is false"
            raise Refused("administrator", "administrator_refused", detail)
        # The present secret too: in a grace time it is the one that whoever guesses it would sign with.
        secrets = {verified.secret, verified.application.secret}
        if any(weakness(verified.application.algorithm, secret) for secret in secrets):
            detail = f"the secret of {verified.application.name} is weak: it never signs an Administrator in"
            raise Refused("administrator", "administrator_refused", detail)
        return Step("administrator", ok=True, detail="tokens of this application may sign an Administrator in")


def _fitting(token: Token, entries: Sequence[IndexEntry]) -> Sequence[IndexEntry]:
    return [entry for entry in entries if entry.algorithm == token.algorithm]
