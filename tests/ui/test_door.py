"""The sign-in page's own door: who may bring a visitor in with a token."""

from __future__ import annotations

import asyncio
from unittest import mock

import httpx
import pytest
import streamlit as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ui.astray import NOWHERE, Astray
from ui.page_shell import PageShell
from ui.sign_in import Welcome, cookie_name, routes


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


def asked_below(base: str, path: str, **headers: str) -> httpx.Response:
    """A visitor's request where a proxy serves the page below ``base``."""

    async def ask() -> httpx.Response:
        app = Starlette(routes=routes(), middleware=[Middleware(Welcome), Middleware(Astray, keys=("runs", NOWHERE))])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://desk") as browser:
            return await browser.get(path, headers={"accept": "text/html", "sec-fetch-site": "none"} | headers)

    option = st.get_option

    def told(name: str) -> object:
        return base.strip("/") if name == "server.baseUrlPath" else option(name)

    with mock.patch("ui.sign_in.connection", return_value=Line()), mock.patch("ui.sign_in.st.get_option", told):
        return asyncio.run(ask())


@pytest.mark.parametrize("base", ["", "/desk", "/funds/desk"])
def test_sign_in_follows_the_base_path(base: str) -> None:
    """A proxy that forwards one path only reaches the page, its sign-in and what comes after it."""
    welcome = asked_below(base, f"{base}/")
    assert (welcome.status_code, welcome.headers["location"]) == (303, f"{base}/sign-in")
    deep = asked_below(base, f"{base}/runs?run=1")
    assert deep.headers["location"] == f"{base}/sign-in?next={base}/runs%3Frun%3D1"
    form = asked_below(base, f"{base}/sign-in")
    assert form.status_code == 200
    assert f'action="{base}/sign-in"' in form.text
    assert f'value="{base}/"' in form.text
    kept = asked_below(base, f"{base}/sign-in?token=mine")
    assert (kept.status_code, kept.headers["location"]) == (303, f"{base}/")
    assert f"Path={base or '/'};" in kept.headers["set-cookie"] + ";"
    assert asked_below(base, f"{base}/signed-in?ticket=none").headers["location"] == f"{base}/"
    assert asked_below(base, f"{base}/sign-in?token=mine&next=//evil.example").headers["location"] == f"{base}/"


def test_the_sample_that_pictures_are_taken_of_leads_there_as_well() -> None:
    from tests.ui.every_view_site import app

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://desk") as browser:
            return await browser.get("/no-such-page", headers={"accept": "text/html"})

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.headers["location"]) == (303, f"/{NOWHERE}?asked=no-such-page")


@pytest.mark.parametrize("base", ["", "/funds/desk"])
def test_an_address_that_no_page_has_leads_to_the_page_that_says_so(base: str) -> None:
    """Streamlit would show its first page under a dialog of its own, and nothing at all for a/b."""
    known = {"cookie": f"{cookie_name()}=secret"}
    for asked, told in (("nowhere", "nowhere"), ("a/b?run=1", "a%2Fb"), ("a%3Fb", "a%3Fb")):
        answer = asked_below(base, f"{base}/{asked}", **known)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{base}/{NOWHERE}?asked={told}")
    for there in ("", "/", "/runs?run=1", f"/{NOWHERE}?asked=x", "/_stcore/health", "/static/index.js"):
        assert asked_below(base, f"{base}{there}", **known).status_code == 404, "it is Streamlit's to answer"
    assert asked_below(base, f"{base}/nowhere", **known, accept="image/png").status_code == 404
    assert asked_below(base, f"{base}/nowhere").headers["location"].startswith(f"{base}/sign-in?next=")


@pytest.mark.parametrize("base", ["", "/desk"])
def test_a_page_is_told_where_its_server_is_and_nothing_else_is_changed(base: str) -> None:
    """Untold it asks below its own address first; a file's tag would bring back a shell that was not told."""
    index = "<!DOCTYPE html><html><head><title>Streamlit</title></head></html>"

    async def served(request: Request) -> Response:
        assert "if-none-match" not in request.headers
        html = request.url.path.endswith("/runs")
        said = {"etag": "1", "content-type": "text/html; charset=utf-8" if html else "text/javascript"}
        return Response(index, headers=said)

    async def ask(path: str, accept: str) -> httpx.Response:
        app = Starlette(routes=[Route("/{rest:path}", served)], middleware=[Middleware(PageShell)])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://desk") as browser:
            return await browser.get(path, headers={"accept": accept, "if-none-match": "1"} if accept else {})

    with mock.patch("ui.sign_in.st.get_option", return_value=base.strip("/")):
        page = asyncio.run(ask(f"{base}/runs", "text/html"))
        script = asyncio.run(ask(f"{base}/static/runs.js", ""))
    assert f'BACKEND_BASE_URL:location.origin+"{base}/"' in page.text
    assert "<title>Entente</title>" in page.text
    assert "etag" not in page.headers
    assert int(page.headers["content-length"]) == len(page.content)
    assert (script.text, script.headers["etag"]) == (index, "1")
