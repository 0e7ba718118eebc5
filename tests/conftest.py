"""Fixtures of all tests: an application in a temporary folder, a caller of its API, a real server."""

import io
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import argon2
import argon2.profiles
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from playwright.sync_api import Playwright, sync_playwright
from werkzeug.test import TestResponse

from datafor_token import create_app
from datafor_token.audit import repeats
from datafor_token.operations.services import Services
from datafor_token.settings import Settings
from datafor_token.store import background
from datafor_token.users.users import User
from datafor_token.web.services import services_of
from tests import flask_apps
from tests.redis_server import Redis
from tests.stores import KIND, MEMORY, url_for
from tests.support import ADMIN_PASSWORD, API, CHROMIUM, Clock, Server, basic, need

# On a disk much of the time is waiting for fsync.
if MEMORY is not None:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

_LEFT_OUT = pytest.StashKey[list[str]]()

# Only for tests: a password hash that costs nothing protects nothing.
CHEAP_FOR_TESTS_ONLY = argon2.PasswordHasher.from_parameters(argon2.profiles.CHEAPEST)

# No deadline: speed is measured in tests/bench. Derandomized: a failure on one machine is repeated on another.
hypothesis_settings.register_profile(
    "tests",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "200")),
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        # The properties of the store contract run in one class for each store.
        HealthCheck.differing_executors,
    ],
)
hypothesis_settings.load_profile("tests")


# Tests that store records through the whole service; the others store none, or open stores of their own.
_WITH_THE_STORE = (
    "activity/", "applications/", "audit/test_audit", "cli/", "crypto/test_at_rest", "crypto/test_copy_of_data",
    "metrics/test_metrics",
    "operations/test_backup", "operations/test_first", "providers/test_key_sets", "rehearsal/",
    "server/test_server", "server/test_workers", "sinks/test_sinks",
    "tokens/test_deleted_users", "tokens/test_issued", "tokens/test_uses",
    "users/test_new_passwords",
    "validation/test_logs", "web/api/", "web/test_auth",
)  # fmt: skip
# Of those, files and tests whose rule is about a request, a response or a value, whatever store has the records.
_WITHOUT_THE_STORE = (
    "applications/test_record.py::test_an_earlier_version", "cli/test_applications.py::test_refused",
    "cli/test_completion", "cli/test_json.py::test_errors", "cli/test_json.py::test_one_document[after",
    "cli/test_json.py::test_one_document[before", "cli/test_rehearsal.py::test_a_wrong_value",
    "cli/test_tokens.py::test_a_payload_that_is_not_json", "cli/test_tokens.py::test_decode",
    "cli/test_tokens.py::test_revoke_with_wrong_options", "cli/test_trust_policy.py::test_each_option",
    "cli/test_trust_policy.py::test_values_of_require", "cli/test_users.py::test_refused", "cli/test_wrong_usage",
    "crypto/test_at_rest_keys.py::test_keys_that_are_not_valid", "metrics/test_metrics.py::test_a_forwarded_request",
    "metrics/test_metrics.py::test_only_loopback", "metrics/test_metrics.py::test_the_format",
    "tokens/test_issued.py::test_wrong_parameters", "validation/test_logs.py::test_a_mangled_link",
    "validation/test_logs.py::test_a_path", "web/api/test_family.py::test_login_refused",
    "web/api/test_gate.py::TestLinks::test_a_wrong_value", "web/api/test_gate.py::test_a_token_in_the_original_url",
    "web/api/test_gate.py::test_any_method", "web/api/test_gate.py::test_next",
    "web/api/test_gate.py::test_requirements", "web/api/test_gate_credentials", "web/api/test_gate_frames",
    "web/api/test_gate_options", "web/api/test_gate_pages", "web/api/test_gate_sign_in.py::TestNext",
    "web/api/test_gate_sign_in.py::TestRefusal::test_a_form", "web/api/test_generate.py::test_a_wrong_value",
    "web/api/test_generate.py::test_all_forms", "web/api/test_generate.py::test_documented_messages",
    "web/api/test_generate.py::test_private_keys", "web/api/test_networks.py::TestForwarding",
    "web/api/test_networks.py::test_where", "web/api/test_own_password.py::test_refused",
    "web/api/test_past_refusals.py::test_a_malformed_reference",
    "web/api/test_past_refusals.py::test_one_of_two_forms", "web/api/test_personal.py::test_labels_that_are_refused",
    "web/api/test_refusal_steps.py::test_the_steps_of_the_token_in_hand",
    "web/api/test_rehearsals.py::test_a_misunderstood", "web/api/test_reported_rules.py::test_other_fields",
    "web/api/test_revoke.py::test_forms", "web/api/test_revoke.py::test_ways_to_send",
    "web/api/test_rotate.py::TestRotate::test_a_wrong_value", "web/api/test_rotate_provider.py::test_a_rotation_that",
    "web/api/test_secrets.py::TestNearMisses", "web/api/test_secrets.py::TestRepairs",
    "web/api/test_secrets.py::TestSuspicious", "web/api/test_secrets.py::test_",
    "web/api/test_signin.py::test_each_reason", "web/api/test_unknown_fields",
    "web/api/test_update.py::test_a_forms_text", "web/api/test_update.py::test_a_scalar",
    "web/api/test_update.py::test_a_wrong_value", "web/api/test_update.py::test_flags",
    "web/api/test_update.py::test_public_keys", "web/api/test_users_deleted.py::test_update_password_refused",
    "web/api/test_users_list.py::test_refused", "web/api/test_users_saved.py::test_refused",
    "web/api/test_who_is_who.py::TestLeaving::test_from", "web/api/test_who_is_who.py::TestLeaving::test_next",
    "web/api/test_who_is_who.py::test_a_cookie_has", "web/test_auth.py::test_a_p", "web/test_auth.py::test_wrong",
)  # fmt: skip


