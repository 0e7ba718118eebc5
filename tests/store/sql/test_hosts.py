"""Hosts of a database: which one a new connection tries first."""

import socket

import pytest
import sqlalchemy as sa

from datafor_token.errors import StoreUnavailable
from datafor_token.store.sql.hosts import Hosts
from tests.store.conftest import opened


@pytest.mark.sql
def test_a_frozen_host_delays_one_probe_only(postgres_url: str) -> None:
    """While the first host of the URL accepts connections and sends nothing, a node is ready, except for the probe
    that notices it."""
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        own = sa.make_url(postgres_url)
        hosts = f"127.0.0.1:{frozen.getsockname()[1]},127.0.0.1:{own.port}"
        store = opened(postgres_url.replace(f"127.0.0.1:{own.port}", hosts))
        store._database.close()
        store._database._hosts.reached("127.0.0.1", frozen.getsockname()[1])
        with pytest.raises(StoreUnavailable):
            store.check_readable()
        store.check_readable()
        store.check_writable()


def test_the_host_that_was_reached_comes_first() -> None:
    """A new connection tries the host that the last one has reached first, then the others."""
    hosts = Hosts({"host": "a,b,b", "port": "1,2,3", "dbname": "x"})
    assert hosts.number == 3
    assert hosts.parameters() == {}
    hosts.reached("b", 3)
    assert hosts.parameters() == {"host": "b,a,b", "port": "3,1,2"}
    hosts.reached("a", 1)
    assert hosts.parameters() == {"host": "a,b,b", "port": "1,3,2"}


def test_a_former_primary_does_not_come_first() -> None:
    """A former primary that was reached comes last, so that each other host is tried before it is tried again."""
    hosts = Hosts({"host": "a,b,c", "port": "5432"})
    tried = []
    for _ in range(3):
        first = hosts.parameters().get("host", "a,b,c")[0]
        tried.append(first)
        hosts.reached(first, 5432)
        # Noticed by two threads.
        hosts.replaced(first, 5432)
        hosts.replaced(first, 5432)
    assert tried == ["a", "b", "c"]


def test_another_address_is_tried() -> None:
    """After a former primary, the addresses of a single host name are tried in a random order."""
    hosts = Hosts({"host": "db.example"})
    hosts.replaced("db.example", 5432)
    assert hosts.parameters() == {"load_balance_hosts": "random"}


@pytest.mark.parametrize("given", [{}, {"host": "a"}, {"host": "a,b", "port": "1,2,3"}, {"host": "/run/postgresql"}])
def test_any_form_of_the_hosts_is_accepted(given: dict[str, str]) -> None:
    """No host, one, and numbers that do not match, which the driver refuses, are no errors here."""
    hosts = Hosts(given)
    hosts.reached(given.get("host", "localhost"), 5432)
    hosts.parameters()
