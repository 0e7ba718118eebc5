"""Rehearsals: which sign-ins of the last days a change of applications or settings would have refused."""

import collections
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datafor_token.applications.record import Application
from datafor_token.applications.registry import Registry
from datafor_token.errors import InvalidInput, Message
from datafor_token.rehearsal.fingerprints import Fingerprints
from datafor_token.rehearsal.history import SignInHistory
from datafor_token.rehearsal.records import DAY, KeptSignIn
from datafor_token.rehearsal.replay import ACCEPTED, UNKNOWN, Replay, Verdict
from datafor_token.settings import Settings
from datafor_token.tokens.signin import SignIn
from datafor_token.validation.names import fold

log = logging.getLogger(__name__)

_EXAMPLES = 3  # of each rule
_SHOWN = 100  # users and addresses in a response
_Rule = tuple[str, str]  # reason and application


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
    known, for the reasons ``unknown_because``. ``already_refused`` are refused by the present rules too. ``not_kept``
    were beyond the number that is kept of a user and day.
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
        fingerprints: Fingerprints,
        settings: Settings,
        clock: Callable[[], float],
    ) -> None:
        self._history = history
        self._registry = registry
        self._signin_with = signin_with
        self._fingerprints = fingerprints
        self._settings = settings
        self._clock = clock

    @property
    def enabled(self) -> bool:
        """True if sign-ins are kept."""
        return self._history.days > 0

    def rehearse(
        self, changed: Mapping[str, Application | None], settings: Settings | None = None, days: int | None = None
    ) -> Rehearsal:
        """Replay the sign-ins of the last ``days`` (by default all that are kept) by changed rules.

        ``changed`` has each changed application by its name, ``None`` for a deleted one; ``settings`` are those that
        would be in force. Without any, the sign-ins of all applications are checked. Raises ``StoreUnavailable``.
        """
        present, _ = self._registry.all_applications()
        by_name: dict[str, Application | None] = {fold(one.name): one for one in present}
        altered = {fold(name): application for name, application in changed.items()}
        after = [one for one in (by_name | altered).values() if one is not None]
        replay = self._replay(after, settings or self._settings)
        before = self._replay(present, self._settings)
        now = self._clock()
        tally = _Tally()
        for record in self._history.every(now - min(days or self._history.days, self._history.days) * DAY):
            tally.not_kept += sum(record.left_out.values())
            for kept in record.sign_ins.values():
                tally.begin(kept)
                if settings is not None or not altered or fold(kept.application) in altered:
                    tally.count(kept, replay.verdict(kept), before)
        return tally.result(now)

    def response(
        self, changed: Mapping[str, Application | None], settings: Settings | None = None, days: int | None = None
    ) -> dict[str, Any] | None:
        """Rehearse as ``rehearse`` does, and return the result as in responses; None if no sign-ins are kept.

        Raises ``InvalidInput`` for more days than are kept.
        """
        kept = self._history.days
        if days is not None and not kept:
            raise InvalidInput.of("days", "cannot be given: no sign-ins are kept (setting REHEARSAL_DAYS)")
        if days is not None and days > kept:
            raise InvalidInput.of("days", "can be at most %(kept)s (setting REHEARSAL_DAYS)", kept=kept)
        return self.rehearse(changed, settings, days).to_response() if kept else None

    def _replay(self, applications: Sequence[Application], settings: Settings) -> Replay:
        return Replay(applications, self._signin_with(settings), self._fingerprints, self._clock(), settings.leeway)


class _Tally:
    """Numbers of a rehearsal, while it is done."""

    def __init__(self) -> None:
        self.not_kept = 0
        self._since: float | None = None
        self._sign_ins = self._already_refused = 0
        self._users: collections.Counter[str] = collections.Counter()
        self._sources: collections.Counter[str] = collections.Counter()
        self._refused: dict[_Rule, list[tuple[KeptSignIn, Verdict]]] = {}
        self._unknown: collections.Counter[Message] = collections.Counter()

    def begin(self, kept: KeptSignIn) -> None:
        """Note since when sign-ins are kept."""
        self._since = kept.time if self._since is None else min(self._since, kept.time)

    def count(self, kept: KeptSignIn, verdict: Verdict, before: Replay) -> None:
        """Count the verdict on a sign-in by the changed rules; ``before`` checks by the present ones."""
        self._sign_ins += 1
        if verdict.reason == ACCEPTED:
            return
        if before.verdict(kept).is_refused:
            self._already_refused += 1
        elif verdict.reason == UNKNOWN:
            self._unknown[verdict.detail] += 1
        else:
            self._users[kept.user] += 1
            self._sources[kept.address] += 1
            self._refused.setdefault((verdict.reason, verdict.application), []).append((kept, verdict))

    def result(self, now: float) -> Rehearsal:
        """Return the numbers; ``now`` is in seconds since 1970."""
        rules = [_rule(*key, found) for key, found in self._refused.items()]
        return Rehearsal(
            since=int((now if self._since is None else self._since) * 1000),
            until=int(now * 1000),
            sign_ins=self._sign_ins,
            refused=sum(rule.sign_ins for rule in rules),
            users=[name for name, _ in self._users.most_common()],
            sources=[address for address, _ in self._sources.most_common()],
            rules=sorted(rules, key=lambda rule: (-rule.sign_ins, rule.reason, rule.application)),
            unknown=self._unknown.total(),
            unknown_because=[detail for detail, _ in self._unknown.most_common()],
            already_refused=self._already_refused,
            not_kept=self.not_kept,
        )


def _rule(reason: str, application: str, found: Sequence[tuple[KeptSignIn, Verdict]]) -> RehearsedRule:
    latest = sorted(found, key=lambda one: -one[0].time)[:_EXAMPLES]
    return RehearsedRule(
        reason,
        application,
        len(found),
        len({kept.user for kept, _ in found}),
        len({kept.address for kept, _ in found}),
        [
            RefusedSignIn(
                kept.user, kept.address, int(kept.time * 1000), kept.request_id, kept.shown_token, verdict.detail
            )
            for kept, verdict in latest
        ],
    )
