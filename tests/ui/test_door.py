"""The sign-in page's own door: who may bring a visitor in with a token."""

from __future__ import annotations

import asyncio
from unittest import mock

import httpx
import pytest
from starlette.applications import Starlette

from ui.sign_in import cookie_name, routes


class Line:
    """A coordinator that takes any token, and notes it."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    def sign_in(self, token: str) -> str:
        self.tokens.append(token)
        return "secret"


async def visit(method: str, site: str) -> httpx.Response:
    """A browser's request for the sign-in page with a token, led there by ``site``."""
    way, said = httpx.ASGITransport(Starlette(routes=routes())), {"token": "theirs"}
    async with httpx.AsyncClient(transport=way, base_url="http://desk") as browser:
        if method == "GET":
            return await browser.get("/sign-in", params=said, headers={"sec-fetch-site": site})
        return await browser.post("/sign-in", data=said, headers={"sec-fetch-site": site})


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("site", "led"), [("cross-site", True), ("same-site", True), ("same-origin", False)])
def test_no_other_site_signs_a_visitor_in_with_a_token_of_its_choice(method: str, site: str, *, led: bool) -> None:
    """Else whatever the visitor then does is done in a session that the other site's owner knows."""
    line = Line()
    with mock.patch("ui.sign_in.connection", return_value=line):
        answer = asyncio.run(visit(method, site))
    assert line.tokens == ([] if led else ["theirs"])
    assert (cookie_name() in answer.cookies) is not led
    assert answer.status_code == (200 if led else 303)
    if led:
        assert "theirs" not in answer.text
