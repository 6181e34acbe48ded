"""The page's own doors beside Streamlit's: signing in, keeping a session over a reload, signing out, being sent here.

A session's secret lives in a cookie that no script can read (HttpOnly) and that other sites' requests do not carry
(SameSite=Lax), and in this process's memory. It is never in an address. A cookie says nothing by itself: every page
asks the coordinator.

Another site must not bring a visitor into a session whose owner it is. So each browser is given a nonce (a cookie too)
before it goes to the identity provider, and the ticket that it comes back with is good for that nonce alone; no door
that changes a cookie opens for a request that another site made.
"""

from __future__ import annotations

import functools
import html
import re
import secrets
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, quote

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from parties.client import EntenteError
from ui.connection import connection, consortium_name
from ui.wording import as_sentence

__all__ = [
    "PROVIDER",
    "SIGN_IN",
    "SIGN_OUT",
    "Tickets",
    "Welcome",
    "below",
    "cookie_name",
    "nonce_name",
    "page_of_ours",
    "routes",
    "tickets",
]

SIGN_IN = "/sign-in"
SIGN_OUT = "/sign-out"
PROVIDER = "provider"
_KEEP = "/signed-in"
_LARGEST_FORM = 4096
_TICKET_SECONDS = 60.0
_PLACE = re.compile(r"/(?!/)[A-Za-z0-9_/-]*(\?[A-Za-z0-9_=&%.-]*)?")
_NOT_PAGES = ("/_stcore", "/static", "/media", "/component", "/auth", "/oauth2callback", SIGN_IN, SIGN_OUT, _KEEP)
_PROVIDER_COOKIE = "_streamlit_user"
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; font-src 'self'; form-action 'self'; base-uri 'none'"
    ),
}
_WORDS = {
    "ended": "Your session has ended. Sign in again to go on.",
    "out": "You have signed out.",
}


def below(place: str) -> str:
    """An address of this site, which a proxy may serve below a base path (``server.baseUrlPath``)."""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{base}{place}" if base else place


def cookie_name() -> str:
    """Of the session's cookie. Cookies are per host and not per port, so two pages on one machine need two names."""
    return f"entente-session-{st.get_option('server.port')}"


def nonce_name() -> str:
    """Of the cookie that says which browser asked to be signed in."""
    return f"entente-arrival-{st.get_option('server.port')}"


class Tickets:
    """One-time notes by which a page that has a session hands it to the cookie of its own browser. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[str, str, float]] = {}

    def offer(self, secret: str, nonce: str) -> str:
        """Where the browser that has this nonce must go, soon and once, to keep the session."""
        ticket, now = secrets.token_urlsafe(24), time.monotonic()
        with self._lock:
            self._open = {key: kept for key, kept in self._open.items() if kept[2] > now}
            self._open[ticket] = secret, nonce, now + _TICKET_SECONDS
        return below(f"{_KEEP}?ticket={ticket}")

    def take(self, ticket: str, nonce: str) -> str:
        """The session's secret; nothing for another browser than the ticket was made for, which uses it up too."""
        with self._lock:
            secret, bound, until = self._open.pop(ticket, ("", "", 0.0))
        fits = bool(bound) and secrets.compare_digest(bound.encode(), nonce.encode())
        return secret if fits and time.monotonic() < until else ""


tickets = Tickets()


def routes() -> list[Route]:
    """What the site adds to Streamlit's own addresses."""
    return [
        Route(below(SIGN_IN), _sign_in, methods=["GET", "POST"]),
        Route(below(SIGN_OUT), _sign_out, methods=["POST"]),
        Route(below(_KEEP), _keep, methods=["GET"]),
    ]


class Welcome:
    """Sends visitors without a session's cookie to the sign-in page, before anything of the site is loaded."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and page_of_ours(scope["path"]):
            request = Request(scope)
            known = cookie_name() in request.cookies or _PROVIDER_COOKIE in request.cookies
            if (
                not known
                and "provider" not in request.query_params
                and "text/html" in request.headers.get("accept", "")
            ):
                place = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                token = request.query_params.get("token", "")
                asked = f"?token={quote(token)}" if token else f"?next={quote(place)}" if place != below("/") else ""
                await RedirectResponse(below(SIGN_IN) + asked, status_code=303, headers=_HEADERS)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def page_of_ours(path: str) -> bool:
    """Whether a visit to this address shows a page, below the base path."""
    start = below("")
    return path.startswith(start) and not path.removeprefix(start).startswith(_NOT_PAGES)


async def _sign_in(request: Request) -> Response:
    """The page with the form; a token in the address or in the form is exchanged at once."""
    given = await _form(request) if request.method == "POST" else dict(request.query_params)
    token, place = given.get("token", "").strip(), given.get("next", below("/"))
    # another site may lead here, but must not sign a visitor in with a token of its choice
    if not token or _led(request):
        words = next((text for key, text in _WORDS.items() if key in given), "")
        page = HTMLResponse(_page(words, place), headers=_HEADERS)
        if not request.cookies.get(nonce_name()):
            _set(request, page, nonce_name(), secrets.token_urlsafe(24))
        return page
    try:
        secret = await run_in_threadpool(lambda: connection().sign_in(token))
    except EntenteError as error:
        return HTMLResponse(_page(str(error), place, wrong=True), status_code=403, headers=_HEADERS)
    return _kept(request, secret, place)


def _led(request: Request) -> bool:
    """Whether another site made this request: as the browser says, and where it is too old to say, as its origin does.

    Without either it was typed, or comes from an old browser, whose nonce has to do.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("none", "same-origin")
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host")


