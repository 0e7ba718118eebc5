"""What became of a token, and the words for the refusals that concern no single application."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from datafor_token.applications.index import Entry
from datafor_token.applications.record import Application
from datafor_token.tokens.verifier import Step, Token, Vouched
from datafor_token.users.users import User


class Verdict(NamedTuple):
    """What became of a token. ``reason`` is ``None`` when it is accepted, else one of contract section 7.

    ``application`` accepts it, or came furthest; ``username`` is whom it names, as far as that was asked;
    ``user`` is ``None`` where the token would make one and was only asked about.
    """

    reason: str | None
    steps: Sequence[Step]
    application: Application | None = None
    vouched: Vouched | None = None
    user: User | None = None
    username: str | None = None
    remembered: bool = False  # it was accepted before
    identifier: str | None = None  # the token's, where an application's key signed it

    def to_answer(self) -> dict[str, Any]:
        """The judgement step by step, as ``explain`` answers it."""
        return {
            "accepted": self.reason is None,
            "reason": self.reason,
            "application": self.application.name if self.application else None,
            "steps": [step._asdict() for step in self.steps],
        }


def unexpected_algorithm(
    token: Token, entries: Sequence[Entry], steps: list[Step], only: Application | None, near_miss: str | None
) -> Verdict:
    """No application expects the token's algorithm; ``only`` is the application where just one was asked."""
    expected = shown([f"{one.name} expects {one.algorithm}" for one in entries], "; ")
    detail = f"{expected or 'there is no application'}, the token says {token.algorithm[:16]}"
    if near_miss is not None:
        detail = f"{detail}; {near_miss}"
    return Verdict("algorithm", [*steps, Step("algorithm", ok=False, detail=detail)], only)


def unknown_signature(
    fitting: Sequence[Entry], steps: list[Step], only: Application | None, near_miss: str | None
) -> Verdict:
    """None of those that expect the algorithm has the secret that signed the token; ``only`` is the one of just one."""
    names = shown([entry.name for entry in fitting])
    algorithm = Step("algorithm", ok=True, detail=f"expected by {names}")
    detail = f"not signed with the secret of {names}: {near_miss or _NO_NEAR_MISS}"
    return Verdict("signature", [*steps, algorithm, Step("signature", ok=False, detail=detail)], only)


_NO_NEAR_MISS = "it was changed, or the token is another's"


def shown(texts: Sequence[str], separator: str = ", ") -> str:
    """The first few of many."""
    return separator.join(texts[:5]) + (f"{separator}and {len(texts) - 5} more" if len(texts) > 5 else "")
