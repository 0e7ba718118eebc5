"""``/healthz`` and ``/readyz``."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask

from datafor_token.errors import StoreUnavailable
from datafor_token.settings import Settings
from datafor_token.store.files.store import FileStore
from tests.conftest import Caller
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
    """/readyz is 200 while the store can be read, states whether it can be written, and is 503 otherwise."""
    client = app.test_client()
    assert client.get("/readyz").get_json() == {"success": True, "readable": True, "writable": True}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    clock.advance(1)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        response = client.get("/readyz")
        assert (response.status_code, response.get_json()["writable"]) == (200, False)
    clock.advance(1)
    with unavailable(settings.data_dir, "applications"):
        response = client.get("/readyz")
    assert (response.status_code, response.get_json()["msg"]) == (503, "storage is unavailable")


def test_many_probes_cost_one_a_second(app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of /readyz within a second share one probe; a clock that was set back ends its validity."""
    probes: list[str] = []

    def gone(_: object) -> bool:
        probes.append("probe")
        raise StoreUnavailable(reason="gone")

    client = app.test_client()
    monkeypatch.setattr(type(app.extensions["datafor_token"].store), "writable", gone)
    statuses = {client.get("/readyz").status_code for _ in range(5)}
    assert (statuses, len(probes)) == ({503}, 1)
    clock.advance(1)
    client.get("/readyz")
    assert len(probes) == 2
    clock.advance(-3600)
    client.get("/readyz")
    assert len(probes) == 3


def test_a_probe_that_hangs_holds_no_other_thread_for_long(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other calls wait for a running probe, and are 503 if it takes too long."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: object) -> bool:
        begun.set()
        return go_on.wait(60)

    monkeypatch.setattr(type(app.extensions["datafor_token"].store), "writable", slow)
    with ThreadPoolExecutor() as threads:
        first = threads.submit(app.test_client().get, "/readyz")
        assert begun.wait(60)
        with monkeypatch.context() as patch:
            patch.setattr("datafor_token.operations.readiness._LONGEST_WAIT", 0.01)
            assert app.test_client().get("/readyz").status_code == 503
        second = threads.submit(app.test_client().get, "/readyz")
        go_on.set()
        assert [one.result().get_json()["writable"] for one in (first, second)] == [True, True]


@pytest.mark.file_store
def test_probes_do_not_discard_the_index_of_applications(
    app: Flask, caller: Caller, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/readyz writes to no collection, so that the index of applications remains valid."""
    caller.post("update", application())
    bundle = app.extensions["datafor_token"]
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
