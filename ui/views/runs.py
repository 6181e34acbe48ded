"""All runs of the consortium: what is under way, and a list to search, sort, page and take away."""

from __future__ import annotations

from datetime import date

import streamlit as st

from parties.client import COMPARED, ClientProtocol, RunPage, RunsQuestion, RunSummary, ViewerView
from ui.empty_states import ask, empty
from ui.incidents import live_part
from ui.links import go
from ui.list_rows import chips, open_or_tick
from ui.paging import pages_and_keys
from ui.run_search import GROUPS, ORDERS, page_words, pages, question
from ui.shared_reads import latest, seen, shared
from ui.tables.run import runs_table, standing, status_text
from ui.wording import (
    HELP,
    STATUS_COLOURS,
    STATUS_ICONS,
    correlation,
    count,
    instant,
    percent,
    plain,
    short_id,
    when,
)
from ui.zone import viewer_zone

__all__ = ["render"]

_REFRESH_SECONDS = 3.0
_MOST_CARDS = 6
_ROWS = (25, 50, 100)
_UNDER_WAY = RunsQuestion(groups=("waiting", "running", "paused"), limit=_MOST_CARDS)


def render(client: ClientProtocol, viewer: ViewerView) -> None:
    """The page."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.title("Runs", width="content")
        if viewer.role == "admin" and st.button("New run", type="primary", icon=":material/add:"):
            go("new_run")
    live_part(_under_way, run_every=_REFRESH_SECONDS)(client, viewer)
    if seen("runs"):
        live_part(_list)(client, viewer)


def _under_way(client: ClientProtocol, viewer: ViewerView) -> None:
    """Numbers and the runs under way; refreshes by itself."""
    page = latest("runs", lambda: shared(client, viewer, "runs under way", lambda: client.runs_page(_UNDER_WAY)))
    if page is None:
        if st.button("Try again", icon=":material/refresh:", key="again runs"):
            st.rerun()
        return
    _numbers(page)
    for run in page.runs:
        _card(run)
    if page.total > len(page.runs):
        st.caption(f"{count(page.total - len(page.runs))} more are under way: filter the list below by status.")


def _numbers(page: RunPage) -> None:
    ended = page.counts.get("settled", 0), page.counts.get("aborted", 0)
    left, middle, right, last = st.columns(4)
    left.metric("In progress", count(page.total), border=True, help=HELP["run"])
    middle.metric("Settled", count(ended[0]), border=True, help=HELP["settle"])
    right.metric("Aborted", count(ended[1]), border=True, help=HELP["aborted"])
    last.metric("Best rank IC", correlation(page.best_ic), border=True, help=HELP["rank_ic"])


def _card(run: RunSummary) -> None:
    """A run under way: what it does now, how far it is, and the way to its page."""
    with st.container(border=True):
        words, button = st.columns([5, 1], vertical_alignment="center")
        with words:
            title = plain(run.purpose or run.consortium, longest=90)
            colour, icon = STATUS_COLOURS.get(run.status, "blue"), STATUS_ICONS.get(run.status, ":material/autorenew:")
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"**{title}**", width="content")
                st.badge(status_text(run), color=colour, icon=icon)
            st.caption(
                f"{plain(run.consortium)} · `{short_id(run.run_id)}` · proposed {when(run.proposed_at)}",
                help=instant(run.proposed_at),
            )
        with button:
            if st.button("Open", key=f"open {run.run_id}", icon=":material/monitoring:", width="stretch"):
                go("run", run=run.run_id)
        st.progress(min(1.0, max(0.0, run.progress)), text=percent(run.progress))


def _list(client: ClientProtocol, viewer: ViewerView) -> None:
    """The filters, and the page of the list that they ask for. The coordinator filters, sorts and pages."""
    st.subheader("All runs")
    asked = _filters(client, viewer)
    page = ask("runs", lambda: client.runs_page(asked))
    if page is None:
        return
    if not page.runs:
        if not sum(page.counts.values()):
            empty("No run yet", "A run appears here as soon as an admin proposes one; `make demo` runs a consortium.")
        else:
            empty("Nothing fits", "No run fits these filters: take one of them away.")
        return
    chosen = _table(page)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        icon = ":material/compare_arrows:"
        if st.button("Compare", type="primary", icon=icon, key="compare chosen", disabled=len(chosen) < 2):
            go("compare", runs=",".join(chosen[:COMPARED]))
        st.caption(page_words(page.total, page.offset, len(page.runs)), width="content")
        if (number := pages(page.total, asked.limit)) > 1:
            pages_and_keys(_page_key(asked), number)
        st.download_button(
            f"Export {count(page.total)} as CSV",
            lambda: client.runs_export(asked),
            file_name="runs.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )


def _filters(client: ClientProtocol, viewer: ViewerView) -> RunsQuestion:
    """What is asked for. Text, status and party stand in the page's address, so that a search can be shared."""
    words, status, more = st.columns([4, 6, 2], vertical_alignment="bottom")  # all of the status on one line
    text = words.text_input(
        "Search", key="find", type="search", live=True, bind="query-params", placeholder="purpose, party or run id",
        max_chars=200,
    )  # fmt: skip
    groups = status.pills(
        "Status", list(GROUPS), format_func=lambda group: GROUPS[group], selection_mode="multi", key="status",
        wrap=True,
        bind="query-params",
    )  # fmt: skip
    members = ask("the parties", lambda: shared(client, viewer, "parties", client.parties, seconds=30)) or []
    named = [view.name for view in members]
    asked_for = {**st.query_params.to_dict(), **st.session_state.to_dict()}  # the address first, on a first visit
    used = sum(bool(asked_for.get(key)) for key in ("party", "days", "favourites"))
    title = f"More ({used})" if used else "More"
    with more.popover(title, icon=":material/tune:", width="stretch", key="more filters"):
        favourites = st.toggle("Only favourites", key="favourites", bind="query-params")
        chosen = st.selectbox("Party", named, index=None, key="party", placeholder="any", bind="query-params")
        between = st.date_input("Proposed between", [], key="days", format="YYYY-MM-DD")
        by = st.selectbox("Sorted by", list(ORDERS), key="order")
        size = st.selectbox("Rows", _ROWS, key="rows")
    asked = question(
        groups=groups or (),
        party=chosen or "",
        favourites=favourites,
        text=text or "",
        days=_days(between),
        zone=viewer_zone(),
        order=by,
        rows=size,
    )
    page = st.session_state.get(_page_key(asked), 1)
    return asked.model_copy(update={"offset": (page - 1) * size})


