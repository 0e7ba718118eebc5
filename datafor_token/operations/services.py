"""Services of an open installation, for requests and commands."""

import functools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import argon2

from datafor_token import __version__
from datafor_token.activity.activity import Activity
from datafor_token.activity.hours import Hours
from datafor_token.activity.last_uses import LastUses
from datafor_token.applications.registry import Registry
from datafor_token.applications.sealing import Sealer
from datafor_token.applications.weak_secrets import WeakSecretFinder
from datafor_token.audit.events import Origin
from datafor_token.audit.log import Audit
from datafor_token.crypto.at_rest import Keyring
from datafor_token.errors import StoreUnavailable
from datafor_token.gate.assertion_keys import AssertionKeys
from datafor_token.gate.assertions import Assertions
from datafor_token.gate.gate import Gate
from datafor_token.limits.keyed_counts import KeyedCounts
from datafor_token.metrics.counters import Metrics
from datafor_token.operations.audit_logs import Retention
from datafor_token.operations.clock import ServiceClock
from datafor_token.operations.draining import Draining
from datafor_token.operations.installation import COLLECTIONS, Opened, Opener, Opening
from datafor_token.operations.milestones import GATE_SIGN_IN, Milestones
from datafor_token.operations.node import Node
from datafor_token.operations.readiness import Readiness
from datafor_token.providers.key_sets import KeySets, ProviderKeys
from datafor_token.rehearsal.fingerprints import Fingerprints
from datafor_token.rehearsal.history import SignInHistory
from datafor_token.rehearsal.rehearsals import Rehearsals
from datafor_token.rehearsal.retention import SignInRetention
from datafor_token.settings import Settings
from datafor_token.sinks.sinks import Sinks
from datafor_token.store.base import RequestScoped, Store
from datafor_token.store.files.store import FileStore
from datafor_token.tokens.cut_offs import CutOffs
from datafor_token.tokens.identifiers import Identifiers
from datafor_token.tokens.impact import Impacts
from datafor_token.tokens.issue_limit import IssueLimit
from datafor_token.tokens.issued import IssuedTokens
from datafor_token.tokens.issuer import Issuer
from datafor_token.tokens.known_tokens import KnownTokens
from datafor_token.tokens.networks import ClientSource
from datafor_token.tokens.personal import PersonalTokens
from datafor_token.tokens.recorded_steps import RefusedTokens
from datafor_token.tokens.refusals import PastRefusals
from datafor_token.tokens.reports import Reports
from datafor_token.tokens.revocations import Revocations
from datafor_token.tokens.revoker import Revoker
from datafor_token.tokens.signin import SignIn
from datafor_token.tokens.verifier import VerifiedToken
from datafor_token.users.accounts import Accounts
from datafor_token.users.passwords import Passwords
from datafor_token.users.session_list import SessionList
from datafor_token.users.session_notes import SessionNotes
from datafor_token.users.sessions import Sessions
from datafor_token.users.users import User, Users
from datafor_token.validation import logs

log = logging.getLogger(__name__)
Clock = Callable[[], float]


@dataclass(frozen=True)
class Services:
    """All services. ``clock`` returns seconds since 1970; tests use one that they can advance."""

    settings: Settings
    node: Node
    clock: Clock
    metrics: Metrics
    store: Store
    key_sets: KeySets
    registry: Registry
    issuer: Issuer
    keyring: Keyring
    audit: Audit
    activity: Activity
    history: SignInHistory
    sign_in_retention: SignInRetention
    rehearsals: Rehearsals
    sinks: Sinks
    retention: Retention
    readiness: Readiness
    draining: Draining
    users: Users
    accounts: Accounts
    revocations: Revocations
    cut_offs: CutOffs
    issued: IssuedTokens
    known_tokens: KnownTokens
    past_refusals: PastRefusals
    refused_tokens: RefusedTokens
    personal_tokens: PersonalTokens
    revoker: Revoker
    sessions: Sessions
    session_list: SessionList
    session_notes: SessionNotes
    impact: Impacts
    signin: SignIn
    gate: Gate
    assertion_keys: AssertionKeys
    assertions: Assertions
    milestones: Milestones
    weak_secrets: WeakSecretFinder

    @property
    def last_uses(self) -> LastUses:
        """The last uses of applications and users."""
        return self.activity.last_uses

    @property
    def hours(self) -> Hours:
        """The counts of each hour."""
        return self.activity.hours

    def sweep(self) -> None:
        """Delete expired records, and temporary files of killed writers."""
        try:
            if isinstance(self.store, FileStore):
                self.store.sweep()
            for owner in (
                self.revocations,
                self.cut_offs,
                self.personal_tokens,
                self.sessions,
                self.session_notes,
                self.gate,
                self.sign_in_retention,
            ):
                owner.sweep()
        except StoreUnavailable as error:
            # With a read-only disk, the service still verifies tokens.
            log.warning(logs.event("sweep failed", reason=error.reason))


