"""What every visit runs: who is there, and the pages they may see. :mod:`ui.website` serves it."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from parties.client import EntenteError, PeerError, SignInError, ViewerView
from ui.browser_session import arrive, leave, present_secret, sign_out
from ui.connection import connection
from ui.empty_states import explain
from ui.frame import around
from ui.lost import banner, found
from ui.page_shell import ICON
from ui.pages import PAGES, lay_out

__all__ = ["main"]

_LOGO = Path(__file__).with_name("logo.svg")
_LAST = "viewer as last told"


def main() -> None:
    """Lay out the pages and show the one that was asked for; without a session, nothing."""
    st.set_page_config(page_title="Entente", page_icon=ICON, layout="wide")
    st.logo(_LOGO, size="large")
    try:
        desk = connection()
        secret = present_secret()
        if not secret:
            if not arrive(desk):
                leave()
            return
        client = desk.within(secret)
        viewer = client.viewer()
        st.session_state[_LAST] = viewer
        found()
    except SignInError:
        leave("ended")
        return
    except PeerError as error:
        last: ViewerView | None = st.session_state.get(_LAST)
        banner(error, connection().within(secret).viewer, last=last is not None)
        if last is None:
            return
        viewer = last
    except EntenteError as error:
        explain(error)
        st.button("Try again", icon=":material/refresh:")
        return
    page = lay_out(client, viewer)
    around(page.url_path or PAGES[0].key, client, viewer, lambda: sign_out(client), page.run)


if __name__ == "__main__":
    main()
