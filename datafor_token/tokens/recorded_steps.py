"""Steps of refusals as the audit log has them: sentences as templates and values, which can be translated later.

Values of a token that no key signed, which anybody can send, may be a password or a part of another token. Of these
only those are recorded that this service has itself, such as the names of its applications.
"""

import functools
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from datafor_token.applications.index import ApplicationIndex
from datafor_token.audit.events import Explanation
from datafor_token.crypto.algorithms import ALGORITHMS
from datafor_token.errors import Message, StoreUnavailable
from datafor_token.providers.key_sets import ProviderKeys
from datafor_token.tokens.signin import SignIn
from datafor_token.tokens.verification import Verification
from datafor_token.tokens.verifier import REFUSED_HEADERS, Step
from datafor_token.validation import strict_json, times

_LONGEST = 200  # characters of a value in the audit log
_SECONDS_BETWEEN_SEARCHES = 1.0  # one takes up to 10 ms of processor time
_OWN_WORDS = frozenset((*ALGORITHMS, "none", *REFUSED_HEADERS, "header", "payload", "signature"))
_NOT_RECORDED = Message("(not recorded)")

Recorded = Mapping[str, Any]


def explanation(steps: Sequence[Step], variant: str) -> Explanation:
    """Return the explanation with these steps, all of whose values somebody proved or are our own."""
    return Explanation(variant, lambda: [_recorded_step(step, None) for step in steps])


class RefusedTokens:
    """Explanations of refused tokens. ``clock`` returns seconds since 1970."""

    def __init__(self, signin: SignIn, clock: Callable[[], float]) -> None:
        self._signin = signin
        self._clock = clock
        self._lock = threading.Lock()
        self._searched = 0.0

    def explanation(self, text: str, token_name: str | None, verification: Verification) -> Explanation:
        """Return the explanation of a refused token, which came in the URL parameter ``token_name``, if any.

        Its cause is searched for with the keys of all applications, at most once a second in this process.
        """
        if verification.identifier is not None:
            return explanation(verification.steps, verification.identifier)
        steps = self._own(verification.steps)
        # Without numbers, such as the length of the text: only few variants may exist.
        variant = strict_json.compact([_texts(step) for step in steps])
        return Explanation(variant, lambda: steps, lambda: self._search(text, token_name, verification), hash(text))

    def _search(self, text: str, token_name: str | None, refused: Verification) -> list[Recorded] | None:
        with self._lock:
            now = self._clock()
            # A clock that was set back does not stop the searches.
            if 0 <= now - self._searched < _SECONDS_BETWEEN_SEARCHES:
                return None
            self._searched = now
        try:
            found = self._signin.explain(text, None, token_name)
        except StoreUnavailable:
            return None
        # Something may have changed since.
        return self._own(found.steps) if found.reason == refused.reason and found.identifier is None else None

    def _own(self, steps: Sequence[Step]) -> list[Recorded]:
        """Return steps for the audit log without values that are not our own."""
        listing = self._signin.registry.index()
        return [_recorded_step(step, _OwnTexts(listing, step.step)) for step in steps]


class _OwnTexts:
    """The texts that this service itself can put into the sentence of a step."""

    def __init__(self, listing: ApplicationIndex, step: str) -> None:
        self._listing = listing
        self._step = step

    def has(self, text: str) -> bool:
        """Return whether a text, or each of a list of texts, is our own."""
        return self._is_own(text) or all(map(self._is_own, text.split(", ")))

    def _is_own(self, text: str) -> bool:
        if text in _OWN_WORDS or text in self._listing.own_texts:
            return True
        return self._step == "keys" and text in self._of_providers

    @functools.cached_property
    def _of_providers(self) -> Collection[str]:
        """Texts about the keys of identity providers, which these publish."""
        found: set[str] = set()
        for entry in self._listing.entries:
            if isinstance(entry.key, ProviderKeys):
                status = entry.key.status()
                found.update(status.kids)
                found.update(() if status.error is None else (status.error,))
                found.update(() if status.fetched is None else (times.show(status.fetched / 1000),))
        return found


def _recorded_step(step: Step, own: _OwnTexts | None) -> Recorded:
    reported = {} if step.reported is None else {"reported": step.reported}
    return {"step": step.step, "ok": step.ok, **_recorded(step.detail, own), **reported}


def _recorded(message: str, own: _OwnTexts | None) -> dict[str, Any]:
    """Return a sentence for the audit log; with ``own``, without texts that are not among these."""
    if not isinstance(message, Message) or not message.parameters:
        return {"detail": getattr(message, "template", message)}
    return {
        "detail": message.template,
        "values": {name: _value(value, own) for name, value in message.parameters.items()},
    }


def _value(value: object, own: _OwnTexts | None) -> Any:
    if isinstance(value, Message):
        return _recorded(value, own)
    text = str(value)
    if own is not None and not isinstance(value, int | float) and not own.has(text):
        return _recorded(_NOT_RECORDED, None)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _texts(recorded: Any) -> Any:
    if isinstance(recorded, Mapping):
        return {name: _texts(value) for name, value in recorded.items()}
    return None if isinstance(recorded, str) and recorded.isdecimal() else recorded


def read_steps(event: Mapping[str, Any]) -> list[Step]:
    """Return the steps of an event of the audit log; none if it has none, or if they cannot be read."""
    try:
        return [_step(recorded) for recorded in event.get("steps") or ()]
    except (AttributeError, KeyError, TypeError, ValueError):
        # The line was edited by hand, or another version wrote it.
        return []


def _step(recorded: Recorded) -> Step:
    detail = _message(recorded)
    reported = recorded.get("reported")
    return Step(
        str(recorded["step"]), recorded["ok"] is True, lambda: detail, None if reported is None else str(reported)
    )


def _message(recorded: Recorded) -> Message:
    values = recorded.get("values", {})
    return Message(
        str(recorded["detail"]),
        **{name: _message(value) if isinstance(value, Mapping) else str(value) for name, value in values.items()},
    )
