"""Origins as browsers send them."""

import pytest

from datafor_token.errors import RuleError
from datafor_token.validation.origins import check_origins, is_plain_http


@pytest.mark.parametrize(
    "origin",
    [
        "https://portal.example", "https://portal.example:8443", "http://localhost:8080", "http://portal", "https://10.0.0.1",
        "https://xn--mnchen-3ya.example", "https://a-b.example", "http://portal.example:443", "https://portal.example:80",
        "https://a:65535",
    ],
)  # fmt: skip
def test_an_origin(origin: str) -> None:
    """A scheme, a host in ASCII and a port that is not the default one are an origin."""
    check_origins([origin])


@pytest.mark.parametrize(
    ("origin", "fault"),
    [
        ("*", "stands for pages of any site"),
        ("null", "stands for pages of any site"),
        ("https://*.example", "stands for pages of any site"),
        ("portal.example", "has no scheme"),
        ("", "has no scheme"),
        ("ftp://portal.example", "has no scheme"),
        ("https://münchen.example", "write the xn-- form"),
        ("https://\uff50ortal.example", "write the xn-- form"),
        ("https://lena@portal.example", "has a user name"),
        ("https://portal.example/", "a slash at its end"),
        ("https://portal.example/a/b", "has a path"),
        ("https://portal.example?a=b", "has a path"),
        ("https://portal.example#a", "has a path"),
        ("https://[2001:db8::1]", "has an IPv6 address"),
        ("HTTPS://portal.example", "has capital letters"),
        ("https://Portal.example", "has capital letters"),
        ("https://portal.example:443", "has the default port"),
        ("http://portal.example:80", "has the default port"),
        ("https://", "is not a scheme, a host"),
        ("https://a b", "is not a scheme, a host"),
        ("https://a,https:b", "is not a scheme, a host"),
        ("https://a;b", "is not a scheme, a host"),
        ("https://a\nb", "is not a scheme, a host"),
        ("https://a\n", "is not a scheme, a host"),
        ("https://a..b", "is not a scheme, a host"),
        ("https://-a", "is not a scheme, a host"),
        ("https://a.", "is not a scheme, a host"),
        ("https://a:", "is not a scheme, a host"),
        ("https://a:0", "is not a scheme, a host"),
        ("https://a:65536", "is not a scheme, a host"),
        ("https://a:080", "is not a scheme, a host"),
        (5, "is not a scheme, a host"),
        (None, "is not a scheme, a host"),
    ],
)
def test_no_origin(origin: object, fault: str) -> None:
    """An origin that no browser would send is refused with its number in the list and what to write."""
    with pytest.raises(RuleError) as caught:
        check_origins(["https://good.example", origin])
    start, _, found = caught.value.message.partition(": number 2 ")
    assert start == "must be a list of origins such as https://portal.example"
    assert fault in found


def test_plain_http() -> None:
    """An origin is unprotected over plain http, but for one of this host."""
    assert [one for one in ("https://a", "http://a", "http://localhost:8", "http://127.0.0.1", "http://localhost.a")
            if is_plain_http(one)] == ["http://a", "http://localhost.a"]  # fmt: skip
