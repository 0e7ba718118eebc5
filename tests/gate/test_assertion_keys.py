"""Keys of signed identities."""

from datafor_token.crypto.keys import new_key_pair
from datafor_token.gate.assertion_keys import OwnKey, OwnKeys


def test_a_clock_that_is_behind() -> None:
    """A host whose clock is before all keys signs with the oldest, which verifiers have known for longest."""
    first, second = OwnKey(new_key_pair(), 1000), OwnKey(new_key_pair(), 2000)
    keys = OwnKeys([first, second])
    assert [keys.signing(now) for now in (0, 1000, 1999, 2000)] == [first, first, first, second]
