"""A view over a client, run by Streamlit's own test harness; and what it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamlit.testing.v1 import AppTest

__all__ = ["TIMEOUT", "button", "numbers", "said", "show"]

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
