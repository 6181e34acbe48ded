"""The coordinator's web page: ``entente ui`` starts Streamlit on this file.

The address and the credentials folder of the coordinator come from the environment variables
:data:`COORDINATOR` (may be empty: the roster knows it) and :data:`CREDENTIALS`.
"""

from __future__ import annotations

import os
from pathlib import Path

import streamlit as st

from parties.client import Client, EntenteError
from ui.pages import lay_out
from ui.states import ask, explain

__all__ = ["COORDINATOR", "CREDENTIALS", "main"]

COORDINATOR = "ENTENTE_COORDINATOR"
CREDENTIALS = "ENTENTE_CREDENTIALS"


@st.cache_resource(show_spinner="Connecting to the coordinator")
def _connect(address: str, credentials: str) -> Client:
    return Client(address, Path(credentials))


def main() -> None:
    """Lay out the pages and show the one that was asked for."""
    st.set_page_config(page_title="Entente", page_icon=":material/handshake:", layout="wide")
    credentials = os.environ.get(CREDENTIALS, "")
    if not credentials:
        st.error(f"{CREDENTIALS} is not set: start this page with `entente ui`.", icon=":material/error:")
        return
    try:
        client = _connect(os.environ.get(COORDINATOR, ""), credentials)
    except EntenteError as error:
        explain(error)
        return

    viewer = ask("who is there", client.viewer)
    if viewer is not None:
        lay_out(client, viewer).run()


if __name__ == "__main__":
    main()
