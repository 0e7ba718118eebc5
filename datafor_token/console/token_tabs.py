"""Shared parts of the tabs of the page of tokens: their links, and the former addresses that lead to them."""

from collections.abc import Mapping, Sequence
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.console import application_form, pages
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import gettext
from datafor_token.web.current import current
from datafor_token.web.services import services

# By the last part of the path: addresses of versions before 0.4.0, in bookmarks and documents.
_FORMER = {"try": "issue_token", "refused": "check_token", "issued": "issued"}


def tabs() -> Sequence[tuple[str, str]]:
    """Return the path and the name of each tab."""
    return (
        (pages.link_to("check_token"), gettext("Check")),
        (pages.link_to("issue_token"), gettext("Issue")),
        (pages.link_to("issued"), gettext("Issued tokens")),
    )


def choices() -> Mapping[str, Any]:
    """Return the names of applications to choose from; any other can be typed."""
    names = [one.name for one in services().registry.index().entries]
    return {"names": names[: application_form.MOST_CHOICES], "labels": application_form.labels()}


@blueprint.get("/try", endpoint="test_token")
@blueprint.get("/refused", endpoint="explain_refusal")
@blueprint.get("/issued", endpoint="former_issued")
def former_address() -> ResponseReturnValue:
    """Redirect from a former address to its tab, with its query."""
    request = current()
    query = request.query_string.decode("ascii", "replace")
    path = pages.link_to(_FORMER[request.path.rpartition("/")[2]])
    return pages.redirect_to_path(f"{path}?{query}" if query else path)
