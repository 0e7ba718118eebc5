"""Near misses of a signature: the key that would fit, and how it differs from the expected one.

For ``explain`` only, which requires an Administrator: a search costs some thousand HMACs, or some hundred public-key
verifications, whatever the number of applications. A sentence names applications and differences, never a secret.
"""

from collections.abc import Iterator, Sequence

from datafor_token.applications.index import IndexEntry
from datafor_token.crypto.algorithms import HMAC_LENGTHS, is_shared
from datafor_token.crypto.damaged_secrets import alternative_keys
from datafor_token.crypto.keys import Key, SharedKey, alternatives, with_algorithm
from datafor_token.errors import Message
from datafor_token.tokens.verifier import Token

_MOST_ASKED = 50  # applications whose secret is tried in every spelling
_MOST_OTHERS = 1000  # applications whose secret is tried as it is
_MOST_PUBLIC = 100  # the same for public keys, each of which costs thirty times as much


def near_miss(token: Token, asked: Sequence[IndexEntry], everyone: Sequence[IndexEntry], now: float) -> Message | None:
    """Return a sentence about the key that fits the token's signature, or ``None`` if no key that is tried fits.

    ``asked`` are the applications that should accept the token, ``everyone`` those whose key it may be. ``now`` is in
    seconds since 1970.
    """
    for entry in _likeliest(token, asked)[:_MOST_ASKED]:
        for sentence, key in _close_keys(token, entry, now):
            if key.verify(token.signing_input, token.signature):
                return sentence
    for entry in _likeliest(token, everyone)[: _MOST_OTHERS if is_shared(token.algorithm) else _MOST_PUBLIC]:
        for sentence, key in _own_keys(token.algorithm, entry, now):
            if key.verify(token.signing_input, token.signature):
                return sentence
    return None


def _likeliest(token: Token, entries: Sequence[IndexEntry]) -> Sequence[IndexEntry]:
    """Return the entries whose key can verify the token's algorithm.

    Those whose user name claim is in the token come first.
    """
    algorithms = {token.algorithm, *alternatives(token.algorithm)}
    fitting = [entry for entry in entries if entry.algorithm in algorithms]
    return sorted(fitting, key=lambda entry: entry.claim not in token.claims)


def _own_keys(algorithm: str, entry: IndexEntry, now: float) -> Iterator[tuple[Message, Key]]:
    """Yield the keys of an application unchanged, for the token's algorithm, each with a sentence."""
    key = _key_phrase(algorithm, entry)
    for one in entry.key.all():
        yield Message("%(key)s fits", key=key), with_algorithm(algorithm, one)
    if entry.previous is not None:
        if entry.in_grace(now):
            sentence = Message("%(key)s before its last rotation fits", key=key)
        else:
            sentence = Message("%(key)s before its last rotation fits; its grace period is over", key=key)
        for one in entry.previous.all():
            yield sentence, with_algorithm(algorithm, one)


def _close_keys(token: Token, entry: IndexEntry, now: float) -> Iterator[tuple[Message, Key]]:
    yield from _own_keys(token.algorithm, entry, now)
    for algorithm in alternatives(token.algorithm):
        # A header can name another algorithm than the one that signed; an HMAC is as long as its hash.
        if HMAC_LENGTHS.get(algorithm, len(token.signature)) == len(token.signature):
            sentence = Message(
                "%(key)s fits with %(algorithm)s", key=_key_phrase(token.algorithm, entry), algorithm=algorithm
            )
            for one in entry.key.all():
                yield sentence, with_algorithm(algorithm, one)
    if isinstance(entry.key, SharedKey):
        key = _key_phrase(token.algorithm, entry)
        for difference, data in alternative_keys(entry.key.material.decode()):
            yield (
                Message("%(key)s fits %(difference)s", key=key, difference=difference),
                SharedKey(token.algorithm, data),
            )


def _key_phrase(algorithm: str, entry: IndexEntry) -> Message:
    """Return the phrase that names the key of an application."""
    if is_shared(algorithm):
        return Message("the secret of %(name)s", name=entry.name)
    return Message("the public key of %(name)s", name=entry.name)
