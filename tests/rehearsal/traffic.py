"""A week of sign-ins by three applications, written through two workers with a shifted clock, and its replay."""

import base64
import dataclasses
import functools
import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from flask import Flask
from flask.testing import FlaskClient

from datafor_token import create_app
from datafor_token.gate.gate import TICKETS
from datafor_token.settings import Settings
from datafor_token.store.base import Document
from datafor_token.tokens.networks import ClientSource
from datafor_token.tokens.verification import Verification
from datafor_token.users.sessions import record_name
from tests.commands import invoke
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller, services_in
from tests.handmade_tokens import NOW, part, token
from tests.stores import KIND, url_for
from tests.support import STRONG_SECRET, Clock, application, basic, key_for, public_pem

DAY = 86_400
INSIDE, OUTSIDE, PROXY = "10.0.0.7", "192.0.2.9", "172.16.0.1"
DETAIL = "/plugin/datafor-modeler/api/user/detail"
# ERP and CRM have the same secret. No rule of CRM is about claims, so that it accepts personal tokens.
ERP = application(
    name="ERP",
    secret=STRONG_SECRET,
    inituser="1",
    audience=["erp", "both"],
    token_types=["JWT", "at+jwt"],
    require={"dept": ["sales", "support"], "/realm/site": ["north", "south"]},
)
CRM = application(
    name="CRM", token_name="crm_token", secret=STRONG_SECRET, inituser="1", audience="*", self_service="1",
    expire=2 * DAY,
)  # fmt: skip
PORTAL = application(
    name="Portal",
    token_name="portal_token",
    algorithm="RS256",
    secret=public_pem(key_for("RS256")),
    inituser="1",
    audience=["portal", "api"],
    issuer="https://id.example.com",
    token_types=["JWT", "at+jwt"],
    fieldmap={"username": "sub", "name": "name", "email": "email"},
)
NEW_SECRET = STRONG_SECRET[::-1]
PASSWORD = "the-Password-of-a-user"
KINDS = ("ERP", "generated", "Portal", "personal", "link", "CRM")
WAYS = ("bearer", "url", "header", "gate", "enter")
ISSUERS: Sequence[dict[str, Any]] = ({}, {"iss": "portal"}, {"iss": "login.example.com"}, {"iss": "x" * 600})
AUDIENCES: Sequence[dict[str, Any]] = (
    {"aud": "erp"}, {"aud": ["crm", "both"]}, {}, {"aud": ["erp", *(f"https://api{n}.example.com" for n in range(30))]},
    {"aud": "crm"},
)  # fmt: skip
BY_NAME = {one["name"]: one for one in (ERP, CRM, PORTAL)}


