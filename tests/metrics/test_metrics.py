"""Metrics: sums over all workers, also dead ones; who may read them; no label value from a client."""

import contextlib
import errno
import http.client
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import values
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from datafor_token import create_app
from datafor_token.audit.events import Event, Kind
from datafor_token.errors import MetricsUnavailable
from datafor_token.metrics import files as metric_files
from datafor_token.metrics.counters import MOST_APPLICATIONS, OTHER, Metrics
from datafor_token.metrics.files import MetricFiles
from datafor_token.metrics.table import OUTCOMES, PREFIX, TABLE, WAYS
from datafor_token.settings import Settings
from tests.conftest import CHEAP_FOR_TESTS_ONLY
from tests.support import ADMIN_PASSWORD, SAMPLE_APPLICATION, HttpResponse, Server, application, basic

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
FILES_OF_A_SLOT = 2


def samples(text: str) -> Samples:
    """Return the samples of a response by name and labels, with prometheus_client's parser."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(server: Server) -> Samples:
    response = server.request("GET", "/metrics", headers={})
    assert response.status == 200, response.body
    return samples(response.body.decode())


def count(found: Samples, name: str, **labels: str) -> float:
    """Return the sum of a metric over all labels that are not given."""
    wanted = set(labels.items())
    return sum(value for (one, has), value in found.items() if one == f"{PREFIX}{name}" and wanted <= has)


def check_nothing_decreased(before: Samples, after: Samples) -> None:
    gone = {key for key, value in before.items() if after.get(key, -1) < value}
    assert not gone


def workers(server: Server) -> list[int]:
    """Return the PIDs of living workers from the log of gunicorn."""
    booted = re.findall(r"Booting worker with pid: (\d+)", server.output)
    return [int(pid) for pid in booted if Path(f"/proc/{pid}").exists()]


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Server]:
    """A server whose metric files are in a folder of the test."""
    (tmp_path / "run").mkdir()
    running = Server(tmp_path, DATAFOR_TOKEN_METRICS_DIR=str(tmp_path / "run")).start()
    yield running
    running.stop()


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MetricFiles:
    """The folder of metric files of this process, which counts there as a worker does."""
    files = MetricFiles(tmp_path)
    monkeypatch.setattr(metric_files._Shared, "files", files)
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setenv(metric_files.VARIABLE, str(files.folder))
    return files


def shown(metrics: Metrics) -> Samples:
    return samples(metrics.exposition("")[0].decode())


def test_the_workers_counts_add_up(counting: Server) -> None:
    """A scrape of any worker has the requests of both."""
    counting.post("update", application(name="Counted"))
    sent = 0
    # One of them may serve many requests before the other one has started.
    for _ in range(500):
        with ThreadPoolExecutor(8) as pool:
            responses = list(pool.map(lambda _: counting.post("generate", {"name": "Counted"}), range(20)))
        assert {response.status for response in responses} == {200}
        sent += len(responses)
        if len(set(re.findall(r"responses pid=(\d+)", counting.output))) == 2:
            break
    else:
        pytest.fail("one of the workers gets no request")
    route = "/plugin/datafor-modeler/api/token/generate"
    for _ in range(10):
        found = scrape(counting)
        assert count(found, "requests_total", route=route, method="POST", status="200") == sent
        assert count(found, "request_duration_seconds_count", route=route) == sent
        assert count(found, "store_operations_total", collection="applications", operation="update") >= 1
        assert count(found, "changes_total", event="application_added") == 1
        assert count(found, "lock_wait_seconds_count") >= 1
        lookups = count(found, "cache_lookups_total", cache="passwords")
        assert lookups >= sent
    assert len(list((counting.data_dir.parent / "run").rglob("*.db"))) == 3 * FILES_OF_A_SLOT


@pytest.mark.slow
def test_a_worker_killed_while_metrics_are_scraped(counting: Server) -> None:
    """When workers are killed under load, no scrape fails, no count decreases, and no request is missing."""
    acknowledged, stop = [0], threading.Event()

    def load() -> None:
        while not stop.is_set():
            # A killed worker does not respond; the listening socket stays open.
            with contextlib.suppress(OSError, http.client.HTTPException):
                acknowledged[0] += counting.request("GET", "/nothing", headers={}).status == 404

    def scraped() -> HttpResponse | None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return counting.request("GET", "/metrics", headers={})
        return None

    busy = threading.Thread(target=load)
    busy.start()
    before = scrape(counting)
    try:
        for number in range(300):
            if number % 20 == 10:
                wait_until(lambda: len(workers(counting)) == 2)
                os.kill(workers(counting)[number % 2], signal.SIGKILL)
            found = scraped()
            if found is not None:
                assert found.status == 200, found.body
                after = samples(found.body.decode())
                check_nothing_decreased(before, after)
                before = after
    finally:
        stop.set()
        busy.join(60)
    assert counting.output.count("was sent SIGKILL") >= 15
    after = scrape(counting)
    check_nothing_decreased(before, after)
    assert acknowledged[0] > 100
    assert count(after, "requests_total", route="(none)", status="404") >= acknowledged[0]
    # New workers reuse the files of dead ones.
    assert len(list((counting.data_dir.parent / "run").rglob("*.db"))) == 3 * FILES_OF_A_SLOT
    assert counting.stop() == 0
    assert list((counting.data_dir.parent / "run").iterdir()) == []


def test_a_reload_keeps_the_counts(counting: Server) -> None:
    """SIGHUP replaces all workers, loses no count and creates no second folder; a stop deletes the folder."""
    for _ in range(20):
        counting.request("GET", "/nothing", headers={})
    old, before = set(workers(counting)), scrape(counting)
    counting.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(workers(counting)) == 2 and not old & set(workers(counting)))
    after = scrape(counting)
    check_nothing_decreased(before, after)
    assert count(after, "requests_total", route="(none)", status="404") == 20
    assert len(list((counting.data_dir.parent / "run").iterdir())) == 1
    counting.stop()
    assert list((counting.data_dir.parent / "run").iterdir()) == []


def test_the_folder_of_a_killed_service_is_deleted(counting: Server) -> None:
    """A start deletes the folder of a killed service, but not that of a running one."""
    run = counting.data_dir.parent / "run"
    (folder,) = run.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    counting.request("GET", "/nothing", headers={})
    counting.stop(signal.SIGKILL)
    (running := MetricFiles(run)).check()
    for left in run.iterdir():
        os.utime(left, (0, 0))
    counting.start()
    assert not folder.exists()
    assert running.folder is not None
    assert running.folder.exists()
    assert len(list(run.iterdir())) == 2
    assert count(scrape(counting), "requests_total", route="(none)") == 0


@pytest.mark.parametrize("whole", [True, False])
def test_an_outage_of_the_folder_is_no_outage_of_the_service(counting: Server, whole: bool) -> None:
    """Without its folder or files, /metrics is 503 in the envelope, and all other calls work."""
    (folder,) = (counting.data_dir.parent / "run").iterdir()
    for file in folder.iterdir():
        file.unlink(missing_ok=True)
    if whole:
        shutil.rmtree(folder)
    response = counting.request("GET", "/metrics", headers={})
    assert (response.status, response.json["msg"]) == (503, "metrics are unavailable")
    assert counting.post("update", SAMPLE_APPLICATION).status == 200


@pytest.mark.parametrize("inherited", [{}, {"PROMETHEUS_MULTIPROC_DIR": "/nowhere"}], ids=["", "inherited"])
def test_a_start_without_the_folder(tmp_path: Path, inherited: dict[str, str]) -> None:
    """If the folder cannot be created, the service starts and works, whatever it inherits, and /metrics is 503."""
    server = Server(tmp_path, DATAFOR_TOKEN_METRICS_DIR=str(tmp_path / "nowhere"), **inherited).start()
    assert server.post("update", SAMPLE_APPLICATION).status == 200
    assert server.request("GET", "/metrics", headers={}).status == 503
    assert server.stop() == 0
    assert "metrics are not counted" in server.output


def test_a_disk_that_fills_up(shared: MetricFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new worker on a full disk serves without counting, and counts once there is room."""
    metrics = Metrics("1")
    metrics.request("/x", "GET", 200, 0.1)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.posix_fallocate", full)
        shared.claim()
        metrics.request("/x", "GET", 200, 0.1)
        with pytest.raises(MetricsUnavailable):
            metrics.exposition("")
    assert count(shown(metrics), "requests_total") == 1
    metrics.request("/x", "GET", 200, 0.1)
    assert count(shown(metrics), "requests_total") == 2


