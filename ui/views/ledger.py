"""The consortium's books: balances, the journal with its search, statements, and whether everything adds up."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from parties.client import (
    AccountView,
    BalancesView,
    ClientProtocol,
    JournalFile,
    JournalPage,
    JournalQuestion,
    StandingView,
    StatementQuestion,
    ViewerView,
)
from ui.charts.drawn_once import draw
from ui.charts.money import balances_chart
from ui.empty_states import ask, empty
from ui.incidents import live_part
from ui.made_files import made_file
from ui.money import ORDERS, STATES, accounts_table, days_of, entries_table, journal_question, standing_words
from ui.preferences import thousands
from ui.shared_reads import shared
from ui.text_table import show_text_table
from ui.wording import HELP, amount, as_sentence, count, instant, plain, things

__all__ = ["render"]

_PARTS = ("Balances", "Journal", "Statements")
_ROWS = 50
_REFRESH_SECONDS = 2.0
_FORMS = {"pdf": "PDF", "html": "Web page", "csv": "Spreadsheet (CSV)"}
_MIME = {"pdf": "application/pdf", "html": "text/html", "csv": "text/csv"}


def render(client: ClientProtocol, viewer: ViewerView) -> None:
    """The page."""
    st.title("Ledger")
    found = ask("the ledger", client.balances)
    if found is None:
        return
    _standing(client, viewer, found.standing)
    if found.scope == "none":
        empty("Amounts are not shown to this role", "A reader learns whether the books add up. Ask an admin for more.")
        return
    if not found.accounts:
        what = "Accounts are opened when the first run settles, or with `entente ledger open`."
        empty("No account yet", what if found.scope == "all" else "Your party has no account in this ledger yet.")
        return
    if found.scope == "party":
        st.caption(
            f"You work for {plain(viewer.party)}: its accounts, and of each entry that moves them its own postings."
        )
    wanted = st.query_params.get("part", "")
    balances, journal, statements = st.tabs(_PARTS, default=wanted if wanted in _PARTS else None)
    with balances:
        _balances(found)
    with journal:
        live_part(_journal)(client, found)
    with statements:
        live_part(_statements)(client, viewer, found)


def _standing(client: ClientProtocol, viewer: ViewerView, standing: StandingView) -> None:
    """Balanced or not, and the finding; refreshes by itself while the chain is being verified."""
    every = None if standing.complete or standing.finding else _REFRESH_SECONDS
    live_part(_standing_now, run_every=every)(client, viewer)


def _standing_now(client: ClientProtocol, viewer: ViewerView) -> None:
    standing = ask("whether the books add up", lambda: shared(client, viewer, "books", client.books))
    if standing is None:
        return
    if standing.finding or not standing.balanced:
        found = as_sentence(standing.finding or "the entries do not add up")
        st.error(plain(found), icon=":material/error:", title="Not balanced")
    with st.container(horizontal=True, vertical_alignment="center"):
        if not standing.finding and standing.complete:
            st.badge("balanced", color="green", icon=":material/balance:", help=HELP["balanced"])
        elif not standing.finding:
            st.badge("being verified", color="blue", icon=":material/progress_activity:", help=HELP["balanced"])
        if not standing.finding:
            st.caption(standing_words(standing), width="content", help=_checked(standing))
        if viewer.role in ("admin", "auditor"):
            again = st.button(
                "Verify all again", icon=":material/verified:", type="tertiary", help=HELP["verify_books"]
            )
            if again and ask("the books", client.verify_books) is not None:
                st.rerun()


def _checked(standing: StandingView) -> str | None:
    return f"Verified {instant(standing.checked_at)}." if standing.complete else None


def _balances(found: BalancesView) -> None:
    totals = {kind: [a for a in found.accounts if a.kind == kind] for kind in ("Pending", "Payable", "Stake")}
    cash = [account for account in found.accounts if account.account.endswith(":Cash")]
    words = {"Pending": "Rewards pending", "Payable": "Payable", "Stake": "Staked"}
    with st.container(horizontal=True):  # as wide as the amounts are, in as many rows as that takes
        for kind, accounts in totals.items():
            value = _sum(accounts, pending=kind == "Pending")
            st.metric(words[kind], value, border=True, help=HELP[f"account_{kind.lower()}"], width="content")
        if cash:
            st.metric("Cash", _sum(cash), border=True, help=HELP["account_cash"], width="content")
    if any(account.party and (account.posted or account.pending) for account in found.accounts):
        draw(balances_chart, found.accounts, thousands(), alt="What each party has, final and pending")
    empty_ones = sum(not (account.posted or account.pending) for account in found.accounts)
    zero = bool(empty_ones) and st.toggle(f"Show {things(empty_ones, 'accounts')} without money", key="zero accounts")
    table = accounts_table(found.accounts, zero=zero)
    parties = any(account.party for account in found.accounts)
    show_text_table(table, alt="Balances", right=("Final", "Pending"), total=parties and len(table) > 1)


def _sum(accounts: list[AccountView], *, pending: bool = False) -> str:
    """Exact, unit by unit; what is pending counts where the account only ever holds what is."""
    sums: dict[tuple[str, int], int] = {}
    for account in accounts:
        key = account.unit, account.scale
        sums[key] = sums.get(key, 0) + account.posted + (account.pending if pending else 0)
    return plain(" + ".join(amount(total, unit, scale) for (unit, scale), total in sums.items()))


def _journal(client: ClientProtocol, found: BalancesView) -> None:
    asked = _filters(found)
    trail: list[str] = st.session_state.setdefault(f"journal {hash(asked)}", [])
    here = asked.model_copy(update={"after": trail[-1] if trail else ""})
    page = ask("the journal", lambda: client.journal(here))
    if page is None:
        return
    if not page.entries:
        first = not trail and asked == journal_question()
        empty(*(_NOTHING if first else ("Nothing fits", "No transaction fits this search: take a filter away.")))
        return
    show_text_table(entries_table(page.entries), alt="Journal", right=("No.", "Debit", "Credit"), code=("Transaction",))
    _turn(page, trail)
    _exports(client, asked, whole=found.scope == "all")


_NOTHING = ("No posting yet", "Rewards are booked here when a run settles.")


def _filters(found: BalancesView) -> JournalQuestion:
    words, party, account = st.columns([4, 2, 4])
    text = words.text_input(
        "Search", key="journal words", type="search", placeholder="memo, transaction, run or evidence", max_chars=200
    )
    parties = sorted({a.party for a in found.accounts if a.party})
    who = party.selectbox("Party", parties, index=None, placeholder="all", format_func=plain, key="journal party")
    names = [a.account for a in found.accounts if not who or a.party == who]
    which = account.selectbox("Account", names, index=None, placeholder="all", key="journal account")
    run, days, state, order = st.columns([2, 3, 2, 3])
    run_id = run.text_input("Run", key="journal run", placeholder="first characters", max_chars=64)
    between = days.date_input("Days (UTC)", [], key="journal days", format="YYYY-MM-DD")
    standing = state.selectbox("State", list(STATES), format_func=STATES.__getitem__, key="journal state")
    by = order.selectbox("Order", list(ORDERS), format_func=ORDERS.__getitem__, key="journal order")
    return journal_question(
        text=text or "", party=who or "", account=which or "", run=run_id or "", state=standing or "",
        days=days_of(between), order=by, rows=_ROWS,
    )  # fmt: skip


def _turn(page: JournalPage, trail: list[str]) -> None:
    """Back and on. The way back is the cursors we came by."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Back", icon=":material/chevron_left:", disabled=not trail, key="journal back", on_click=_step_back(trail)
        )
        last = _ROWS * len(trail) + len(page.entries)
        st.caption(
            f"Transactions {count(_ROWS * len(trail) + 1)} to {count(last)}", width="content", help=HELP["entry"]
        )
        st.button(
            "Next", icon=":material/chevron_right:", disabled=not page.following, key="journal on",
            on_click=trail.append, args=(page.following,),
        )  # fmt: skip