# A test that uses one of these fixtures gets the marker, so that none is forgotten; others are marked by hand.
_MARKER_OF_FIXTURE = {
    "playwright": "browser", "sites": "proxy", "own_sites": "proxy", "postgres": "sql",
    "own_postgres": "sql", "redis": "sql",
}  # fmt: skip


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """With a database as store, import no module whose tests are not selected: each process saves 5 s."""
    name = collection_path.relative_to(Path(__file__).parent).as_posix()
    return True if KIND != "file" and name.endswith(".py") and not name.startswith(_WITH_THE_STORE) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the markers of fixtures; with a database as store, select the tests that store records."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in _MARKER_OF_FIXTURE:
                item.add_marker(_MARKER_OF_FIXTURE[fixture])
    if KIND == "file":
        return

    def is_left_out(item: pytest.Item) -> bool:
        name = item.nodeid.removeprefix("tests/")
        return bool(item.get_closest_marker("file_store")) or (
            not name.startswith(_WITH_THE_STORE) or name.startswith(_WITHOUT_THE_STORE)
        )

    left_out = [item for item in items if is_left_out(item)]
    config.hook.pytest_deselected(items=left_out)
    names = {item.nodeid.partition("[")[0] for item in left_out if item.get_closest_marker("file_store")}
    config.stash[_LEFT_OUT] = sorted(names)
    items[:] = [item for item in items if item not in set(left_out)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the tests that were not selected because they are about files."""
    if KIND != "file":
        terminalreporter.write_line(f"TEST_STORE={KIND}; not selected, because they are about files:")
        for name in config.stash.get(_LEFT_OUT, []):
            terminalreporter.write_line(f"  {name}")


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """The driver of Debian's Chromium: a process can have only one."""
    need("chromium", CHROMIUM)
    with sync_playwright() as found:
        yield found


_HAVE_CONNECTIONS = ("key sets", "fetch keys", "gate keys", "probe", "background write", "repeated refusals")


@pytest.fixture(autouse=True)
def _nothing_works_on() -> Iterator[None]:
    yield
    # A writer would write to a folder or a database that is gone, again and again, during other tests; so would the
    # timer of repeated refusals, a minute after the first one.
    for writer in list(background.WRITERS):
        writer.stop()
    for refusals in list(repeats._all):
        with refusals._lock:
            refusals._take(0.0)
    if KIND != "file":
        from datafor_token.store.sql.engine import close_all

        # They have a connection while they fetch or rotate keys, probe, or write; all of them end soon.
        for thread in threading.enumerate():
            if thread.name in _HAVE_CONNECTIONS:
                thread.join(20)
        close_all()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("DATAFOR_TOKEN_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_gunicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a test that reads gunicorn's settings from counting metrics for its workers from then on."""
    monkeypatch.setattr("datafor_token.metrics.files.share", lambda _: None)


# Ends before ``_nothing_works_on``, which waits for threads that this one ends.
@pytest.fixture(autouse=True)
def _applications_are_used_again(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, _nothing_works_on: None
) -> Iterator[None]:
    if request.node.get_closest_marker("own_app") is None:
        monkeypatch.setattr("datafor_token.factory.without_services", flask_apps.without_services)
    yield
    flask_apps.end_test()


def services_in(app: Flask) -> Services:
    """Return the services of an application, as a worker has it."""
    found = services_of(app)
    assert found is not None
    return found


def put_user(app: Flask, name: str, **members: Any) -> None:
    services_in(app).store.put("users", User(name=name, **members).to_document())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    config = tmp_path / "config"
    config.mkdir()
    return Settings(
        config_dir=config,
        data_dir=tmp_path / "data",
        store=url_for(tmp_path / "data"),
        # On a busy machine, all that a request asks a database can take longer than the default.
        store_timeout=5.0 if KIND == "file" else 60.0,
        tokens_may_administer=request.node.get_closest_marker("tokens_may_administer") is not None,
    )


@pytest.fixture
def app(settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    # On a busy machine a probe can take longer than half a second.
    monkeypatch.setattr("datafor_token.operations.readiness.LONGEST", 60.0)
    if settings.store != "file":
        monkeypatch.setattr("datafor_token.store.sql.probing._LONGEST", 60.0)
    app = create_app(settings, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)
    yield app
    services = services_in(app)
    services.key_sets.stop()
    services.personal_tokens.uses.stop()
    services.activity.stop()
    services.history.stop()
    services.sinks.stop()
    # Otherwise it would be recorded during another test, whose log would have a line about it.
    services.audit.finish()


@pytest.fixture
def services(app: Flask) -> Services:
    return services_in(app)


@pytest.fixture
def redis() -> Iterator[Redis]:
    server = Redis().start()
    yield server
    server.stop()


@pytest.fixture
def log(app: Flask) -> Iterator[io.StringIO]:
    """Return a stream with the lines that the service logs."""
    (handler,) = logging.getLogger("datafor_token").handlers
    assert isinstance(handler, logging.StreamHandler)
    before, stream = handler.stream, io.StringIO()
    # Not setStream(), which flushes a stream that pytest may have closed.
    handler.stream = stream
    yield stream
    handler.stream = before


class Reply:
    """Response of the test client; ``json`` has the type that the test expects."""

    def __init__(self, response: TestResponse) -> None:
        self.status_code = response.status_code
        self.headers = response.headers
        self.json: Any = response.get_json()


class Caller:
    """Client that calls the service as the administrator unless ``headers`` are given."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def post(self, call: str, body: Any = None, headers: dict[str, str] | None = None, **options: Any) -> Reply:
        """Send a POST to a token call or, after a slash, to a path; a dict or list is sent as JSON by default."""
        if isinstance(body, dict | list) and "content_type" not in options:
            options["json"] = body
        elif body is not None:
            options["data"] = body
            options.setdefault("content_type", "application/x-www-form-urlencoded")
        return self.open("POST", call, headers, **options)

    def get(self, call: str, headers: dict[str, str] | None = None, **options: Any) -> Reply:
        return self.open("GET", call, headers, **options)

    def open(self, method: str, call: str, headers: dict[str, str] | None, **options: Any) -> Reply:
        path = call if call.startswith("/") else f"{API}/{call}"
        return Reply(self.client.open(path, method=method, headers=basic() if headers is None else headers, **options))


@pytest.fixture
def caller(app: Flask) -> Caller:
    return Caller(app.test_client())


@pytest.fixture
def service(settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a service that is not started, for a test that chooses its keys."""
    from tests.service import Service

    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    return Service(settings, clock)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start one server for all tests of the session that only call it."""
    running = Server(tmp_path_factory.mktemp("server")).start()
    yield running
    running.stop()
