"""Download of the events of the audit log page's filters, as CSV or JSON."""

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Response
from flask.typing import ResponseReturnValue

from datafor_token.audit.export import csv_line, csv_lines
from datafor_token.audit.filters import Filter
from datafor_token.audit.search import Reading
from datafor_token.console import application_form, audit_page, pages
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import gettext, iso
from datafor_token.errors import InvalidInput
from datafor_token.requests.audit_schema import AuditSchema
from datafor_token.web.current import current
from datafor_token.web.services import services

MOST_EVENTS, MOST_LINES = 100_000, 5_000_000  # of a download; the lines are read in 5 s of processor time
_audit = AuditSchema()


@blueprint.get("/audit/export")
def export_audit() -> ResponseReturnValue:
    """Send the events of the filters in the URL as a file; it says at its end if there may be more."""
    query = audit_page.query_of_page()
    now = services().clock()
    try:
        wanted = Filter.of(application_form.read(_audit, query), now)
    except InvalidInput:
        # The page shows the errors.
        return pages.redirect_to("audit", **query)
    export = _Export(services().audit.every(wanted))
    is_csv = current().args.get("as") != "json"
    incomplete = gettext("Incomplete: events before %(time)s are left out.")
    content = _csv(export, incomplete) if is_csv else _json(export)
    response = Response(content, content_type=f"{'text/csv' if is_csv else 'application/json'}; charset=utf-8")
    name = f"audit-{iso(now * 1000)[:10]}.{'csv' if is_csv else 'json'}"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


class _Export:
    """The events of a download. Created, it has read the first lines, so that an outage is an error page."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.is_complete = True
        lines = iter(reading)
        self._lines = itertools.chain([next(lines, None)], lines)

    def events(self) -> Iterator[Mapping[str, Any]]:
        """Yield the events, up to the limits."""
        number = 0
        for event in self._lines:
            if event is not None:
                yield event
                number += 1
            if number == MOST_EVENTS or self.reading.read >= MOST_LINES:
                self.is_complete = False
                return


def _csv(export: _Export, incomplete: str) -> Iterator[str]:
    # The byte order mark tells Excel that the file is UTF-8.
    yield "\ufeff"
    yield from csv_lines(export.events())
    if not export.is_complete:
        yield csv_line([incomplete % {"time": export.reading.time}])


def _json(export: _Export) -> Iterator[str]:
    begin = '{"data":[\n'
    for event in export.events():
        yield begin + json.dumps(event, ensure_ascii=False)
        begin = ",\n"
    if begin != ",\n":
        yield begin
    end = {"complete": export.is_complete, **({} if export.is_complete else {"looked_back_to": export.reading.time})}
    yield "\n]," + json.dumps(end)[1:] + "\n"
