"""Rehearsals: which sign-ins of the last days a change of applications or settings would have refused."""

import collections
import contextlib
import dataclasses
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from datafor_token import blocking
from datafor_token.applications.record import Application
from datafor_token.applications.registry import Registry
from datafor_token.errors import InvalidInput, Message, Overloaded, RecordDamaged
from datafor_token.rehearsal.fingerprints import Fingerprints
from datafor_token.rehearsal.history import SignInHistory
from datafor_token.rehearsal.records import DAY, KeptSignIn
from datafor_token.rehearsal.replay import ACCEPTED, Replay, Verdict
from datafor_token.settings import Settings
from datafor_token.tokens.cut_offs import CutOffs
from datafor_token.tokens.revocations import Revocations
from datafor_token.tokens.signin import SignIn
from datafor_token.users.accounts import Accounts
from datafor_token.users.users import User
from datafor_token.validation.names import fold

_EXAMPLES = 3  # of each rule
_SHOWN = 100  # users and addresses in a response
_LONGEST_WAIT = 20.0  # seconds for another rehearsal of this process to end
_DAMAGED = Message("the kept sign-ins of a user cannot be read: datafor-token store check names the record")
_Text = TypeVar("_Text", bound=str)


@dataclasses.dataclass(frozen=True)
class RefusedSignIn:
    """Example of a sign-in that would have been refused: the user, the client's address, the time (ms since 1970).

    ``detail`` says why; ``request_id`` is that of the request that was accepted, in the audit log and the log, and
    ``token`` the identifier of its token there.
    """

    user: str
    address: str
    time: int
    request_id: str | None
    token: str
    detail: Message


@dataclasses.dataclass(frozen=True)
class RehearsedRule:
    """Rule that would have refused sign-ins: a code that ``explain`` returns, and the application.

    The numbers are those of sign-ins, users and addresses.
    """

    reason: str
    application: str
    sign_ins: int
    users: int
    sources: int
    examples: Sequence[RefusedSignIn]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """Result of a rehearsal of the days from ``since`` to ``until`` (milliseconds since 1970).

    A sign-in is a token on one day (UTC) from one address, or a one-time link. ``sign_ins`` of them were checked, those
    that the change concerns; ``refused`` were accepted by the present rules and would not be by the changed ones, which
    concerns the ``users`` and addresses in ``sources``, those with the most sign-ins first. Of ``unknown`` it is not
    known, for the reasons ``unknown_because``; a damaged record counts as one of them. ``already_refused`` are refused
    by the present rules too. ``not_kept`` were beyond the number that is kept of a user and day.
    """

    since: int
    until: int
    sign_ins: int
    refused: int
    users: Sequence[str]
    sources: Sequence[str]
    rules: Sequence[RehearsedRule]
    unknown: int
    unknown_because: Sequence[Message]
    already_refused: int
    not_kept: int

    def to_response(self) -> dict[str, Any]:
        """Return the member ``rehearsal`` of a response."""
        members = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            **members,
            "users": list(self.users[:_SHOWN]),
            "user_count": len(self.users),
            "sources": list(self.sources[:_SHOWN]),
            "source_count": len(self.sources),
            "rules": [dataclasses.asdict(rule) for rule in self.rules],
            "unknown_because": list(self.unknown_because),
        }


