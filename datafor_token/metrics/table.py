"""Table of all metrics, and the fixed values of their labels."""

from dataclasses import dataclass

from datafor_token.audit.events import REASONS, SIGN_IN_REASONS

PREFIX = "datafor_token_"
WAYS = frozenset({"basic", "bearer", "url", "session", "gate", "login", "ticket"})
# ``accepted``, the reasons of the audit log, and the other results of a sign-in.
OUTCOMES = frozenset({"accepted", *REASONS, *SIGN_IN_REASONS})
STORAGES = ("redis", "files")  # of the counts for limits
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Seconds: a call takes one millisecond, a password hash a hundred, a lock at most LOCK_TIMEOUT.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Row:
    """One metric: its name without ``PREFIX``, type, labels and help; the files store the help with each value."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


TABLE = {
    row.name: row
    for row in (
        Row("requests_total", "counter", ("route", "method", "status"), "requests that got a response"),
        Row("request_duration_seconds", "histogram", ("route",), "time to the response"),
        Row("tokens_issued_total", "counter", ("application",), "tokens issued"),
        Row(
            "rate_refusals_total",
            "counter",
            ("application",),
            "tokens and links that were refused, since the `rate` of the application was reached",
        ),
        Row("sign_ins_total", "counter", ("way", "outcome"), "sign-ins, accepted or refused"),
        Row(
            "would_be_refusals_total",
            "counter",
            ("application", "rule"),
            "uses of tokens, links and sessions that a rule would have refused, if it were not in `report`",
        ),
        Row("store_operations_total", "counter", ("operation", "collection"), "operations of the store"),
        Row("store_failures_total", "counter", ("collection", "kind"), "operations that the store could not do"),
        Row("lock_wait_seconds", "histogram", (), "time that a writer waited for a lock"),
        Row("cache_lookups_total", "counter", ("cache", "result"), "cache lookups: hit or miss"),
        Row("key_set_fetches_total", "counter", ("result",), "attempts to fetch the keys of an identity provider"),
        Row(
            "changes_total",
            "counter",
            ("event",),
            "changes that were stored, such as `tokens_cut_off` or `session_ended`",
        ),
        Row("audit_unrecorded_total", "counter", (), "events that could not be written to the audit log"),
        Row("audit_sink_sent_total", "counter", ("sink",), "events that were sent to a sink"),
        Row("audit_sink_failures_total", "counter", ("sink",), "attempts to send an event that failed"),
        Row(
            "audit_sink_lost_total",
            "counter",
            ("sink",),
            "events that a sink will never get, such as those of the time in which its queue was full",
        ),
        Row("audit_sink_waiting_bytes", "gauge", ("sink",), "bytes of events in the queue of a sink of this node"),
        Row(
            "limit_failures_total", "counter", ("storage",), "counts for limits that failed in the Redis or on the disk"
        ),
        Row(
            "node_info",
            "gauge",
            ("node", "version", "key", "other_keys", "settings"),
            "1, with the name of the node and what must be the same on all nodes",
        ),
        Row(
            "clock_offset_seconds",
            "gauge",
            (),
            "time by which the clock of the database is ahead of that of the node; 0 for a store in files",
        ),
        Row("build_info", "gauge", ("version", "python"), "1, with the running version as labels"),
    )
}
