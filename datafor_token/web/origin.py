"""Who is acting, for the audit log."""

import os
import pwd

from flask import has_request_context

from datafor_token.audit.events import Origin
from datafor_token.web.services import notes, present_request


def origin() -> Origin:
    """Who is acting, for the audit log: whoever sent the request, or who runs a command or starts the service."""
    if has_request_context():
        noted = notes()
        return Origin(noted.get("user"), noted.get("way"), present_request().remote_addr, noted.get("request_id"))
    return Origin(_system_user(), "command", None, None)


def _system_user() -> str:
    """Who gave a command, as far as the system tells."""
    user = os.geteuid()
    if user == 0 and os.environ.get("SUDO_USER"):
        return os.environ["SUDO_USER"]
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"uid {user}"