class Rehearsals:
    """Rehearses changes against the history of sign-ins. ``clock`` returns seconds since 1970.

    ``signin_with`` returns a sign-in with other settings.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is a separate collaborator
        self,
        history: SignInHistory,
        registry: Registry,
        signin_with: Callable[[Settings], SignIn],
        accounts: Accounts,
        revocations: Revocations,
        cut_offs: CutOffs,
        fingerprints: Fingerprints,
        settings: Settings,
        clock: Callable[[], float],
    ) -> None:
        self._history = history
        self._registry = registry
        self._signin_with = signin_with
        self._accounts = accounts
        self._revocations = revocations
        self._cut_offs = cut_offs
        self._fingerprints = fingerprints
        self._settings = settings
        self._clock = clock
        self._running = threading.Lock()

    @property
    def enabled(self) -> bool:
        """True if sign-ins are kept."""
        return self._history.days > 0

    def rehearse(
        self, changed: Mapping[str, Application | None], settings: Settings | None = None, days: int | None = None
    ) -> Rehearsal:
        """Replay the sign-ins of the last ``days`` (by default all that are kept) by changed rules.

        ``changed`` has each changed application by its name, ``None`` for a deleted one; ``settings`` are those that
        would be in force. Without any, the sign-ins of all applications are checked. Raises ``StoreUnavailable``, and
        ``Overloaded`` if another rehearsal of this process does not end soon.
        """
        with self._turn():
            return self._replayed(changed, settings, days)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until no other rehearsal runs: several at once would take the processor from all other requests."""
        if not self._running.acquire(blocking=False):
            with blocking.waiting():
                if not self._running.acquire(timeout=_LONGEST_WAIT):
                    raise Overloaded("another rehearsal has not ended yet: try again later")
        try:
            yield
        finally:
            self._running.release()

    def _replayed(
        self, changed: Mapping[str, Application | None], settings: Settings | None, days: int | None
    ) -> Rehearsal:
        present, _ = self._registry.all_applications()
        by_name: dict[str, Application | None] = {fold(one.name): one for one in present}
        altered = {fold(name): application for name, application in changed.items()}
        after = [one for one in (by_name | altered).values() if one is not None]
        now, revoked = self._clock(), self._revocations.names()

        def replay_by(applications: Sequence[Application], wanted: Settings) -> Replay:
            signin = self._signin_with(wanted)
            return Replay(
                applications, present, signin, revoked, self._cut_offs, self._fingerprints, now, wanted.leeway
            )

        before, replay = replay_by(present, self._settings), replay_by(after, settings or self._settings)
        concerned = None if settings is not None or not altered else _Concerned(altered.keys(), before)
        tally = _Tally()
        since, find = now - (days or self._history.days) * DAY, self._find_user()
        for record in self._history.every(since, find, tally.count_damaged):
            user = find(record.name)
            tally.not_kept += sum(record.left_out.values())
            for kept in record.sign_ins.values():
                tally.begin(kept)
                if concerned is None or concerned.has(kept, user):
                    verdict = replay.verdict(kept, user)
                    tally.count(kept, verdict, verdict if verdict.reason == ACCEPTED else before.verdict(kept, user))
        return tally.result(now)

    def _find_user(self) -> Callable[[str], User | None]:
        """Return a function that returns a user by name, without asking the store: all are read at once here."""
        found, damaged = self._accounts.all()
        users, unread = {fold(user.name): user for user in found}, set(map(fold, damaged))

        def find(name: str) -> User | None:
            if fold(name) in unread:
                raise RecordDamaged(reason=f"users/{name}: the record cannot be read")
            return users.get(fold(name))

        return find

    def response(
        self, changed: Mapping[str, Application | None], settings: Settings | None = None, days: int | None = None
    ) -> dict[str, Any] | None:
        """Rehearse as ``rehearse`` does, and return the result as in responses; None if no sign-ins are kept.

        Raises ``InvalidInput`` for more days than are kept, and what ``rehearse`` raises.
        """
        kept = self._history.days
        if days is not None and not kept:
            raise InvalidInput.of("days", "cannot be given: no sign-ins are kept (setting REHEARSAL_DAYS)")
        if days is not None and days > kept:
            raise InvalidInput.of("days", "can be at most %(kept)s (setting REHEARSAL_DAYS)", kept=kept)
        return self.rehearse(changed, settings, days).to_response() if kept else None


class _Concerned:
    """Which sign-ins were accepted by one of the applications of these names, which are folded, or would be now."""

    def __init__(self, names: Collection[str], before: Replay) -> None:
        self._names = names
        self._before = before
        # By the name of the application and the key of a sign-in: there are few, and many sign-ins.
        self._known: dict[tuple[str, str, str], tuple[bool, bool]] = {}

    def has(self, kept: KeptSignIn, user: User | None) -> bool:
        """Return whether a sign-in of a user is among them."""
        about = kept.circumstances
        key = about.application, about.algorithm, about.key
        if key not in self._known:
            # Applications may have the same key.
            is_named = fold(about.application) in self._names
            self._known[key] = is_named, self._before.may_accept(kept, self._names)
        is_named, may_accept = self._known[key]
        return is_named or (may_accept and fold(self._before.verdict(kept, user).application) in self._names)


