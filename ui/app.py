"""The coordinator's web page: ``entente ui`` starts Streamlit on this file.

The address and the credentials folder of the coordinator come from the environment variables
:data:`COORDINATOR` (may be empty: the roster knows it) and :data:`CREDENTIALS`.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import streamlit as st

from parties.client import Client, EntenteError
from ui.states import explain
from ui.views import ledger, run, runs

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

    def open_run(run_id: str) -> None:
        st.switch_page(run_page, query_params={"run": run_id})

    runs_page = st.Page(partial(runs.render, client, open_run), title="Runs", icon=":material/list:", default=True)
    run_page = st.Page(partial(run.render, client), title="Run", icon=":material/monitoring:", url_path="run")
    ledger_page = st.Page(partial(ledger.render, client), title="Ledger", icon=":material/balance:", url_path="ledger")
    st.navigation([runs_page, run_page, ledger_page], position="top").run()


if __name__ == "__main__":
    main()
