"""The shell that a browser gets before any page: Streamlit's index, with our name and icon, told where its server is.

Untold, Streamlit's script asks below the page's own address first, which leaves two 404s in the browser's console.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.sign_in import below, page_of_ours

__all__ = ["ICON", "PageShell"]

ICON = Path(__file__).with_name("icon.svg")
_AS_IT_IS = (b"accept-encoding", b"if-none-match", b"if-modified-since")
_KEPT = ("etag", "last-modified")


class PageShell:
    """Changes the index in whole answers alone; all else goes through as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        icon = f"data:image/svg+xml;base64,{base64.b64encode(ICON.read_bytes()).decode()}"
        self._words = {
            b"<title>Streamlit</title>": b"<title>Entente</title>",
            b'href="./favicon.png"': f'href="{icon}"'.encode(),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not page_of_ours(scope["path"]):
            await self._app(scope, receive, send)
            return
        if "text/html" not in Headers(scope=scope).get("accept", ""):
            await self._app(scope, receive, send)
            return
        begun: list[Message] = []
        body = bytearray()

        async def changed(message: Message) -> None:
            if message["type"] == "http.response.start":
                begun.append(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            start, headers = begun[0], MutableHeaders(raw=begun[0]["headers"])
            told = bytes(body)
            if headers.get("content-type", "").startswith("text/html"):
                told = self._told(told)
                for name in _KEPT:  # of the file, which this is no more
                    if name in headers:
                        del headers[name]
                headers["content-length"] = str(len(told))
            await send(start)
            await send({"type": "http.response.body", "body": told})

        asked = [(name, value) for name, value in scope["headers"] if name not in _AS_IT_IS]
        await self._app({**scope, "headers": asked}, receive, changed)

    def _told(self, index: bytes) -> bytes:
        for was, now in self._words.items():
            index = index.replace(was, now, 1)
        where = f"<script>window.__streamlit={{BACKEND_BASE_URL:location.origin+{json.dumps(below('/'))}}}</script>"
        return index.replace(b"<head>", b"<head>" + where.encode(), 1)
