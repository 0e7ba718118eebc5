"""A copy of the data folder: neither a token nor a secret, nor anything that shows whether a guess of one is right."""

import base64
import hashlib
import hmac
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Flask

from datafor_token.crypto.keys import Key
from datafor_token.operations.installation import COLLECTIONS
from datafor_token.operations.services import Services
from datafor_token.settings import Settings
from datafor_token.tokens import identifiers
from tests.conftest import Caller, services_in
from tests.stores import KIND, audit_text, records_in
from tests.support import (
    ADMIN_PASSWORD,
    STRONG_SECRET,
    Clock,
    application,
    basic,
    key_for,
    only_key,
    private_pem,
    public_pem,
)

LOGIN = "/plugin/datafor/api/extension/auth/login"
ALGORITHMS = ("HS256", "HS512", "RS256", "PS256", "ES256", "ES512", "EdDSA")
PASSWORD, CLAIM = "marked-initial-password", "marked-claim-of-the-payload"
BEFORE = "Previous-Vx7_q2LkfP9-sT4mZ0aWcY8nB1eRgHjU3oKiD6tQyXw-secret-of-64-bytes"


def everything_stored(settings: Settings) -> bytes:
    """Return the names and contents of all files, and of all records of a database."""
    stored = [path.name.encode() + b"\n" + path.read_bytes() for path in settings.data_dir.rglob("*") if path.is_file()]
    if KIND != "file":
        for collection in COLLECTIONS:
            stored += [f"{one.name}\n{one.read_text()}".encode() for one in records_in(settings.data_dir, collection)]
        stored.append(audit_text(settings.data_dir).encode())
    return b"\n".join(stored)


def spellings(data: bytes) -> Iterator[bytes]:
    """Yield the bytes as they are, in hex and in Base64, each cut where a part of it would still help."""
    yield data
    yield data.hex()[:12].encode()
    yield data.hex()[:12].upper().encode()
    yield base64.b64encode(data)[:16]
    yield base64.urlsafe_b64encode(data)[:16]


def digests(token: str, key: Key) -> Iterator[bytes]:
    """Yield the hashes of a token, and of its parts, that somebody without the key of the service can compute."""
    signed, _, signature = token.rpartition(".")
    material = key.kid or key.material.decode()
    texts = (token, signed, signature, signed + material, material + signed, material, f"{signed}\0{material}")
    for text in texts:
        for name in ("md5", "sha1", "sha256", "sha384", "sha512"):
            yield hashlib.new(name, text.encode()).digest()
    yield bytes.fromhex(identifiers.digest(signed.encode(), key))


def private_parts(key: Any) -> Iterator[bytes]:
    """Yield what identifies a private key: its numbers, and the lines of its PEM."""
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    yield der
    yield from (text.encode() for text in private_pem(key).splitlines()[1:-1] if len(text) > 30)
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.private_numbers()
        yield from (number.to_bytes(256, "big").lstrip(b"\0") for number in (numbers.d, numbers.p, numbers.q))
    elif hasattr(key, "private_numbers"):
        yield key.private_numbers().private_value.to_bytes(66, "big").lstrip(b"\0")
    else:
        yield key.private_bytes_raw()


def keyless(text: str) -> Iterator[bytes]:
    """Yield hashes of a text, also keyed with what anybody can guess."""
    for name in ("md5", "sha1", "sha256", "sha384", "sha512"):
        yield hashlib.new(name, text.encode()).digest()
        for key in ("ERP", "admin", "HS256", "fingerprints", "datafor_token", text):
            yield hmac.digest(key.encode(), text.encode(), name)


class Traces(NamedTuple):
    """The tokens that were used, other texts that must stay unknown, the key of the tokens, and their private key.

    ``random`` are those texts that are too long to be guessed: cookies and tickets, which are stored as hashes.
    """

    tokens: list[str]
    texts: list[str]
    random: list[str]
    key: Key
    private: Any


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def register(caller: Caller, algorithm: str) -> tuple[str, Any]:
    """Register an application and return its secret and its private key; a shared secret has a previous one."""
    wanted = application(algorithm=algorithm, initpwd=PASSWORD)
    if not algorithm.startswith("HS"):
        private = key_for(algorithm)
        assert caller.post("update", {**wanted, "secret": public_pem(private)}).status_code == 200
        return public_pem(private), private
    secret = STRONG_SECRET + STRONG_SECRET
    assert caller.post("update", {**wanted, "secret": BEFORE, "self_service": "1"}).status_code == 200
    assert caller.post("rotate", {"name": "ERP", "secret": secret, "grace": 3600}).status_code == 200
    return secret, None


