"""``make screenshots``: screenshots of each page at several widths, light and dark, in both languages.

They are written to ``screenshots/``, which git ignores. The two of the README are in ``docs/pictures``;
``make screenshots`` updates these too, in a smaller size.
"""

import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.console.browsing import LONG_NAME, MARKED, WIDTHS, Person, chromium, register, secret_of, token_of
from tests.support import ROOT, Server, key_for, public_pem

FOLDER = ROOT / "screenshots"
PICTURES = ROOT / "docs" / "pictures"
PAGES = {
    "applications": "applications", "application": f"applications/{LONG_NAME}", "new-application": "new-application",
    **{
        f"application-{tab}": f"applications/Keycloak/{tab}"
        for tab in ("settings", "trust", "secret", "use", "tokens", "activity", "danger")
    },
    "disable": "applications/ERP/disable", "dialog": "applications/ERP/danger", "menu": "applications/ERP",
    "tokens": "tokens", "refused": "tokens", "try": "tokens/issue?name=ERP", "issued": "tokens/issued",
    "users": "users", "user": "user?name=lena", "new-user": "new-user", "user-sessions": "user/sessions?name=lena",
    "user-tokens": "user/tokens?name=lena", "user-history": "user/history?name=lena",
    "audit": "audit", "home": "", "all-settings": "settings", "me": "me", "not-found": "nothing",
}  # fmt: skip
# Nothing listens at the URL: the page shows an error.
POLICY = {
    "jwks_uri": "https://127.0.0.1:1/realms/main/protocol/openid-connect/certs",
    "issuer": "https://127.0.0.1:1/realms/main",
    "audience": ["reports", "portal"], "token_types": ["JWT", "at+jwt"], "max_lifetime": 90000,
    "require": {"azp": "portal", "/org/id": 7, "level": "7", "groups": ["Sales", "North"]},
    "networks": ["10.0.0.0/8", "2001:db8::/32"], "users": "own", "sync": ["name", "roles"],
    "roles_claim": "/realm_access/roles", "roles_map": {"editors": "SYS_Creator", "CN=Sales,OU=Groups": "Sales"},
    "origins": ["https://portal.example"], "session_idle": 1800, "session_max": 28800, "rate": "600/minute",
}  # fmt: skip


def fill(server: Server, applications: int) -> None:
    """Fill a service with all kinds of data: long names, names with markup, users created by tokens, refused tokens."""
    # No other application has its secret: a rehearsal of it refuses tokens.
    register(
        server, name="ERP", secret=secret_of("ERP"), self_service="1", networks=["10.0.0.0/8"], report=["networks"]
    )
    register(server, name="Portal", secret="abcd", initroles=["SYS_Reader", "Sales", "North"])
    register(server, name=LONG_NAME, expire=93784)
    register(server, name="CRM", algorithm="ES256", secret=public_pem(key_for("ES256")), enable="0")
    register(server, name="Keycloak", algorithm="ES256", secret=None, **POLICY)
    for number in range(applications):
        register(server, name=f"system-{number:04d}", expire=3600)
    people = {
        "lena": ("Lena Wu", "lena@example.org"),
        "王小明": ("王小明", "wang@example.org"),
        MARKED[:40]: (MARKED, MARKED),
    }
    for name, (full_name, email) in people.items():
        token = token_of(server, "ERP", name, {"name": full_name, "email": email})
        for header in (f"Bearer {token}", f"Bearer {token}x"):
            server.request("GET", "/plugin/datafor-modeler/api/user/detail", headers={"Authorization": header})
    server.post("rotate", {"name": "Portal", "grace": 7200})
    server.post("generate", {"name": "Portal", "privateKey": "abcd"})
    server.post("personal", {"name": "ERP", "label": "nightly export"})
    server.post("revoke", {"before": "now", "user": "lena", "application": LONG_NAME})
    # A rehearsal stores the sign-ins of its worker; those of the other one are stored within a minute.
    while server.post("delete", {"name": "ERP", "dry_run": "1"}).json["rehearsal"]["user_count"] < len(people):
        time.sleep(0.1)


def typed(page: Page, name: str) -> None:
    """Bring a page into the state for its screenshot."""
    if name == "try":
        page.locator("button.main").click()
        page.locator("#token").wait_for()
    if name == "refused":
        page.locator("#token").fill("eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJsb2dpbm5hbWUiOiJhZG1pbiIsImV4cCI6MX0.AAAA")
        page.locator("button.main").click()
        page.locator(".steps").wait_for()
    if name == "menu":
        page.locator(".menu summary").click()
    if name == "dialog":
        page.locator("a[data-dialog]").first.click()
        page.locator("dialog").wait_for()
    if name == "errors":
        for field in (
            "token_name",
            "expire",
            "secret",
            "fieldmap\\.username",
            "fieldmap\\.name",
            "fieldmap\\.email",
            "initroles",
        ):
            page.locator(f"#{field}").fill("")
        page.locator("#name").fill("!")
        for summary in page.locator(".fields > summary").all():
            summary.click()
        for field in (
            "jwks_uri",
            "audience",
            "token_types",
            "max_lifetime",
            "require",
            "networks",
            "roles_map",
            "origins",
            "rate",
        ):
            # Of the keys, only those of the chosen kind are shown.
            if page.locator(f"#{field}").is_visible():
                page.locator(f"#{field}").fill('"!')
        page.locator("#main-form .main").click()
        page.locator("div.summary").wait_for()


def shoot(browser: Browser, server: Server, folder: Path, pages: dict[str, str], widths: tuple[int, ...]) -> int:
    """Take screenshots of all pages in all variants; return their number."""
    made = 0
    for language in ("en-GB", "zh-CN"):
        for scheme in ("light", "dark"):
            person = Person(browser, server, locale=language, color_scheme=scheme)
            for name, path in ({"sign-in": "sign-in"} | pages).items():
                if name != "sign-in" and "sign-in" in person.page.url:
                    person.sign_in()
                person.open(path)
                typed(person.page, name)
                for width in widths:
                    person.page.set_viewport_size({"width": width, "height": 900})
                    file = folder / f"{name}-{width}-{scheme}-{language[:2]}.png"
                    person.page.screenshot(path=file, full_page=True)
                    made += 1
            person.close()
    return made


def shoot_for_readme(browser: Browser, server: Server) -> None:
    """Take the README's screenshots: the home page on a desktop, a checked token on a phone."""
    PICTURES.mkdir(exist_ok=True)
    for name, path, size in (
        ("home", "", (1100, 720)),
        ("refused", "tokens", (440, 560)),
    ):
        person = Person(browser, server, viewport={"width": size[0], "height": size[1]})
        person.sign_in()
        page = person.open(path)
        typed(page, name)
        if name == "refused":
            page.locator("#result").evaluate("one => one.scrollIntoView()")
        page.screenshot(path=PICTURES / f"{name}.png")
        person.close()


def main(widths: tuple[int, ...] = WIDTHS, applications: int = 1000) -> None:
    """Take all screenshots."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright, chromium(playwright) as browser:
        for part, count in (("empty", 0), ("full", applications)):
            (Path(folder) / part).mkdir()
            server = Server(Path(folder) / part).start()
            try:
                if part == "full":
                    fill(server, count)
                pages = PAGES | {"errors": "new-application"} if part == "full" else {"empty": "applications"}
                made = shoot(browser, server, FOLDER, pages, widths)
                if part == "full":
                    shoot_for_readme(browser, server)
            finally:
                server.stop()
            sys.stdout.write(f"{made} pictures of the {part} store\n")


if __name__ == "__main__":
    main(applications=int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
