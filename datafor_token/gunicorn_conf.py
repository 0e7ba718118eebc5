"""gunicorn's settings, for ``datafor-token serve`` and ``config/gunicorn.conf.py``."""

import os
from pathlib import Path
from typing import Any

from datafor_token import blocking
from datafor_token.metrics import files
from datafor_token.server import affinity, selection
from datafor_token.settings import bind_address, socket_mode, worker_wanted
from datafor_token.web import hooks, responses

with hooks.starting():
    bind = bind_address(os.environ)
    _socket_mode = socket_mode(os.environ)
    # Our own worker with three threads, or gunicorn's gthread with eight: see datafor_token/server/selection.py.
    worker_class, threads, _notice = selection.select(worker_wanted(os.environ))
workers = 2
# The application is loaded once, before the workers start: an error in the settings stops the start with one sentence.
# This is safe with the store: its locks are opened for each write. Only the lock of servers is inherited, on purpose.
preload_app = True

# Long enough for every response; a client that never finishes its request does not delay a stop any longer.
graceful_timeout = 10

# Room for the longest token in a URL, and for that URL in the header in which a proxy passes it on.
limit_request_line = 8190
limit_request_field_size = 16380

# Our own log has one line per request; gunicorn's would contain the query string, and with it tokens.
accesslog = None
logger_class = "datafor_token.server.logger.ServerLogger"

# By default gunicorn trusts X-Forwarded-Proto from loopback; the service decides itself (setting TRUSTED_PROXIES).
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
# gunicorn trusts every client of a Unix socket, which could then choose SCRIPT_NAME.
forwarder_headers = ""

# Longer than proxies keep idle connections (nginx 60 s, Traefik 90 s, Caddy 120 s): a proxy that sends a POST on a
# connection that was just closed here returns 502.
keepalive = 125

# gunicorn would create a socket in the home folder that accepts commands.
control_socket_disable = True
umask = 0o077

# The workers write their metrics to one folder, which is removed when this process ends.
files.share(os.environ)


def on_starting(server: Any) -> None:
    """Log that gthread serves, and why."""
    if _notice:
        server.log.warning(_notice)


def when_ready(server: Any) -> None:
    """Let the proxy connect to the Unix socket, which the umask of the data files would forbid; drain at a stop."""
    if _socket_mode is not None and bind.startswith("unix:"):
        for listener in server.LISTENERS:
            Path(listener.getsockname()).chmod(_socket_mode)
    if server.cfg.preload_app:
        hooks.begin_drain_at_stop(server.app.wsgi())


def pre_fork(server: Any, worker: Any) -> None:
    """Choose the core of a new worker."""
    worker.core = affinity.choose([(other.age, other.core) for other in server.WORKERS.values()], server.num_workers)


def post_fork(server: object, worker: Any) -> None:
    """Prepare a new worker process."""
    # The new worker adds to the metrics of a dead one.
    files.claim()
    worker.checked_headers = responses.FIXED_HEADERS
    # Two threads of gthread are always free; our worker starts threads in place of those that wait.
    blocking.limit_waits(worker.cfg.threads - 2)


def post_worker_init(worker: Any) -> None:
    """Read the applications before the first request."""
    hooks.read_ahead(worker.wsgi)


def on_reload(server: Any) -> None:
    """Log at SIGHUP which settings changed: with ``preload_app``, only a restart reads them."""
    if server.cfg.preload_app:
        hooks.report_changed_settings(server.app.wsgi(), os.environ)
