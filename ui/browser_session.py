"""Whose session this browser has: where its secret comes from, and how it is begun and ended.

Only fixed text and tickets of our own making reach the scripts below.
"""

from __future__ import annotations

import contextlib

import streamlit as st

from parties.client import Client, EntenteError, SignInError
from ui.sign_in import PROVIDER, SIGN_IN, SIGN_OUT, below, cookie_name, nonce_name, tickets
from ui.wording import as_sentence, plain

__all__ = ["HELD", "arrive", "forget", "keep", "leave", "present_secret", "sign_out"]

HELD = "whose session"


def present_secret() -> str:
    """The session's secret: this visit's own, or the browser's cookie; empty without one."""
    return str(st.session_state.get(HELD, "")) or _cookie(cookie_name())


def _cookie(name: str) -> str:
    cookie: object = st.context.cookies.to_dict().get(name)
    return cookie if isinstance(cookie, str) else ""


def forget() -> None:
    """Drop the secret of this visit."""
    st.session_state.pop(HELD, None)


def leave(why: str = "") -> None:
    """Send the browser to the sign-in page. ``why``: ended or out, which the page says and drops the cookie for."""
    forget()
    if why:
        _drop_cookie_and_go(below(f"{SIGN_IN}?{why}=1"))
    else:
        _go(below(SIGN_IN))
    st.info("You are not signed in.", icon=":material/lock:")
    st.markdown(f"[Sign in]({below(SIGN_IN)})")


def arrive(desk: Client) -> bool:
    """Sign in whoever comes back from the identity provider, or send there who asks for it; whether there was one.

    The provider's word goes to the coordinator as it is: this page is not believed.
    """
    asked, known = PROVIDER in st.query_params, getattr(st.user, "is_logged_in", False)
    if (asked or known) and not _cookie(nonce_name()):
        return False  # the sign-in page gives this browser its nonce; nobody goes to the provider, or comes, without
    if asked:
        st.login()
        return True
    if not known:
        return False
    try:
        secret = desk.sign_in(id_token=str(st.user.tokens.get("id", "")))
    except SignInError as error:
        st.error(plain(as_sentence(str(error))), icon=":material/lock:")
        with st.container(horizontal=True):
            st.button("Sign in again", on_click=st.login, type="primary")
            st.button("Sign out of your organisation", on_click=st.logout)
        st.markdown(f"[Sign in with a one-time token]({below(SIGN_IN)})")
        return True
    keep(secret)
    return True


def keep(secret: str) -> None:
    """Go on with a new session, and put it into the browser's cookie."""
    st.session_state[HELD] = secret
    _go(tickets.offer(secret, _cookie(nonce_name())))


def sign_out(client: Client) -> None:
    """End the session at the coordinator and here; one that cannot be told now ends by itself."""
    with contextlib.suppress(EntenteError):
        client.sign_out()
    if getattr(st.user, "is_logged_in", False):
        forget()
        st.logout()
        return
    leave("out")


def _drop_cookie_and_go(place: str) -> None:
    """The cookie goes by a request that only this site's own pages can make, then the browser does."""
    script = f"fetch({below(SIGN_OUT)!r}, {{method: 'POST'}}).finally(() => window.location.replace({place!r}))"
    st.html(f"<script>{script}</script>", unsafe_allow_javascript=True)


def _go(place: str) -> None:
    st.html(f"<script>window.location.replace({place!r})</script>", unsafe_allow_javascript=True)
