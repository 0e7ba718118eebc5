"""Who is acting, for the audit log."""

import os
import pwd

from flask import g, has_request_context, request

from datafor_token.events import Origin


def origin() -> Origin:
    """Who is acting, for the audit log: whoever sent the request, or who runs a command or starts the service."""
    if has_request_context():
        noted = vars(g._get_current_object())  # noqa: SLF001 - Werkzeug documents it
        return Origin(noted.get("user"), noted.get("way"), request.remote_addr, noted.get("request_id"))
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
