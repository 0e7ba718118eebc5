"""Settings: one table. ``settings_sources`` reads their values.

The fields of ``Settings`` are the table: name, type, default, unit, help.
"""

import dataclasses
import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from datafor_token.errors import StartError
from datafor_token.validation import logs
from datafor_token.validation.origins import check_origins
from datafor_token.validation.setting_values import (
    between,
    check_audit_sinks,
    check_ca_file,
    check_cookie_domain,
    check_hosts,
    check_http_hosts,
    check_networks,
    check_node,
    check_page_url,
    check_public_url,
    check_redis_uri,
    check_store,
    check_url_prefix,
    check_webhook_secret,
    one_of,
)

ENVIRONMENT_PREFIX = "DATAFOR_TOKEN_"
# CONFIG_DIR locates the file; BIND, SOCKET_MODE, WORKER and METRICS_DIR are for gunicorn (gunicorn_conf.py); the
# key and the password do not belong in a file that is shared.
ENVIRONMENT_ONLY = {
    "CONFIG_DIR": "folder of settings.toml; default: config/ in the current folder; in a checkout, beside the code",
    "DATA_DIR": "folder of all records; default: data/ in the current folder; in a checkout, beside the code",
    "BIND": "address that gunicorn listens on; default: 127.0.0.1:28080",
    "SOCKET_MODE": "with BIND unix:path, file mode of the socket, such as 660 for a proxy in the service's group;"
    " default: 700",
    "WORKER": "gthread: gunicorn's own threaded worker serves; default: the worker of this service, which is faster",
    "METRICS_DIR": "folder in which gunicorn creates the folder of the metrics, and removes it when it stops;"
    " default: the folder for temporary files",
    "SECRET_KEY": "key that encrypts secrets, 32 random bytes as Base64, then former keys separated by commas;"
    " default: config/secret_key",
    "ADMIN_PASSWORD": "password of the user admin, created at the first start; default: a random one, printed once",
}
# Settings that may differ between nodes that share a database. Another store is refused by its identifier.
_PER_NODE = frozenset({"store", "metrics_allow", "log_level", "log_format", "node"})
_CHECKOUT = Path(__file__).resolve().parent.parent


