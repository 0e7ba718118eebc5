"""Settings: the file, the environment, and all errors at once."""

import dataclasses
import os
import tomllib
from pathlib import Path
from typing import get_origin

import pytest

from datafor_token.errors import StartError
from datafor_token.settings import Settings, bind_address, socket_mode, table
from datafor_token.settings_sources import load_settings
from tests.commands import invoke
from tests.support import ROOT


def test_defaults(tmp_path: Path) -> None:
    """A configuration folder without settings.toml gives the defaults."""
    assert load_settings(tmp_path, {}) == Settings(config_dir=tmp_path, data_dir=ROOT / "data")


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    """A variable DATAFOR_TOKEN_NAME overrides NAME of the file, which overrides the default."""
    (tmp_path / "settings.toml").write_text('LOCK_TIMEOUT = 2\nURL_PREFIX = "/datafor"\n')
    settings = load_settings(None, {"DATAFOR_TOKEN_CONFIG_DIR": str(tmp_path), "DATAFOR_TOKEN_LOCK_TIMEOUT": "7.5"})
    assert (settings.lock_timeout, settings.url_prefix) == (7.5, "/datafor")


@pytest.mark.parametrize("text", ['CORS_ORIGINS = ["https://a.example", "http://b:8080"]', ""])
def test_a_list(tmp_path: Path, text: str) -> None:
    """A list is an array in the file, and separated by commas in the environment."""
    (tmp_path / "settings.toml").write_text(text)
    environ = {} if text else {"DATAFOR_TOKEN_CORS_ORIGINS": "https://a.example, http://b:8080"}
    assert load_settings(tmp_path, environ).cors_origins == ("https://a.example", "http://b:8080")


def test_folders_come_from_the_environment(tmp_path: Path) -> None:
    """DATAFOR_TOKEN_CONFIG_DIR and DATAFOR_TOKEN_DATA_DIR set the two folders."""
    settings = load_settings(None, {"DATAFOR_TOKEN_CONFIG_DIR": "/c", "DATAFOR_TOKEN_DATA_DIR": "/d"})
    assert (settings.config_dir, settings.data_dir) == (Path("/c"), Path("/d"))


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    """One message names every unknown or ill-typed setting and its origin."""
    (tmp_path / "settings.toml").write_text(
        'LOCK_TIMEOUT = "5"\nMAX_CONTENT_LENGTH = 65536.0\nREQUIRE_STRONG_SECRETS = 1\n'
        'COLOUR = "red"\nlog_level = "INFO"\n'
    )
    environ = {
        "DATAFOR_TOKEN_URL_PREFIX": "datafor/",
        "DATAFOR_TOKEN_LOG_LEVEL": "LOUD",
        "DATAFOR_TOKEN_SHAPE": "round",
        "HOME": "/root",
    }
    with pytest.raises(StartError) as caught:
        load_settings(tmp_path, environ)
    faults = str(caught.value).splitlines()[1:]
    named = {fault.split()[1] for fault in faults}
    assert named == {
        "LOCK_TIMEOUT", "MAX_CONTENT_LENGTH", "REQUIRE_STRONG_SECRETS", "COLOUR", "log_level",
        "URL_PREFIX", "LOG_LEVEL", "SHAPE",
    }  # fmt: skip
    assert all("settings.toml" in fault or "environment variable DATAFOR_TOKEN_" in fault for fault in faults)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REQUIRE_STRONG_SECRETS", "no"),
        ("REQUIRE_STRONG_SECRETS", ""),
        ("MAX_CONTENT_LENGTH", "64k"),
        ("MAX_CONTENT_LENGTH", "1_000"),
        ("MAX_CONTENT_LENGTH", "0"),
        ("LOCK_TIMEOUT", "nan"),
        ("LOCK_TIMEOUT", "0"),
        ("LOCK_TIMEOUT", "1e1"),
        ("URL_PREFIX", "/"),
        ("URL_PREFIX", "/a/"),
        ("URL_PREFIX", "/a\n"),
        ("AUDIT_SINK", "file"),
        ("AUDIT_SINK", "stdout,stdout"),
        ("AUDIT_SINK", "http://siem.example/"),
        ("AUDIT_SINK", "https://user:password@siem.example/"),
        ("AUDIT_SINK", "https://siem.example/,https://other.example/"),
        ("AUDIT_WEBHOOK_SECRET", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("AUDIT_WEBHOOK_SECRET", "whsec_c2hvcnQ="),
        ("AUDIT_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_-"),
        ("PUBLIC_URL", "intra.example"),
        ("PUBLIC_URL", "https://intra.example/"),
        ("PUBLIC_URL", "https://a@b"),
        ("TRUSTED_PROXIES", "-1"),
        ("TRUSTED_PROXIES", "all"),
        ("GATE_SAMESITE", "none"),
        ("CORS_ORIGINS", "*"),
        ("TRUSTED_HOSTS", "intra.example:80"),
        ("TRUSTED_HOSTS", "*"),
        ("METRICS_ALLOW", "10.0.0.1/8"),
        ("METRICS_ALLOW", "127.0.0.1/8,everywhere"),
        ("METRICS_ALLOW", "10.0.0.0/33"),
        ("CORS_ORIGINS", "https://a.example/,https://b.example"),
        ("JWKS_HTTP_HOSTS", "http://idp.example"),
        ("JWKS_HTTP_HOSTS", "idp.example:8080"),
        ("JWKS_HTTP_HOSTS", ".example"),
        ("JWKS_HTTP_HOSTS", "*"),
    ],
)
def test_refused_values(tmp_path: Path, name: str, value: str) -> None:
    """A variable that is not exactly a value of the type of its setting stops the start."""
    with pytest.raises(StartError, match=name):
        load_settings(tmp_path, {f"DATAFOR_TOKEN_{name}": value})


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("ca.pem", None, "No such file"),
        (".", None, "Is a directory"),
        ("ca.pem", "", "no certificate"),
        ("ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no certificate"),
    ],
)
def test_a_ca_file_that_is_not_one(tmp_path: Path, name: str, content: str | None, reason: str) -> None:
    """A file of JWKS_CA_FILE that is missing, cannot be read or has no certificate stops the start."""
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(StartError, match=rf"JWKS_CA_FILE .* names a file .*{reason}"):
        load_settings(tmp_path, {"DATAFOR_TOKEN_JWKS_CA_FILE": str(tmp_path / name)})


