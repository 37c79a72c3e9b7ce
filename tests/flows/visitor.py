"""A person with a browser that knows cookies, forms and redirects, and no JavaScript."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from typing import Any

import requests


class _Forms(HTMLParser):
    """Collects the forms of a page: action and fields."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, Any]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(
                {"action": values.get("action", ""), "method": values.get("method", "get"), "fields": {}}
            )
        elif tag in ("input", "select", "textarea") and self.forms and values.get("name"):
            kind = values.get("type", "text")
            if kind in ("radio", "checkbox") and "checked" not in values:
                self.forms[-1]["fields"].setdefault(values["name"], None)
            else:
                self.forms[-1]["fields"][values["name"]] = values.get("value", "")


class Visitor:
    """One browser session."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.page: requests.Response | None = None

    def close(self) -> None:
        self.session.close()

    def get(self, path: str) -> requests.Response:
        self.page = self.session.get(self._absolute(path), timeout=30)
        return self.page

    def submit(
        self, fields: dict[str, str], *, action: str | None = None, having: str = ""
    ) -> requests.Response:
        """Fill and send the form of the present page that has the field `having` (or any of `fields`)."""
        assert self.page is not None
        reader = _Forms()
        reader.feed(self.page.text)
        wanted = [having] if having else list(fields)
        for form in reader.forms:
            named = action is None or form["action"].endswith(action)
            if named and form["method"].lower() == "post" and all(name in form["fields"] for name in wanted):
                data = {name: value for name, value in form["fields"].items() if value is not None}
                target = requests.compat.urljoin(self.page.url, html.unescape(form["action"]))  # type: ignore[attr-defined]
                self.page = self.session.post(
                    target, data={**data, **fields}, headers={"Referer": self.page.url}, timeout=30
                )
                return self.page
        raise AssertionError(f"no form with {wanted} on {self.page.url}: {reader.forms}")

    def sign_in(self, address: str, password: str) -> requests.Response:
        self.get("/accounts/login/")
        return self.submit({"login": address, "password": password})

    @property
    def text(self) -> str:
        """The page as words."""
        assert self.page is not None
        bare = re.sub(r"<(script|style)\b.*?</\1>", " ", self.page.text, flags=re.S)
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", bare)).split())

    def _absolute(self, path: str) -> str:
        return path if path.startswith("http") else f"{self.url}{path}"
