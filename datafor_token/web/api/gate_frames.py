"""Frames: which sites may show pages in a frame, and what our pages tell the page around them.

``embed.js`` in that page receives the messages. ``parent.postMessage`` names no origin: a page that may not show ours
is kept from it by ``frame-ancestors``, and a message has neither a token nor a name.
"""

import base64
import hashlib
from collections.abc import Collection, Mapping
from typing import Any

from markupsafe import Markup

from datafor_token.applications.record import Application
from datafor_token.errors import StoreUnavailable
from datafor_token.gate.gate import GateSession
from datafor_token.validation.names import fold
from datafor_token.web.auth import gate_session
from datafor_token.web.current import current
from datafor_token.web.services import services

# More could make the header larger than a proxy accepts. About 100 origins.
_MOST_CHARACTERS = 3000
# A constant text, so that its hash in the policy admits it and no other script. Reloading sends a form again.
_SCRIPT = (
    "if(parent!==self){const{dataset:d}=document.currentScript;"
    'parent.postMessage({source:"datafor_token",state:d.state,user:d.user,reference:d.reference,'
    "status:d.status&&+d.status,expires_in:d.expiresIn&&+d.expiresIn},'*');"
    'addEventListener("message",({source:s,data:m})=>{'
    'if(s===parent&&m&&m.source==="datafor_token"&&m.action==="reload")location.reload()})}'
)
_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_ELEMENT = Markup("<script{attributes}>{script}</script>\n")


def ancestors(application: Application | None) -> str:
    """Return the directive ``frame-ancestors``: this host, and the sites that embed the pages of an application.

    Without an application, as before a sign-in, these are the sites of all enabled ones.
    """
    origins: Collection[str]
    if application is not None:
        origins = application.origins or ()
    else:
        origins = services().registry.index(thorough=False).origins
        if sum(map(len, origins)) + len(origins) > _MOST_CHARACTERS:
            origins = ()
    return " ".join(("frame-ancestors 'self'", *origins))


def policy_of_check(application: Application | None) -> str | None:
    """Return the policy for a page of the protected application; ``None`` if no site may embed it.

    Without an application, a password signed the user in.
    """
    origins = application.origins if application is not None else services().registry.index(thorough=False).origins
    return ancestors(application) if origins else None


def directives() -> str:
    """Return what the policy of a page with the element of ``teller`` says about scripts and frames."""
    return f"script-src 'sha256-{_HASH}'; {_ancestors_of_page()}"


def teller(state: str, **about: Any) -> Markup:
    """Return the element that tells the page around this one a state, and reloads this page when asked to.

    ``state``: ``signed_in`` with ``expires_in`` (seconds) and ``user``, ``signed_out``, or ``refused`` with ``status``.
    """
    values: Mapping[str, Any] = {"state": state, **about, "reference": current().id}
    attributes = Markup("").join(
        Markup(' data-{name}="{value}"').format(name=name.replace("_", "-"), value=value)
        for name, value in values.items()
    )
    return _ELEMENT.format(attributes=attributes, script=Markup(_SCRIPT))  # noqa: S704 - a constant


def signed_in(session: GateSession) -> Markup:
    """Return the element that tells how long the session lasts, unless it ends before, and an identifier of its user.

    The identifier tells two users apart, and is of no other use.
    """
    # In hexadecimal digits, as ``of_text`` leaves a part out of a text with dots.
    user = services().signin.identifiers.of_text(f"user {fold(session.user.name).encode().hex()}")
    return teller("signed_in", expires_in=int(session.ends - services().clock()), user=user)


def _ancestors_of_page() -> str:
    """Return the directive for a page of the gate, which also has to be shown in an outage."""
    try:
        # A token that signs in may be of another application than the session that it replaces.
        session = None if current().endpoint == "gate.enter" else gate_session()
        return ancestors(session.application if session else None)
    except StoreUnavailable:
        return "frame-ancestors 'self'"
