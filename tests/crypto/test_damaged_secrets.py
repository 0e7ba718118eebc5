"""Suspicious secrets: each kind of damage is warned about when it is stored, and undone by one repair."""

import base64
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.crypto import damaged_secrets
from tests.support import STRONG_SECRET, key_for, public_pem

# Kind of damage: what it does to a secret, what its warning says, and the repair that undoes it.
DAMAGE: dict[str, tuple[Callable[[str], str], str, str]] = {
    "plus": (lambda text: text.replace("+", " "), "send '+' as %2B", "with '+' instead of the blanks"),
    "blank at the end": (lambda text: text + " ", "begins or ends with a blank", "without the blanks around it"),
    "blank in front": (lambda text: " " + text, "begins or ends with a blank", "without the blanks around it"),
    "tab": (lambda text: text + "\t", "begins or ends with a blank", "without the blanks around it"),
    "blank inside": (lambda text: f"{text[:9]} {text[9:]}", "blank", "without its blanks"),
    "line break": (lambda text: text + "\n", "ends with a line break", "without the line break at its end"),
    "CRLF": (lambda text: text + "\r\n", "ends with a line break", "without the line break at its end"),
    "half a CRLF": (lambda text: text + "\r", "ends with a line break", "without the line break at its end"),
    "wrapped": (lambda text: f"{text[:64]}\n{text[64:]}", "contains a line break", "without its line breaks"),
    "line break in front": (lambda text: "\n" + text, "contains a line break", "without the white space around it"),
    "double quotes": (lambda text: f'"{text}"', "is in quotes", "without the quotes around it"),
    "single quotes": (lambda text: f"'{text}'", "is in quotes", "without the quotes around it"),
    "typographic quotes": (lambda text: f"\u201c{text}\u201d", "is in quotes", "without the quotes around it"),
    "BOM": (lambda text: "\ufeff" + text, "byte order mark", "without the byte order mark in front"),
    "misread BOM": (lambda text: "\xef\xbb\xbf" + text, "byte order mark", "without the byte order mark in front"),
    "no-break space": (lambda text: text + "\xa0", "invisible character", "without the white space around it"),
    "zero-width space": (lambda text: text + "\u200b", "invisible character", "without its invisible characters"),
    "NUL": (lambda text: text + "\0", "invisible character", "without its invisible characters"),
    "percent": (lambda text: text.replace("+", "%2B"), "percent-encoded twice", "after percent-decoding"),
    "backslash n": (lambda text: text + "\\n", "backslash and n", "without the backslash and n at its end"),
    "backslash r n": (lambda text: text + "\\r\\n", "backslash and n", "without the backslash and n at its end"),
    "a line of a file": (lambda text: "ERP_SECRET=" + text, "begins with a name", "without the name in front"),
    "a line of a shell": (lambda text: "export KEY=" + text, "begins with a name", "without the name in front"),
    "a line of YAML": (lambda text: "secret: " + text, "begins with a name", "without the name in front"),
}
# Base64 as openssl prints it; with a plus inside, so that each kind of damage is one.
SECRETS = st.binary(min_size=48, max_size=96).map(lambda data: base64.b64encode(data).decode()[:40] + "+/aZ09+x" * 4)


@given(SECRETS)
def test_a_good_secret_is_not_suspicious(secret: str) -> None:
    """Random Base64, with padding too, base64url, hexadecimal and punctuation are stored without a word."""
    for text in (secret, secret[:-1] + "=", STRONG_SECRET, secret.encode().hex(), "p@ss,w0rd;#%&*()<>[]{}'\"\\/|~`^"):
        assert damaged_secrets.warnings_about("HS256", text) == []


@pytest.mark.parametrize("kind", DAMAGE)
@given(secret=SECRETS)
def test_each_damage_has_its_warning_and_its_repair(kind: str, secret: str) -> None:
    """A damaged secret is named as what it is, and one repair, of either side, makes it equal to the right one."""
    damage, says, repair = DAMAGE[kind]
    damaged = damage(secret)
    warnings = damaged_secrets.warnings_about("HS256", damaged)
    assert any(says in warning for warning in warnings)
    assert all(secret[:8] not in warning for warning in warnings)
    sent = damaged_secrets.matching_repair(damaged, [b"other", secret.encode()])
    assert sent is not None
    assert sent.startswith(f"it would match {repair}")
    stored = damaged_secrets.matching_repair(secret, [b"other", damaged.encode()])
    assert stored is not None
    assert stored.startswith(f"the stored secret would match {repair}")
    assert secret.encode() in [data for _, data in damaged_secrets.alternative_keys(damaged)]


def test_a_short_secret_with_a_lost_plus() -> None:
    """A blank of a secret too short to be seen as Base64 gets the hint about '+' as well."""
    (warning,) = damaged_secrets.warnings_about("HS256", "ab cd")
    assert "%2B" in warning
    assert damaged_secrets.matching_repair("ab+cd", [b"ab cd"]) is not None
    (warning,) = damaged_secrets.warnings_about("HS256", "ab9/xyzKLM012 34567890==")
    assert "where Base64 has '+'" in warning


def test_a_pass_phrase_is_not_base64() -> None:
    """Words with blanks between them are warned about as what they are."""
    for words in ("orchid quantum gravity harbor lantern", "Correct Horse Battery Staple", " " * 40):
        assert not any("where Base64" in one for one in damaged_secrets.warnings_about("HS256", words))


@given(st.text(), st.text())
def test_only_a_repair_fits(sent: str, stored: str) -> None:
    """Whatever the texts, a repair is named only where one text repaired is the other; the empty text never fits."""
    found = damaged_secrets.matching_repair(sent, [stored.encode()])
    repairs = {text for _, text in damaged_secrets.repaired(sent)} | {sent}
    back = {text for _, text in damaged_secrets.repaired(stored)} | {stored}
    assert "" not in {text for _, text in damaged_secrets.repaired(sent)}
    assert (found is not None) == (stored in repairs - {sent} or sent in back - {stored})


@given(st.text(alphabet=string.printable + "\ufeff\xa0\u200b", min_size=1))
def test_the_other_bytes_are_few_and_different(secret: str) -> None:
    """Of any secret at most some dozens of other keys are tried: none is empty, none the secret itself."""
    found = [data for _, data in damaged_secrets.alternative_keys(secret)]
    assert len(found) == len(set(found)) <= 36
    assert b"" not in found
    assert secret.encode() not in found


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_public_key_is_not_suspicious(algorithm: str) -> None:
    """The line breaks of a PEM text are its own."""
    assert damaged_secrets.warnings_about(algorithm, public_pem(key_for(algorithm))) == []


def test_a_long_secret_costs_no_more_than_its_length() -> None:
    """64 KiB of what the patterns look for is read through once: no pattern goes back over it again and again."""
    for part in ("\\n", "secret", "export ", "-", " ", "%2", "=", "key ", "\r\n", '"', "\ufeff"):
        text = part * (65536 // len(part)) + "x"
        damaged_secrets.warnings_about("HS256", text)
        damaged_secrets.matching_repair(text, [b"x"])
