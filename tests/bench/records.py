"""Stores of any size, written to disk as records, and requests for them."""

import base64
import hashlib
import hmac
import json
import shutil
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from datafor_token.crypto.at_rest import Keyring
from tests.bench.load import Request
from tests.bench.servers import Running, product
from tests.handmade_tokens import token
from tests.support import API, application, basic, key_for, private_pem, public_pem

DETAIL = "/plugin/datafor-modeler/api/user/detail"
LOGIN = "/plugin/datafor/api/extension/auth/login"
KEYS = ("RS256", "ES256")
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
# Requests are spread over at most so many. The first verification of a token is measured separately.
_APPLICATIONS = 1000
_TOKENS = 10


def secret_of(number: int) -> str:
    """Return the shared secret of an application, the same in each run."""
    return base64.urlsafe_b64encode(hashlib.sha512(f"secret {number}".encode()).digest()).decode()


class Records:
    """``size`` applications and users in a folder, and two applications with RS256 and ES256."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size

    def write(self, first_start: Path) -> "Records":
        """Write them beside the records of a first start: the administrator, and the key that encrypts secrets."""
        shutil.copytree(first_start, self.folder)
        text = (self.folder / "config" / "secret_key").read_text()
        self._keyring = Keyring([base64.urlsafe_b64decode(line) for line in text.split()])
        for number in range(self.size):
            self._write("applications", self._sealed(name_of(number), "HS256", secret_of(number)))
            self._write("users", _user(number))
        for algorithm in KEYS:
            self._write("applications", self._sealed(algorithm.lower(), algorithm, public_pem(key_for(algorithm))))
        return self

    def _sealed(self, name: str, algorithm: str, secret: str) -> dict[str, Any]:
        sealed = self._keyring.encrypt(name, "secret", secret)
        made = {"createdDate": 1, "lastModifiedDate": 1, "creatorId": "admin", "initpwd": ""}
        return {"format": 1, **application(name=name, algorithm=algorithm, secret=sealed, inituser="0"), **made}

    def _write(self, collection: str, record: dict[str, Any]) -> None:
        path = self.folder / "data" / collection / f"{record['name']}.json"
        path.write_text(json.dumps(record, indent=2) + "\n")

    def spread(self, most: int) -> list[int]:
        """Return the numbers of at most so many applications and users, evenly spread."""
        count = min(self.size, most)
        return [number * self.size // count for number in range(count)]

    def generate(self) -> list[Request]:
        """Return requests for tokens by Basic, each of another application."""
        return [generate(number, basic()) for number in self.spread(_APPLICATIONS)]

    def sign_in(self) -> list[Request]:
        """Return requests with tokens, each of another application for another user."""
        return [
            Request("GET", DETAIL, bearer(token_of(number, f"person-{number:06d}"))) for number in self.spread(_TOKENS)
        ]


def name_of(number: int) -> str:
    return f"system-{number:06d}"


def _user(number: int) -> dict[str, Any]:
    name = f"person-{number:06d}"
    return {
        "format": 1,
        "name": name,
        "full_name": f"Person {number}",
        "email": f"{name}@example.com",
        "type": "SYS_Reader",
        "roles": ["Sales"],
        "enabled": True,
        "password": "",
        "created_date": 1,
    }


def token_of(number: int, user: str, **more: Any) -> str:
    """Create a token of an application, without code of the service."""
    return token({"loginname": user, "exp": int(time.time()) + 86400, **more}, secret_of(number))


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def generate(number: int, who: dict[str, str], path: str = f"{API}/generate") -> Request:
    """Return a request for a token with the three fields of the documented client."""
    fields = {"name": name_of(number), "privateKey": secret_of(number), "username": "lena"}
    return Request("POST", path, {**_FORM, **who}, urlencode(fields))


def generate_with_key(algorithm: str, who: dict[str, str], path: str = f"{API}/generate") -> Request:
    """Return the same request with a private key in the body."""
    fields = {"name": algorithm.lower(), "privateKey": private_pem(key_for(algorithm)), "username": "lena"}
    return Request("POST", path, {**_FORM, **who}, urlencode(fields))


def update(number: int) -> Request:
    """Return a request that replaces an application by an equal one."""
    body = application(name=name_of(number), secret=secret_of(number), inituser="0")
    return Request("POST", f"{API}/update", {"Content-Type": "application/json", **basic()}, json.dumps(body))


def wrong_passwords() -> list[Request]:
    """Return wrong sign-ins, each for another name: names have a throttle each."""
    return [Request("GET", DETAIL, basic(f"guess-{number:05d}", "wrong")) for number in range(2000)]


def signed_rightly(text: str, number: int) -> bool:
    """Return whether a token is signed with that application's shared secret, by the standard library alone."""
    signing_input, _, signature = text.rpartition(".")
    found = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    return hmac.compare_digest(found, hmac.digest(secret_of(number).encode(), signing_input.encode(), "sha256"))


def first_start(folder: Path) -> Path:
    """Start the service once in empty folders, and return them."""
    server: Running = product(folder)
    server.stop()
    for left in ("server.log", "gunicorn.conf.py"):
        (folder / left).unlink()
    return folder


def write_keys(folder: Path) -> Path:
    """Write the private keys of the baseline."""
    folder.mkdir()
    for algorithm in KEYS:
        (folder / f"{algorithm}.pem").write_text(private_pem(key_for(algorithm)))
    return folder