def test_the_files_do_not_grow(shared: MetricFiles) -> None:
    """Label values that do not fit are counted together: a larger file might not fit on the disk."""
    metrics = Metrics("1")
    assert shared.folder is not None
    sizes = {file: file.stat().st_size for file in shared.folder.glob("*.db")}
    assert len(sizes) == FILES_OF_A_SLOT
    assert all(file.stat().st_blocks * 512 >= size for file, size in sizes.items())
    for number in range(12_000):
        metrics.store_operation(f"operation {number}", "users")
    for number in range(200):
        metrics.request(f"/{number}", "GET", 200, 0.1)
    found = shown(metrics)
    assert count(found, "store_operations_total") == 12_000
    assert count(found, "store_operations_total", operation=OTHER) > 0
    assert count(found, "request_duration_seconds_count") == 200
    assert count(found, "request_duration_seconds_count", route=OTHER) > 0
    assert {file: file.stat().st_size for file in sizes} == sizes


def test_applications_are_bounded(shared: MetricFiles) -> None:
    """A limited number of applications is counted by name, also over restarts of a worker, the rest together."""
    metrics = Metrics("1")
    for number in range(MOST_APPLICATIONS + 50):
        metrics.token_issued(f"App{number}")
    restarted = Metrics("1")
    for name in ("App1", "New", "Another"):
        restarted.token_issued(name)
    found = shown(restarted)
    assert count(found, "tokens_issued_total", application="App1") == 2
    assert count(found, "tokens_issued_total", application=OTHER) == 52
    assert len([name for name, _ in found if name == f"{PREFIX}tokens_issued_total"]) == MOST_APPLICATIONS + 1


