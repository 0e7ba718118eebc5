"""Pages of the gate for browsers, in English or Chinese: sign-out, and a refused link.

They are served on the host of the protected application and use nothing of the console: one template, no script, no
stylesheet, no cookie.
"""

from flask import Response
from markupsafe import Markup

from datafor_token.applications.rules import next_path
from datafor_token.errors import RuleError
from datafor_token.gate import forwarded
from datafor_token.web.current import current
from datafor_token.web.services import services

_PAGE = Markup(
    '<!doctype html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n</head>\n'
    "<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
)
_BUTTON = Markup('<form method="post"><button>{label}</button></form>\n')
_LINK = Markup('<p><a href="{url}">{label}</a></p>\n')
_TEXT = Markup("<p>{text}</p>\n")
# The message of the error, for the author of the link.
_DETAIL = Markup('<p lang="en"><small>{status}: {message}</small></p>\n')
_WORDS = {
    "en": {
        "sign_in": "Sign in",
        "sign_out": "Sign out",
        "signed_out": "You are signed out",
        "ask": "Sign out?",
        "asked": "A link on another site leads here. To sign out, confirm it.",
        "refused": "Sign-in failed",
        "invalid_link": "This link is not valid, or no longer valid. Sign in again, or ask for a new link.",
        "outage": "Sign-in is unavailable",
        "later": "Try again later.",
    },
    "zh-Hans": {
        "sign_in": "登录",
        "sign_out": "退出登录",
        "signed_out": "您已退出登录",
        "ask": "要退出登录吗？",
        "asked": "您是从其他网站的链接来到这里的。如要退出登录，请确认。",
        "refused": "登录失败",
        "invalid_link": "此链接无效或已失效。请重新登录，或索取新的链接。",
        "outage": "暂时无法登录",
        "later": "请稍后再试。",
    },
}


def signed_out_page() -> Response:
    """Return the page that confirms the sign-out."""
    words = _words()
    return _page(words["signed_out"], _sign_in_link(words))


def ask_page() -> Response:
    """Return the page that asks whether to sign out; its form sends a POST to the same address."""
    words = _words()
    response = _page(words["ask"], _TEXT.format(text=words["asked"]) + _BUTTON.format(label=words["sign_out"]))
    # With no-referrer, browsers send `Origin: null` with forms, which counts as another site.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def error_page(status: int, message: str) -> Response:
    """Return an error as a page."""
    words = _words()
    title, text = ("outage", "later") if status >= 500 else ("refused", "invalid_link")
    body = _TEXT.format(text=words[text]) + _sign_in_link(words) + _DETAIL.format(status=status, message=message)
    response = _page(words[title], body)
    response.status_code = status
    return response


def _sign_in_link(words: dict[str, str]) -> Markup:
    url = services().settings.sign_in_url
    if not url:
        return Markup("")
    try:
        query = current().args
        target = next_path(query["next"]) if "next" in query else None
    except RuleError:
        target = None
    return _LINK.format(url=forwarded.with_next(url, target), label=words["sign_in"])


def _words() -> dict[str, str]:
    return _WORDS[current().preferred_language]


def _page(title: str, body: Markup) -> Response:
    page = _PAGE.format(language=current().preferred_language, title=title, body=body)
    response = Response(page, mimetype="text/html")
    # Without form-action: Chromium applies it to redirects too, and SIGN_OUT_URL may be on another host.
    response.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"
    response.headers["Vary"] = "Accept, Accept-Language"
    return response
