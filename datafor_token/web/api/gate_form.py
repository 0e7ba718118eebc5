"""Form of the sign-in page."""

from markupsafe import Markup

from datafor_token.web.api import gate_targets
from datafor_token.web.api.gate_pages import text

_ALERT = Markup('<p role="alert" id="error">{text}</p>\n')
_FORM = Markup(
    '<form method="post" action="{action}">\n'
    '<p><label for="username">{label_username}</label>'
    '<input id="username" name="username" value="{username}" required maxlength="128" autocomplete="username"'
    ' autocapitalize="none" spellcheck="false"{focus_username}></p>\n'
    '<p><label for="password">{label_password}</label>'
    '<input id="password" name="password" type="password" required autocomplete="current-password"{focus_password}>'
    "</p>\n"
    '<input type="hidden" name="next" value="{target}">\n<button>{button}</button>\n</form>\n'
)
_FOCUS, _FOCUS_AND_ERROR = Markup(" autofocus"), Markup(' autofocus aria-describedby="error"')


def sign_in_form(username: str, target: str, alert: str = "") -> Markup:
    """Return the form with the name that was typed, but no password; ``target`` is the page to go to afterwards.

    Screen readers read ``alert``, an error, at once.
    """
    focus = _FOCUS_AND_ERROR if alert else _FOCUS
    form = _FORM.format(
        action=gate_targets.own_url(gate_targets.SIGN_IN, target),
        label_username=text("username"),
        label_password=text("password"),
        username=username,
        focus_username="" if username else focus,
        focus_password=focus if username else "",
        target=target,
        button=text("sign_in"),
    )
    return _ALERT.format(text=alert) + form if alert else form
