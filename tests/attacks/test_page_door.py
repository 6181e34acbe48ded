"""Attack: another web site brings a visitor into a session whose owner it is, or throws them out of their own.

The attacker signs in itself, is given a ticket for its own session, and leads a visitor's browser to it. Whatever the
visitor then does at the desk, the attacker reads. Two defences: requests made by other sites open no door, and a ticket
is good only for the browser that had its nonce before it went to the identity provider.
"""

from __future__ import annotations

import asyncio
from unittest import mock

import httpx
import pytest
from starlette.applications import Starlette

from ui import sign_in
from ui.sign_in import Tickets, cookie_name, nonce_name, routes, tickets

THEIRS = "secret of the attacker's own session"
LED = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "referer": "https://evil.example/"}
OWN = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate"}
OLD_BROWSER = {"referer": "https://evil.example/"}


def request(method: str, place: str, headers: dict[str, str], cookies: dict[str, str]) -> httpx.Response:
    """A visitor's browser at the site's doors."""

    async def ask() -> httpx.Response:
        way = httpx.ASGITransport(Starlette(routes=routes()))
        async with httpx.AsyncClient(transport=way, base_url="http://desk", cookies=cookies) as browser:
            return await browser.request(method, place, headers=headers)

    return asyncio.run(ask())


def nonce_of_a_visit() -> str:
    """What the sign-in page gives a browser before anything else."""
    return str(request("GET", "/sign-in", OWN, {}).cookies[nonce_name()])


def put_into(answer: httpx.Response) -> str:
    """Whose session the visitor is in after this answer: the cookie's value, without its quotes."""
    return str(answer.cookies.get(cookie_name(), "")).strip('"')


def led_to_the_attackers_ticket(headers: dict[str, str]) -> str:
    """The whole attack; returns the session that the visitor ends up in."""
    ticket = tickets.offer(THEIRS, nonce_of_a_visit())
    visitor = {nonce_name(): nonce_of_a_visit()}
    return put_into(request("GET", ticket, headers, visitor))


def any_browser(self: Tickets, ticket: str, nonce: str) -> str:
    """Tickets without a nonce, as they were."""
    return self._open.pop(ticket, ("", "", 0.0))[0]


def test_without_either_defence_the_visitor_is_in_the_attackers_session() -> None:
    with mock.patch.object(sign_in, "_led", return_value=False), mock.patch.object(Tickets, "take", any_browser):
        assert led_to_the_attackers_ticket(LED) == THEIRS


@pytest.mark.parametrize("headers", [LED, {"sec-fetch-site": "same-site"}, OLD_BROWSER, OWN])
def test_with_them_another_sites_ticket_signs_nobody_in(headers: dict[str, str]) -> None:
    """The nonce holds where a browser says nothing of who led it, and even where the site's own page did."""
    assert led_to_the_attackers_ticket(headers) == ""


def test_each_defence_holds_alone() -> None:
    with mock.patch.object(sign_in, "_led", return_value=False):
        assert led_to_the_attackers_ticket(LED) == ""
    with mock.patch.object(Tickets, "take", any_browser):
        assert led_to_the_attackers_ticket(LED) == ""


def test_a_visitors_own_ticket_is_good_once_in_the_browser_it_was_made_for() -> None:
    nonce = nonce_of_a_visit()
    place = tickets.offer("mine", nonce)
    kept = request("GET", place, OWN, {nonce_name(): nonce})
    assert (kept.status_code, put_into(kept)) == (303, "mine")
    assert put_into(request("GET", place, OWN, {nonce_name(): nonce})) == ""
    stolen = tickets.offer("mine", nonce)
    assert put_into(request("GET", stolen, OWN, {})) == ""
    assert put_into(request("GET", stolen, OWN, {nonce_name(): nonce})) == "", "a ticket tried elsewhere is used up"


def test_a_ticket_made_without_a_nonce_opens_nothing() -> None:
    assert put_into(request("GET", tickets.offer(THEIRS, ""), OWN, {})) == ""
    assert put_into(request("GET", tickets.offer(THEIRS, ""), OWN, {nonce_name(): ""})) == ""


@pytest.mark.parametrize("place", ["/sign-in?ended=1", "/sign-in?out=1", "/sign-out"])
def test_no_other_site_signs_a_visitor_out(place: str) -> None:
    """By GET nobody does; by POST only the site's own pages."""
    cookies = {cookie_name(): "mine"}
    for method in ("GET", "POST"):
        answer = request(method, place, LED, cookies)
        assert not any(cookie_name() in line for line in answer.headers.get_list("set-cookie")), (method, place)
    foreign = request("POST", place, {"origin": "https://evil.example"}, cookies)
    assert not any(cookie_name() in line for line in foreign.headers.get_list("set-cookie"))


def test_the_sites_own_page_signs_out_by_post() -> None:
    answer = request("POST", "/sign-out", OWN, {cookie_name(): "mine"})
    assert answer.status_code == 204
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert request("GET", "/sign-out", OWN, {cookie_name(): "mine"}).status_code == 405


def test_no_ticket_leads_to_another_site() -> None:
    for place in ("//evil.example", "/%5C%5Cevil.example", "https://evil.example", "/%2F%2Fevil.example"):
        nonce = nonce_of_a_visit()
        kept = request("GET", f"{tickets.offer('mine', nonce)}&next={place}", OWN, {nonce_name(): nonce})
        assert kept.headers["location"] == "/", place