def use_everything(services: Services, caller: Caller, clock: Clock, algorithm: str) -> Traces:
    """Issue, use, refuse and revoke tokens in every way, and open sessions and links."""
    secret, private = register(caller, algorithm)
    sent = {} if private is None else {"privateKey": private_pem(private)}
    tokens = {}
    for user in ("live", "text", "id", "cut", "gate", "altered"):
        clock.advance(1)
        body = {"username": user, "payload": {"note": CLAIM}, **sent}
        token = tokens[user] = caller.post("generate", body).json["token"]
        assert caller.get("/auth/check", headers=bearer(token)).status_code == 200
    assert caller.get(f"/auth/enter?token={tokens['gate']}&next=/", headers={}).status_code == 303
    # A token in place of a ticket.
    assert caller.get(f"/auth/enter?ticket={tokens['live']}&next=/", headers={}).status_code == 401
    caller.post("revoke", {"token": tokens["text"]})
    services.revocations.add_identifier(caller.get("issued?user=id").json["data"][0]["id"])
    services.cut_offs.set("cut", None, None)
    signed, _, signature = tokens["altered"].rpartition(".")
    tokens["other signature"] = f"{signed}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
    for name in ("text", "id", "cut", "other signature"):
        assert caller.get("/auth/check", headers=bearer(tokens[name])).status_code == 401
    if private is None:
        tokens["personal"] = caller.post("personal").json["token"]
        caller.get("/auth/check", headers=bearer(tokens["personal"]))
    caller.post("explain", {"token": tokens["text"]})
    caller.post("introspect", {"token": tokens["live"]})
    links = [caller.post("link", {"username": user}).json["url"] for user in ("live", "linked")]
    assert caller.get(links[0], headers={}).status_code == 303
    login = caller.post(LOGIN, {"username": "admin", "password": ADMIN_PASSWORD}, headers={})
    random = [login.json["jsessionid"], *(link.partition("ticket=")[2] for link in links)]
    texts = [ADMIN_PASSWORD, PASSWORD, CLAIM, *random]
    texts += [BEFORE, secret] if private is None else []
    refuse_everything(caller, [*tokens.values(), *(text for text in texts if text != CLAIM)])
    services.history.flush()
    # What was only counted.
    services.audit.finish()
    return Traces(list(tokens.values()), texts, random, only_key(algorithm, secret), private)


def refuse_everything(caller: Caller, texts: list[str]) -> None:
    """Send each text in place of each other one: as token, ticket, cookie, name and password."""
    for number, text in enumerate(texts):
        altered = f"{text[:-1]}{'A' if text[-1] != 'A' else 'B'}"
        for header in (f"Bearer {altered}", f"Basic {altered}", altered):
            caller.get("/auth/check", {"Authorization": header})
        for name, password in ((text, "x"), (f"user{number}", altered)):
            address = {"REMOTE_ADDR": f"192.0.2.{number}"}
            caller.get("issued", basic(name, password), environ_overrides=address)
            caller.post(LOGIN, {"username": name, "password": password}, headers={}, environ_overrides=address)
        for parameter in ("token", "ticket", "next"):
            caller.get(f"/auth/enter?{parameter}={quote(altered)}", headers={})
        caller.get("/auth/check", {"Cookie": f"datafor_gate={altered}; JSESSIONID={altered}"})
        caller.post("explain", {"token": altered})
        caller.post("introspect", {"token": text[: len(text) // 2]})
    for number in range(100):
        # A flood: most of it is only counted.
        caller.get("/auth/check", {"Authorization": f"Bearer {texts[0][: -1 - number]}"})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nothing_of_a_token_or_secret(
    app: Flask, caller: Caller, settings: Settings, clock: Clock, algorithm: str
) -> None:
    """After tokens were issued, used, refused and revoked in every way, data has none of them and no hash of them."""
    used = use_everything(services_in(app), caller, clock, algorithm)
    stored = everything_stored(settings)
    # The search looks at the right place.
    assert all(
        word in stored
        for word in (b"tokens_cut_off", b"token_revoked", b"hmac-", b"sign_in_refused", b"username_claim")
    )
    # Of each text its beginning: some were altered before they were sent.
    searched = [text[:16].encode() for text in (*used.texts, *used.tokens)]
    for token in used.tokens:
        signature = token.rpartition(".")[2]
        searched += [part[:24].encode() for part in token.split(".")[1:]]
        searched += spellings(base64.urlsafe_b64decode(signature + "=="))
        searched += [spelling for digest in digests(token, used.key) for spelling in spellings(digest)]
    guessable = [text for text in used.texts if text not in used.random]
    searched += [spelling for text in guessable for digest in keyless(text) for spelling in spellings(digest)]
    if used.private is not None:
        searched += [spelling for part in private_parts(used.private) for spelling in spellings(part)]
    assert [one for one in searched if one in stored] == []


@pytest.mark.file_store
def test_the_search_finds_an_unkeyed_hash(
    app: Flask, caller: Caller, settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search of this module finds a token that is named by its plain digest."""
    monkeypatch.setattr(identifiers.Identifiers, "present", lambda _, digest: f"hmac-{digest}")
    caller.post("update", application(secret=STRONG_SECRET))
    token = caller.post("generate", {"username": "lena"}).json["token"]
    found = [spelling for digest in digests(token, only_key("HS256", STRONG_SECRET)) for spelling in spellings(digest)]
    assert any(spelling in everything_stored(settings) for spelling in found)
