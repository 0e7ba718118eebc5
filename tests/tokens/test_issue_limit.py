"""The rate of an application: how many tokens are issued for it, by each call, command and page."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask

from datafor_token import create_app
from datafor_token.settings import Settings
from tests.cli.shell import Shell
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller
from tests.console.client import Client
from tests.metrics.test_metrics import count, samples
from tests.redis_server import Redis
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, Clock, application

SENTENCE = "too many tokens: application ERP issues at most 3/minute; try again in 61 seconds"


@pytest.fixture
def limited(caller: Caller, clock: Clock) -> Caller:
    """A caller of a service with an application that issues three tokens a minute, at the begin of a minute."""
    clock.advance(-clock() % 60)
    fields = application(secret=STRONG_SECRET, rate="3/minute", self_service="1")
    assert caller.post("update", fields).status_code == 200
    return caller


def generated(caller: Caller, times: int, name: str = "ERP") -> list[int]:
    return [caller.post("generate", {"name": name}).status_code for _ in range(times)]


def issued(caller: Caller) -> int:
    """Return how many tokens and links the audit log has."""
    return sum(
        len(caller.get(f"audit?event={kind}").json["data"])
        for kind in ("token_generated", "token_personal", "link_made")
    )


def test_each_way_to_get_a_token_counts(limited: Caller, clock: Clock) -> None:
    """generate, personal and link count together, and each is 429 with Retry-After after the last allowed token."""
    bodies = {"generate": {"name": "ERP"}, "personal": {"name": "ERP"}, "link": {"name": "ERP", "next": "/"}}
    assert [limited.post(call, body).status_code for call, body in bodies.items()] == [200] * 3
    for call, body in bodies.items():
        response = limited.post(call, body)
        assert (response.status_code, response.json["code"]) == (429, "429")
        assert (response.json["msg"], response.headers["Retry-After"]) == (SENTENCE, "61")
    assert issued(limited) == 3
    assert len(limited.get("personal/list").json["data"]) == 1
    clock.advance(60)
    assert generated(limited, 1) == [429]
    clock.advance(1)
    assert [limited.post(call, body).status_code for call, body in bodies.items()] == [200] * 3


def test_opening_a_link_does_not_count(limited: Caller) -> None:
    """A one-time link counts when it is created, and signs in after the rate is reached."""
    limited.post("update", application(secret=STRONG_SECRET, inituser="1"))
    url = limited.post("link", {"name": "ERP", "username": "lena", "next": "/x"}).json["url"]
    assert generated(limited, 3) == [200, 200, 429]
    assert limited.client.get(url[url.index("/auth/enter") :]).location == "/x"


def test_other_applications_are_not_limited(limited: Caller, settings: Settings) -> None:
    """Another application has a rate of its own or none; one without a rate is counted nowhere."""
    limited.post("update", application(name="CRM", secret=STRONG_SECRET[::-1]))
    assert generated(limited, 9, "CRM") == [200] * 9
    assert not (settings.data_dir / "rates").exists()
    limited.post("update", application(name="Own", secret=STRONG_SECRET * 2, rate="1/day"))
    assert generated(limited, 2, "Own") == [200, 429]
    assert generated(limited, 4) == [200] * 3 + [429]


def test_a_refused_request_does_not_count(limited: Caller, app: Flask) -> None:
    """A request that is refused for another reason, such as a wrong key, uses nothing up."""
    for body in (
        {"privateKey": STRONG_SECRET[::-1]},
        {"username": ""},
        {"payload": {"a": "x" * 5000}},
        {"payload": {"exp": 1}},
    ):
        assert limited.post("generate", {"name": "ERP", **body}).status_code in (400, 403)
    for enable in ("0", "1"):
        fields = application(secret=STRONG_SECRET, self_service="1", enable=enable)
        assert limited.post("update", fields).status_code == 200
        assert enable == "1" or limited.post("link", {"name": "ERP", "next": "/"}).status_code == 403
    assert limited.post("personal", {"name": "ERP", "expire": 10**8}).status_code == 400
    assert generated(limited, 4) == [200] * 3 + [429]


def test_a_user_with_enough_tokens_uses_nothing_up(limited: Caller) -> None:
    """A user who may have no more personal tokens is 409 and not counted."""
    limited.post("update", application(secret=STRONG_SECRET, self_service="1", rate="51/day"))
    assert [limited.post("personal").status_code for _ in range(53)] == [200] * 50 + [409] * 3
    assert generated(limited, 2) == [200, 429]


def test_a_changed_rate(limited: Caller) -> None:
    """A changed number keeps the count, a changed period begins a new one, and a cleared rate limits nothing."""

    def change(rate: str) -> None:
        assert limited.post("update", application(secret=STRONG_SECRET, rate=rate)).status_code == 200

    assert generated(limited, 4) == [200] * 3 + [429]
    change("4/minute")
    assert generated(limited, 2) == [200, 429]
    change("1/hour")
    assert generated(limited, 2) == [200, 429]
    change("")
    assert generated(limited, 9) == [200] * 9


def test_the_command_counts(limited: Caller, app: Flask) -> None:
    """The command counts together with the calls, and is refused like them."""
    shell = Shell(app)
    assert generated(limited, 2) == [200] * 2
    shell.done("token", "generate", "ERP", "--username", "lena")
    assert shell.refused("token", "generate", "ERP", "--username", "lena").strip() == SENTENCE
    assert json.loads(shell.refused("token", "generate", "ERP", "--username", "lena", "--json"))["error"] == SENTENCE
    assert generated(limited, 1) == [429]
    assert issued(limited) == 3


def test_the_console_counts(limited: Caller, app: Flask) -> None:
    """A test token and a personal token of the console count, and are refused on their page, with Retry-After."""
    client = Client(app)
    client.sign_in()
    forms: list[tuple[str, dict[str, str], str]] = [
        ("tokens/issue", {"name": "ERP", "username": "admin", "next": "/"}, "tokens/issue"),
        ("me/token", {"name": "ERP", "label": "", "expire": ""}, "me"),
    ]
    for path, fields, page in forms:
        assert client.post(path, fields, page=page).status_code in (200, 303)
    assert generated(limited, 1) == [200]
    for path, fields, page in forms:
        response = client.post(path, fields, page=page)
        assert (response.status_code, response.headers["Retry-After"]) == (429, "61")
        assert SENTENCE[0].upper() + SENTENCE[1:] in response.text
    assert issued(limited) == 3


def test_a_refusal_is_counted_and_logged(limited: Caller, app: Flask, log: io.StringIO) -> None:
    """A refusal is in the metrics of its application and in the log, and no token is counted as issued."""
    assert generated(limited, 5) == [200] * 3 + [429] * 2
    found = samples(app.test_client().get("/metrics").text)
    assert count(found, "rate_refusals_total", application="ERP") == 2
    assert count(found, "tokens_issued_total", application="ERP") == 3
    lines = [line for line in log.getvalue().splitlines() if "status=429" in line]
    assert len(lines) == 2
    assert all("application=ERP" in line and 'reason="too many tokens: application <name>' in line for line in lines)


@pytest.mark.parametrize("fault", ["full disk", "stuck lock", "no folder"])
def test_without_a_disk_issuing_goes_on(
    limited: Caller, app: Flask, log: io.StringIO, monkeypatch: pytest.MonkeyPatch, settings: Settings, fault: str
) -> None:
    """If the counts cannot be written, each worker counts alone and logs it; the rate holds for it."""
    if fault == "full disk":
        monkeypatch.setattr("os.posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    elif fault == "stuck lock":
        monkeypatch.setattr("datafor_token.limits.tables._LONGEST_WAIT", 0)
        monkeypatch.setattr("datafor_token.store.files.locking._try_lock", _stuck("rates"))
    else:
        (settings.data_dir / "rates").write_text("")
    assert generated(limited, 4) == [200] * 3 + [429]
    assert log.getvalue().count('event="issued tokens are counted alone" by=worker ') == 1


def _stuck(folder: str) -> Callable[..., bool]:
    """Return a replacement of ``_try_lock`` for which the files of a folder are locked by another worker."""
    from datafor_token.store.files import locking

    real = locking._try_lock

    def try_lock(descriptor: int, *arguments: int) -> bool:
        return f"/{folder}/" not in str(Path(f"/proc/self/fd/{descriptor}").readlink()) and real(descriptor, *arguments)

    return try_lock


def test_nodes_count_together(
    settings: Settings, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: io.StringIO
) -> None:
    """Two nodes with one Redis issue as many tokens together as one; without the Redis, each counts alone."""
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    monkeypatch.setattr("datafor_token.limits.storages._RETRY_SECONDS", 0)
    shared = replace(settings, ratelimit_storage_uri=redis.uri)
    nodes = [Caller(create_app(shared, hasher=CHEAP_FOR_TESTS_ONLY).test_client()) for _ in range(2)]
    nodes[0].post("update", application(secret=STRONG_SECRET, rate="6/day"))
    assert [generated(nodes[number % 2], 1)[0] for number in range(8)] == [200] * 6 + [429] * 2
    redis.stop()
    assert generated(nodes[0], 7) == [200] * 6 + [429]
    assert 'event="issued tokens are counted alone" by=host ' in log.getvalue()
    redis.start()
    assert generated(nodes[1], 7) == [200] * 6 + [429]
