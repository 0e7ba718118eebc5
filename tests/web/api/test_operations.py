"""``/healthz`` and ``/readyz``."""

import itertools
import threading
from collections.abc import Iterator

import pytest
from flask import Flask

from datafor_token.errors import StoreUnavailable
from datafor_token.settings import Settings
from datafor_token.store.files.store import FileStore
from tests.conftest import Caller, services_in
from tests.store.contract import settle
from tests.stores import unavailable
from tests.support import Clock, application


def test_healthz_does_not_touch_the_store(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """/healthz is 200 without any store."""

    def fail(*_: object) -> None:
        pytest.fail("the store was touched")

    monkeypatch.setattr("os.open", fail)
    monkeypatch.setattr("os.scandir", fail)
    response = app.test_client().get("/healthz")
    assert (response.status_code, response.get_json()) == (200, {"success": True})


@pytest.mark.file_store
def test_readyz_says_what_works(app: Flask, settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """/readyz is 503 if the store cannot be read, with write=1 also if it cannot be written, and names the reason."""
    client = app.test_client()
    works = {"success": True, "readable": True, "writable": True}
    assert works.items() <= client.get("/readyz").get_json().items()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    clock.advance(1)
    reason = {"writable": False, "reason": "cannot write in .probe: No space left on device"}
    failure = {"success": False, "code": "503", "msg": "storage is unavailable"}
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        response = client.get("/readyz")
        assert response.status_code == 200
        assert {"success": True, "readable": True, **reason}.items() <= response.get_json().items()
        response = client.get("/readyz?write=1")
        assert (response.status_code, response.get_json()) == (503, {**failure, "readable": True, **reason})
    clock.advance(1)
    with unavailable(settings.data_dir, "applications"):
        response = client.get("/readyz")
    reason["reason"] = "cannot list applications: No such file or directory"
    assert (response.status_code, response.get_json()) == (503, {**failure, "readable": False, **reason})
    clock.advance(1)
    assert works.items() <= client.get("/readyz?write=1").get_json().items()
    assert client.get("/readyz?write=yes").status_code == 400


def test_many_probes_cost_one_a_second(app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of /readyz within a second share one probe; a clock that was set back ends its validity."""
    probes: list[str] = []

    def gone(_: object) -> None:
        probes.append("probe")
        raise StoreUnavailable(reason="gone")

    client = app.test_client()
    monkeypatch.setattr(type(services_in(app).store), "check_readable", gone)
    statuses = {client.get("/readyz").status_code for _ in range(5)}
    assert (statuses, len(probes)) == ({503}, 1)
    clock.advance(1)
    client.get("/readyz")
    assert len(probes) == 2
    clock.advance(-3600)
    client.get("/readyz")
    assert len(probes) == 3


@pytest.mark.parametrize(
    ("probe", "what", "status"), [("check_readable", "read", 503), ("check_writable", "write", 200)]
)
def test_a_probe_that_hangs_holds_no_request(
    app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch, probe: str, what: str, status: int
) -> None:
    """Until a probe that hangs has ended, the responses do not wait for it, and no further one begins."""
    go_on, calls = threading.Event(), itertools.count()

    def slow(_: object) -> None:
        next(calls)
        go_on.wait()

    monkeypatch.setattr(type(services_in(app).store), probe, slow)
    client = app.test_client()
    with monkeypatch.context() as patch:
        patch.setattr("datafor_token.operations.readiness.LONGEST", 1)
        try:
            for _ in range(3):
                response = client.get("/readyz")
                assert (response.status_code, response.get_json()["writable"]) == (status, False)
                assert response.get_json()["reason"] == f"a {what} takes longer than 1 s"
                assert client.get("/readyz?write=1").status_code == 503
                clock.advance(1)
        finally:
            go_on.set()
    assert next(calls) == 1
    while client.get("/readyz?write=1").status_code == 503:
        clock.advance(1)


@pytest.mark.file_store
def test_probes_do_not_discard_the_index_of_applications(
    app: Flask, caller: Caller, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/readyz writes to no collection, so that the index of applications remains valid."""
    caller.post("update", application())
    bundle = services_in(app)
    settle(lambda: bundle.store.stamp("applications"))
    registry = bundle.registry
    registry.index()
    looks: list[str] = []

    def looked(*_: object) -> tuple[dict[str, object], Iterator[object]]:
        looks.append("look")
        return {}, iter(())

    monkeypatch.setattr(FileStore, "changes", looked)
    for _ in range(3):
        clock.advance(1)
        assert caller.get("/readyz").json["writable"] is True
        registry.index(thorough=False)
    assert looks == []