def test_files_that_are_pipes(tmp_path: Path) -> None:
    """A named pipe in place of a file stops the start at once."""
    os.mkfifo(tmp_path / "ca.pem")
    with pytest.raises(StartError, match=r"JWKS_CA_FILE .*: it is not a regular file"):
        load_settings(tmp_path, {"DATAFOR_TOKEN_JWKS_CA_FILE": str(tmp_path / "ca.pem")})
    os.mkfifo(tmp_path / "settings.toml")
    with pytest.raises(StartError, match=r"settings\.toml cannot be read: it is not a regular file"):
        load_settings(tmp_path, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'URL_PREFIX = "/datafor"\nSIGN_IN_URL = "/datafor/auth/signin"',
            "no sign-in page of the gate: set it to /datafor/auth/sign-in",
        ),
        ('URL_PREFIX = "/datafor"\nSIGN_IN_URL = "/datafor/auth/check?a=1"', "no sign-in page"),
        ('URL_PREFIX = "/datafor"\nSIGN_IN_URL = "/datafor/console/sign-in"', "no sign-in page"),
        (
            'GATE_COOKIE_DOMAIN = "a.example"\nTRUSTED_HOSTS = ["b.example", "ba.example", "example"]',
            "none of TRUSTED_HOSTS",
        ),
        ('GATE_COOKIE_DOMAIN = "a.example"\nTRUSTED_HOSTS = [".b.example"]', "none of TRUSTED_HOSTS"),
        ("GATE_ASSERTION = true", "needs PUBLIC_URL"),
        ('AUDIT_SINK = ["syslog", "https://siem.example/"]', "needs AUDIT_WEBHOOK_SECRET"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, text: str, said: str) -> None:
    """Two settings that cannot work together stop the start, and the sentence says what to do."""
    (tmp_path / "settings.toml").write_text(text)
    with pytest.raises(StartError, match=said):
        load_settings(tmp_path, {})


@pytest.mark.parametrize(
    "text",
    [
        'URL_PREFIX = "/datafor"\nSIGN_IN_URL = "/datafor/auth/sign-in?a=1#b"',
        'URL_PREFIX = "/datafor"\nSIGN_IN_URL = "/datafor-portal/auth/in"',
        'URL_PREFIX = "/datafor"\nSIGN_IN_URL = "https://portal.example/datafor/auth/in"',
        'SIGN_IN_URL = "/auth/in"',
        'GATE_COOKIE_DOMAIN = "a.example"\nTRUSTED_HOSTS = ["b.example", "c.a.example"]',
        'GATE_COOKIE_DOMAIN = "a.example"\nTRUSTED_HOSTS = ["a.example"]',
        'GATE_COOKIE_DOMAIN = "a.example"\nTRUSTED_HOSTS = [".example"]',
        'GATE_COOKIE_DOMAIN = "a.example"\nTRUSTED_HOSTS = [".b.a.example"]',
        'GATE_COOKIE_DOMAIN = "a.example"',
        'TRUSTED_HOSTS = ["b.example"]',
    ],
)
def test_settings_that_fit(tmp_path: Path, text: str) -> None:
    """Pages of others, and a domain with one of the hosts in it, are accepted."""
    (tmp_path / "settings.toml").write_text(text)
    load_settings(tmp_path, {})


