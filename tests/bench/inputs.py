"""CPU time of the longest and most awkward inputs, call by call: ``python -m tests.bench.inputs``.

In process, with a cheap password hash: what is measured is what the inputs cost. The shortest of three times.
"""

import base64
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import argon2.profiles
from flask.testing import FlaskClient

from datafor_token import create_app
from datafor_token.crypto import strength
from datafor_token.settings import Settings
from tests.handmade_tokens import part
from tests.support import ADMIN_PASSWORD, API, application, basic

MOST = 65_536  # MAX_CONTENT_LENGTH
_MARKS = "a" + "\u0323\u0301\u0327\u0345" * 20_000
_FORM, _JSON = "application/x-www-form-urlencoded", "application/json"
Case = tuple[str, dict[str, Any]]


def _secrets() -> Iterator[Case]:
    """Return secrets for the strength estimator, which reads 72 characters at most."""
    texts = {
        "one letter": "a" * MOST,
        "two letters in turns": "ab" * MOST,
        "l33t": "p4$5w0rd!@(1|" * MOST,
        "l33t of one word": "p@ssw0rd" * MOST,
        "all l33t signs": "4@8({[<369&#!1/|0$5+7%2" * MOST,
        "digits": "1234567890" * MOST,
        "dates": "1.1.2001" * MOST,
        "keyboard": "qwertyuiop[]asdfghjkl" * MOST,
        "words": "correcthorsebatterystaple" * MOST,
        "not ASCII": "\u00e4\u6f22" * MOST,
    }
    for name, text in texts.items():
        yield (
            f"update, secret: {name}",
            _update(name="Other", secret=text[: MOST // 3 if text.isascii() else MOST // 8]),
        )


def _update(**changes: Any) -> dict[str, Any]:
    return {"path": f"{API}/update", "json": application(**changes)}


def _bodies() -> Iterator[Case]:
    text = _MARKS[: MOST // 3]
    yield "update, name of combining marks", _update(name=text)
    yield "update, role of combining marks", _update(initroles=[text])
    yield "update, 64 roles of combining marks", _update(initroles=[text[:300]] * 64)
    yield "update, claim of combining marks", _update(fieldmap={"username": text, "name": "n", "email": "e"})
    yield "generate, user of combining marks", {"path": f"{API}/generate", "json": {"username": text}}
    yield "login, user of combining marks", {
        "path": "/plugin/datafor/api/extension/auth/login", "json": {"username": text, "password": "x"},
    }  # fmt: skip
    yield (
        "generate, payload of 4,000 claims",
        {
            "path": f"{API}/generate",
            "json": {
                "name": "ERP",
                "privateKey": "abcd",
                "payload": {"username": "u", **{f"c{n}": n for n in range(4000)}},
            },
        },
    )
    for name, body in {
        "arrays": b"[" * MOST,
        "closed arrays": b"[" * (MOST // 2) + b"]" * (MOST // 2),
        "objects": b'{"a":' * (MOST // 5),
        "digits": b'{"expire":' + b"9" * 65_000 + b"}",
        "a fraction": b'{"expire":0.' + b"9" * 65_000 + b"}",
        "an exponent": b'{"expire":1e' + b"9" * 65_000 + b"}",
        "members": json.dumps({f"m{n}": 0 for n in range(6000)}).encode(),
        "escapes": b'{"name":"' + b"\\u0061" * 10_000 + b'"}',
        "surrogates": b'{"name":"' + b"\\ud83d\\ude00" * 5000 + b'"}',
        "a string without end": b'{"name":"' + b"\\\\" * 30_000,
        "empty objects": b"[" + b"{}," * 20_000 + b"{}]",
    }.items():
        yield f"JSON: {name}", {"path": f"{API}/update", "data": body[:MOST], "content_type": _JSON}
    for name, body in {
        "511 fields": b"&".join(b"f%d=x" % n for n in range(511)),
        "ampersands": b"&" * MOST,
        "511 nested fields": b"&".join(b"a[b][c][d][e][f][g][%d]=x" % n for n in range(511)),
        "511 dots": b"&".join(b"a.b.c.d.e.f.g.h%d=x" % n for n in range(511)),
        "one list": b"&".join(b"initroles[]=x" for _ in range(511)),
        "indexed list": b"&".join(b"initroles[%d]=x" % n for n in range(511)),
        "large indexes": b"&".join(b"initroles[%d]=x" % (10**9 + n) for n in range(511)),
        "lists in lists": b"&".join(b"a" + b"[]" * 50 + b"=x" for _ in range(400)),
        "brackets": b"[" * MOST,
        "names of 512 characters": b"&".join(b"a" + b"[b]" * 40 + b"%d=x" % n for n in range(400)),
        "names of brackets": b"&".join(b"a" + b"[" * 120 + b"%d=x" % n for n in range(450)),
        "names of closing brackets": b"&".join(b"a" + b"]" * 120 + b"%d=x" % n for n in range(450)),
        "names of dots": b"&".join(b"a" + b"." * 120 + b"%d=x" % n for n in range(450)),
        "percent signs": b"name=" + b"%" * 65_000,
        "encoded": b"name=" + b"%61" * 21_000,
        "encoded names": b"&".join(quote("a[b][c]" * 8).encode() + b"%d=x" % n for n in range(511)),
        "JSON in a field": b"fieldmap=" + b"[" * 65_000,
        "blanks": b"name=" + b"+" * 65_000,
    }.items():
        yield f"form: {name}", {"path": f"{API}/update", "data": body[:MOST], "content_type": _FORM}
    piece = b'--x\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nv\r\n'
    for name, body in {
        "511 parts": b"".join(piece % n for n in range(511)) + b"--x--\r\n",
        "line breaks": b"--x\r\n" + b"\r\n" * 32_000,
        "dashes": b"-" * MOST,
        "boundaries": b"\r\n--x" * 13_000,
        "half boundaries": piece % 1 + b"\r\n--" * 16_000,
        "one header": b"--x\r\nContent-Disposition: form-data; " + b'a="b"; ' * 9000 + b"\r\n\r\n",
        "many headers": b"--x\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
        "folded headers": b"--x\r\nA: b\r\n" + b" c\r\n" * 16_000 + b"\r\n",
    }.items():
        yield f"multipart: {name}", {
            "path": f"{API}/update", "data": body[:MOST], "content_type": "multipart/form-data; boundary=x",
        }  # fmt: skip


def _headers() -> Iterator[Case]:
    long = 16_000  # limit_request_field_size, nearly
    for name, value in {
        "parameters": "application/x-www-form-urlencoded;" + "a=b;" * (long // 4),
        "one quote": 'multipart/form-data; boundary="' + "\\" * long,
        "quotes": "multipart/form-data;" + ' a="b";' * (long // 7),
        "continuations": "multipart/form-data;" + "".join(f" a*{n}=b;" for n in range(1500)),
        "blanks": "application/json;" + " " * long,
    }.items():
        yield f"Content-Type: {name}", {"path": f"{API}/update", "data": b"{}", "content_type": value}
    header = part({"alg": "HS256", "typ": "JWT"})
    for name, token in {
        "a payload of arrays": f"{header}.{_b64(b'[' * 6000)}.AAAA",
        "a payload of members": f"{header}.{part({f'm{n}': 0 for n in range(550)})}.AAAA",
        "dots": "." * long,
        "a mapped claim of marks": f"{header}.{part({'loginname': _MARKS[:900]})}.AAAA",
        "16,000 characters": "a" * long,
    }.items():
        yield (
            f"Bearer: {name}",
            {"path": "/auth/check", "method": "GET", "headers": {"Authorization": f"Bearer {token}"}},
        )
        yield f"explain: {name}", {"path": f"{API}/explain", "json": {"token": token}}
    yield "explain: 60,000 characters", {"path": f"{API}/explain", "json": {"token": "a.b" * 20_000}}
    yield "Basic: a name of marks", {
        "path": "/auth/check", "method": "GET",
        "headers": {"Authorization": "Basic " + base64.b64encode(f"{_MARKS[:5900]}:x".encode()).decode()},
    }  # fmt: skip
    yield "Basic: a password of 12,000 characters", {
        "path": "/auth/check", "method": "GET",
        "headers": {"Authorization": "Basic " + base64.b64encode(b"lena:" + b"x" * 12_000).decode()},
    }  # fmt: skip
    for name, cookie in {
        "semicolons": ";" * long, "blanks": " " * long, "names": "datafor_gate" * (long // 12),
        "pairs": "a=b; " * (long // 5), "quotes": 'JSESSIONID="' * (long // 12),
    }.items():  # fmt: skip
        yield f"Cookie: {name}", {"path": "/auth/check", "method": "GET", "headers": {"Cookie": cookie}}
        yield f"Cookie, console: {name}", {"path": "/console/", "method": "GET", "headers": {"Cookie": cookie}}
    for name, query in {
        "pairs": "a=b&" * (long // 4),
        "ampersands": "&" * long,
        "percent": "a=" + "%61" * (long // 3),
    }.items():
        yield f"X-Original-URI: {name}", {
            "path": "/auth/check", "method": "GET", "headers": {"X-Original-URI": f"/?{query}"},
        }  # fmt: skip
        yield f"query: {name}", {"path": f"{API}/list?{query[:8000]}", "method": "GET"}
    yield "X-Forwarded-For: addresses", {
        "path": "/auth/check", "method": "GET", "headers": {"X-Forwarded-For": "1.2.3.4, " * (long // 9)},
    }  # fmt: skip
    yield "Accept-Language: 2,000 languages", {
        "path": "/console/sign-in", "method": "GET", "headers": {"Accept-Language": "de;q=0.1," * (long // 9)},
    }  # fmt: skip
    yield "path of 8,000 slashes", {"path": "/" * 8000, "method": "GET"}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _milliseconds(client: FlaskClient, case: dict[str, Any]) -> tuple[float, int]:
    options = {"method": "POST", "headers": basic(), **case}
    path = options.pop("path")
    if "json" in options:
        # Unescaped: an escape is as long as three letters.
        options |= {"data": json.dumps(options.pop("json"), ensure_ascii=False).encode(), "content_type": _JSON}
    found = []
    for _ in range(3):
        strength._guesses_log10.cache_clear()
        begun = time.process_time()
        status = client.open(path, **options).status_code
        found.append((time.process_time() - begun) * 1000)
    return min(found), status


def main() -> None:
    """Print the table, the slowest first."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict("os.environ", DATAFOR_TOKEN_ADMIN_PASSWORD=ADMIN_PASSWORD),
    ):
        config = Path(folder) / "config"
        config.mkdir()
        settings = Settings(config_dir=config, data_dir=Path(folder) / "data", log_level="ERROR", trusted_proxies=1)
        hasher = argon2.PasswordHasher.from_parameters(argon2.profiles.CHEAPEST)
        client = create_app(settings, hasher=hasher).test_client()
        client.post(f"{API}/update", json=application(), headers=basic())
        found = [(*_milliseconds(client, case), name) for name, case in (*_secrets(), *_bodies(), *_headers())]
    sys.stdout.write("| input | status | ms of CPU |\n|---|---|---|\n")
    for taken, status, name in sorted(found, reverse=True):
        sys.stdout.write(f"| {name} | {status} | {taken:.1f} |\n")


if __name__ == "__main__":
    main()
