"""``/healthz`` and ``/readyz``."""

import pytest
from flask import Flask

from datafor_token.settings import Settings
from tests.stores import unavailable


def test_healthz_does_not_touch_the_store(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """/healthz is 200 as long as the process answers, with no store behind it at all."""

    def fail(*_: object) -> None:
        pytest.fail("the store was touched")

    monkeypatch.setattr("os.open", fail)
    monkeypatch.setattr("os.scandir", fail)
    response = app.test_client().get("/healthz")
    assert (response.status_code, response.get_json()) == (200, {"success": True})


@pytest.mark.file_store
def test_readyz_says_what_works(app: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """/readyz is 200 while the store can be read, says whether it can be written, and is 503 when it is gone."""
    client = app.test_client()
    assert client.get("/readyz").get_json() == {"success": True, "readable": True, "writable": True}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        response = client.get("/readyz")
        assert (response.status_code, response.get_json()["writable"]) == (200, False)
    with unavailable(settings.data_dir, "applications"):
        response = client.get("/readyz")
    assert (response.status_code, response.get_json()["msg"]) == (503, "storage is unavailable")
