"""Audiences of tokens whose application names none, for the audit log."""

from collections.abc import Sequence

from datafor_token.tokens.verifier import VerifiedToken
from datafor_token.validation import strict_json

# Anybody who can sign may put anything into the claim. A line of the log is short.
_MOST, _LONGEST = 8, 128


def unnamed(token: VerifiedToken) -> Sequence[str] | None:
    """Return the audiences of a token, as text, if its application has no ``audience`` to compare them with.

    ``None`` without the claim ``aud``, or if the application has an ``audience``. There are at most 8, of at most 128
    characters each. Only an application from before the rule accepts such a token.
    """
    if "aud" not in token.claims or token.application.audience is not None:
        return None
    claim = token.claims["aud"]
    values = claim if isinstance(claim, list) else [claim]
    return [(value if isinstance(value, str) else strict_json.compact(value))[:_LONGEST] for value in values[:_MOST]]
