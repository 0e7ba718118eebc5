"""gunicorn's settings: `.venv/bin/gunicorn -c config/gunicorn.conf.py wsgi:app`, or just `make run`."""

import os
from pathlib import Path
from typing import Any

from datafor_token.metrics import files
from datafor_token.server import affinity
from datafor_token.settings import bind_address, socket_mode
from datafor_token.web import services

bind = bind_address(os.environ)
_socket_mode = socket_mode(os.environ)

# Compared side by side on two cores, generate by Basic at 16 and 64 connections (make bench BENCH=--compare-workers):
# gunicorn's gthread with two, four or eight threads takes 1.3 to 1.5 times the CPU of ours and 1.3 to 3 times its p99,
# also with reuse_port, which spreads connections but loses requests with a worker; sync 1.4 times, without keep-alive.
# Ours on any core instead of one each: 0.84 to 0.94 of the throughput. Two or four threads: as many requests, with four
# 1.1 to 1.3 times the p99; the fewer there are, the sooner slow clients and hashes hold them all.
workers = 2
worker_class = "datafor_token.server.worker.Worker"
threads = 3
# Loaded once, before the workers: a fault in the settings is one sentence, and the start is stopped.
# Safe with the store: its locks are opened for each write, none is held across the fork.
preload_app = True

# Long enough for every answer; a client that never finishes its request does not hold a stop for longer.
graceful_timeout = 10

# Room for the longest token in a URL, and for that URL in the header in which a proxy passes it on.
limit_request_line = 8190
limit_request_field_size = 16380

# Our own log has one line per request; gunicorn's would contain the query string, and with it tokens.
accesslog = None
logger_class = "datafor_token.validation.logs.ServerLogger"

# gunicorn by itself believes X-Forwarded-Proto from loopback; who is believed is the service's to say.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
# gunicorn trusts every client of a Unix socket, which could then choose what the path begins with.
forwarder_headers = ""

# Longer than proxies keep idle connections (nginx 60 s, Traefik 90 s, Caddy 120 s): a proxy that sends a POST on a
# connection that was just closed here answers 502.
keepalive = 125

# A socket in the home folder that takes commands: nobody here uses it.
control_socket_disable = True
umask = 0o077

# The workers count in one folder, which is removed at the end of this process.
files.share(os.environ)


def when_ready(server: Any) -> None:
    """Let the proxy connect to the Unix socket; umask is for files of data, and stays as it is."""
    if _socket_mode is not None and bind.startswith("unix:"):
        for listener in server.LISTENERS:
            Path(listener.getsockname()).chmod(_socket_mode)


def pre_fork(server: Any, worker: Any) -> None:
    """Choose the core that a new worker stays on."""
    worker.core = affinity.choose([(other.age, other.core) for other in server.WORKERS.values()], server.num_workers)


def post_fork(server: object, worker: object) -> None:
    """Let a new worker count on where a dead one stopped."""
    files.claim()


def post_worker_init(worker: Any) -> None:
    """Have a new worker know the applications before it is asked."""
    services.read_ahead(worker.wsgi)


def on_reload(server: Any) -> None:
    """Log at SIGHUP which settings changed: with ``preload_app``, only a restart reads them."""
    if server.cfg.preload_app:
        services.report_changed_settings(server.app.wsgi(), os.environ)
