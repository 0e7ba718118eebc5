"""What is counted, for Prometheus: by its official client, over all workers (see ``metric_files``).

No label holds what a stranger chose: routes, ways, outcomes, kinds and collections are words of the code,
applications are stored ones. Counting never fails a request, whatever is wrong with it.
"""

import atexit
import logging
import platform
import struct
from collections.abc import Callable, Collection, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, values
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from datafor_token.audit.events import Event, Kind
from datafor_token.errors import MetricsUnavailable
from datafor_token.metrics import files as metric_files
from datafor_token.metrics.files import MetricFiles
from datafor_token.metrics.table import BUCKETS, METHODS, OUTCOMES, PREFIX, TABLE, WAYS, Row
from datafor_token.store.metered import KINDS
from datafor_token.validation import logs

log = logging.getLogger(__name__)

OTHER = "(other)"  # in parentheses, which no application's name can have
NO_ROUTE = "(none)"
MOST_APPLICATIONS = 1000
_UNREADABLE = (OSError, RuntimeError, ValueError, struct.error)


class _Family:
    """A metric whose children are kept: to have the client look one up costs twice as much as to count.

    ``lost`` is told what goes wrong: the request goes on.
    """

    def __init__(
        self, row: Row, registry: CollectorRegistry, files: MetricFiles | None, lost: Callable[[Exception], None]
    ) -> None:
        self._row, self._files, self._lost = row, files, lost
        self._is_histogram = row.kind == "histogram"
        options: dict[str, Any] = {"buckets": BUCKETS} if self._is_histogram else {}
        kind = Histogram if self._is_histogram else Counter
        self._metric: Any = kind(f"{PREFIX}{row.name}", row.meaning, row.labels, registry=registry, **options)
        self._children: dict[tuple[str, ...], Any] = {} if row.labels else {(): self._metric}

    def count(self, *labels: str, amount: float = 1) -> None:
        """Count one more."""
        try:
            (self._children.get(labels) or self._new(labels)).inc(amount)
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._lost(error)

    def observe(self, seconds: float, *labels: str) -> None:
        """Count a duration."""
        try:
            (self._children.get(labels) or self._new(labels)).observe(seconds)
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._lost(error)

    def _new(self, labels: tuple[str, ...]) -> Any:
        if self._files is not None and not self._files.has_room(self._row.kind):
            # Not cached: such labels are rare, and the cache must not grow without a limit either.
            return self._metric.labels(*(OTHER for _ in labels))
        found = self._children[labels] = self._metric.labels(*labels)
        return found


