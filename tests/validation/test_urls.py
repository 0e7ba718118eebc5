"""Rules for the URLs of keys."""

import pytest

from datafor_token.errors import RuleError
from datafor_token.validation.urls import parse


@pytest.mark.parametrize(
    ("text", "shown", "target"),
    [
        ("https://idp.example/jwks", "https://idp.example/jwks", "/jwks"),
        ("HTTPS://IDP.example:443", "https://idp.example/", "/"),
        ("https://idp.example:8443/a?p=secret", "https://idp.example:8443/a", "/a?p=secret"),
        ("https://idp.example?p=secret", "https://idp.example/", "/?p=secret"),
        ("https://[fd00::1]:8443/", "https://[fd00::1]:8443/", "/"),
        ("https://10.0.0.7/Keys", "https://10.0.0.7/Keys", "/Keys"),
        ("http://127.0.0.1:8080/jwks", "http://127.0.0.1:8080/jwks", "/jwks"),
        ("http://[::1]/jwks", "http://[::1]/jwks", "/jwks"),
        ("http://localhost/jwks", "http://localhost/jwks", "/jwks"),
        ("http://plain.example/jwks", "http://plain.example/jwks", "/jwks"),
    ],
)
def test_accepted(text: str, shown: str, target: str) -> None:
    """An https URL is accepted, and http for loopback and the hosts of the setting; a message has no query."""
    url = parse(text, ["plain.example"])
    assert (str(url), url.target) == (shown, target)


@pytest.mark.parametrize(
    "text",
    [
        "", "idp.example", "//idp.example/", "ftp://idp.example/", "file:///etc/passwd", "https:///jwks",
        "https://user@idp.example/", "https://user:password@idp.example/", "https://idp.example/#a",
        "https://idp.example\\@evil.example/", "https://idp.example/\r\nHost: evil", "https://idp.example/a b",
        "https://idp.example:0/", "https://idp.example:65536/", "https://idp.example:/", "https://[::1/",
        "https://[1:2]/", "https://[fe80::1%eth0]/", "https://b\u00fccher.example/", "https://idp..example/",
        "https://idp.example/" + "a" * 2048, "http://idp.example/", "http://sub.plain.example/",
        "http://127.0.0.1.evil.example/", "http://localhost.evil.example/", "http://10.0.0.1/",
    ],
)  # fmt: skip
def test_refused(text: str) -> None:
    """Anything else is refused: other schemes, user information, fragments, blanks, and http to other hosts."""
    with pytest.raises(RuleError):
        parse(text, ["plain.example"])