def open_services(
    settings: Settings,
    opener: Opener,
    origin: Callable[[], Origin],
    clock: Clock | None = None,
    hasher: argon2.PasswordHasher | None = None,
) -> Services:
    """Open the installation of ``settings`` and build its services.

    ``origin`` returns who is acting, for the audit log. ``clock`` returns seconds since 1970; by default a
    ``ServiceClock``. ``hasher``: by default argon2id with the defaults of its library. Raises ``StartError`` with a
    sentence that states what to do.
    """
    metrics = Metrics(__version__, COLLECTIONS)
    clock = clock or ServiceClock()
    passwords = Passwords(
        hasher or argon2.PasswordHasher(), clock, looked_up=lambda hit: metrics.cache("passwords", hit=hit)
    )
    opened = Opening(settings, opener, clock, metrics, passwords, origin).open()
    services = _build(settings, clock, metrics, opened, origin)
    metrics.add_gauge("audit_sink_waiting_bytes", services.sinks.waiting)
    services.node.measure(metrics, services.store)
    services.registry.logs_warnings = opener is Opener.SERVER
    if opener is Opener.SERVER:
        services.sweep()
        services.key_sets.watch(lambda: _urls_of_keys(services.registry))
        if settings.gate_assertion:
            services.assertion_keys.maintain_quietly()
        # Last: the thread that sends must not start in a process which forks workers.
        services.sinks.watch()
    return services


def _renew(store: Store) -> None:
    """Let the current request see what others have stored since it began."""
    if isinstance(store, RequestScoped):
        store.end_request()
        store.begin_request()


def _build(
    settings: Settings, clock: Clock, metrics: Metrics, opened: Opened, origin: Callable[[], Origin]
) -> Services:
    store, keyring, audit, users = opened.store, opened.keyring, opened.audit, opened.users
    identifiers = Identifiers(keyring.token_identifier_keys)
    key_sets = KeySets(store, clock, settings, metrics.keys_fetched, renew=lambda: _renew(opened.backend))
    sealer = Sealer(keyring, opened.audience_since, key_sets.source)
    registry = Registry(store, sealer, audit, clock, settings, key_sets.wake)
    revocations = Revocations(store, audit, clock, settings.leeway, identifiers)
    cut_offs = CutOffs(store, audit, clock, settings.leeway, registry)

    def counts(event: str, folder: str, purpose: str) -> KeyedCounts:
        key, shared = keyring.derive(purpose), settings.ratelimit_storage_uri
        return KeyedCounts(event, settings.data_dir / folder, shared, key, clock, metrics.limit_failed)

    limit = IssueLimit(counts("issued tokens are counted alone", "rates", "issue limit"), metrics.rate_refused)
    issuer = Issuer(registry, users, audit, clock, identifiers, cut_offs, limit)
    personal_tokens = PersonalTokens(store, issuer, revocations, cut_offs, audit, clock, limit)
    assertion_keys = AssertionKeys(store, keyring, audit, clock)
    fingerprints = Fingerprints(keyring.derive_all("fingerprints"))
    history = SignInHistory(store, users, fingerprints, clock, origin, settings.rehearsal_days)

    def used(token: VerifiedToken, client: ClientSource, user: User) -> None:
        personal_tokens.uses.note(token)
        history.note(token, client, user)

    recorded = counts("reported rules are recorded alone", "reports", "reported rules")
    reports = Reports(recorded, clock, audit, metrics.would_be_refused)
    signin_with = functools.partial(SignIn, registry, users, revocations, cut_offs, key_sets, clock)
    signin = signin_with(settings, lambda hit: metrics.cache("tokens", hit=hit), used, assertion_keys.has, reports.note)
    lifetimes = (settings.session_hours * 3600, settings.session_idle_minutes * 60)
    sessions = Sessions("api", store, users, clock, lifetimes)

    def end_tokens(user: str) -> None:
        cut_offs.set(user, None, None)
        personal_tokens.remove_all(user)

    milestones = Milestones(store, clock)
    gate_sessions = Sessions("gate", store, users, clock, lifetimes, opened=lambda: milestones.reach_once(GATE_SIGN_IN))
    gate = Gate(store, gate_sessions, signin, cut_offs, audit, clock, keyring.derive_all("gate sessions"), limit)
    issued = IssuedTokens(audit, revocations, cut_offs, clock)
    session_list = SessionList(store, users, audit, sessions, gate.accepts)
    accounts = Accounts(store, users, audit, clock, settings, cut_off=end_tokens, deleted=history.remove)
    return Services(
        settings=settings,
        node=Node.of(settings, keyring),
        clock=clock,
        metrics=metrics,
        store=opened.backend,
        key_sets=key_sets,
        registry=registry,
        issuer=issuer,
        keyring=keyring,
        audit=audit,
        activity=opened.activity,
        history=history,
        sign_in_retention=SignInRetention(store, users, clock, settings.rehearsal_days),
        rehearsals=Rehearsals(
            history, registry, signin_with, accounts, revocations, cut_offs, fingerprints, settings, clock
        ),
        sinks=opened.sinks,
        retention=opened.retention,
        readiness=Readiness(store, audit, clock),
        draining=Draining(settings.data_dir),
        users=users,
        accounts=accounts,
        revocations=revocations,
        cut_offs=cut_offs,
        issued=issued,
        known_tokens=KnownTokens(audit, issued, revocations, clock),
        past_refusals=PastRefusals(audit, users),
        refused_tokens=RefusedTokens(signin, clock),
        revoker=Revoker(registry, users, revocations, cut_offs, audit, clock),
        sessions=sessions,
        session_notes=SessionNotes(store, clock),
        session_list=session_list,
        impact=Impacts(users, session_list, issued, clock),
        personal_tokens=personal_tokens,
        signin=signin,
        gate=gate,
        assertion_keys=assertion_keys,
        assertions=Assertions(assertion_keys, settings.public_url, clock),
        milestones=milestones,
        weak_secrets=WeakSecretFinder(),
    )


def _urls_of_keys(registry: Registry) -> Iterator[tuple[str, str]]:
    """Yield the URL and issuer of the keys of each enabled application that has them."""
    for entry in registry.index().entries:
        if entry.enable and isinstance(entry.key, ProviderKeys):
            yield entry.key.place.uri, entry.key.place.issuer
