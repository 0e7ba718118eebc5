"""Values of the settings, read from ``config/settings.toml`` and the environment.

The environment variable ``DATAFOR_TOKEN_NAME`` overrides the setting ``NAME`` of the file. All errors are reported at
once.
"""

import dataclasses
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datafor_token.errors import Message, RuleError, StartError
from datafor_token.settings import ENVIRONMENT_ONLY, ENVIRONMENT_PREFIX, Settings, folder, table
from datafor_token.validation import files, logs, toml, utf8

# The type of each setting as the code has it, and its name in messages.
_KINDS: dict[Any, tuple[type, str]] = {
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: (float, "a number"),
    str: (str, "text in quotes"),
    tuple[str, ...]: (tuple, "a list of texts in brackets"),
}


def wanted_log_format(environ: Mapping[str, str]) -> str:
    """Return the format of the log, whatever other settings are not valid; its default if it is not valid itself."""
    file = folder(environ, "CONFIG_DIR", Settings.config_dir) / "settings.toml"
    found, _ = (_from_file(file, []) | _from_environment(environ, [])).get("LOG_FORMAT", ("", ""))
    return found if found in logs.FORMATS else Settings.log_format


def load_settings(config_dir: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the settings of ``config_dir`` (None: the folder of ``environ``, else the default).

    Raises ``StartError`` with one sentence for each error.
    """
    faults: list[str] = []
    place = config_dir.absolute() if config_dir else folder(environ, "CONFIG_DIR", Settings.config_dir)
    file = place / "settings.toml"
    values = _from_file(file, faults) | _from_environment(environ, faults)
    known = {field.name.upper(): field for field in table()}
    accepted: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, (value, origin) in values.items():
        field = known.get(name)
        if field is None:
            similar = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.8)
            meant = f"; did you mean {similar[0]}?" if similar else ""
            faults.append(f"{name} ({origin}) is not a setting of this service{meant}")
            continue
        try:
            accepted[field.name] = _checked(field, value)
            origins[name] = origin
        except RuleError as error:
            faults.append(f"{name} ({origin}) {error}")
    data_dir = folder(environ, "DATA_DIR", Settings.data_dir)
    settings = Settings(**accepted, config_dir=place, data_dir=data_dir, origins=origins)
    for names, fault in _misfits(settings):
        # A setting with a fault of its own has its default value here.
        if not any(name in values and name not in origins for name in names):
            faults.append(f"{names[0]} ({origins[names[0]]}) {fault}")
    if faults:
        raise StartError(*faults)
    return settings


def value_of(name: str, text: str) -> Any:
    """Return the value of a setting, such as ``LEEWAY``, for its text in the environment; raise ``RuleError``."""
    field = next(one for one in table() if one.name.upper() == name)
    return _checked(field, _from_text(field.type, text))


def _misfits(settings: Settings) -> Iterator[tuple[Sequence[str], str]]:
    """Yield a setting that cannot work with others, followed by these, and why."""
    if settings.gate_assertion and not settings.public_url:
        reason = "needs PUBLIC_URL, which the claim iss of a signed identity has"
        yield (
            ("GATE_ASSERTION", "PUBLIC_URL"),
            f"{reason}: set it to the URL of this host in browsers, such as https://intra.example",
        )
    prefix, page = settings.url_prefix, re.split("[?#]", settings.sign_in_url)[0]
    sign_in = f"{prefix}/auth/sign-in"
    if prefix and page != sign_in and page.startswith((f"{prefix}/auth/", f"{prefix}/console/")):
        yield (
            ("SIGN_IN_URL", "URL_PREFIX"),
            f"is a path of this service, but no sign-in page of the gate: set it to {sign_in}",
        )
    if any("://" in sink for sink in settings.audit_sink) and not settings.audit_webhook_secret:
        yield (
            ("AUDIT_SINK", "AUDIT_WEBHOOK_SECRET"),
            "has a webhook, which needs AUDIT_WEBHOOK_SECRET: set it to whsec_ and Base64 of 24 to 64 random bytes",
        )
    domain, hosts = settings.gate_cookie_domain, settings.trusted_hosts
    if domain and hosts and not any(_overlap(host, domain) for host in hosts):
        yield (
            ("GATE_COOKIE_DOMAIN", "TRUSTED_HOSTS"),
            "contains none of TRUSTED_HOSTS: set it to the domain of these hosts, or remove it",
        )


def _overlap(host: str, domain: str) -> bool:
    """Return whether a host of ``TRUSTED_HOSTS`` is in the domain; one such as .example is all names with that end."""
    return f".{host}".endswith(f".{domain}") or (host.startswith(".") and f".{domain}".endswith(host))


def _from_file(file: Path, faults: list[str]) -> dict[str, tuple[Any, str]]:
    try:
        text = utf8.decode(files.read(file))
        return {name: (value, str(file)) for name, value in toml.loads(text).items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        faults.append(f"{file} cannot be read: {error.strerror}")
    except RuleError as error:
        faults.append(f"{file} {error}")
    return {}


def _from_environment(environ: Mapping[str, str], faults: list[str]) -> dict[str, tuple[Any, str]]:
    kinds = {field.name.upper(): field.type for field in table()}
    values: dict[str, tuple[Any, str]] = {}
    for variable, text in environ.items():
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if name == variable or name in ENVIRONMENT_ONLY:
            continue
        try:
            values[name] = (_from_text(kinds.get(name), text), Message("environment variable %(name)s", name=variable))
        except RuleError as error:
            faults.append(f"{name} (environment variable {variable}) {error}")
    return values


def _from_text(kind: Any, text: str) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise RuleError("must be true or false")
        return text.lower() == "true"
    if kind is int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise RuleError("must be a whole number")
        return int(text)
    if kind is float:
        if not re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", text):
            raise RuleError("must be a number")
        return float(text)
    if kind == tuple[str, ...]:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _checked(field: dataclasses.Field[Any], value: Any) -> Any:
    if field.type is float and type(value) is int:
        value = float(value)
    if field.type == tuple[str, ...] and type(value) is list:
        value = tuple(value)
    expected, name = _KINDS[field.type]
    if type(value) is not expected:
        raise RuleError("must be %(name)s", name=name)
    check = field.metadata["check"]
    if check is not None:
        check(value)
    return value
