"""Pages of the gate for browsers, in English or Chinese: their frame, their parts, and the two of the sign-out.

They are served on the host of the protected application and use nothing of the console: one template, no foreign
resource, no cookie, and no script but the one that tells the page around a frame.
"""

import base64
import hashlib

from flask import Response
from markupsafe import Markup

from datafor_token.gate.gate import GateSession
from datafor_token.web.api import gate_frames, gate_targets
from datafor_token.web.api.gate_texts import TEXTS
from datafor_token.web.current import current

_STYLE = (
    ":root{color-scheme:light dark;font-family:system-ui,sans-serif;line-height:1.5}"
    "body{max-width:30rem;margin:10vh auto;padding:0 1rem;overflow-wrap:anywhere}h1{font-size:1.5rem}"
    "label,input{display:block;box-sizing:border-box;width:100%}input,button{font:inherit;padding:.5rem}"
    "button{padding:.5rem 1.5rem}[role=alert]{border-left:.25rem solid #c33;padding-left:.75rem}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_PAGE = Markup(
    '<!doctype html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
    "<style>{style}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{body}</main>\n</body>\n</html>\n"
)
_BUTTON = Markup('<form method="post"><button>{label}</button></form>\n')
_LINK = Markup('<p><a href="{url}">{label}</a></p>\n')
_LINK_TO_NEW_TAB = Markup('<p><a href="{url}" target="_blank" rel="noopener">{label}</a></p>\n')
_TEXT = Markup("<p>{text}</p>\n")


def signed_out_page() -> Response:
    """Return the page that confirms the sign-out."""
    return page(text("signed_out"), sign_in_link(gate_targets.asked_target()), teller=gate_frames.teller("signed_out"))


def signed_in_page(session: GateSession) -> Response:
    """Return the page that says that the session is valid."""
    return page(text("signed_in"), Markup(""), teller=gate_frames.signed_in(session))


def ask_page() -> Response:
    """Return the page that asks whether to sign out; its form sends a POST to the same address."""
    return form_page(text("ask"), paragraph("asked") + _BUTTON.format(label=text("sign_out")))


def text(key: str, **values: object) -> str:
    """Return a text in the reader's language."""
    found = TEXTS[current().preferred_language][key]
    return found.format(**values) if values else found


def paragraph(key: str, **values: object) -> Markup:
    """Return a paragraph with a text in the reader's language."""
    return _TEXT.format(text=text(key, **values))


def link(url: str, key: str, *, new_tab: bool = False) -> Markup:
    """Return a link in a paragraph of its own."""
    return (_LINK_TO_NEW_TAB if new_tab else _LINK).format(url=url, label=text(key))


def sign_in_link(target: str | None, key: str = "sign_in", *, new_tab: bool = False) -> Markup:
    """Return a link to the sign-in page that leads back to ``target``; nothing without a sign-in page."""
    url = gate_targets.sign_in_url(target, as_other=key == "sign_in_as_other")
    return link(url, key, new_tab=new_tab) if url else Markup("")


def page(title: str, body: Markup, status: int = 200, teller: Markup | None = None) -> Response:
    """Return a page; with ``teller`` of ``gate_frames``, pages of other sites may have it in a frame."""
    frames = "frame-ancestors 'self'"
    if teller is not None:
        body, frames = body + teller, gate_frames.directives()
    html = _PAGE.format(language=current().preferred_language, title=title, style=Markup(_STYLE), body=body)  # noqa: S704 - a constant
    response = Response(html, status, mimetype="text/html")
    # Without form-action: Chromium applies it to redirects too, and SIGN_OUT_URL may be on another host.
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; {frames}; base-uri 'none'"
    )
    response.headers["Vary"] = "Accept, Accept-Language"
    return response


def form_page(title: str, body: Markup, status: int = 200) -> Response:
    """Return a page with a form. No other site may have it in a frame, in which nobody should type a password."""
    response = page(title, body, status)
    # With no-referrer, browsers send `Origin: null` with forms, which counts as another site.
    response.headers["Referrer-Policy"] = "same-origin"
    return response
