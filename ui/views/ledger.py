"""Balances and journal of the consortium's ledger."""

from __future__ import annotations

import streamlit as st

from parties.client import ClientProtocol, LedgerView, ViewerView
from ui.states import ask, empty
from ui.tables import balances_table, postings_table
from ui.text import HELP, count, plain, short_id

__all__ = ["PAGE", "render"]

PAGE = 100


def render(client: ClientProtocol, _: ViewerView) -> None:
    """The page."""
    st.title("Ledger")
    runs = ask("runs", client.runs)
    if runs is None:
        return
    purposes = {"": "All runs"} | {run.run_id: f"{short_id(run.run_id)} · {run.purpose}" for run in runs}
    chosen, page = st.columns([3, 1])
    run_id = chosen.selectbox("Journal of", list(purposes), format_func=lambda key: purposes[key])
    number = int(page.number_input("Page", min_value=1, value=1, step=1))
    ledger = ask("the ledger", lambda: client.ledger(run_id or "", limit=PAGE, offset=PAGE * (number - 1)))
    if ledger is None:
        return
    _balanced(ledger)
    st.subheader("Balances", help=HELP["pending"])
    if ledger.balances:
        right = {name: st.column_config.TextColumn(alignment="right") for name in ("Posted", "Pending", "Total")}
        st.dataframe(balances_table(ledger.balances), hide_index=True, column_config=right, alt="Balances")
    else:
        empty("No account yet", "Accounts are opened when the first run settles.")
    st.subheader("Journal")
    _journal(ledger, number)


def _balanced(ledger: LedgerView) -> None:
    if ledger.balanced:
        st.badge("balanced", color="green", icon=":material/balance:", help=HELP["balanced"])
    else:
        st.error(plain(ledger.finding) or "the ledger does not balance", icon=":material/error:", title="Not balanced")


def _journal(ledger: LedgerView, number: int) -> None:
    if not ledger.total_postings:
        empty("No posting yet", "Rewards are booked here when a run settles.")
        return
    pages = -(-ledger.total_postings // PAGE)
    if not ledger.postings:
        empty("Nothing on this page", f"The journal ends on page {pages}.")
        return
    st.caption(f"{count(ledger.total_postings)} postings, newest first; page {number} of {pages}.")
    right = {name: st.column_config.TextColumn(alignment="right") for name in ("Debit", "Credit")}
    st.dataframe(postings_table(ledger.postings), hide_index=True, column_config=right, alt="Postings")