def _setting(
    default: Any, *, unit: str, text: str, check: Callable[[Any], None] | None = None, secret: bool = False
) -> Any:
    metadata = {"unit": unit, "help": text, "check": check, "secret": secret}
    return dataclasses.field(default=default, repr=not secret, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings with their values. The field ``url_prefix`` is the setting ``URL_PREFIX``, and so on."""

    url_prefix: str = _setting(
        "", unit="path", text="Prefix of every path of the service, such as /datafor.", check=check_url_prefix
    )
    max_content_length: int = _setting(
        65536,
        unit="bytes",
        text="Maximum size of a request body; a larger one is refused with 413.",
        check=between(1024, 1024 * 1024),
    )
    require_strong_secrets: bool = _setting(
        default=False,
        unit="true or false",
        text="Refuse short or easily guessed shared secrets instead of warning about them.",
    )
    lock_timeout: float = _setting(
        5.0,
        unit="seconds",
        text="How long a write waits for another write before it fails with 503.",
        check=between(0.1, 60),
    )
    store: str = _setting(
        "file",
        unit="file or URL",
        text="Where records are stored: in files, or in a database such as postgresql+psycopg://user@host/database.",
        check=check_store,
        secret=True,
    )
    store_timeout: float = _setting(
        5.0,
        unit="seconds",
        text="How long the database may take before a call fails with 503.",
        check=between(2, 60),
    )
    ratelimit_storage_uri: str = _setting(
        "",
        unit="URI",
        text="Where several hosts share counts of failed passwords and issued tokens, such as redis://host; empty: each"
        " counts alone.",
        check=check_redis_uri,
        secret=True,
    )
    leeway: float = _setting(
        30.0,
        unit="seconds",
        text="Allowed difference between the clocks of this service and of a token issuer, and at a start between those"
        " of this host and the database.",
        check=between(0, 300),
    )
    tokens_may_administer: bool = _setting(
        default=False,
        unit="true or false",
        text="Whether a token may sign in or create an Administrator; if so, every issuer of tokens can act as one.",
    )
    min_password_length: int = _setting(
        8,
        unit="characters",
        text="Minimum length of a new password; existing passwords remain valid.",
        check=between(1, 128),
    )
    session_hours: float = _setting(
        12.0,
        unit="hours",
        text="Maximum duration of a session.",
        check=between(0.001, 8760),
    )
    session_idle_minutes: float = _setting(
        60.0,
        unit="minutes",
        text="How long a session lasts without a request.",
        check=between(0.01, 43200),
    )
    public_url: str = _setting(
        "",
        unit="URL",
        text="URL of this host in browsers, such as https://intra.example; one-time links start with it.",
        check=check_public_url,
    )
    gate_samesite: str = _setting(
        "Lax",
        unit="SameSite value",
        text="SameSite of the cookie datafor_gate; None allows pages in a frame of another site, over https only.",
        check=one_of("Lax", "Strict", "None"),
    )
    gate_cookie_domain: str = _setting(
        "",
        unit="domain",
        text="Domain such as intra.example whose hosts share the gate's cookie; unsafe: each of them can act as its"
        " visitors on all others. Empty: each host has its own.",
        check=check_cookie_domain,
    )
    gate_assertion: bool = _setting(
        default=False,
        unit="true or false",
        text="Whether auth/check returns a signed identity in X-Datafor-Assertion; needs PUBLIC_URL.",
    )
    sign_in_url: str = _setting(
        "",
        unit="URL or path",
        text="Sign-in page that the check redirects to if its URL has redirect=1, such as that of a portal, or"
        " /auth/sign-in under URL_PREFIX; empty: no redirect.",
        check=check_page_url,
    )
    sign_out_url: str = _setting(
        "",
        unit="URL or path",
        text="Page that auth/leave redirects to if its URL has no next; empty: a page of this service.",
        check=check_page_url,
    )
    trusted_proxies: int = _setting(
        0,
        unit="proxies",
        text="Number of proxies in front of the service whose X-Forwarded-For, -Proto and -Host are trusted.",
        check=between(0, 10),
    )
    trust_forwarded_prefix: bool = _setting(
        default=False,
        unit="true or false",
        text="Whether X-Forwarded-Prefix of these proxies is trusted; unsafe if they pass on a client's own header.",
    )
    trusted_hosts: tuple[str, ...] = _setting(
        (),
        unit="list of hosts",
        text="Host names that requests may be addressed to, such as intra.example or .example; empty: any.",
        check=check_hosts,
    )
    cors_origins: tuple[str, ...] = _setting(
        (),
        unit="list of origins",
        text="Origins whose pages may call the service, such as https://portal.example; separated by commas.",
        check=check_origins,
    )
    jwks_ca_file: str = _setting(
        "",
        unit="path",
        text="PEM file with a private CA for URLs of keys (jwks_uri) and of a webhook, beside the CAs of the system;"
        " empty: only those.",
        check=check_ca_file,
    )
    jwks_http_hosts: tuple[str, ...] = _setting(
        (),
        unit="list of hosts",
        text="Hosts whose keys may be fetched by http; unsafe: anyone who can change that traffic can be any user.",
        check=check_http_hosts,
    )
    metrics_allow: tuple[str, ...] = _setting(
        ("127.0.0.0/8", "::1/128"),
        unit="list of networks",
        text="Networks that may read /metrics; a request forwarded by a proxy is always refused.",
        check=check_networks,
    )
    audit_sink: tuple[str, ...] = _setting(
        (),
        unit="list of sinks",
        text="Where each line of the audit log is sent too: syslog, stdout, and the URL of a webhook such as"
        " https://siem.example/events; unsafe if others may read it, since the lines have names, addresses and values.",
        check=check_audit_sinks,
        # A part of the URL can be a secret.
        secret=True,
    )
    audit_webhook_secret: str = _setting(
        "",
        unit="secret",
        text="Secret that signs what is sent to the webhook of AUDIT_SINK: whsec_ and Base64 of 24 to 64 random bytes;"
        " of several with blanks between, each signs.",
        check=check_webhook_secret,
        secret=True,
    )
    audit_days: int = _setting(
        0,
        unit="days",
        text="With a database as STORE, events of the audit log that are older are deleted; 0 keeps them for ever.",
        check=between(0, 36_500),
    )
    rehearsal_days: int = _setting(
        14,
        unit="days",
        text="How long accepted sign-ins by token are kept, so that a change of rules can be rehearsed against them; 0"
        " keeps none.",
        check=between(0, 90),
    )
    log_level: str = _setting(
        "INFO",
        unit="level",
        text="Lowest level logged: DEBUG, INFO, WARNING or ERROR. Refused requests are WARNING, failed ones ERROR.",
        check=one_of("DEBUG", "INFO", "WARNING", "ERROR"),
    )
    log_format: str = _setting(
        "logfmt", unit="format", text="Format of each line of the log: logfmt or json.", check=one_of(*logs.FORMATS)
    )
    drain_seconds: float = _setting(
        0.0,
        unit="seconds",
        text="How long a server that gets SIGTERM still serves, with /readyz 503, so that load balancers notice.",
        check=between(0, 120),
    )
    node: str = _setting(
        "",
        unit="name",
        text="Name of this host in events, /readyz and metrics, if several share a database; empty: its host name.",
        check=check_node,
    )
    config_dir: Path = Path("config")
    data_dir: Path = Path("data")
    origins: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)

    @property
    def node_name(self) -> str:
        """Name of this node: the setting ``NODE``, else the host name."""
        return self.node or socket.gethostname()


def bind_address(environ: Mapping[str, str]) -> str:
    """Return the address that gunicorn listens on; raise ``StartError`` if it is not valid."""
    text = environ.get(f"{ENVIRONMENT_PREFIX}BIND") or "127.0.0.1:28080"
    place = re.fullmatch(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})|unix:.+", text)
    if place is None or int(place["port"] or 0) > 65535:
        raise StartError(f"{ENVIRONMENT_PREFIX}BIND must be host:port, [IPv6 address]:port or unix:path")
    return text


def socket_mode(environ: Mapping[str, str]) -> int | None:
    """Return the file mode of the Unix socket, or None for gunicorn's default.

    Raises ``StartError`` if the mode is not valid, or lets not even the owner write: connecting takes write permission
    (unix(7)).
    """
    text = environ.get(f"{ENVIRONMENT_PREFIX}SOCKET_MODE")
    if not text:
        return None
    if not re.fullmatch(r"0?[67][0-7][0-7]", text):
        raise StartError(f"{ENVIRONMENT_PREFIX}SOCKET_MODE must be an octal file mode such as 660")
    return int(text, 8)


def worker_wanted(environ: Mapping[str, str]) -> str:
    """Return the configured gunicorn worker, or an empty text for the default; raise ``StartError`` for another one."""
    name = environ.get(f"{ENVIRONMENT_PREFIX}WORKER", "")
    if name not in ("", "gthread"):
        raise StartError(f"{ENVIRONMENT_PREFIX}WORKER must be gthread, or not set")
    return name


def table() -> list[dataclasses.Field[Any]]:
    """Return the rows of the settings table, in the order of the documentation."""
    return [field for field in dataclasses.fields(Settings) if field.metadata]


def shared_values(settings: Settings) -> dict[str, Any]:
    """Return the settings that must be the same on all nodes, as far as they do not have their default values.

    So a version with a further setting returns the same as one without it.
    """
    shared = [field for field in table() if field.name not in _PER_NODE]
    values = {field.name: getattr(settings, field.name) for field in shared}
    return {field.name: values[field.name] for field in shared if values[field.name] != field.default}


def displayed_value(settings: Settings, field: dataclasses.Field[Any]) -> Any:
    """Return the value of a setting, as stars if it may contain a password; a default contains none."""
    value = getattr(settings, field.name)
    return "************" if field.metadata["secret"] and value != field.default else value


def checkout() -> Path | None:
    """Return the folder of the checkout that this code is in, or None for an installed package."""
    return _CHECKOUT if (_CHECKOUT / "pyproject.toml").is_file() else None


def folder(environ: Mapping[str, str], variable: str, default: Path) -> Path:
    """Return an absolute path, so that a change of the current folder does not matter, and every path has a parent."""
    wanted = environ.get(f"{ENVIRONMENT_PREFIX}{variable}")
    if wanted:
        return Path(wanted).absolute()
    # Beside the code of a checkout, so that a command from another folder works on the same records; an installed
    # package is in a folder for code only.
    return (checkout() or Path.cwd()) / default