def _page_key(asked: RunsQuestion) -> str:
    """Another search begins at its own first page."""
    return f"page {hash(asked.model_copy(update={'offset': 0}))}"


def _days(chosen: object) -> tuple[date, ...]:
    return tuple(chosen) if isinstance(chosen, tuple) else (chosen,) if isinstance(chosen, date) else ()


def _table(page: RunPage) -> list[str]:
    """The list. A click on a row opens its run; gives the runs that are ticked."""
    config = {
        "Proposed": st.column_config.DatetimeColumn(format="distance", timezone=str(viewer_zone())),
        "Purpose": st.column_config.TextColumn(width=166),
        "Status": chips({standing(run): STATUS_COLOURS.get(run.status, "blue") for run in page.runs}, width=132),
        "Parties": st.column_config.TextColumn(width=156),
        "Rank IC": st.column_config.NumberColumn(format="%+.3f", help=HELP["rank_ic"]),
        "t": st.column_config.NumberColumn(format="%.1f", width=42, help=HELP["t"]),
        "Uplift": st.column_config.NumberColumn(format="%+.3f", width=60, help=HELP["uplift"]),
        "Common": st.column_config.TextColumn(width=66, alignment="right", help=HELP["common"]),
        "Reason": st.column_config.TextColumn(help="Why the run stopped."),
    }
    hint = "Click a row to open the run; tick some to compare them."
    opened, ticked = open_or_tick(runs_table(page.runs), hint, key="list of runs", alt="Runs", column_config=config)
    if opened is not None:
        go("run", run=page.runs[opened].run_id)
    return [page.runs[row].run_id for row in ticked]
