"""The end of a grace period, before it is over."""

import pytest
from flask import Flask

from datafor_token.audit.filters import Filter
from datafor_token.errors import Conflict, NotFound
from tests.conftest import services_in
from tests.console.client import api
from tests.support import STRONG_SECRET, Clock, application


def test_it_ends_at_once(app: Flask) -> None:
    """The old secret is refused at once; the event names the grace period, and neither secret."""
    services = services_in(app)
    api(app, "update", application(secret=STRONG_SECRET))
    old = api(app, "generate", {"name": "ERP", "username": "admin"})["token"]
    api(app, "rotate", {"name": "ERP", "secret": STRONG_SECRET[::-1], "grace": 3600})
    previous = services.registry.get("ERP").previous
    assert previous is not None
    assert api(app, "explain", {"token": old})["reason"] != "signature"
    services.registry.end_grace("ERP", previous.until)
    assert api(app, "explain", {"token": old})["reason"] == "signature"
    event = services.audit.page(Filter(), 1).events[0]
    assert (event["event"], event["fields"]) == ("application_changed", ["previous"])
    assert event["before"] == {"previous": {"until": previous.until}}
    assert STRONG_SECRET not in str(event)


def test_only_that_of_the_known_rotation(app: Flask, clock: Clock) -> None:
    """The grace period of a later rotation does not end, and one that is over changes nothing."""
    registry = services_in(app).registry
    api(app, "update", application(secret=STRONG_SECRET))
    registry.end_grace("ERP", 0)
    api(app, "rotate", {"name": "ERP", "grace": 60})
    first = registry.get("ERP").previous
    clock.advance(1)
    api(app, "rotate", {"name": "ERP", "grace": 60})
    second = registry.get("ERP").previous
    assert first is not None
    assert second is not None
    with pytest.raises(Conflict):
        registry.end_grace("ERP", first.until)
    clock.advance(60)
    registry.end_grace("ERP", second.until)
    assert registry.get("ERP").previous == second
    with pytest.raises(NotFound):
        registry.end_grace("Nobody", 0)
