"""Result of verifying a token."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from datafor_token.applications.record import Application
from datafor_token.tokens.verifier import Step, VerifiedToken
from datafor_token.users.users import User


class Verification(NamedTuple):
    """Result of verifying a token. ``reason`` is ``None`` for an accepted token, else a code that ``explain`` returns.

    ``application`` accepts the token, or is the application whose checks it passes furthest. ``token`` and ``user``
    are set only for an accepted token; ``user`` is ``None`` if the sign-in would create one. ``username`` is the user
    that the token names, if verification came that far.

    ``candidates`` is the token as each application verified it whose claims it has, up to the one that accepts it. The
    others refuse it for what may change without a record of an application: its user, or the client's network.
    """

    reason: str | None
    steps: Sequence[Step]
    application: Application | None = None
    token: VerifiedToken | None = None
    user: User | None = None
    username: str | None = None
    identifier: str | None = None  # the token's, where an application's key signed it
    cached: bool = False  # signature and claims were verified before
    candidates: Sequence[VerifiedToken] = ()

    @property
    def reported(self) -> Sequence[Step]:
        """The steps that would refuse an accepted token, if their rules were not only reported; one for each rule."""
        steps = (*(self.token.reported if self.token else ()), *self.steps)
        return list({step.reported: step for step in steps if step.reported is not None}.values())

    def to_response(self) -> dict[str, Any]:
        """Return the members of the response to ``explain``."""
        return {
            "accepted": self.reason is None,
            "reason": self.reason,
            "application": self.application.name if self.application else None,
            "steps": [step.to_response() for step in self.steps],
        }
