"""Recognition of pasted text."""

import base64
import json
from urllib.parse import quote

import pytest

from datafor_token.tokens.pasted import Kind, recognise

TOKEN = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJFUlAiOiJhZG1pbiIsImV4cCI6MTcyMzAxNTkxNn0"
    ".uEmUwBfNAd5FtzjPPrldU9bierng7fd8rCVlZtVPY2k"
)
OTHER = f"{TOKEN[:-4]}AAAA"
RANDOM = "A1b2" * 10 + "xyz"
DIGITS = "5ff2b8c59c1f0a6f7a3f1f27f6f2a1d4"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (TOKEN, None),
        (f"\n {TOKEN}\r\n", None),
        (f'"{TOKEN}"', None),
        (f"Bearer {TOKEN}", "the header Authorization"),
        (f"authorization: bearer {TOKEN}", "the header Authorization"),
        (f"curl -u x:y -H 'Authorization: Bearer {TOKEN}' https://h/", "the header Authorization"),
        (f"https://h/datafor/auth/enter?token={TOKEN}&next=/reports", "the parameter token of a URL"),
        (f"https://h/#access_token={TOKEN}", "the parameter access_token of a URL"),
        (f"/sso?next={quote(f'/auth/enter?sso={TOKEN}', safe='')}", "the parameter sso of a URL"),
        (f"Cookie: theme=dark; portal={TOKEN}; JSESSIONID={RANDOM}", "the cookie portal"),
        (f'{{"expires_in": 60, "access_token": "{TOKEN}"}}', "the member access_token of a JSON object"),
        (f"See {TOKEN}, it fails", "the middle of another text"),
    ],
)
def test_a_token_and_what_is_around_it(text: str, where: str | None) -> None:
    """A token is found in a header, a command, a URL, another URL inside it, a cookie, JSON and any other text."""
    found = recognise(text)
    assert (found.kind, found.text, found.where, found.repaired) == (Kind.TOKEN, TOKEN, where, None)


@pytest.mark.parametrize(
    ("text", "difference"),
    [
        (f"{TOKEN[:40]}\n{TOKEN[40:]}", "line breaks or blanks inside"),
        (f"{TOKEN}=", "padding"),
        (TOKEN.replace(".", "%2E"), "percent-encoded"),
        (
            json.dumps(dict(zip(("protected", "payload", "signature"), TOKEN.split("."), strict=True))),
            "JSON",
        ),
    ],
)
def test_a_damaged_token(text: str, difference: str) -> None:
    """A token that a program or person has damaged is repaired, and the difference is named."""
    found = recognise(text)
    assert (found.kind, found.text) == (Kind.TOKEN, TOKEN)
    assert difference in (found.repaired or "")


def test_several_tokens() -> None:
    """Of several tokens the first is taken, and the others are counted, each once."""
    found = recognise(f"access: {TOKEN} id: {OTHER} again: {TOKEN}")
    assert (found.text, found.others) == (TOKEN, 1)