class _Tally:
    """Numbers of a rehearsal, while it is done."""

    def __init__(self) -> None:
        self.not_kept = 0
        self._since: float | None = None
        self._sign_ins = self._already_refused = 0
        self._users: collections.Counter[str] = collections.Counter()
        self._sources: collections.Counter[str] = collections.Counter()
        self._rules: collections.defaultdict[tuple[str, str], _RuleTally] = collections.defaultdict(_RuleTally)
        self._unknown: collections.Counter[Message] = collections.Counter()

    def begin(self, kept: KeptSignIn) -> None:
        """Note since when sign-ins are kept."""
        self._since = kept.time if self._since is None else min(self._since, kept.time)

    def count(self, kept: KeptSignIn, verdict: Verdict, present: Verdict) -> None:
        """Count the verdict on a sign-in by the changed rules; ``present`` is that by the present ones."""
        self._sign_ins += 1
        if verdict.reason == ACCEPTED:
            return
        if present.is_refused:
            self._already_refused += 1
        elif verdict.is_refused and present.reason == ACCEPTED:
            self._users[kept.user] += 1
            self._sources[kept.address] += 1
            self._rules[verdict.reason, verdict.application].count(kept, verdict)
        elif verdict != present:
            # The present rules may refuse it too. Where the same is not known of both, the change refuses nothing.
            self._unknown[(verdict if present.reason == ACCEPTED else present).detail] += 1

    def count_damaged(self) -> None:
        """Count the sign-ins of a record that cannot be read as one of which nothing is known."""
        self._unknown[_DAMAGED] += 1

    def result(self, now: float) -> Rehearsal:
        """Return the numbers; ``now`` is in seconds since 1970."""
        rules = [rule.result(*key) for key, rule in self._rules.items()]
        return Rehearsal(
            since=int((now if self._since is None else self._since) * 1000),
            until=int(now * 1000),
            sign_ins=self._sign_ins,
            refused=sum(rule.sign_ins for rule in rules),
            users=_most_frequent(self._users),
            sources=_most_frequent(self._sources),
            rules=sorted(rules, key=lambda rule: (-rule.sign_ins, rule.reason, rule.application)),
            unknown=self._unknown.total(),
            unknown_because=_most_frequent(self._unknown),
            already_refused=self._already_refused,
            not_kept=self.not_kept,
        )


def _most_frequent(numbers: collections.Counter[_Text]) -> list[_Text]:
    """Return what was counted, the most frequent first; those with equal numbers by their text."""
    return sorted(numbers, key=lambda one: (-numbers[one], one))


def _age(kept: KeptSignIn) -> tuple[float, str, str]:
    """Return the key that sorts the latest sign-ins first, the same ones at each rehearsal."""
    return -kept.time, kept.user, kept.token


class _RuleTally:
    """Numbers of one rule. Of the sign-ins, only the latest are in memory: there may be hundreds of thousands."""

    def __init__(self) -> None:
        self._sign_ins = 0
        self._users: set[str] = set()
        self._sources: set[str] = set()
        self._latest: list[tuple[KeptSignIn, Verdict]] = []

    def count(self, kept: KeptSignIn, verdict: Verdict) -> None:
        """Count a refused sign-in."""
        self._sign_ins += 1
        self._users.add(kept.user)
        self._sources.add(kept.address)
        if len(self._latest) < _EXAMPLES or _age(kept) < _age(self._latest[-1][0]):
            self._latest = sorted([*self._latest, (kept, verdict)], key=lambda one: _age(one[0]))[:_EXAMPLES]

    def result(self, reason: str, application: str) -> RehearsedRule:
        """Return the numbers, and the latest sign-ins as examples."""
        examples = [
            RefusedSignIn(
                kept.user, kept.address, int(kept.time * 1000), kept.request_id, kept.shown_token, verdict.detail
            )
            for kept, verdict in self._latest
        ]
        return RehearsedRule(reason, application, self._sign_ins, len(self._users), len(self._sources), examples)
