"""Tokens that may be those of an application whose record cannot be read: their clients get 503, never 401."""

import contextlib
from collections.abc import Iterable

from datafor_token.applications.index import ApplicationIndex
from datafor_token.errors import RecordDamaged
from datafor_token.tokens import verifier
from datafor_token.tokens.verifier import Refused


def check_signer(text: str, listing: ApplicationIndex) -> None:
    """Raise ``RecordDamaged`` if an unreadable application may have signed a token that no readable one signed."""
    token = verifier.read(text)
    unread = listing.unreadable_signer(token.algorithm, token.claims)
    if unread is not None:
        raise RecordDamaged(reason=f"{unread.name} may have signed the token: {unread.reason}")


def check_parameters(values: Iterable[str], listing: ApplicationIndex) -> None:
    """Raise ``RecordDamaged`` if one of these values of a URL may be a token of an unreadable application.

    It is one whose record does not even tell the name of the parameter.
    """
    nameless = ApplicationIndex((), [entry for entry in listing.unreadable if entry.token_name is None])
    for value in values if nameless.unreadable else ():
        with contextlib.suppress(Refused):
            check_signer(value, nameless)
