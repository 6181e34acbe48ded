"""Visitors to an address that no page has: they are led to the page that says so, before Streamlit says it its way.

Streamlit answers any address with its first page under a dialog of its own, and one of several parts with nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ui.sign_in import below, page_of_ours

__all__ = ["NOWHERE", "Astray"]

NOWHERE = "not_found"
"""The key of the page that says so."""

_LONGEST = 200


class Astray:
    """Leads from addresses that are none of ``keys`` to the page :data:`NOWHERE`."""

    def __init__(self, app: ASGIApp, keys: Collection[str]) -> None:
        self._app = app
        self._keys = frozenset(keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and page_of_ours(scope["path"]):
            asked = scope["path"].removeprefix(below("")).strip("/")
            shown = "text/html" in Request(scope).headers.get("accept", "")
            if shown and asked and asked not in self._keys:
                place = below(f"/{NOWHERE}?asked={quote(asked[:_LONGEST], safe='')}")
                await RedirectResponse(place, status_code=303)(scope, receive, send)
                return
        await self._app(scope, receive, send)
