"""Every page of the console, in every state that a reader meets, for the rules that hold on all of them."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from playwright.sync_api import Page

from tests.console.browsing import LONG_NAME
from tests.console.screenshots import typed

# By view: the path of each page. `OTHER_VIEWS` have none of their own.
PAGES = {
    "home": "", "settings": "settings", "applications": "applications",
    "new_application": "new-application?like=Keycloak",
    "application": f"applications/{LONG_NAME}", "application_settings": "applications/Keycloak/settings",
    "application_trust": "applications/Keycloak/trust", "application_secret": "applications/Portal/secret",
    "application_use": "applications/ERP/use?with=nginx", "application_tokens": "applications/ERP/tokens",
    "application_activity": "applications/Portal/activity", "application_danger": "applications/ERP/danger",
    "generated_secret": "applications/ERP/new-secret", "ask_rotate": "applications/ERP/rotate",
    "ask_end_grace": "applications/Portal/end-grace", "ask_change_keys": "applications/CRM/keys",
    "ask_disable_application": "applications/ERP/disable", "ask_delete_application": f"applications/{LONG_NAME}/delete",
    "ask_enforce": "applications/ERP/enforce?field=networks",
    "ask_cut_off_application": "applications/ERP/revoke-tokens",
    "check_token": "tokens?id={token}", "issue_token": "tokens/issue?name=ERP&username=lena", "issued": "tokens/issued",
    "issued_result": "tokens/issue/result", "ask_revoke_tokens": "tokens/revoke?id={token}",
    "users": "users", "new_user": "new-user", "user": "user?name=lena", "user_sessions": "user/sessions?name=admin",
    "user_tokens": "user/tokens?name=lena", "user_history": "user/history?name=lena",
    "ask_reset_password": "user/password?name=lena", "new_password": "user/new-password?name=lena",
    "ask_disable_user": "user/disable?name=lena", "ask_delete_user": "user/delete?name=lena",
    "ask_end_sessions": "user/sessions/end?name=lena", "ask_cut_off_user": "user/revoke-tokens?name=lena",
    "ask_revoke_personal_token": "user/token/revoke?name=admin&jti={personal}",
    "audit": "audit", "own_page": "me", "ask_revoke_own_token": "me/token/revoke?jti={personal}",
    "ask_end_own_sessions": "me/sessions/end", "not_found": "nothing",
}  # fmt: skip
# Files, redirects, and nothing for a reader.
OTHER_VIEWS = {"asset", "export_audit", "status", "test_token", "explain_refusal", "former_issued", "sign_in"}

Steps = Callable[[Page], object]


class State(NamedTuple):
    """A path, and the steps from the opened page to the state."""

    path: str
    steps: Steps = Page.title


def _press(selector: str, *then: str) -> Steps:
    """Return steps that click elements one after the other; the last selector is waited for only."""

    def steps(page: Page) -> None:
        for one in (selector, *then[:-1]):
            page.locator(one).first.click()
        if then:
            page.locator(then[-1]).first.wait_for()

    return steps


def _send(wait_for: str, **fields: str) -> Steps:
    """Return steps that fill fields, found by their id, and send the main form."""

    def steps(page: Page) -> None:
        for name, value in fields.items():
            field = page.locator(f"[id='{name}']")
            if not field.is_visible():
                page.locator(f"details:has([id='{name}']) > summary").click()
            field.fill(value)
        page.locator("#main-form button:not([name], [type=button]), #question .danger").click()
        page.locator(wait_for).first.wait_for()

    return steps


def _open_all(page: Page) -> None:
    page.locator("main details").evaluate_all("all => all.forEach((one) => { one.open = true; })")


def _select(action: str) -> Steps:
    """Return steps that select two rows and press the button of an action."""

    def steps(page: Page) -> None:
        for box in page.locator("tbody input[type=checkbox]").all()[:2]:
            box.check()
        page.locator(f".bulk {action}").click()
        page.locator("#question").wait_for()

    return steps


def _switch(page: Page) -> None:
    """Disable a user, or enable the disabled one; a message with Undo says so."""
    disable = page.locator(".head a[href*=disable]")
    if disable.count():
        disable.click()
        page.locator("dialog .danger").click()
    else:
        page.locator(".head form[action*=enable] button").click()
    page.locator(".flash button").wait_for()


STATES: Mapping[str, State] = {
    **{view: State(path) for view, path in PAGES.items()},
    "menu": State("users", _press(".menu summary", ".menu [data-switch]")),
    "dialog": State("applications/ERP/danger", _press("a[data-dialog] >> nth=-1", "dialog #typed_name")),
    "dialog of a user": State("user?name=lena", _press("a[data-dialog]", "dialog .actions")),
    "mistyped": State("user/delete?name=lena", _send("#typed_name-wrong", typed_name="len")),
    "flash": State("user?name=lena", _switch),
    "errors: new application": State("new-application", lambda page: typed(page, "errors")),
    "errors: settings": State("applications/ERP/settings", _send("div.summary", token_name="", expire="x")),
    "errors: trust": State("applications/ERP/trust", _send("div.summary", networks="x", require="x")),
    "overview of reported rules": State("applications/ERP"),
    "rehearsal: trust": State("applications/ERP/trust", _send("#rehearsal", issuer="x")),
    "rehearsal: settings": State("applications/ERP/settings", _press("[name=rehearse]", "#rehearsal")),
    "rehearsal: rotation": State("applications/ERP/rotate", _press("[name=rehearse]", ".rehearsed")),
    "rehearsal: opened": State("applications/ERP/disable", _open_all),
    "errors: secret": State("applications/ERP/rotate", _send("div.summary", grace="x")),
    "errors: new user": State("new-user", _send("div.summary", name="", roles="a,b")),
    "errors: user": State("user?name=lena", _send("div.summary", roles="a,b")),
    "errors: password": State("user/password?name=lena", _send("#password-wrong", password="short")),
    "errors: own password": State("me", _press("form[action$=password] button", "div.summary")),
    "errors: token": State("tokens", _send("#token-wrong, div.summary", token=" ")),
    "errors: issue": State("tokens/issue", _send("div.summary", name="nothing")),
    "errors: audit": State("audit", _send("#address-wrong", address="x")),
    "selected": State("users", _press("tbody .target >> nth=0")),
    "question: users": State("users", _select("[value=delete]")),
    "question: applications": State("applications", _select("[value=disable]")),
    "question: tokens": State("tokens/issued", _select(".danger")),
    "rows opened": State("audit", _open_all),
    "table of hours": State("", _open_all),
    "refused": State("tokens", lambda page: typed(page, "refused")),
    "issued: token": State("tokens/issue?name=ERP&username=lena", _press("#main-form .main", "#token")),
    "new secret": State("applications/Portal/rotate", _press("#question .danger", "#generated")),
    "new password": State("user/password?name=lena", _press("#question .danger", "#generated")),
    "own token": State("me", _press("#main-form .main", "#token")),
    **{f"empty {path}": State(f"{path}?q=zzz") for path in ("applications", "users", "audit")},
    "empty tokens": State("tokens/issued?user=zzz"),
}  # fmt: skip
