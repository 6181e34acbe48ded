"""The web page as a server: ``entente ui`` starts Streamlit on this file, and every visit runs :mod:`ui.app`.

Streamlit imports it by its bare name, which therefore must be no module's of Python's own.
"""

from __future__ import annotations

from pathlib import Path

from starlette.middleware import Middleware
from streamlit.starlette import App

from ui.astray import Astray
from ui.page_shell import PageShell
from ui.pages import PAGES
from ui.sign_in import Welcome, routes

__all__ = ["KEYS", "app"]

KEYS = frozenset(("home", *(page.key for page in PAGES)))
"""The addresses that have a page."""

app = App(
    Path(__file__).with_name("app.py"),
    routes=routes(),
    middleware=[Middleware(Welcome), Middleware(Astray, keys=KEYS), Middleware(PageShell)],
)
