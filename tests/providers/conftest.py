"""Fixtures: a private CA, a provider with https, and a resolver that a test fills."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from datafor_token.providers.client import Client
from tests.providers.idp import HOST, Authority, Provider, create_authority, running

Names = dict[str, list[str]]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def provider(authority: Authority) -> Iterator[Provider]:
    with running(authority.server) as provider:
        yield provider


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Return the addresses of each host name; others do not exist."""
    known = {HOST: ["127.0.0.1"], "http.example": ["127.0.0.1"], "localhost": ["127.0.0.1"]}

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        try:
            # An address, which needs no resolver.
            return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
        except socket.gaierror:
            if host not in known:
                raise
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host]]

    monkeypatch.setattr("datafor_token.providers.client.getaddrinfo", getaddrinfo)
    return known


@pytest.fixture
def client(authority: Authority) -> Client:
    return Client(str(authority.ca), ("http.example",), seconds=30)