def test_a_mistyped_name(tmp_path: Path) -> None:
    """The sentence about an unknown setting names the one that it resembles, and no other one."""
    (tmp_path / "settings.toml").write_text('GATE_COOKIE_DOMIAN = "a.example"\nlog_level = "INFO"\nCOLOUR = "red"\n')
    with pytest.raises(StartError) as caught:
        load_settings(tmp_path, {"DATAFOR_TOKEN_GATE_ASERTION": "true"})
    ends = [fault.rpartition(")")[2] for fault in str(caught.value).splitlines()[1:]]
    assert ends == [
        " is not a setting of this service; did you mean GATE_COOKIE_DOMAIN?",
        " is not a setting of this service; did you mean LOG_LEVEL?",
        " is not a setting of this service",
        " is not a setting of this service; did you mean GATE_ASSERTION?",
    ]


def test_a_ca_file_has_an_absolute_path(tmp_path: Path) -> None:
    """The meaning of JWKS_CA_FILE does not depend on the current folder."""
    with pytest.raises(StartError, match=r"JWKS_CA_FILE .* must be empty or an absolute path"):
        load_settings(tmp_path, {"DATAFOR_TOKEN_JWKS_CA_FILE": "ca.pem"})


@pytest.mark.parametrize("content", [b"LOCK_TIMEOUT = \n", b"\xff", b'A = "secret-value'])
def test_a_file_that_is_not_toml(tmp_path: Path, content: bytes) -> None:
    """A file that cannot be parsed is named, and none of its values is repeated."""
    (tmp_path / "settings.toml").write_bytes(content)
    with pytest.raises(StartError, match=r"settings\.toml is not") as caught:
        load_settings(tmp_path, {})
    assert "secret-value" not in str(caught.value)


def test_the_shipped_file_shows_every_setting() -> None:
    """The example file is what ``settings example`` prints: each default, commented out, with its help."""
    text = (ROOT / "config" / "settings.example.toml").read_text()
    assert invoke(None, ["settings", "example"]).stdout == text
    uncommented = "\n".join(line.removeprefix("#") for line in text.splitlines() if not line.startswith("# "))
    defaults = {field.name.upper(): field.default for field in table()}
    values = tomllib.loads(uncommented)
    assert {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()} == defaults
    assert tomllib.loads(text) == {}
    for field in table():
        assert f"# {field.metadata['help'].rstrip('.')} ({field.metadata['unit']})." in text


def test_every_row_is_complete() -> None:
    """Every setting has a type, a default, a unit and a help sentence."""
    for field in dataclasses.fields(Settings):
        if field.name not in ("config_dir", "data_dir", "origins"):
            assert field.metadata["unit"]
            assert field.metadata["help"].endswith(".")
            kind = get_origin(field.type) or field.type
            assert isinstance(field.default, kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "address", ["127.0.0.1:28080", "0.0.0.0:0", "localhost:65535", "[::1]:8000", "unix:/run/datafor_token.sock"]
)
def test_addresses_to_listen_on(address: str) -> None:
    """A host or IPv6 address with a port, or a socket's path, is where gunicorn listens."""
    assert bind_address({"DATAFOR_TOKEN_BIND": address}) == address


@pytest.mark.parametrize(("text", "mode"), [("660", 0o660), ("0666", 0o666), ("600", 0o600), ("", None)])
def test_socket_mode(text: str, mode: int | None) -> None:
    """The mode of the Unix socket is octal, as for chmod."""
    assert socket_mode({"DATAFOR_TOKEN_SOCKET_MODE": text}) == mode
    assert socket_mode({}) is None


@pytest.mark.parametrize(
    "text", ["0", "066", "rw-rw----", "4660", "0o660", "888", "6600", "-660", "660 ", "\u0666\u0666\u0660"]
)
def test_refused_socket_modes(text: str) -> None:
    """A text that is not an octal mode, or a mode without write permission for the owner, stops the start."""
    with pytest.raises(StartError, match="DATAFOR_TOKEN_SOCKET_MODE"):
        socket_mode({"DATAFOR_TOKEN_SOCKET_MODE": text})


@pytest.mark.parametrize("address", ["foo", "127.0.0.1", "127.0.0.1:99999", ":80", "::1:80", "a b:80", "unix:", "x:y"])
def test_refused_addresses(address: str) -> None:
    """Any other address stops the start with a message that names the variable."""
    with pytest.raises(StartError, match="DATAFOR_TOKEN_BIND"):
        bind_address({"DATAFOR_TOKEN_BIND": address})