def test_ways_and_outcomes_are_fixed() -> None:
    """Sign-ins are counted by the ways and outcomes of the table; all other values together."""
    metrics = Metrics("1")
    for way in WAYS:
        for outcome in OUTCOMES:
            metrics.signed_in(way, outcome)
    metrics.signed_in("unknown", "values")
    found = shown(metrics)
    assert count(found, "sign_ins_total") == len(WAYS) * len(OUTCOMES) + 1
    assert count(found, "sign_ins_total", way=OTHER, outcome=OTHER) == 1


def test_every_metric_of_the_table(shared: MetricFiles) -> None:
    """Each method counts in its metric, and a scrape has exactly the names, types and labels of the table."""
    metrics = Metrics("1.2.3")
    metrics.request(None, "BREW", 404, 0.002)
    metrics.token_issued("ERP")
    metrics.rate_refused("ERP")
    metrics.would_be_refused("ERP", "issuer")
    metrics.signed_in("basic", "wrong_password")
    metrics.store_operation("get", "users")
    metrics.store_failure("users", "damaged")
    metrics.lock_waited(0.2)
    metrics.cache("passwords", hit=True)
    metrics.keys_fetched("failed")
    metrics.changed(Event(kind=Kind.TOKENS_CUT_OFF))
    metrics.audit_unrecorded()
    metrics.sink_sent("webhook")
    metrics.sink_failed("webhook")
    metrics.sink_lost("webhook")
    metrics.add_gauge("audit_sink_waiting_bytes", lambda: {"webhook": 5})
    metrics.limit_failed("redis")
    metrics.add_gauge("node_info", lambda: {("a", "1.2.3", "k", "", "s"): 1})
    metrics.add_gauge("clock_offset_seconds", lambda: {(): -2.5})
    for accept, parse in (("", text_string_to_metric_families), ("application/openmetrics-text", openmetrics)):
        families = {family.name: family for family in parse(metrics.exposition(accept)[0].decode())}
        assert families.keys() == {f"{PREFIX}{row.name}".removesuffix("_total") for row in TABLE.values()}
        for row in TABLE.values():
            family = families[f"{PREFIX}{row.name}".removesuffix("_total")]
            assert (family.type, family.documentation) == (row.kind, row.meaning)
            assert {frozenset(sample.labels) - {"le"} for sample in family.samples} == {frozenset(row.labels)}
    found = shown(metrics)
    assert count(found, "requests_total", route="(none)", method=OTHER, status="404") == 1
    assert count(found, "changes_total", event="tokens_cut_off") == 1
    assert count(found, "audit_unrecorded_total") == 1
    assert count(found, "lock_wait_seconds_bucket", le="0.25") == 1
    assert count(found, "lock_wait_seconds_bucket", le="0.1") == 0


def test_applications_in_one_process_count_apart(settings: Settings, app: Flask) -> None:
    """Several applications in one process have counts of their own."""
    other = create_app(settings, hasher=CHEAP_FOR_TESTS_ONLY)
    app.test_client().get("/healthz")
    for one, expected in ((app, 1), (other, 0)):
        found = samples(one.test_client().get("/metrics").get_data(as_text=True))
        assert count(found, "requests_total", route="/healthz") == expected


