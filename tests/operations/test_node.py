"""Node of an installation: what ``/readyz`` and the metrics show of it, and its clock."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from datafor_token import __version__
from datafor_token.crypto.at_rest import Keyring
from datafor_token.errors import StartError
from datafor_token.operations.clock import ServiceClock, check_clock
from datafor_token.operations.node import Node
from datafor_token.settings import Settings
from datafor_token.store.files.store import FileStore
from tests.metrics.test_metrics import samples

OLD, NEW = b"o" * 32, b"n" * 32
DESCRIBED = {"node", "version", "key", "other_keys", "settings", "clock_offset", "warnings"}


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"store": "postgresql://other@host/name"}, True),
        ({"node": "b", "log_level": "DEBUG", "log_format": "json", "metrics_allow": ("10.0.0.0/8",)}, True),
        ({"data_dir": Path("elsewhere"), "config_dir": Path("elsewhere")}, True),
        ({"leeway": 31.0}, False),
        ({"trusted_proxies": 1}, False),
        ({"ratelimit_storage_uri": "redis://host"}, False),
        ({"trusted_hosts": ("a.example",)}, False),
    ],
    ids=str,
)
def test_the_fingerprint_of_the_settings(changes: dict[str, Any], same: bool) -> None:
    """The fingerprint differs if a setting does that must be the same on all nodes, and depends on the key."""
    one, ring = Settings(), Keyring([OLD])
    other = replace(one, **changes)
    assert (Node.of(one, ring).settings == Node.of(other, ring).settings) is same
    assert Node.of(one, Keyring([NEW])).settings != Node.of(one, ring).settings


def test_the_keys_are_named() -> None:
    """The node names the key that encrypts and those that only decrypt, in each phase of a change of the key."""
    old, both, new = (Node.of(Settings(), Keyring(keys)) for keys in ([OLD], [OLD, NEW], [NEW, OLD]))
    assert old.other_keys == ()
    assert (both.key, both.other_keys) == (old.key, (new.key,))
    assert (new.key, new.other_keys) == (Keyring([NEW]).identifier, (old.key,))


def test_readyz_describes_the_node(app: Flask, settings: Settings) -> None:
    """/readyz and the metrics show name, version and fingerprints of the node to METRICS_ALLOW, and to no others."""
    found = app.test_client().get("/readyz").get_json()
    assert found.keys() - {"success", "readable", "writable"} == DESCRIBED
    assert (found["node"], found["version"]) == (settings.node_name, __version__)
    assert (found["clock_offset"], found["warnings"]) == (0.0, [])
    labels = {name: found[name] for name in ("node", "version", "key", "settings")}
    shown = samples(app.test_client().get("/metrics").text)
    assert shown["datafor_token_node_info", frozenset({**labels, "other_keys": ""}.items())] == 1
    assert shown["datafor_token_clock_offset_seconds", frozenset()] == 0
    for header in ("X-Forwarded-For", "Forwarded", "Via"):
        response = app.test_client().get("/readyz", headers={header: "10.0.0.9"}).get_json()
        assert response.keys() == {"success", "readable", "writable"}
    response = app.test_client().get("/readyz", environ_base={"REMOTE_ADDR": "10.0.0.9"}).get_json()
    assert response.keys() == {"success", "readable", "writable"}


class Ahead(FileStore):
    """A store whose clock is ahead of that of this host."""

    clock_offset = 2.1


def test_the_clock_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is that of the host until the store is open, then that of the store."""
    monkeypatch.setattr("datafor_token.operations.clock.time.time", lambda: 1000.0)
    clock = ServiceClock()
    assert clock() == 1000
    store = Ahead(tmp_path, (), 5)
    clock.follow(store)
    assert clock() == pytest.approx(1002.1)
    (warning,) = Node.of(Settings(), Keyring([OLD])).to_response(store)["warnings"]
    assert warning == "the clock of this host is 2.1 s behind that of the database: synchronise both by NTP"


@pytest.mark.parametrize(("offset", "leeway", "allowed"), [(30, 30, True), (-30.1, 30, False), (2, 0, True)])
def test_the_clock_at_the_start(offset: float, leeway: float, allowed: bool) -> None:
    """A difference of LEEWAY is allowed at the start, and at least one of two seconds."""
    if allowed:
        check_clock(offset, leeway)
    else:
        with pytest.raises(StartError, match="ahead of that of the database"):
            check_clock(offset, leeway)