def _step_back(trail: list[str]) -> Callable[[], None]:
    def back() -> None:
        trail.pop()

    return back


def _exports(client: ClientProtocol, asked: JournalQuestion, *, whole: bool) -> None:
    said = asked.model_dump(exclude={"after", "limit"})
    with st.container(horizontal=True):
        made_file(
            "This search as CSV", "journal.csv", "text/csv", lambda: client.journal_file(JournalFile(**said)), str(said)
        )
        if whole:
            everything = JournalFile(form="beancount")
            made_file("All as Beancount", "ledger.beancount", "text/plain", lambda: client.journal_file(everything))


def _statements(client: ClientProtocol, viewer: ViewerView, found: BalancesView) -> None:
    st.caption("Opening balance, every entry, closing balance, the method's version and each run's evidence.")
    parties = sorted({a.party for a in found.accounts if a.party})
    if not parties:
        empty("No party has an account yet", "Accounts of parties are opened when a run settles.")
        return
    who, days, form = st.columns([3, 3, 2])
    own = parties.index(viewer.party) if viewer.party in parties else 0
    party = who.selectbox("Statement of", parties, index=own, format_func=plain, key="statement party")
    between = days.date_input("Days (UTC), all by default", [], key="statement days", format="YYYY-MM-DD")
    kind = form.selectbox("As", list(_FORMS), format_func=_FORMS.__getitem__, key="statement form")
    chosen = days_of(between)
    asked = StatementQuestion.model_validate(
        {
            "party": party, "form": kind, "first": chosen[0] if chosen else None,
            "last": chosen[-1] if chosen else None,
        }
    )  # fmt: skip
    name = f"statement-{party}.{kind}"
    made_file(f"Statement of {party}", name, _MIME[kind], lambda: client.statement(asked), asked.model_dump_json())
