"""All sinks of the setting ``AUDIT_SINK``, each with a queue and a sender of its own: none waits for another one."""

import logging
import threading
import time
from collections.abc import Callable, Mapping

from datafor_token.errors import StoreUnavailable
from datafor_token.settings import Settings
from datafor_token.sinks.outputs import Sink, StandardOutput, Syslog
from datafor_token.sinks.queue import Queue
from datafor_token.sinks.sender import Sender, SinkMetrics
from datafor_token.validation import logs

log = logging.getLogger(__name__)

FOLDER = "audit_sinks"  # in the data folder
_MINUTE = 60.0  # seconds


class Sinks:
    """The sinks of this installation. ``clock`` returns seconds since 1970."""

    def __init__(self, settings: Settings, clock: Callable[[], float], metrics: SinkMetrics) -> None:
        self._metrics = metrics
        folder = settings.data_dir / FOLDER
        self._queues = {name: Queue(folder / name) for name in map(name_of, settings.audit_sink)}
        self._senders = [
            Sender(self._queues[name_of(sink)], _opener(sink, settings, clock), metrics) for sink in settings.audit_sink
        ]
        self._is_watched = False
        self._logged: dict[str, float] = {}
        self._lock = threading.Lock()

    def put(self, line: bytes, *, durably: bool = False) -> None:
        """Queue a line of the audit log for all sinks, best effort; ``durably``: so that a power cut cannot lose it.

        A failure is logged, at most once a minute, and counted.
        """
        for name, queue in self._queues.items():
            try:
                queue.append(line, durably=durably)
            except StoreUnavailable as error:
                self._metrics.sink_lost(name)
                self._log_lost(name, error)
        if self._is_watched:
            self.start()
            for sender in self._senders:
                sender.wake()

    def watch(self) -> None:
        """Allow this installation to send: a command only queues its lines."""
        self._is_watched = True

    def start(self) -> None:
        """Start to send in this process, if ``watch`` was called and no other process of this host sends."""
        if self._is_watched:
            for sender in self._senders:
                sender.start()

    def stop(self) -> None:
        """Stop to send; what is in the queues remains there."""
        self._is_watched = False
        for sender in self._senders:
            sender.stop()

    def waiting(self) -> Mapping[str, int]:
        """Return the number of bytes in the queue of each sink; raise ``StoreUnavailable``."""
        return {name: queue.waiting() for name, queue in self._queues.items()}

    def _log_lost(self, name: str, error: StoreUnavailable) -> None:
        with self._lock:
            now = time.monotonic()
            if now - self._logged.get(name, -_MINUTE) < _MINUTE:
                return
            self._logged[name] = now
        log.warning(logs.event("audit events lost", sink=name, reason=error.reason))


def name_of(sink: str) -> str:
    """Return the name of an entry of ``AUDIT_SINK`` in metrics and the log; a URL may have a secret."""
    return "webhook" if "://" in sink else sink


def _opener(sink: str, settings: Settings, clock: Callable[[], float]) -> Callable[[], Sink]:
    def webhook() -> Sink:
        # Importing its client takes 40 ms, and a command sends nothing.
        from datafor_token.sinks.webhook import Webhook  # noqa: PLC0415

        return Webhook(sink, settings.audit_webhook_secret, clock, settings.jwks_ca_file)

    openers: dict[str, Callable[[], Sink]] = {"syslog": Syslog, "stdout": StandardOutput, "webhook": webhook}
    return openers[name_of(sink)]
