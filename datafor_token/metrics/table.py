"""What is counted: the table of all metrics, and the words that their labels may have."""

from dataclasses import dataclass

from datafor_token.audit.events import REASONS

PREFIX = "datafor_token_"
WAYS = frozenset({"basic", "bearer", "url", "session", "gate", "login", "ticket"})
# ``accepted``; the reasons of contract section 7; what else becomes of a sign-in.
OUTCOMES = frozenset({
    "accepted", *REASONS, "wrong_password", "throttled", "overloaded", "several_tokens", "ticket",
})  # fmt: skip
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Seconds: a call takes one millisecond, a password's hash a hundred, a lock at most LOCK_TIMEOUT.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Row:
    """One metric: its name behind ``PREFIX``, type, labels and meaning, which the client repeats for each value."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


TABLE = {
    row.name: row
    for row in (
        Row("requests_total", "counter", ("route", "method", "status"), "requests answered"),
        Row("request_duration_seconds", "histogram", ("route",), "time to the answer"),
        Row("tokens_issued_total", "counter", ("application",), "tokens issued"),
        Row("sign_ins_total", "counter", ("way", "outcome"), "sign-ins, accepted or refused"),
        Row("store_operations_total", "counter", ("operation", "collection"), "what was asked of the store"),
        Row("store_failures_total", "counter", ("collection", "kind"), "what the store could not do"),
        Row("lock_wait_seconds", "histogram", (), "time that a writer waited for its lock"),
        Row("cache_lookups_total", "counter", ("cache", "result"), "look-ups in a memory: hit or miss"),
        Row("audit_unrecorded_total", "counter", (), "events that could not be written to the audit log"),
        Row("build_info", "gauge", ("version", "python"), "1, for the version that runs"),
    )
}
