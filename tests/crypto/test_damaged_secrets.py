"""Damaged secrets: each kind of damage is warned about when a secret is stored, and undone by one repair."""

import base64
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.crypto import damaged_secrets
from tests.support import STRONG_SECRET, key_for, public_pem

# Kind of damage: its effect on a secret, a part of its warning, and the repair that undoes it.
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
# Base64 as openssl prints it, with a "+", so that every kind of damage has an effect.
SECRETS = st.binary(min_size=48, max_size=96).map(lambda data: base64.b64encode(data).decode()[:40] + "+/aZ09+x" * 4)


@given(SECRETS)
def test_a_good_secret_causes_no_warning(secret: str) -> None:
    """Random Base64 with and without padding, base64url, hexadecimal and punctuation cause no warning."""
    for text in (secret, secret[:-1] + "=", STRONG_SECRET, secret.encode().hex(), "p@ss,w0rd;#%&*()<>[]{}'\"\\/|~`^"):
        assert damaged_secrets.warnings_about("HS256", text) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGE)
@given(secret=SECRETS)
def test_each_damage_has_its_warning_and_its_repair(kind: str, secret: str) -> None:
    """A damaged secret causes one warning, and one repair, of either side, makes it equal to the right one."""
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
    """A blank in a secret too short to be recognised as Base64 gets the hint about '+' as well."""
    (warning,) = damaged_secrets.warnings_about("HS256", "ab cd")
    assert "%2B" in warning
    assert damaged_secrets.matching_repair("ab+cd", [b"ab cd"]) is not None
    (warning,) = damaged_secrets.warnings_about("HS256", "ab9/xyzKLM012 34567890==")
    assert "where Base64 has '+'" in warning


def test_a_pass_phrase_is_not_base64() -> None:
    """Words with blanks between them get no warning about Base64."""
    for words in ("orchid quantum gravity harbor lantern", "Correct Horse Battery Staple", " " * 40):
        assert not any("where Base64" in one for one in damaged_secrets.warnings_about("HS256", words))


@given(st.text(), st.text())
def test_only_a_repair_matches(sent: str, stored: str) -> None:
    """A repair is named only if it makes one text equal to the other; the empty text never matches."""
    found = damaged_secrets.matching_repair(sent, [stored.encode()])
    repairs = {text for _, text in damaged_secrets.repaired(sent)} | {sent}
    back = {text for _, text in damaged_secrets.repaired(stored)} | {stored}
    assert "" not in {text for _, text in damaged_secrets.repaired(sent)}
    assert (found is not None) == (stored in repairs - {sent} or sent in back - {stored})


@given(st.text(alphabet=string.printable + "\ufeff\xa0\u200b", min_size=1))
def test_alternative_keys_are_few_and_different(secret: str) -> None:
    """A secret has some dozens of alternative keys: none is empty, and none is the secret itself."""
    found = [data for _, data in damaged_secrets.alternative_keys(secret)]
    assert len(found) == len(set(found)) <= 36
    assert b"" not in found
    assert secret.encode() not in found


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_public_key_causes_no_warning(algorithm: str) -> None:
    """The line breaks of PEM cause no warning."""
    assert damaged_secrets.warnings_about(algorithm, public_pem(key_for(algorithm))) == []


def test_long_secrets_take_linear_time() -> None:
    """The patterns take linear time for 64 KiB of the texts that they look for."""
    for part in ("\\n", "secret", "export ", "-", " ", "%2", "=", "key ", "\r\n", '"', "\ufeff"):
        text = part * (65536 // len(part)) + "x"
        damaged_secrets.warnings_about("HS256", text)
        damaged_secrets.matching_repair(text, [b"x"])