FORWARDING = [
    "Forwarded", "Via", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Uri", "X-Original-URI",
    "X-Original-Forwarded-For",
]  # fmt: skip


@pytest.fixture
def make(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(**changes: Any) -> Any:
        monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
        changed = Settings(config_dir=settings.config_dir, data_dir=settings.data_dir, **changes)
        return create_app(changed, hasher=CHEAP_FOR_TESTS_ONLY).test_client()

    return make


@pytest.mark.parametrize("proxies", [0, 1])
@pytest.mark.parametrize("name", FORWARDING)
def test_a_forwarded_request_is_never_local(make: Any, name: str, proxies: int) -> None:
    """Any forwarding header, even empty, is 403 'no permission', with and without trusted proxies."""
    client = make(trusted_proxies=proxies)
    for value in ("127.0.0.1", "for=127.0.0.1", ""):
        response = client.get("/metrics", headers={name: value})
        assert (response.status_code, response.get_json()["msg"]) == (403, "no permission")
    assert client.get("/metrics").status_code == 200


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True), ("10.0.0.1", False),
        ("::2", False), ("::ffff:10.0.0.1", False), ("", False), ("nonsense", False),
    ],
)  # fmt: skip
def test_only_loopback_by_default(make: Any, address: str, allowed: bool) -> None:
    """By default only this machine may read the metrics, by GET or HEAD."""
    client = make(url_prefix="/datafor")
    for method in ("GET", "HEAD"):
        response = client.open("/datafor/metrics", method=method, environ_base={"REMOTE_ADDR": address})
        assert response.status_code == (200 if allowed else 403)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=a.b", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=x", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        ),
    ],
)
def test_the_format_follows_the_accept_header(app: Flask, accept: str, kind: str) -> None:
    """The Accept header of Prometheus gets OpenMetrics; any other one, even malformed, gets the text format."""
    response = app.test_client().get("/metrics", headers={"Accept": accept})
    assert (response.status_code, response.headers["Content-Type"]) == (200, kind)


def test_other_networks_can_be_allowed(make: Any) -> None:
    """Only networks of METRICS_ALLOW may read the metrics; a credential makes no difference."""
    client = make(metrics_allow=("10.0.0.0/8", "2001:db8::7/128"))
    for address, status in (("10.1.2.3", 200), ("2001:db8::7", 200), ("127.0.0.1", 403), ("2001:db8::8", 403)):
        response = client.get("/metrics", headers=basic(), environ_base={"REMOTE_ADDR": address})
        assert response.status_code == status
    assert make(metrics_allow=()).get("/metrics").status_code == 403


def test_a_mapped_network(make: Any) -> None:
    """An IPv4-mapped IPv6 network of METRICS_ALLOW is its IPv4 network, as it is in ``networks``."""
    client = make(metrics_allow=("::ffff:10.0.0.0/104",))
    assert client.get("/metrics", environ_base={"REMOTE_ADDR": "10.1.2.3"}).status_code == 200
    assert client.get("/metrics", environ_base={"REMOTE_ADDR": "11.1.2.3"}).status_code == 403


MARK = "m4rk3d"


@given(
    path=st.text(alphabet='/abc%?.é\u0000\n"\\{}= ', max_size=20),
    method=st.text(alphabet="ABCDEFGHIJ", min_size=1, max_size=8),
    name=st.text(alphabet='abcäöü"\\\n{}=', max_size=10),
)
def test_no_label_value_comes_from_a_request(app: Flask, path: str, method: str, name: str) -> None:
    """No path, method, user name, token, host or header of a request is in a scrape."""
    client = app.test_client()
    headers = {
        **basic(f"{MARK}{name}".replace("\n", ""), MARK),
        "User-Agent": MARK,
        "X-Original-URI": f"/{MARK}?token={MARK}",
    }
    for where in (f"/{MARK}{path}", "/auth/check", f"/healthz?{MARK}", f"/plugin/datafor-modeler/api/token/{MARK}"):
        with contextlib.suppress(UnicodeError):
            client.open(where, method=f"{MARK}{method}".upper(), headers=headers)
            client.post(where, headers=headers, data={"name": MARK, "username": MARK})
    text = client.get("/metrics").get_data(as_text=True)
    assert MARK not in text.lower()
    assert len(samples(text)) < 400