class Metrics:
    """The metrics of one application; each method counts in one of them. Durations are in seconds.

    ``collections`` are the store's. In a process that shares ``metric_files`` it counts there, elsewhere in memory.
    """

    def __init__(self, version: str, collections: Collection[str] = ()) -> None:
        self._files = metric_files.shared()
        self._build = _Build(version)
        self._said = False
        # Without its folder a worker would count for itself alone, and a scrape would meet one or another.
        self._fault = self._files.fault if self._files is not None else None
        files = None if self._fault else self._files
        if files is not None:
            # The client's hook for a name of a process's files other than its PID (client_python issue 509). It is
            # global, and so the folder is too.
            values.ValueClass = values.MultiProcessValue(files.slot)  # type: ignore[no-untyped-call]
            # Without this, Python's resource warnings name the open files at exit.
            atexit.register(values.close_all_multiprocess_files)
        self._registry = CollectorRegistry()
        self._registry.register(self._build)
        families = {
            row.name: _Family(row, self._registry, files, self._lost) for row in TABLE.values() if row.kind != "gauge"
        }
        self._requests = families["requests_total"]
        self._durations = families["request_duration_seconds"]
        self._tokens = families["tokens_issued_total"]
        self._sign_ins = families["sign_ins_total"]
        self._operations = families["store_operations_total"]
        self._failures = families["store_failures_total"]
        self._waits = families["lock_wait_seconds"]
        self._lookups = families["cache_lookups_total"]
        self._unrecorded = families["audit_unrecorded_total"]
        self._applications: set[str] | None = None
        for collection in collections:
            for kind in KINDS.values():
                # A series that begins with its first failure shows no increase.
                self._failures.count(collection, kind, amount=0)
        if self._fault:
            log.error(logs.event(event="metrics are not counted", reason=self._fault))

    def request(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """A request was answered; ``route`` is the template of its URL, if it has one."""
        template = route or NO_ROUTE
        self._requests.count(template, method if method in METHODS else OTHER, str(status))
        self._durations.observe(seconds, template)

    def token_issued(self, application: str) -> None:
        """A token was issued, of a stored application."""
        self._tokens.count(application if self._is_known(application) else OTHER)

    def signed_in(self, way: str, outcome: str) -> None:
        """Somebody signed in, or was refused: one of ``WAYS`` and one of ``OUTCOMES``."""
        self._sign_ins.count(way if way in WAYS else OTHER, outcome if outcome in OUTCOMES else OTHER)

    def store_operation(self, operation: str, collection: str) -> None:
        """Something was asked of the store."""
        self._operations.count(operation, collection)

    def store_failure(self, collection: str, kind: str) -> None:
        """The store could not do it."""
        self._failures.count(collection, kind)

    def lock_waited(self, seconds: float) -> None:
        """A writer got its lock after so long, or gave up."""
        self._waits.observe(seconds)

    def cache(self, name: str, *, hit: bool) -> None:
        """Something was looked up in a memory, which the code names."""
        self._lookups.count(name, "hit" if hit else "miss")

    def audit_event(self, event: Event, way: str | None) -> None:
        """What of it has a metric of its own: a token was issued, a sign-in refused."""
        if event.kind in (Kind.TOKEN_GENERATED, Kind.TOKEN_PERSONAL):
            self.token_issued(event.application or OTHER)
        elif event.kind is Kind.SIGN_IN_REFUSED:
            self.signed_in(way or OTHER, event.reason or OTHER)

    def audit_unrecorded(self) -> None:
        """An event could not be written to the audit log."""
        self._unrecorded.count()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All of it as Prometheus reads it, and its content type, as the header ``Accept`` asks for.

        Raises ``MetricsUnavailable`` where the workers' counts cannot be read.
        """
        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:
            # The client cannot compare a version that is none, such as 1.x.
            encode, content_type = choose_encoder("")
        try:
            return encode(self._all()), content_type
        except _UNREADABLE as error:
            raise MetricsUnavailable(reason=f"metrics cannot be read: {self._fault or type(error).__name__}") from error

    def _all(self) -> CollectorRegistry:
        if self._files is None:
            return self._registry
        if self._fault:
            raise OSError(self._fault)
        self._files.check()
        registry = CollectorRegistry()
        registry.register(self._build)
        registry.register(_collector(self._files))
        return registry

    def _is_known(self, application: str) -> bool:
        """Whether it is counted by its name: each is a line of every answer, so that there must not be too many."""
        if self._applications is None:
            self._applications = set(self._counted())
        if application not in self._applications and len(self._applications) < MOST_APPLICATIONS:
            self._applications.add(application)
        return application in self._applications

    def _counted(self) -> Iterator[str]:
        """The applications that this worker's forerunners and the other workers have counted."""
        if self._files is None or self._fault:
            return
        try:
            found = [one for one in _collector(self._files).collect() if one.name == f"{PREFIX}tokens_issued"]
        except _UNREADABLE:
            return
        for metric in found:
            yield from (sample.labels["application"] for sample in metric.samples)

    def _lost(self, error: Exception) -> None:
        if not self._said:
            self._said = True
            log.error(logs.event(event="metrics are not counted in this process", reason=type(error).__name__))


def _collector(files: MetricFiles) -> Any:
    return MultiProcessCollector(None, path=str(files.folder))  # type: ignore[no-untyped-call]


class _Build(Collector):
    """What runs: no count, and so not in the files."""

    def __init__(self, version: str) -> None:
        self._version = version

    def collect(self) -> Iterator[Metric]:
        """One line."""
        row = TABLE["build_info"]
        family = GaugeMetricFamily(f"{PREFIX}{row.name}", row.meaning, labels=row.labels)
        family.add_metric([self._version, platform.python_version()], 1)
        yield family
