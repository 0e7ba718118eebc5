"""Sign-in by token: verify a token, find or create its user, or explain step by step why it is refused."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

from datafor_token.applications.index import EMPTY_INDEX, ApplicationIndex, IndexEntry
from datafor_token.applications.record import Application
from datafor_token.applications.registry import Registry
from datafor_token.applications.signing import Signer
from datafor_token.errors import Forbidden, Message, NotFound, RecordDamaged
from datafor_token.providers.key_sets import KeySets
from datafor_token.settings import Settings
from datafor_token.tokens import claim_checks, identifiers, unreadable, verifier
from datafor_token.tokens.cache import VerifiedTokens
from datafor_token.tokens.cut_offs import CutOffs
from datafor_token.tokens.near_misses import near_miss
from datafor_token.tokens.networks import ClientSource, check_network
from datafor_token.tokens.revocations import Revocations
from datafor_token.tokens.steps import listed, provided_keys, provider_keys, signed_by, unexpected_algorithm, unsigned
from datafor_token.tokens.token_users import TokenUsers
from datafor_token.tokens.verification import Verification
from datafor_token.tokens.verifier import Instant, Refused, Step, Token, VerifiedToken, failed, passed
from datafor_token.users.users import User, Users
from datafor_token.validation import names

_FEW = 100  # applications; checking all their records for edits takes a third of a millisecond
# Of a token that no readable application signed.
_UNSIGNED = frozenset({"algorithm", "signature", "keys_unavailable"})
_IS_IDENTITY = failed(
    "signature", lambda: Message("the token is a signed identity of this service, which signs in nowhere")
)
_NOT_REVOKED = passed("revocation", lambda: Message("the token was not revoked"))


class SignIn:
    """Verifies tokens and signs their users in. ``clock`` returns seconds since 1970.

    ``looked_up`` is called with whether a token was found in the cache, ``used`` with each token or one-time link that
    signs in, its client and user. ``accepted`` is called with each accepted use by a client, also of a session, of an
    application that only reports some rules. ``signs_identities`` returns whether a ``kid`` is of a key of this
    service's own. Every method raises ``StoreUnavailable`` in an outage.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is a separate collaborator
        self,
        registry: Registry,
        users: Users,
        revocations: Revocations,
        cut_offs: CutOffs,
        key_sets: KeySets,
        clock: Callable[[], float],
        settings: Settings,
        looked_up: Callable[[bool], None] = lambda _: None,
        used: Callable[[VerifiedToken, ClientSource, User], None] = lambda *_: None,
        signs_identities: Callable[[str], bool] = lambda _: False,
        accepted: Callable[[Verification], None] = lambda _: None,
    ) -> None:
        self.registry = registry
        self.identifiers = revocations.identifiers
        self.cache = VerifiedTokens(looked_up)
        self._users = users
        self._token_users = TokenUsers(users, clock, settings, self._check_new_user)
        self._revocations = revocations
        self._cut_offs = cut_offs
        self._key_sets = key_sets
        self._clock = clock
        self._settings = settings
        self._used = used
        self._signs_identities = signs_identities
        self._accepted = accepted
        # The checks of a verified token at each use, in this order; each raises ``Refused``. Checks of its claims are
        # in ``claim_checks.CLAIM_CHECKS``, of the client in ``networks``, and of its user in ``TokenUsers``.
        self._checks: Sequence[Callable[[VerifiedToken], Step]] = (self._check_revocation, _check_enabled)

    def sign_in(self, text: str, token_name: str | None, client: ClientSource) -> Verification:
        """Verify a token and return its user, who is created if unknown and if the application says so.

        With ``token_name``, only the enabled applications that receive their tokens under that name can accept it.
        """
        listing = self._listing(token_name, thorough=False)
        for token in self.cache.get(text, listing.version, self._instant()):
            # The registry returns the same object until the record changes: comparing all fields takes 2.5 us longer.
            if token.application is not self._current(token.application.name):
                break
            verification = self.authenticate(token, client=client)
            if verification.reason is None:
                return verification._replace(cached=True)
        # Records may have been edited by hand. Check each of them if there are few, and before a refusal.
        few = len(listing.entries) <= _FEW
        listing = self._listing(token_name, thorough=few)
        verification = self._verify_text(
            text, lambda token: listing.candidates(token.algorithm, token.claims), token_name, client, create=True
        )
        if verification.token is not None:
            self.cache.put(text, listing.version, verification.candidates)
            return verification
        if verification.reason in ("signature", "keys_unavailable"):
            self._fetch_unknown_key(text, listing.entries)
        # The reason can come from an application that could not have accepted the token, such as a disabled one.
        listing = self._listing(token_name, thorough=not few)
        verification = self._verify_text(text, lambda _: listing.entries, token_name, client, create=True)
        return self._known(text, verification, listing)

    def verify(self, text: str) -> Verification:
        """Verify a token without creating a user or recording anything."""
        listing = self.registry.index()
        return self._known(text, self._verify_text(text, lambda _: listing.entries), listing)

    def explain(self, text: str, application: Application | None, token_name: str | None = None) -> Verification:
        """Verify a token for one application, or as ``sign_in`` does, and find near misses of a wrong signature."""
        listing = self._listing(token_name, thorough=False)
        entries = listing.entries if application is None else [IndexEntry.of(application)]
        verification = self._verify_text(text, lambda _: entries, token_name, everyone=self.registry.index().entries)
        if verification.reason is None or application is not None or not listing.damaged:
            return verification
        detail = Message("not checked, because their records cannot be read: %(names)s", names=listed(listing.damaged))
        left_out = failed("damaged", lambda: detail)
        return verification._replace(steps=[*verification.steps, left_out])

    def revoke(self, text: str, owner: str | None) -> Message | None:
        """Revoke a token that an application signed and that has not expired (RFC 7009).

        Return ``None``, or the reason why there was nothing to revoke (not an error: RFC 7009 section 2.2). With
        ``owner``, raise ``Forbidden`` for a token of another user.
        """
        try:
            token = verifier.read(text)
        except Refused as refused:
            return refused.step.detail
        listing = self.registry.index()
        found, reasons = self._revocable(token, listing.entries)
        own = [one for one in found if owner is None or names.fold(one.username) == names.fold(owner)]
        for verified in own:
            self._revocations.add(verified)
        if found and not own:
            raise Forbidden
        if listing.damaged and not found:
            # The damaged application may have signed it: nobody must believe that the token is revoked.
            raise RecordDamaged(reason=f"whether a token can be revoked is not known without {listing.damaged[0]}")
        if own:
            return None
        return reasons[0] if reasons else Message("no application here signed it")

    def authenticate(  # noqa: PLR0913 - what is asked, and by whom
        self,
        token: VerifiedToken,
        steps: Sequence[Step] = (),
        *,
        client: ClientSource | None,
        create: bool = True,
        first: bool = False,
        user: User | None = None,
    ) -> Verification:
        """Run the checks of a verified token at each use, and find its user. ``steps`` are those passed before.

        ``client`` is the client that presents it; ``None``: its network is not checked. An unknown user is created if
        ``create`` and the application say so. ``user`` is the token's, if known already. ``first`` is as in
        ``TokenUsers.admit``.
        """
        application, done = token.application, list(steps)
        try:
            for check in self._checks:
                done.append(check(token))  # noqa: PERF401 - a refusal needs the steps before it
            if application.networks is not None:
                done.append(check_network(application, client))
            user, last = self._token_users.admit(
                token, user or self._users.get(token.username), create=create, first=first
            )
        except Refused as refused:
            done.append(refused.step)
            return Verification(
                refused.reason,
                done,
                application,
                username=token.username,
                identifier=token.identifier,
                candidates=(token,),
            )
        if create and token.signer.is_previous:
            self.registry.note_previous_use(application)
        if create and client is not None and user is not None:
            self._used(token, client, user)
        verification = Verification(
            None, done + last, application, token, user, token.username, token.identifier, candidates=(token,)
        )
        if application.report is not None and client is not None:
            self._accepted(verification)
        return verification

    def audit_identifier(self, text: str, verification: Verification) -> str:
        """Return the identifier of a verified token as the audit log shows it."""
        if verification.identifier is None:
            return self.identifiers.of_text(text)
        return identifiers.short(verification.identifier)

    def audit_identifiers(self, token: Token, text: str) -> Sequence[str]:
        """Return the identifiers under which the audit log may show a token, the present one first.

        There are several when the service's key was changed, or the secret that signed the token was replaced.
        """
        found: list[str] = []
        fitting = verifier.fitting(token, self.registry.index().entries)
        for entry in fitting:
            for source in (entry.key, entry.previous):
                key = None if source is None else source.signer(token.signing_input, token.signature, token.kid)
                if key is not None:
                    found += self.identifiers.every(identifiers.digest(token.signing_input, key))
        shown = [identifiers.short(one) for one in found]
        if not any(verifier.signers(token, fitting, self._clock())):
            # It was refused without a key that is accepted.
            shown += self.identifiers.every_of_text(text)
        return list(dict.fromkeys(shown))

    def _verify_text(  # noqa: PLR0913 - what is asked, and of whom
        self,
        text: str,
        entries: Callable[[Token], Sequence[IndexEntry]],
        token_name: str | None = None,
        client: ClientSource | None = None,
        *,
        create: bool = False,
        everyone: Sequence[IndexEntry] | None = None,
    ) -> Verification:
        """Read a token, then run all checks for each application of ``entries`` that signed it, until one accepts it.

        If none does, return the refusal of the application whose checks it passes furthest; of several, the first by
        name. ``everyone`` are the applications among whose keys near misses are searched; ``None``: do not search.
        """
        try:
            token = verifier.read(text, explain=everyone is not None)
        except Refused as refused:
            return Verification(refused.reason, [refused.step])
        if token.kid is not None and self._signs_identities(token.kid):
            # Also if an application has our keys by mistake: those who receive identities could sign in with them here.
            return Verification("signature", [_IS_IDENTITY])
        asked = entries(token)
        fitting = verifier.fitting(token, asked)
        algorithm = token.algorithm[:16]
        steps = [
            passed("read", lambda: Message("the token can be read; its alg is %(algorithm)s", algorithm=algorithm))
        ]
        if not fitting:
            hint = None if everyone is None else near_miss(token, asked, everyone, self._clock())
            return Verification("algorithm", [*steps, unexpected_algorithm(algorithm, asked, hint)], self._only(asked))
        refusals: list[Verification] = []
        for application, signer in self._signers(token, fitting, token_name):
            verification = self._verify_signed(token, application, signer, steps, client, create=create)
            if verification.reason is None:
                before = [candidate for refusal in refusals for candidate in refusal.candidates]
                return verification._replace(candidates=(*before, *verification.candidates))
            refusals.append(verification)
        if refusals:
            return max(refusals, key=lambda refusal: len(refusal.steps))
        hint = None if everyone is None else near_miss(token, fitting, everyone, self._clock())
        return self._unsigned(token, fitting, hint, steps)

    def _fetch_unknown_key(self, text: str, entries: Sequence[IndexEntry]) -> None:
        """Fetch the keys of the provider that the token names, in case it has a new one; see ``KeySets.refetch``."""
        token = verifier.read(text)
        # A disabled application accepts no token: nothing is fetched for it.
        enabled = [entry for entry in entries if entry.enable]
        self._key_sets.refetch({keys.place for _, keys in provided_keys(token, enabled)}, token.kid)

    @staticmethod
    def _known(text: str, verification: Verification, listing: ApplicationIndex) -> Verification:
        """Return the result for a token; raise ``RecordDamaged`` if an unreadable application may accept it."""
        if verification.reason in _UNSIGNED and verification.steps[-1] is not _IS_IDENTITY:
            unreadable.check_signer(text, listing)
        return verification

    def _unsigned(
        self, token: Token, entries: Sequence[IndexEntry], hint: Message | None, steps: Sequence[Step]
    ) -> Verification:
        """Return the refusal of a token that none of these applications signed."""
        provided = provided_keys(token, entries)
        lacking = [entry for entry, keys in provided if not keys.all()]
        reason = "keys_unavailable" if lacking else "signature"
        states = [provider_keys(entry.name, token.kid, keys.status()) for entry, keys in provided]
        return Verification(reason, [*steps, *states, *unsigned(entries, hint)], self._only(lacking or entries))

    def _verify_signed(  # noqa: PLR0913 - what is asked, and of whom
        self,
        token: Token,
        application: Application,
        signer: Signer,
        steps: Sequence[Step],
        client: ClientSource | None,
        *,
        create: bool,
    ) -> Verification:
        """Run the checks of a token that ``signer``, a key of ``application``, signed."""
        done = [*steps, *signed_by(application, signer)]
        try:
            verified, claim_steps = claim_checks.check_claims(token, application, signer, self._instant())
        except Refused as refused:
            identifier = self.identifiers.present(identifiers.digest(token.signing_input, signer.key))
            return Verification(refused.reason, [*done, refused.step], application, identifier=identifier)
        verified = self._identified(verified, token)
        return self.authenticate(verified, done + claim_steps, client=client, create=create, first=True)

    def _identified(self, verified: VerifiedToken, token: Token) -> VerifiedToken:
        digest = identifiers.digest(token.signing_input, verified.signer.key)
        names, jti = self.identifiers.all_revocation_names(digest), token.claims.get("jti")
        if isinstance(jti, str):
            names = (*names, identifiers.jti_name(verified.application.name, jti))
        return dataclasses.replace(verified, digest=digest, identifier=names[0], revocation_names=names)

    def _signers(
        self, token: Token, entries: Iterable[IndexEntry], token_name: str | None = None
    ) -> Iterator[tuple[Application, Signer]]:
        """Yield the applications that signed the token, as their records are now, each with the key that did.

        If the record of one cannot be read now, raise ``RecordDamaged`` after the others.
        """
        now = self._clock()
        unread: RecordDamaged | None = None
        for entry in verifier.signers(token, entries, now):
            try:
                application = self.registry.get(entry.name)
            except NotFound:
                continue
            except RecordDamaged as error:
                unread = error
                continue
            if application.algorithm == token.algorithm:
                signer = application.signer(token.signing_input, token.signature, token.kid, now)
                # Its token name may have changed too.
                if signer is not None and token_name in (None, application.token_name):
                    yield application, signer
        if unread is not None:
            raise unread

    def _revocable(self, token: Token, entries: Sequence[IndexEntry]) -> tuple[list[VerifiedToken], list[Message]]:
        """Return the token as verified by each application that signed it, enabled or not, and why others refuse it."""
        found, reasons = [], []
        for application, signer in self._signers(token, verifier.fitting(token, entries)):
            try:
                verified, _ = claim_checks.check_claims(
                    token, application, signer, self._instant(), claim_checks.REVOCATION_CHECKS
                )
            except Refused as refused:
                reasons.append(Message("%(name)s: %(detail)s", name=application.name, detail=refused.step.detail))
            else:
                found.append(self._identified(verified, token))
        return found, reasons

    def _check_new_user(self, token: VerifiedToken) -> None:
        """Check whether a token that is not revoked may create its user; raise ``Refused``."""
        self._check_revocation(token)
        cut_off = self._cut_offs.refusing_new_user(token.username, token.application.name, token.issued)
        if cut_off is not None:
            raise Refused("revocation", "revoked", cut_off.refusal_of_new_user(token.issued))

    def _check_revocation(self, token: VerifiedToken) -> Step:
        revocation = self._revocations.find(token)
        if revocation is not None:
            raise Refused("revocation", "revoked", revocation.describe())
        cut_off = self._cut_offs.refusing(token.username, token.application.name, token.issued)
        if cut_off is not None:
            raise Refused("revocation", "revoked", cut_off.refusal(token.issued))
        return _NOT_REVOKED

    def _instant(self) -> Instant:
        return Instant(self._clock(), self._settings.leeway)

    def _listing(self, token_name: str | None, *, thorough: bool) -> ApplicationIndex:
        listing = self.registry.index(thorough=thorough)
        return listing if token_name is None else listing.by_token_name.get(token_name, EMPTY_INDEX)

    def _current(self, name: str) -> Application | None:
        """Return the application as its record is now, even if it was edited by hand."""
        try:
            return self.registry.get(name)
        except (NotFound, RecordDamaged):
            return None

    def _only(self, entries: Sequence[IndexEntry]) -> Application | None:
        """Return the application if there is just one."""
        return self._current(entries[0].name) if len(entries) == 1 else None


def _check_enabled(token: VerifiedToken) -> Step:
    name = token.application.name
    if not token.application.enable:
        detail = Message("%(name)s is not enabled: set enable to 1 to accept its tokens", name=name)
        raise Refused("application", "disabled_application", detail)
    return passed("application", lambda: Message("%(name)s is enabled", name=name))
