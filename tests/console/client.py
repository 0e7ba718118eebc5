"""A browser without a window, for tests of the console: it has cookies, sends forms and parses pages."""

import re
from html.parser import HTMLParser
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from tests.support import ADMIN_PASSWORD, API, basic


class Client:
    """A browser: it sends each form with the token of the page that has the form."""

    def __init__(self, app: Flask, prefix: str = "", language: str = "en") -> None:
        self.client = app.test_client()
        self.prefix = f"{prefix}/console"
        self.language = language

    def get(self, path: str, headers: dict[str, str] | None = None) -> TestResponse:
        """Open a page."""
        return self.client.get(f"{self.prefix}/{path}", headers={"Accept-Language": self.language, **(headers or {})})

    def post(
        self,
        path: str,
        fields: dict[str, Any] | None = None,
        page: str = "me",
        headers: dict[str, str] | None = None,
    ) -> TestResponse:
        """Send a form as if it were on ``page``."""
        sent = {"form_token": Page(self.get(page).text).form_token, **(fields or {})}
        return self.client.post(
            f"{self.prefix}/{path}", data=sent, headers={"Accept-Language": self.language, **(headers or {})}
        )

    def sign_in(self, name: str = "admin", password: str = ADMIN_PASSWORD) -> TestResponse:
        """Sign in with the form."""
        return self.post("sign-in", {"username": name, "password": password}, page="sign-in")


class Page(HTMLParser):
    """The forms of a page: the value and the label of each field, and the messages beside the fields.

    Of several fields of one name, the first is taken. The value of a checkbox that is not checked is None.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.values: dict[str, str | None] = {}
        self.form_token = ""
        self.action = ""  # of the main form
        self._names: dict[str, str] = {}
        self._texts: dict[tuple[str, str], str] = {}
        self._open: tuple[str, str] | None = None
        self._select = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Read a field, or the start of a label, a text area or a message."""
        found = {name: value or "" for name, value in attrs}
        name, identifier = found.get("name", ""), found.get("id", "")
        if tag == "form" and identifier == "main-form":
            self.action = found["action"]
        if tag == "input" and name == "form_token":
            self.form_token = found["value"]
        elif tag in ("input", "textarea", "select") and identifier and name not in self.values:
            self._names[identifier] = name
            unchecked = found.get("type") == "checkbox" and "checked" not in found
            self.values[name] = None if unchecked else found.get("value", "")
        elif found.get("type") == "hidden":
            self.values.setdefault(name, found["value"])
        if tag == "select":
            self._select = name
            self.values.setdefault(name, "")
        elif tag == "option" and "selected" in found:
            self.values[self._select] = self.values[self._select] or found["value"]
        elif tag == "label" and "for" in found:
            self._open = ("label", found["for"])
        elif tag == "textarea":
            self._open = ("value", identifier)
        elif tag == "span" and identifier.endswith("-wrong"):
            self._open = ("message", identifier.removesuffix("-wrong"))

    def handle_endtag(self, tag: str) -> None:
        """End a text."""
        if self._open is not None and tag in ("label", "textarea", "span"):
            if self._open[0] == "value" and self._open[1] in self._names:
                # Browsers drop the first line break of a text area.
                self.values[self._names[self._open[1]]] = self._texts.get(self._open, "").removeprefix("\n")
            self._open = None

    def handle_data(self, data: str) -> None:
        """Collect a text."""
        if self._open is not None:
            self._texts[self._open] = self._texts.get(self._open, "") + data

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels by the name of the field."""
        return {
            self._names[field]: text
            for (kind, field), text in self._texts.items()
            if kind == "label" and field in self._names
        }

    @property
    def messages(self) -> dict[str, str]:
        """Return the messages by the identifier of the field."""
        return {field: text for (kind, field), text in self._texts.items() if kind == "message"}


def flashes(text: str) -> list[str]:
    """Return the messages of a page about what was just done."""
    return re.findall(r'<div class="[^"]*\bflash\b[^"]*"[^>]*>\s*<p>([^<]+)</p>', text)


def api(app: Flask, call: str, body: dict[str, Any]) -> Any:
    """Make a call of the API as the administrator and return the body of its response."""
    response = app.test_client().post(f"{API}/{call}", json=body, headers=basic())
    assert response.status_code == 200, response.text
    return response.get_json()
