"""Fixtures: each test runs once for each proxy, all of them in front of one service."""

from collections.abc import Iterator

import pytest

from tests.proxies.sites import FILES, Proxy, Sites
from tests.proxies.stub import Stub


@pytest.fixture(scope="session")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    running = Sites(tmp_path_factory.mktemp("proxies"))
    yield running
    running.stop()


@pytest.fixture(params=list(FILES))
def proxy(request: pytest.FixtureRequest, sites: Sites) -> Proxy:
    return sites.proxy(request.param)


@pytest.fixture(params=list(FILES))
def public(request: pytest.FixtureRequest, sites: Sites) -> Proxy:
    """The proxy with the lines for public requests uncommented."""
    return sites.proxy(request.param, "public")


@pytest.fixture
def stub(sites: Sites) -> Iterator[Stub]:
    yield sites.stub
    sites.stub.reset()


@pytest.fixture(params=list(FILES))
def stubbed(request: pytest.FixtureRequest, sites: Sites) -> Proxy:
    """The proxy in front of the stub service."""
    return sites.proxy(request.param, stub=True)
