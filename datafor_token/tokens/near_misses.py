"""Near misses of a signature: which key would fit, and how it differs from the one that is expected.

Only for ``explain``, which an Administrator asks for: it costs some thousand HMACs, or some hundred public-key
verifications, of however many applications. A sentence names applications and differences, never a secret.
"""

from collections.abc import Iterator, Sequence

from datafor_token.applications.index import IndexEntry
from datafor_token.crypto.damaged_secrets import alternative_keys
from datafor_token.crypto.keys import HMAC_LENGTHS, Key, SharedKey, alternatives, is_shared, with_algorithm
from datafor_token.tokens.verifier import Token

_MOST_ASKED = 50  # applications whose secret is tried in every spelling
_MOST_OTHERS = 1000  # applications whose secret is tried as it is
_MOST_PUBLIC = 100  # the same of public keys, each of which costs thirty times as much


def near_miss(token: Token, asked: Sequence[IndexEntry], everyone: Sequence[IndexEntry], now: float) -> str | None:
    """Say which key would fit the token's signature; ``None`` if none of those tried does.

    ``asked``: the applications that should accept the token; ``everyone``: all whose key it may be. ``now`` is in
    seconds since 1970.
    """
    shared = is_shared(token.algorithm)
    for entry in _likeliest(token, asked)[:_MOST_ASKED]:
        for sentence, key in _close_keys(token, entry, now):
            if key.verify(token.signing_input, token.signature):
                return sentence
    for entry in _likeliest(token, everyone)[: _MOST_OTHERS if shared else _MOST_PUBLIC]:
        for sentence, key in _own_keys(token.algorithm, entry, now):
            if key.verify(token.signing_input, token.signature):
                return sentence
    return None


def _likeliest(token: Token, entries: Sequence[IndexEntry]) -> Sequence[IndexEntry]:
    """Those whose key can verify the token's algorithm, first those whose claim of the user name the token has."""
    algorithms = {token.algorithm, *alternatives(token.algorithm)}
    fitting = [entry for entry in entries if entry.algorithm in algorithms]
    return sorted(fitting, key=lambda entry: entry.claim not in token.claims)


def _own_keys(algorithm: str, entry: IndexEntry, now: float) -> Iterator[tuple[str, Key]]:
    """The keys of an application as they are, for the token's algorithm."""
    what = "secret" if is_shared(algorithm) else "public key"
    yield f"the {what} of {entry.name} fits", with_algorithm(algorithm, entry.key)
    if entry.previous is not None:
        ended = "; its grace period is over" if not entry.in_grace(now) else ""
        yield (
            f"the {what} of {entry.name} before its last rotation fits{ended}",
            with_algorithm(algorithm, entry.previous),
        )


def _close_keys(token: Token, entry: IndexEntry, now: float) -> Iterator[tuple[str, Key]]:
    yield from _own_keys(token.algorithm, entry, now)
    what = "secret" if is_shared(token.algorithm) else "public key"
    for algorithm in alternatives(token.algorithm):
        # A header can name another algorithm than the one that signed; an HMAC has its hash's length.
        if HMAC_LENGTHS.get(algorithm, len(token.signature)) == len(token.signature):
            yield f"the {what} of {entry.name} fits with {algorithm}", with_algorithm(algorithm, entry.key)
    if isinstance(entry.key, SharedKey):
        for phrase, data in alternative_keys(entry.key.material.decode()):
            yield f"the secret of {entry.name} fits {phrase}", SharedKey(token.algorithm, data)
