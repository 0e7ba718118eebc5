"""Strict JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.validation import strict_json

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)

REFUSED = {
    "nothing": b"",
    "a member twice": b'{"a": 1, "a": 1}',
    "a member twice deep inside": b'{"x": [{"a": 1, "a": 2}]}',
    "NaN": b"[NaN]",
    "Infinity": b"[-Infinity]",
    "a float beyond all": b"[1e999]",
    "65 bits": b"[18446744073709551616]",
    "65 bits below": b"[-9223372036854775809]",
    "5000 digits": b"[" + b"9" * 5000 + b"]",
    "half a surrogate pair": rb'["\ud800"]',
    "half a pair in a member": rb'{"\udfff": 1}',
    "no UTF-8": b'["\xff"]',
    "a byte order mark": b"\xef\xbb\xbf[]",
    "UTF-16": "[1]".encode("utf-16"),
    "33 levels": b"[" * 33 + b"]" * 33,
    "3000 levels": b"[" * 3000 + b"]" * 3000,
    "100000 levels": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a raw line break in a string": b'["a\nb"]',
    "more behind": b"{} {}",
    "single quotes": b"{'a': 1}",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_ambiguous_json_is_refused(text: bytes) -> None:
    """Ambiguous or non-standard JSON is refused without repeating it."""
    with pytest.raises(strict_json.JSONError) as caught:
        strict_json.loads(text)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert "9999" not in str(caught.value)


@given(JSON_VALUES)
def test_ordinary_json_is_read(value: object) -> None:
    """Every ordinary JSON value comes back equal, escaped or not."""
    for ascii_only in (True, False):
        assert strict_json.loads(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(JSON_VALUES)
def test_the_writers_agree_with_json_dumps(value: object) -> None:
    """The writers write the same text as ``json.dumps``."""
    assert strict_json.compact(value) == json.dumps(value, separators=(",", ":"))
    assert strict_json.readable(value) == json.dumps(value, ensure_ascii=False)


def test_32_levels_are_read() -> None:
    """Nesting up to 32 levels is accepted."""
    assert strict_json.loads("[" * 32 + "]" * 32)


@given(st.binary(max_size=200))
def test_bytes_of_any_kind(data: bytes) -> None:
    """Any bytes give a value or a JSONError."""
    try:
        strict_json.loads(data)
    except strict_json.JSONError as error:
        assert str(error)