@pytest.mark.parametrize(
    ("text", "kind", "inside"),
    [
        (RANDOM, Kind.RANDOM, RANDOM),
        (RANDOM * 2, Kind.RANDOM, RANDOM * 2),
        (f"https://h/auth/enter?ticket={RANDOM}", Kind.TICKET, RANDOM),
        (f'curl "https://h/auth/enter?ticket={RANDOM}"', Kind.TICKET, RANDOM),
        (f"Set-Cookie: JSESSIONID={RANDOM}; Path=/", Kind.SESSION, RANDOM),
        (f"datafor_gate={RANDOM * 2}", Kind.SESSION, RANDOM * 2),
        (DIGITS * 2, Kind.SESSION, DIGITS * 2),
        (DIGITS.upper(), Kind.IDENTIFIER, DIGITS),
        (f"Reference: {DIGITS}.", Kind.IDENTIFIER, DIGITS),
        (f"编号:{DIGITS}", Kind.IDENTIFIER, DIGITS),
        (f'{{"msg":"no","request_id":"{DIGITS}"}}', Kind.IDENTIFIER, DIGITS),
        (f"https://h/console/tokens?request_id={DIGITS}", Kind.IDENTIFIER, DIGITS),
        (f"hmac-{DIGITS}{'0' * 32}", Kind.IDENTIFIER, DIGITS),
        (
            f'{{"event":"token_generated","request_id":"{"0" * 32}","target":{{"token":"{DIGITS}"}}}}',
            Kind.IDENTIFIER,
            DIGITS,
        ),
        (
            f'{{"event":"sign_in_refused","request_id":"{DIGITS}","target":{{"token":"{"0" * 32}"}}}}',
            Kind.IDENTIFIER,
            DIGITS,
        ),
        (DIGITS[:12], Kind.FORMER_IDENTIFIER, DIGITS[:12]),
        ("https://h/?token=cut-off", Kind.TOKEN, "cut-off"),
        (TOKEN[:60], Kind.TOKEN, TOKEN[:60]),
        ("a.b.c", Kind.TOKEN, "a.b.c"),
    ],
)
def test_texts_of_this_service(text: str, kind: Kind, inside: str) -> None:
    """Links, tickets, cookies, identifiers and references are found, and what should be a token."""
    found = recognise(text, {"token"})
    assert (found.kind, found.text) == (kind, inside)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.aa.bb.cc.dd", Kind.ENCRYPTED),
        ("Bearer eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..bb.cc.dd", Kind.ENCRYPTED),
        ('{"protected":"eyJ","iv":"a","ciphertext":"b","tag":"c"}', Kind.ENCRYPTED),
        ("v2.local.QAxIpVe-ECVNI1z4xQbm_qQYomyT3h8FtV8bxkz8pBJWkT8f", Kind.PASETO),
        ("v4.public.eyJkYXRhIjoidGhp.Zm9v", Kind.PASETO),
        ('<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol">', Kind.SAML),
        (base64.b64encode(b'<?xml version="1.0"?><saml:Assertion ID="a"/>').decode(), Kind.SAML),
        (f"SAMLResponse={quote(base64.b64encode(b'<samlp:Response ID=1234/>').decode())}", Kind.SAML),
        ('{"keys":[{"kty":"RSA","n":"x","e":"AQAB"}]}', Kind.KEY_SET),
        ('{"kty":"EC","crv":"P-256","x":"a","y":"b"}', Kind.KEY_SET),
        ('{"kty":"oct","k":"c2VjcmV0"}', Kind.PRIVATE_KEY),
        ('{"keys":[{"kty":"EC","d":"a"}]}', Kind.PRIVATE_KEY),
        ('{"issuer":"https://id","jwks_uri":"https://id/keys"}', Kind.DISCOVERY),
        ("-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----", Kind.PUBLIC_KEY),
        ("-----BEGIN RSA PRIVATE KEY-----\nMFkw", Kind.PRIVATE_KEY),
        ("-----BEGIN CERTIFICATE-----\nMFkw", Kind.CERTIFICATE),
        ('{"sub":"lena","exp":1723015916}', Kind.CLAIMS),
        ("Authorization: Basic YWRtaW46cGFzc3dvcmQ=", Kind.PASSWORD),
        ("curl -u admin:password https://h/", Kind.PASSWORD),
        ("https://h/reports?year=2026", Kind.URL),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", Kind.OPAQUE),
        ("", Kind.NOTHING),
        (" \n\ufeff", Kind.NOTHING),
        ("what is this", Kind.NOTHING),
        ("{}", Kind.NOTHING),
        ('{"a":', Kind.NOTHING),
        ("[" * 100, Kind.NOTHING),
        ('{"a":' * 100 + "1" + "}" * 100, Kind.NOTHING),
        ("\ud800", Kind.NOTHING),
        ("\0", Kind.NOTHING),
        ("<html>404</html>", Kind.NOTHING),
    ],
)
def test_texts_of_other_systems(text: str, kind: Kind) -> None:
    """Tokens, keys and documents of other systems are distinguished, and anything else is nothing."""
    assert recognise(text, {"token"}).kind is kind


def test_a_secret_is_not_shown() -> None:
    """The representation of a recognised text, which may reach a log, has no part of it."""
    assert TOKEN[:10] not in repr(recognise(TOKEN))
    assert RANDOM[:10] not in repr(recognise(RANDOM))


@pytest.mark.parametrize(
    "part", ["eyJ", "eyJa.", "curl ", "basic ", "?", "a=b;", "ticket=", "%25", "{", ".", '"a":"', "A"]
)
def test_long_texts(part: str) -> None:
    """A text of a megabyte is recognised in a time that grows with its length only."""
    recognise(part * (1024 * 1024 // len(part)), {"a"})