async def _keep(request: Request) -> Response:
    """Where a page sends its own browser to keep a session. Led here by another site, a visitor keeps what they had."""
    if _led(request):
        return RedirectResponse(below("/"), status_code=303, headers=_HEADERS)
    secret = tickets.take(request.query_params.get("ticket", ""), request.cookies.get(nonce_name(), ""))
    if not secret:
        return RedirectResponse(below("/"), status_code=303, headers=_HEADERS)
    return _kept(request, secret, request.query_params.get("next", below("/")))


def _kept(request: Request, secret: str, place: str) -> Response:
    found = RedirectResponse(place if _PLACE.fullmatch(place) else below("/"), status_code=303, headers=_HEADERS)
    _set(request, found, cookie_name(), secret)
    found.delete_cookie(nonce_name(), path=below("") or "/")
    return found


async def _sign_out(request: Request) -> Response:
    """Drop the cookie of a session that has ended. Only a page of this site can ask for it."""
    if _led(request):
        return Response(status_code=403, headers=_HEADERS)
    found = Response(status_code=204, headers=_HEADERS)
    found.delete_cookie(cookie_name(), path=below("") or "/")
    return found


def _set(request: Request, response: Response, name: str, value: str) -> None:
    secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
    response.set_cookie(name, value, httponly=True, samesite="lax", secure=secure, path=below("") or "/")


async def _form(request: Request) -> dict[str, str]:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST_FORM:
            return {}
    fields = parse_qs(body.decode("utf-8", errors="replace"))
    return {name: values[-1] for name, values in fields.items()}


def _page(words: str, place: str, *, wrong: bool = False) -> str:
    words = as_sentence(words)
    said = f'<p class="{"wrong" if wrong else "note"}" role="alert">{html.escape(words)}</p>' if words else ""
    kept = html.escape(place if _PLACE.fullmatch(place) else below("/"), quote=True)
    provider = _PROVIDER.format(home=below("/")) if _provider_known() else ""
    return _HTML.format(
        said=said, place=kept, door=below(SIGN_IN), provider=provider, logo=_logo(), font=_font(),
        whose=html.escape(consortium_name() or "The consortium's desk"),
    )  # fmt: skip


@functools.cache
def _logo() -> str:
    return Path(__file__).with_name("logo.svg").read_text(encoding="utf-8")


def _font() -> str:
    """Where Streamlit serves the font of all other pages; "" where this version has none of that name."""
    return below(f"/static/media/{name}") if (name := _font_file()) else ""


@functools.cache
def _font_file() -> str:
    media = Path(next(iter(st.__path__))) / "static" / "static" / "media"
    return next((file.name for file in sorted(media.glob("SourceSansVF-Upright*.woff2"))), "")


def _provider_known() -> bool:
    """Whether this site signs people in by OIDC, as its secrets.toml says."""
    try:
        return bool(st.secrets.get("auth"))
    except FileNotFoundError:
        return False


_PROVIDER = """\
<p class="or">or</p>
<p><a class="button" href="{home}?provider=oidc">Sign in with your organisation</a></p>
"""

_HTML = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in to Entente</title>
<style>
@font-face {{ font-family: "Source Sans"; font-weight: 200 900; src: url("{font}") format("woff2"); }}
:root {{ color-scheme: light dark; --ink: #1b2733; --soft: #51606f; --ground: #f4f6f8; --card: #ffffff; --line: #c9d2da;
  --accent: #0067a5; --on: #ffffff; --wrong: #a4262c; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e8edf2; --soft: #a9b6c2; --ground: #0e1419; --card: #182129;
  --line: #33424f; --accent: #56b4e9; --on: #0e1419; --wrong: #ff9b9b; }} }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--ground); color: var(--ink);
  font: 16px/1.5 "Source Sans", "Source Sans Pro", system-ui, sans-serif; }}
main {{ box-sizing: border-box; width: min(26rem, 92vw); padding: 2rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .75rem; }}
h1 {{ margin: 0 0 .5rem; line-height: 0; }} h1 svg {{ height: 2.25rem; max-width: 100%; }}
h1 text {{ font-family: "Source Sans", "Source Sans Pro", system-ui, sans-serif; }}
h2 {{ margin: 0; font-size: 1.15rem; }}
p {{ margin: .5rem 0; }} .soft, .or {{ color: var(--soft); }} .or {{ text-align: center; }}
.wrong {{ color: var(--wrong); }}
label {{ display: block; margin-top: 1rem; font-weight: 600; }}
input {{ box-sizing: border-box; width: 100%; margin: .35rem 0 1rem; padding: .6rem .7rem; font: inherit;
  color: inherit; background: transparent; border: 1px solid var(--soft); border-radius: .5rem; }}
button, .button {{ box-sizing: border-box; display: block; width: 100%; padding: .65rem; font: inherit;
  font-weight: 600; text-align: center; text-decoration: none; border-radius: .5rem; cursor: pointer;
  color: var(--on); background: var(--accent); border: 1px solid var(--accent); }}
.button {{ color: var(--accent); background: transparent; }}
code {{ font-size: .9em; }}
</style>
</head>
<body>
<main>
<h1>{logo}</h1>
<h2>{whose}</h2>
<p class="soft">Runs, factors, money and trust.</p>
{said}
<form method="post" action="{door}">
<input type="hidden" name="next" value="{place}">
<label for="token">One-time token</label>
<input id="token" name="token" type="password" autocomplete="off" required autofocus>
<button type="submit">Sign in</button>
</form>
{provider}
<p class="soft">No token? The coordinator's operator prints one: <code>entente ui token</code></p>
</main>
</body>
</html>
"""