class Use(NamedTuple):
    """A use of a token or of a one-time link. ``text`` is replayed: of a link, another one that is not used yet."""

    key: str
    text: str
    way: str
    token_name: str
    address: str
    time: float

    @property
    def sign_in(self) -> tuple[str, int, str]:
        """The token, the day, and the address: with the same ones, it counts once."""
        return self.key, int(self.time // DAY), self.address


class Refusal(NamedTuple):
    """A refused sign-in: the user, the client's address, and for a token the reason and the application, if known."""

    user: str
    address: str
    reason: str
    application: str


def signed_elsewhere(claims: dict[str, Any], typ: str = "at+jwt") -> str:
    """Return a token with RS256 that the service did not sign."""
    signing_input = f"{part({'typ': typ, 'alg': 'RS256'})}.{part(claims)}"
    signature = key_for("RS256").sign(signing_input.encode(), padding.PKCS1v15(), SHA256())
    return f"{signing_input}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def open_at(settings: Settings, clock: Clock) -> Flask:
    """Return a worker on the store of the settings."""
    return create_app(settings, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)


def copy(settings: Settings, folder: Path) -> Settings:
    """Copy all data to a folder, and return the settings for it."""
    folder.mkdir()
    shutil.copytree(settings.config_dir, folder / "config")
    shutil.copytree(settings.data_dir, folder / "data")
    copied = dataclasses.replace(settings, config_dir=folder / "config", data_dir=folder / "data")
    if KIND == "file":
        return copied
    url = url_for(folder / "data")
    _copy_rows(settings.store, url)
    return dataclasses.replace(copied, store=url)


def _copy_rows(source: str, target: str) -> None:
    from datafor_token.store.sql.engine import Database

    one, other = Database(source, 30, 30), Database(target, 30, 30)
    with one.writing(None) as reading, other.writing(None) as writing:
        for table in ("datafor_records", "datafor_generations"):
            rows = [dict(row) for row in reading.execute(sa.text(f"SELECT * FROM {table}")).mappings()]  # noqa: S608
            writing.execute(sa.text(f"DELETE FROM {table}"))  # noqa: S608
            if rows:
                names = ", ".join(rows[0])
                values = ", ".join(f":{name}" for name in rows[0])
                writing.execute(sa.text(f"INSERT INTO {table} ({names}) VALUES ({values})"), rows)  # noqa: S608
        writing.commit()
    one.close()
    other.close()


class Week:
    """A week of sign-ins of ``people`` users, by two workers in turns."""

    def __init__(self, settings: Settings, clock: Clock, people: int) -> None:
        self.settings, self.clock = settings, clock
        self.uses: list[Use] = []
        self.tickets: list[Document] = []
        self.users: dict[str, str] = {}  # by the key of a use
        self._apps = [open_at(settings, clock) for _ in range(2)]
        self._clients = [app.test_client(use_cookies=False) for app in self._apps]
        self._turns = itertools.cycle(range(2))
        self._links = itertools.count()
        self._later: list[tuple[float, str, Use, Use]] = []
        self._people = people

    @property
    def app(self) -> Flask:
        """The first worker."""
        return self._apps[0]

    def post(self, call: str, fields: Any, headers: dict[str, str] | None = None) -> Any:
        """Send a call to the next worker, as the administrator by default."""
        reply = Caller(self._clients[next(self._turns)]).post(call, fields, headers)
        assert reply.status_code == 200, (call, reply.json)
        return reply.json

    def happen(self) -> "Week":
        """Let the week happen, in the order of time."""
        self.clock.now = NOW
        for fields in BY_NAME.values():
            self.post("update", fields)
        for number in range(0, self._people, 3):
            # Others are created by their first token.
            fields = {"username": f"user{number}", "password": PASSWORD, "type": "SYS_Reader"}
            self.post("/plugin/datafor-modeler/api/user/insertOrUpdate", fields)
        planned = [one for number in range(self._people) for one in self._plan_of(number)]
        for time, action in sorted([*planned, *self._changes()], key=lambda one: one[0]):
            self._use_until(time)
            action()
        self._use_until(NOW + 7 * DAY)
        for app in self._apps:
            services_in(app).history.flush()
        return self

    def _changes(self) -> Iterator[tuple[float, Callable[[], Any]]]:
        """Yield what administrators do in that week, of which a replay knows only the result."""
        rotation = {"name": "CRM", "secret": NEW_SECRET, "grace": 2_000_000}
        yield NOW + 3 * DAY + 1, lambda: self.post("rotate", rotation)
        yield NOW + 4 * DAY + 2, lambda: self._user_command("disable", "user3")
        yield NOW + 4 * DAY + 3, lambda: self._user_command("set", "user4", "--type", "Administrator")
        before = (NOW + 5 * DAY) * 1000
        yield NOW + 5 * DAY + 4, lambda: self.post("revoke", {"user": "user5", "before": before})
        yield NOW + 6 * DAY, lambda: self.post("revoke", {"token": self.uses[0].text})

    def _user_command(self, *arguments: str) -> None:
        result = invoke(self.app, ["user", *arguments])
        assert result.exit_code == 0, result.output

    def _plan_of(self, number: int) -> Iterator[tuple[float, Callable[[], None]]]:
        """Yield what a user does in the week, with the time of each first use."""
        for day in range(4 if number == 3 else 7):  # then user3 is disabled
            begins = NOW + day * DAY + 600 + number * 61 % 30_000
            yield begins, functools.partial(self._sign_in, number, day, begins)

    def _sign_in(self, number: int, day: int, begins: float) -> None:
        """Create a token or link of a user, and use it, also from elsewhere, in other ways, and on the next day."""
        user, turn = f"user{number}", number * 7 + day
        kind, way = KINDS[(number + day) % len(KINDS)], WAYS[(number // 2 + day) % len(WAYS)]
        if kind == "personal" and number % 3:
            kind = "CRM"  # the user has no password
        if kind == "link":
            self._use_link(user, ("ERP", "CRM", "Portal")[turn % 3], begins, INSIDE if turn % 2 else OUTSIDE)
            return
        name, text, expires = self._token(user, kind, turn)
        uses = [(begins, way, INSIDE if turn % 4 else OUTSIDE)]
        if turn % 3 == 0:
            uses.append((begins + 60, way, OUTSIDE if turn % 4 else INSIDE))
        if turn % 5 == 0:
            uses.append((begins + 120, WAYS[(WAYS.index(way) + 2) % len(WAYS)], INSIDE))
        if turn % 4 == 1:
            uses.append((begins + DAY, way, INSIDE))
        if expires < begins + 1000:
            # Within the leeway.
            uses = [(begins, "bearer", INSIDE), (expires + 10, "bearer" if turn % 2 else "header", INSIDE)]
        for time, used, address in uses:
            # No session begins with a token that has expired, though the leeway allows one.
            if time < expires + (20 if used in ("bearer", "header") else 0):
                self._use(user, Use(text, text, used, BY_NAME[name]["token_name"], address, time))

    def _token(self, user: str, kind: str, turn: int) -> tuple[str, str, float]:
        """Return an application, a token for it, and the time when that expires."""
        now = self.clock.now
        lifetime = (3600, 2 * DAY, 100, 7200, 2 * DAY)[turn % 5]
        issued = {"iat": now + (20 if turn % 11 == 1 else 0)} if turn % 9 else {}
        common = {**issued, "exp": now + lifetime, **({"nbf": now - 5} if turn % 2 else {})}
        if kind == "personal":
            found = self.post("personal", {"name": "CRM"}, basic(user, PASSWORD))
            return "CRM", found["token"], found["expires_at"] / 1000
        if kind == "generated":
            payload = {"dept": ("sales", "support")[turn % 2], "/realm/site": ("north", "south")[turn % 3 % 2]}
            fields = {"name": "ERP", "privateKey": STRONG_SECRET, "username": user, "payload": payload}
            return "ERP", self.post("generate", fields)["token"], now + ERP["expire"]
        if kind == "Portal":
            claims = {"sub": user, "aud": ("portal", ["api", "erp"])[turn % 2], "iss": PORTAL["issuer"], **common}
            if turn % 3 == 0:
                claims["uid"] = user
            return "Portal", signed_elsewhere(claims, ("at+jwt", "JWT", "application/at+jwt")[turn % 3]), claims["exp"]
        claims = {"loginname": user, **common, **ISSUERS[turn % len(ISSUERS)]}
        if kind == "ERP":
            claims |= {
                "dept": ("sales", ["support", "it"])[turn % 2],
                "realm": {"site": ("north", "south")[turn % 3 % 2]},
            }
            claims |= AUDIENCES[turn % len(AUDIENCES)]
        elif turn % 2:
            claims["aud"] = ("crm", ["crm", "shop.example.com"])[turn % 3 % 2]
        secret = NEW_SECRET if kind == "CRM" and now > NOW + 5 * DAY else STRONG_SECRET
        header = {"typ": ("JWT", "at+jwt")[turn % 2] if kind == "ERP" else "JWT", "alg": "HS256"}
        return kind, token(claims, secret, header), claims["exp"]

    def _use_link(self, user: str, name: str, time: float, address: str) -> None:
        fields = {"name": name, "username": user, "next": "/", "ttl": 600}
        one, other = (self.post("link", fields)["url"].partition("ticket=")[2] for _ in range(2))
        key = f"link {next(self._links)}"
        document = services_in(self.app).store.get(TICKETS, str(record_name(other)))
        assert document is not None
        self.tickets.append(document)
        self._use(user, Use(key, one, "link", "", address, time), Use(key, other, "link", "", address, time))

    def _use(self, user: str, use: Use, replayed: Use | None = None) -> None:
        """Use a token or link at its time."""
        self._later.append((use.time, user, use, replayed or use))
        self._use_until(self.clock.now)

    def _use_until(self, now: float) -> None:
        """Use those whose time has come, and list the accepted ones."""
        due = sorted((one for one in self._later if one[0] <= now), key=lambda one: one[0])
        self._later = [one for one in self._later if one[0] > now]
        for time, user, use, replayed in due:
            self.clock.now = time
            if sent(self._clients[next(self._turns)], use):
                self.uses.append(replayed)
                self.users[use.key] = user
        self.clock.now = now


def sent(client: FlaskClient, use: Use) -> bool:
    """Send a use, through a trusted proxy; return whether it signs in."""
    headers = {"X-Forwarded-For": use.address}
    query: dict[str, str] = {}
    match use.way:
        case "bearer":
            path, headers["Authorization"] = DETAIL, f"Bearer {use.text}"
        case "header":
            path, query, headers["X-Api-Token"] = "/auth/check", {"header": "X-Api-Token"}, use.text
        case "url":
            path, query = DETAIL, {use.token_name: use.text}
        case "gate":
            path, headers["X-Forwarded-Uri"] = "/auth/check", f"/page?{use.token_name}={use.text}"
        case "enter":
            path, query = "/auth/enter", {use.token_name: use.text, "next": "/"}
        case _:
            path, query = "/auth/enter", {"ticket": use.text}
    reply = client.get(path, query_string=query, headers=headers, environ_overrides={"REMOTE_ADDR": PROXY})
    assert reply.status_code in (200, 303, 401), (use.way, reply.status_code, reply.text)
    return reply.status_code != 401


class Copy:
    """A worker on a copy of the data after a week, to be changed; ``settings`` are other settings than the week's."""

    def __init__(self, week: Week, folder: Path, **settings: Any) -> None:
        self._week = week
        self.app = open_at(dataclasses.replace(copy(week.settings, folder), rehearsal_days=0, **settings), week.clock)
        self._services = services_in(self.app)
        self._records = {name: self._documents(name) for name in ("users", "cut_offs", "revocations", "applications")}
        self._verifications: list[Verification] = []
        self._verify = self._services.signin.sign_in
        self._services.signin.sign_in = self._noticed  # type: ignore[method-assign]

    def _documents(self, collection: str) -> list[Document]:
        return [one for _, one in self._services.store.documents(collection) if isinstance(one, dict)]

    def _noticed(self, text: str, token_name: str | None, client: ClientSource) -> Verification:
        self._verifications.append(self._verify(text, token_name, client))
        return self._verifications[-1]

    def restore(self) -> None:
        """Undo all changes of what decides about sign-ins."""
        for collection, documents in self._records.items():
            present = self._documents(collection)
            for document in present:
                if document not in documents:
                    self._services.store.delete(collection, document["name"])
            for document in documents:
                if document not in present:
                    self._services.store.put(collection, document)

    def replay(self) -> dict[tuple[str, int, str], Refusal]:
        """Use the tokens and links of the week again, each at its time; return the sign-ins that are refused."""
        client = self.app.test_client(use_cookies=False)
        refused: dict[tuple[str, int, str], Refusal] = {}
        for document in self._week.tickets:
            # Used before, or removed when they had expired.
            self._services.store.put(TICKETS, document)
        for use in sorted(self._week.uses, key=lambda one: one.time):
            self._week.clock.now = use.time
            self._verifications.clear()
            if not sent(client, use):
                found = self._verifications[-1] if self._verifications else None
                reason = "" if use.way == "link" else "token_name" if found is None else str(found.reason)
                application = found.application.name if found and found.application else ""
                refusal = Refusal(self._week.users[use.key], use.address, reason, application)
                # Of several uses, that in the URL decides.
                if use.sign_in not in refused or use.way in ("url", "gate", "enter"):
                    refused[use.sign_in] = refusal
        self._week.clock.now = NOW + 7 * DAY
        return refused
