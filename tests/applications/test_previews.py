"""Previews of changes of an application, which store nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from datafor_token.applications.record import MASK
from datafor_token.applications.registry import Preview, Registry
from datafor_token.audit.filters import Filter
from datafor_token.errors import Conflict, InvalidInput, NotFound, RecordDamaged
from datafor_token.operations.services import Services
from datafor_token.requests.forms import Body
from datafor_token.requests.schemas import ApplicationSchema
from datafor_token.settings import Settings
from tests.conftest import services_in
from tests.console.client import api
from tests.stores import Record
from tests.support import STRONG_SECRET, Clock, application

SECRET, OTHER = STRONG_SECRET, STRONG_SECRET[::-1]


@pytest.fixture
def services(app: Flask) -> Services:
    found = services_in(app)
    found.registry.logs_warnings = False
    return found


def wanted(**fields: Any) -> dict[str, Any]:
    return ApplicationSchema().read(Body(application(**fields), is_form=False))


def everything(services: Services) -> tuple[Any, ...]:
    """Return all that a change of an application writes."""
    documents = list(services.store.documents("applications"))
    return documents, services.audit.page(Filter(), 100).events


Change = tuple[Callable[[Registry], Preview], Callable[[Registry], object]]
DISABLED = {**application(), "enable": "0", "secret": MASK}
CHANGES: dict[str, Change] = {
    "save": (
        lambda registry: registry.preview(wanted(audience="erp", expire=60, secret=OTHER)),
        lambda registry: registry.save(wanted(audience="erp", expire=60, secret=OTHER), ""),
    ),
    "modify": (
        lambda registry: registry.preview_change("ERP", lambda _: wanted(**DISABLED)),
        lambda registry: registry.modify("ERP", lambda _: wanted(**DISABLED)),
    ),
    "rotate": (
        lambda registry: registry.preview_rotation("ERP", OTHER, 60),
        lambda registry: registry.rotate("ERP", OTHER, 60),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_preview_is_what_the_change_stores(app: Flask, services: Services, clock: Clock, change: str) -> None:
    """A preview is exactly what the change stores at the same time, and stores and records nothing."""
    api(app, "update", application(secret="the-first-secret"))
    api(app, "rotate", {"name": "ERP", "secret": SECRET, "grace": 3600})
    clock.advance(10)
    preview, make = CHANGES[change]
    before = everything(services)
    found = preview(services.registry)
    assert everything(services) == before
    assert found.stored is not None
    assert found.stored.to_document() == services.registry.get("ERP").to_document()
    assert found.changes
    make(services.registry)
    assert found.application == services.registry.get("ERP")
    assert everything(services) != before


def test_a_new_application(services: Services) -> None:
    """The preview of a new application has all its fields as changes, and creates nothing."""
    found = services.registry.preview(wanted(initpwd="a-long-Password-7", audience="erp"))
    assert found.stored is None
    assert found.changes["algorithm"] == (None, "HS256")
    assert found.changes["audience"] == (None, ["erp"])
    assert (found.changes["secret"], found.changes["initpwd"]) == (("", MASK), ("", MASK))
    assert "issuer" not in found.changes
    with pytest.raises(NotFound):
        services.registry.get("ERP")


def test_changes_have_no_secret(app: Flask, services: Services) -> None:
    """Changed secrets are masked; one that stays is no change."""
    api(app, "update", application(secret=SECRET, initpwd="a-long-Password-7"))
    found = services.registry.preview(wanted(secret=OTHER, expire=60))
    assert found.changes == {"secret": (MASK, MASK), "expire": (86400, 60), "initpwd": (MASK, "")}
    assert services.registry.preview(wanted(secret=MASK, initpwd=MASK)).changes == {}


def test_after_the_grace_period(app: Flask, services: Services, clock: Clock) -> None:
    """A rotation's preview has the application without the former secret, if there is a grace period."""
    api(app, "update", application(secret=SECRET))
    found = services.registry.preview_rotation("ERP", OTHER, 60)
    after = found.after_grace
    assert after is not None
    assert found.application.previous_secret(clock()) == SECRET
    assert (after.secret, after.previous_secret(clock())) == (OTHER, None)
    assert services.registry.preview_rotation("ERP", OTHER, 0).after_grace is None


def test_errors_are_those_of_the_change(app: Flask, services: Services, settings: Settings) -> None:
    """A preview raises the errors of the change."""
    api(app, "update", application(secret=SECRET))
    registry = services.registry
    with pytest.raises(Conflict):
        registry.preview(wanted(name="erp"))
    with pytest.raises(Conflict):
        registry.preview(wanted(), new=True)
    with pytest.raises(InvalidInput):
        registry.preview_rotation("ERP", SECRET, 60)
    with pytest.raises(InvalidInput):
        registry.preview(wanted(sync=["roles"]))
    with pytest.raises(NotFound):
        registry.preview_change("CRM", lambda _: wanted())
    with pytest.raises(NotFound):
        registry.preview_rotation("CRM", None, 60)
    Record(settings.data_dir, "applications", "bad").write_text('{"name": "bad"}')
    with pytest.raises(RecordDamaged):
        registry.preview_deletion(["ERP", "bad"])


def test_a_deletion(app: Flask, services: Services) -> None:
    """The preview of a deletion deletes none, and names those that exist, as they are spelled, and the others."""
    api(app, "update", application())
    before = everything(services)
    assert services.registry.preview_deletion(["erp", "nobody"]) == (["ERP"], ["nobody"])
    assert everything(services) == before
