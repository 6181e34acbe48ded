"""A view over a client, run by Streamlit's own test harness; and what it shows."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pandas as pd
from streamlit.testing.v1 import AppTest

__all__ = ["TIMEOUT", "button", "numbers", "said", "show", "text_tables"]

TIMEOUT = 30


def show(page: Callable[..., None], *args: object, **query: str) -> AppTest:
    """Run ``page(*args)`` with this query in its address; no exception may reach the page."""
    app = AppTest.from_function(page, args=args, default_timeout=TIMEOUT)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    assert not [error.value for error in app.error if error.value.startswith("Incident")]
    return app


def said(app: AppTest) -> str:
    """Everything that is shown as text."""
    kinds = ("title", "subheader", "markdown", "caption", "error", "warning", "info", "success", "metric")
    parts = [f"{e.label} {e.value}" if kind == "metric" else str(e.value) for kind in kinds for e in getattr(app, kind)]
    return "\n".join(parts)


def numbers(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def button(app: AppTest, label: str) -> Any:
    return next(b for b in app.button if b.label == label)


class _Cells(HTMLParser):
    """The rows of one table; ``hints`` has the titles of its moments."""

    def __init__(self) -> None:
        super().__init__()
        self.head: list[str] = []
        self.rows: list[list[str]] = []
        self.groups: list[str] = []
        self.hints: list[str] = []
        self._into: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self._into = {"col": self.head, "colgroup": self.groups}.get(given.get("scope") or "", self.rows[-1])
            self._into.append("")
        elif tag == "time":
            self.hints.append(given["title"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data


def text_tables(app: AppTest) -> list[pd.DataFrame]:
    """The tables that are shown as text, cell by cell as they are read; ``attrs`` has their groups and hints."""
    found = []
    for element in app.get("html"):
        body = element.proto.body
        if "<table>" in body:
            cells = _Cells()
            cells.feed(body)
            frame = pd.DataFrame([row for row in cells.rows if row], columns=cells.head)
            frame.attrs = {"groups": cells.groups, "hints": cells.hints}
            found.append(frame)
    return found
