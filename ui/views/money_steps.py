"""Money in and out, corrections and disputes: planned on today's books, then asked for. Nothing is signed in a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation

import streamlit as st

from parties.client import BalancesView, CashQuestion, CashStep, ClientProtocol, SettlementQuestion, ViewerView
from ui.empty_states import ask, empty
from ui.views.step_plan import show_plan
from ui.wording import amount, plain, short_id, things

__all__ = ["CASH_STEPS", "minor_of", "money_steps"]

CASH_STEPS: Mapping[str, str] = {
    "receipt": "Book a receipt",
    "pay": "Pay out",
    "release": "Release stake",
    "correction": "Correct a final settlement",
    "dispute": "Dispute a run",
    "exit": "Ask stake back",
}
_OF_ADMINS = ("receipt", "pay", "release", "correction")
_OF_PARTIES = ("dispute", "exit")
_KEPT = 100
_MARKS = re.compile("[ ,'\N{NARROW NO-BREAK SPACE}\N{RIGHT SINGLE QUOTATION MARK}]")  # between thousands


def money_steps(client: ClientProtocol, viewer: ViewerView, acted: Callable[[str], None]) -> None:
    """The section; others than admins and operators read what was asked for above it."""
    kinds = _OF_ADMINS if viewer.role == "admin" else _OF_PARTIES if viewer.role == "operator" else ()
    if not kinds:
        return
    st.subheader("Money in and out" if viewer.role == "admin" else f"Money of {plain(viewer.party)}")
    books = ask("the balances", client.balances)
    if books is None:
        return
    if not books.accounts:
        empty("No account yet", "Accounts of parties are opened when a run settles, or by `entente ledger open`.")
        return
    kind = st.segmented_control(
        "What", kinds, default=None, format_func=CASH_STEPS.__getitem__, key="cash kind", label_visibility="collapsed"
    )
    if kind is None:
        return
    asked = _question(client, viewer, kind, books)
    if asked is None:
        return
    plan = ask("the dry run", lambda: client.cash_plan(asked))
    if plan is None:
        return
    with st.container(border=True):
        show_plan(plan)
        if plan.blocked:
            return
        if st.button(f"Ask for approval: {CASH_STEPS[kind].lower()}", type="primary", icon=":material/send:"):
            step = CashStep(**asked.model_dump(), shown=plan.steps)
            if ask("the request", lambda: client.ask_cash(step)) is not None:
                acted("Asked. The request is carried to each approver's node.")


def minor_of(text: str, scale: int) -> int | None:
    """An amount as it is typed, in minor units; None for what is none, or has more decimals than there are."""
    try:
        minor = Decimal(_MARKS.sub("", text)).scaleb(scale)
    except InvalidOperation:
        return None
    whole = minor.is_finite() and minor == minor.to_integral_value() and abs(minor) < 2**53
    return int(minor) if whole else None


def _question(client: ClientProtocol, viewer: ViewerView, kind: str, books: BalancesView) -> CashQuestion | None:
    """What is asked, from the fields of its kind; None while they are not filled."""
    owners = sorted({one.party for one in books.accounts if one.party})
    said: dict[str, object] = {"kind": kind}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if kind in _OF_PARTIES:
            said["parties"] = (viewer.party,)
        elif kind == "pay":
            said["parties"] = tuple(_payees(books))
        else:
            said["parties"] = (st.selectbox("Party", owners, format_func=plain, key="cash party", width=220),)
        if kind in ("correction", "dispute"):
            said["run_id"] = _run(client, kind)
        typed = _amount(books, kind) if kind in ("receipt", "exit", "correction") else 0
        if kind in ("receipt", "pay"):
            label = "Bank's reference" if kind == "receipt" else "Batch, such as 2026-06"
            said["reference"] = st.text_input(label, key=f"cash reference {kind}", max_chars=60, width=220).strip()
        if kind == "receipt":
            paid_for = st.segmented_control(
                "Paid for", ["subscription", "stake"], default="subscription", required=True, key="cash for"
            )
            said["stake"] = paid_for == "stake"
    if kind in ("correction", "dispute"):
        said["why"] = st.text_input("Why (everybody who is asked reads it)", key=f"cash why {kind}", max_chars=300)
    if typed is None or not said["parties"] or said.get("run_id", "x") == "":
        return None
    reference = str(said.get("reference", ""))
    if not all("!" <= letter <= "~" for letter in reference):
        st.warning("A reference is of letters, digits and signs without spaces: it becomes part of the entry's name.")
        return None
    return CashQuestion.model_validate(said | {"amount": typed})


def _payees(books: BalancesView) -> list[str]:
    """Who is paid, of those to whom something is payable; all of them at first."""
    due = {one.party: one for one in books.accounts if one.kind == "Payable" and one.posted > 0}
    if not due:
        empty("Nothing is payable", "A settlement that became final, or released stake, is paid out from here.")
        return []
    return st.multiselect(
        "Whom", sorted(due), default=sorted(due), key="cash payees",
        format_func=lambda name: f"{name}: {amount(due[name].posted, due[name].unit, due[name].scale)}",
    )  # fmt: skip


def _amount(books: BalancesView, kind: str) -> int | None:
    known = books.accounts[0]
    label = f"Amount, {known.unit}" + (" (below zero: less)" if kind == "correction" else "")
    text = st.text_input(label, key=f"cash amount {kind}", placeholder="1250.00", width=220)
    if not text.strip():
        return None
    minor = minor_of(text, known.scale)
    if minor is None:
        st.warning(f"Write the amount in {known.unit} with at most {things(known.scale, 'decimals')}, such as 1250.00.")
    return minor


def _run(client: ClientProtocol, kind: str) -> str:
    """A run that can be corrected or disputed."""
    page = ask("the runs", lambda: client.settlements(SettlementQuestion(limit=_KEPT)))
    runs = page.runs if page is not None else ()
    fit = [run for run in runs if (run.state == "final" if kind == "correction" else run.disputable_until)]
    if not fit:
        word = "is final" if kind == "correction" else "can be disputed now"
        empty("No run fits", f"No run {word}.")
        return ""
    names = {run.run_id: f"{run.purpose or run.consortium} · {short_id(run.run_id)}" for run in fit}
    return str(st.selectbox("Run", list(names), format_func=lambda run: plain(names[run]), key=f"cash run {kind}"))
