"""``python -m tests.bench.rehearsals [postgresql]``: how long a rehearsal takes, and what the kept sign-ins weigh.

500 and 20,000 users sign in once on each of 14 days, with a token of one of three applications.
"""

import functools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask

from datafor_token import create_app
from datafor_token.operations.services import Services
from datafor_token.rehearsal.fingerprints import Fingerprints
from datafor_token.rehearsal.records import COLLECTION, DAY, Circumstances, KeptSignIn, UserRecord
from datafor_token.settings import Settings
from datafor_token.users.users import User
from tests.conftest import services_in
from tests.handmade_tokens import NOW
from tests.processes import run_command
from tests.store.postgres import Postgres
from tests.support import ADMIN_PASSWORD, API, STRONG_SECRET, Clock, application, basic

_USERS, _DAYS, _ROUNDS = (500, 20_000), 14, 3
_NAMES = ("ERP", "CRM", "Portal")


def _fields(name: str, **changes: Any) -> dict[str, Any]:
    # Each application has a secret of its own.
    fields = {"secret": f"{name}{STRONG_SECRET}", "inituser": "1", "audience": ["erp"], "token_types": ["JWT"]}
    return application(name=name, **{**fields, **changes})


_CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "networks, nobody": ("update", _fields("ERP", networks=["10.0.0.0/8"], dry_run="1")),
    "networks, all of ERP": ("update", _fields("ERP", networks=["192.0.2.0/24"], dry_run="1")),
    "require": ("update", _fields("ERP", require={"dept": "sales"}, dry_run="1")),
    "LEEWAY, all applications": ("rehearse", {"leeway": 5}),
}


def main() -> None:
    """Print the median time of each rehearsal, and the bytes of a sign-in."""
    is_postgresql = sys.argv[1:] == ["postgresql"]
    database = Postgres(safe=False, trusting=True).make().start() if is_postgresql else None
    say(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {'PostgreSQL' if database else 'files'}")
    try:
        for number in _USERS:
            if database is not None:
                database.ask("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
            with tempfile.TemporaryDirectory() as folder:
                if database is not None:
                    run_command(Path(folder), "store", "init", DATAFOR_TOKEN_STORE=database.url())
                _measure(number, Path(folder), "file" if database is None else database.url())
    finally:
        if database is not None:
            database.remove()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _measure(number: int, folder: Path, store: str) -> None:
    app = _app(folder, store)
    services = services_in(app)
    written = sum(len(json.dumps(document)) for document in _write(services, number))
    say(f"{number:6} users, {number * _DAYS} sign-ins: {written / number / _DAYS:.0f} bytes each")
    read = _median(lambda: sum(1 for _ in services.history.every(0, services.users.get)))
    say(f"{number:6} users: {read:7.3f} s to read the records")
    client = app.test_client()

    def rehearse(call: str, fields: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = client.post(f"{API}/{call}", json=fields, headers=basic()).get_json()["rehearsal"]
        return found

    for what, (call, fields) in _CHANGES.items():
        found = rehearse(call, fields)
        taken = _median(functools.partial(rehearse, call, fields))
        say(f"{number:6} users: {taken:7.3f} s {what}: {found['refused']} of {found['sign_ins']} refused")


def _median(call: Callable[[], object]) -> float:
    times = []
    for _ in range(_ROUNDS):
        # Of the processor: other programs do not count. With PostgreSQL, its own time is not in it.
        begun = time.process_time()
        call()
        times.append(time.process_time() - begun)
    return statistics.median(times)


def _app(folder: Path, store: str) -> Flask:
    os.environ["DATAFOR_TOKEN_ADMIN_PASSWORD"] = ADMIN_PASSWORD
    (folder / "config").mkdir()
    settings = Settings(config_dir=folder / "config", data_dir=folder / "data", store=store, log_level="ERROR")
    app = create_app(settings, clock=Clock(NOW + (_DAYS - 1) * DAY + 50_000))
    for name in _NAMES:
        assert app.test_client().post(f"{API}/update", json=_fields(name), headers=basic()).status_code == 200
    return app


def _write(services: Services, number: int) -> list[Any]:
    """Write users and their sign-ins, as the service stores them, and return the records of sign-ins."""
    documents = []
    fingerprints = Fingerprints(services.keyring.derive_all("fingerprints"))
    signers = {name: next(services.registry.get(name).accepted_signers(0)) for name in _NAMES}
    keys = {name: fingerprints.present(signer.key) for name, signer in signers.items()}
    for index in range(number):
        user = User(name=f"user{index}", application=_NAMES[index % 3], created_date=1)
        services.store.put("users", user.to_document())
        document = _record(user, _NAMES[index % 3], keys[_NAMES[index % 3]], index).to_document()
        services.store.put(COLLECTION, document)
        documents.append(document)
    return documents


def _record(user: User, name: str, key: str, index: int) -> UserRecord:
    circumstances = Circumstances(
        application=name,
        algorithm="HS256",
        key=key,
        is_known=True,
        typ="JWT",
        claims=("loginname", "iat", "exp", "aud", "iss", "name", "email"),
        username_claim="loginname",
        values={"aud": "erp", "iss": "https://portal.example.com"},
    )
    sign_ins = [
        KeptSignIn(
            user=user.name,
            circumstances=circumstances,
            token=f"hmac-{index:032x}{day:032x}",
            address=f"10.{index // 65536}.{index // 256 % 256}.{index % 256}",
            time=NOW + day * DAY + index % 40_000,
            late=None,
            request_id=f"{index:016x}{day:016x}",
            times={"iat": NOW + day * DAY, "exp": NOW + day * DAY + 50_000},
        )
        for day in range(_DAYS)
    ]
    return UserRecord(user.name, 1, {one.place: one for one in sign_ins})


if __name__ == "__main__":
    main()
