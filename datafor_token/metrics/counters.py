"""Metrics for Prometheus, summed over all workers (see ``files``).

No label value comes from a client: routes, ways, outcomes, kinds and collections are words of the code, applications
are stored ones. An error in counting never fails a request.
"""

import atexit
import contextlib
import logging
import platform
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, values
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from datafor_token.audit.events import Event, Kind
from datafor_token.errors import MetricsUnavailable, StoreUnavailable
from datafor_token.metrics import files as metric_files
from datafor_token.metrics.files import MetricFiles
from datafor_token.metrics.table import BUCKETS, METHODS, OUTCOMES, PREFIX, STORAGES, TABLE, WAYS, Row
from datafor_token.store.metered import KINDS
from datafor_token.validation import logs

log = logging.getLogger(__name__)

OTHER = "(other)"  # no application can have a name in parentheses
NO_ROUTE = "(none)"
MOST_APPLICATIONS = 1000
# Returns values by their labels: a tuple of texts, or the only one.
_Read = Callable[[], Mapping[Any, float]]
_UNREADABLE = (OSError, RuntimeError, ValueError, struct.error)


class _Family:
    """A metric with a cache of its children: a lookup in prometheus_client takes twice as long as counting.

    ``lost`` is called with any error, so that the request continues.
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
        """Add ``amount`` to a counter."""
        try:
            (self._children.get(labels) or self._new(labels)).inc(amount)
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._lost(error)

    def observe(self, seconds: float, *labels: str) -> None:
        """Add a duration to a histogram."""
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
    """The metrics of one application. Durations are in seconds.

    ``collections`` are those of the store. A process that shares a folder (see ``files``) counts there, others count in
    memory.
    """

    def __init__(self, version: str, collections: Collection[str] = ()) -> None:
        self._files = metric_files.shared()
        self._gauges = _Gauges()
        self.add_gauge("build_info", lambda: {(version, platform.python_version()): 1})
        self._is_lost_logged = False
        # Without the folder each worker would count alone, and a scrape would show one of them by chance.
        self._fault = self._files.fault if self._files is not None else None
        files = None if self._fault else self._files
        # prometheus_client's hook for file names without the PID (prometheus/client_python#509). It is global, and so
        # is the folder. Without one, a variable that this process inherited must not choose files.
        if files is None:
            values.ValueClass = values.MutexValue
        else:
            values.ValueClass = values.MultiProcessValue(files.slot)  # type: ignore[no-untyped-call]
            # Without this, Python's resource warnings name the open files at exit.
            atexit.register(values.close_all_multiprocess_files)
        self._registry = CollectorRegistry()
        self._registry.register(self._gauges)
        self._families = {
            row.name: _Family(row, self._registry, files, self._lost) for row in TABLE.values() if row.kind != "gauge"
        }
        self._applications: set[str] | None = None
        for collection in collections:
            for kind in KINDS.values():
                # A series that began with its first failure would show no increase.
                self._families["store_failures_total"].count(collection, kind, amount=0)
        for storage in STORAGES:
            self._families["limit_failures_total"].count(storage, amount=0)
        if self._fault:
            log.error(logs.event("metrics are not counted", reason=self._fault))

    def request(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """Count a request; ``route`` is the template of its URL, None if it has none."""
        template = route or NO_ROUTE
        self._families["requests_total"].count(template, method if method in METHODS else OTHER, str(status))
        self._families["request_duration_seconds"].observe(seconds, template)

    def token_issued(self, application: str) -> None:
        """Count a token that was issued for a stored application."""
        self._families["tokens_issued_total"].count(application if self._is_known(application) else OTHER)

    def rate_refused(self, application: str) -> None:
        """Count a token or link that was refused, since the rate of a stored application was reached."""
        self._families["rate_refusals_total"].count(application if self._is_known(application) else OTHER)

    def signed_in(self, way: str, outcome: str) -> None:
        """Count a sign-in, accepted or refused, by one of ``WAYS`` and one of ``OUTCOMES``."""
        self._families["sign_ins_total"].count(way if way in WAYS else OTHER, outcome if outcome in OUTCOMES else OTHER)

    def would_be_refused(self, application: str, rule: str) -> None:
        """Count what a rule of a stored application would have refused; ``rule`` is one of ``policy.REPORTABLE``."""
        self._families["would_be_refusals_total"].count(application if self._is_known(application) else OTHER, rule)

    def store_operation(self, operation: str, collection: str) -> None:
        """Count an operation of the store."""
        self._families["store_operations_total"].count(operation, collection)

    def store_failure(self, collection: str, kind: str) -> None:
        """Count a failed operation of the store."""
        self._families["store_failures_total"].count(collection, kind)

    def lock_waited(self, seconds: float) -> None:
        """Count how long a writer waited until it got its lock or gave up."""
        self._families["lock_wait_seconds"].observe(seconds)

    def cache(self, name: str, *, hit: bool) -> None:
        """Count a lookup in the cache ``name``."""
        self._families["cache_lookups_total"].count(name, "hit" if hit else "miss")

    def keys_fetched(self, result: str) -> None:
        """Count an attempt to fetch keys; ``result`` is ``fetched`` or ``failed``."""
        self._families["key_set_fetches_total"].count(result)

    def audit_event(self, event: Event, way: str | None) -> None:
        """Count the events that have a metric: a token was issued, a sign-in was refused."""
        if event.kind in (Kind.TOKEN_GENERATED, Kind.TOKEN_PERSONAL):
            self.token_issued(event.application or OTHER)
        elif event.kind is Kind.SIGN_IN_REFUSED:
            self.signed_in(way or OTHER, event.reason or OTHER)

    def changed(self, event: Event) -> None:
        """Count a change that was stored."""
        self._families["changes_total"].count(event.kind)

    def audit_unrecorded(self) -> None:
        """Count an event that could not be written to the audit log."""
        self._families["audit_unrecorded_total"].count()

    def limit_failed(self, storage: str) -> None:
        """Count that a count for a limit failed in a storage, one of ``STORAGES``."""
        self._families["limit_failures_total"].count(storage)

    def sink_sent(self, sink: str) -> None:
        """Count an event that was sent to a sink."""
        self._families["audit_sink_sent_total"].count(sink)

    def sink_failed(self, sink: str) -> None:
        """Count an attempt to send an event that failed."""
        self._families["audit_sink_failures_total"].count(sink)

    def sink_lost(self, sink: str) -> None:
        """Count an event that a sink will never get."""
        self._families["audit_sink_lost_total"].count(sink)

    def add_gauge(self, name: str, read: _Read) -> None:
        """Add a gauge of the table, whose values by their labels are read at each exposition.

        ``read`` may raise ``StoreUnavailable``; then the gauge has no values.
        """
        self._gauges.found[name] = read

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics in the format for the header ``Accept``, and its content type.

        Raises ``MetricsUnavailable`` if the files of the workers cannot be read.
        """
        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:
            # prometheus_client fails on a version such as 1.x.
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
        registry.register(self._gauges)
        registry.register(_collector(self._files))
        return registry

    def _is_known(self, application: str) -> bool:
        """Return whether an application has a series of its own; their number is limited."""
        if self._applications is None:
            self._applications = set(self._counted())
        if application not in self._applications and len(self._applications) < MOST_APPLICATIONS:
            self._applications.add(application)
        return application in self._applications

    def _counted(self) -> Iterator[str]:
        """Yield the applications that earlier and other workers have counted."""
        if self._files is None or self._fault:
            return
        try:
            found = [one for one in _collector(self._files).collect() if one.name == f"{PREFIX}tokens_issued"]
        except _UNREADABLE:
            return
        for metric in found:
            yield from (sample.labels["application"] for sample in metric.samples)

    def _lost(self, error: Exception) -> None:
        if not self._is_lost_logged:
            self._is_lost_logged = True
            log.error(logs.event("metrics are not counted in this process", reason=type(error).__name__))


def _collector(files: MetricFiles) -> Any:
    return MultiProcessCollector(None, path=str(files.folder))  # type: ignore[no-untyped-call]


class _Gauges(Collector):
    """Values that are the same in all workers, and therefore not in the files: how to read each, by its name."""

    def __init__(self) -> None:
        self.found: dict[str, _Read] = {}

    def collect(self) -> Iterator[Metric]:
        """Yield each gauge."""
        for name, read in self.found.items():
            row = TABLE[name]
            family = GaugeMetricFamily(f"{PREFIX}{row.name}", row.meaning, labels=row.labels)
            with contextlib.suppress(StoreUnavailable):
                for labels, value in read().items():
                    family.add_metric((labels,) if isinstance(labels, str) else labels, value)
            yield family
