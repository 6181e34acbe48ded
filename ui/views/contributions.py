"""Who contributed what: over the runs of a consortium, within one run, by every way of counting, and what was paid."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, tzinfo

import pandas as pd
import streamlit as st

from parties.client import (
    ClientProtocol,
    ContributionDetail,
    ContributionPage,
    ContributionsQuestion,
    RunShares,
    ViewerView,
)
from ui.charts import contributions as charts
from ui.charts.drawn_once import draw
from ui.empty_states import ask, empty
from ui.links import go
from ui.list_rows import choose_row
from ui.paging import offset_of, turn_pages
from ui.tables.contributions import shares_table, valued_table
from ui.text_table import show_text_table
from ui.wording import COUNTED, HELP, amount, correlation, instant, plain, short_id, things, when
from ui.zone import viewer_zone

__all__ = ["between", "render"]

_ROWS = 50


def render(client: ClientProtocol, _: ViewerView) -> None:
    """The page."""
    st.title("Contributions")
    first = ask("contributions", lambda: client.contributions(ContributionsQuestion(limit=1)))
    if first is None:
        return
    if not first.total:
        empty("Nothing valued yet", "A run's contributions appear here once its coalitions have been valued.")
        return
    asked = _filters(first)
    page = ask("contributions", lambda: client.contributions(asked))
    if page is None:
        return
    if not page.total:
        empty("Nothing fits", "No valued run fits these filters: take one of them away.")
        return
    chosen = _across(client, page, asked)
    detail = ask("the run's contributions", lambda: client.contribution(chosen.run_id))
    if detail is not None:
        _within(detail)


def _filters(first: ContributionPage) -> ContributionsQuestion:
    party, consortium, days = st.columns([2, 3, 2])
    who = party.selectbox("Party", first.parties, index=None, placeholder="all", key="whose share")
    which = consortium.selectbox("Consortium", first.consortia, index=None, placeholder="all", key="which consortium")
    chosen = days.date_input("Valued between", [], key="valued days", format="YYYY-MM-DD")
    since, until = between(tuple(chosen), viewer_zone())
    asked = ContributionsQuestion(party=who or "", consortium=which or "", since=since, until=until, limit=_ROWS)
    return asked.model_copy(update={"offset": offset_of(_page_key(asked), _ROWS)})


def between(days: tuple[date, ...], zone: tzinfo) -> tuple[datetime | None, datetime | None]:
    """The first moment of the first day and the first after the last, in ``zone``; one day alone is that day."""
    if not days:
        return None, None
    return datetime.combine(days[0], time(), zone), datetime.combine(days[-1] + timedelta(days=1), time(), zone)


def _page_key(asked: ContributionsQuestion) -> str:
    return f"contributions {hash(asked.model_copy(update={'offset': 0}))}"


def _across(client: ClientProtocol, page: ContributionPage, asked: ContributionsQuestion) -> RunShares:
    """All runs that fit: a chart over time and a table to choose one from. The newest is chosen at first."""
    st.subheader("Across runs", help=HELP["shapley"])
    if len(page.runs) > 1:  # one run alone is drawn below
        st.caption(f"Each point is one run's Shapley value, which decides pay. {HELP['standard_error']}")
        told = "Shapley values by run, with their intervals"
        draw(charts.runs_chart, page.runs, page.parties, asked.party, alt=told)
    config = {
        "Valued": st.column_config.DatetimeColumn(format="distance", timezone=str(viewer_zone())),
        "Gain of all": st.column_config.NumberColumn(format="%+.3f", help=HELP["gain"]),
        "Shapley value": st.column_config.NumberColumn(format="%+.3f", help=HELP["shapley"]),
        "t": st.column_config.NumberColumn(format="%.1f", help=HELP["t"]),
        "Share, %": st.column_config.NumberColumn(format="%.1f", help=HELP["share"]),
        "Pot": st.column_config.TextColumn(alignment="right"),
        "Reward at close": st.column_config.TextColumn(alignment="right"),
    }
    if len(page.runs) > 1:
        st.caption("Click a row to see that run below.")
    chosen = choose_row(
        valued_table(page.runs, asked.party), key=f"valued {_page_key(asked)} {asked.offset}", first=0,
        column_config=config, alt="Valued runs", height="content" if len(page.runs) <= 8 else 320,
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        turn_pages(_page_key(asked), page.total, _ROWS, "valued runs")
        st.download_button(
            f"Export {things(page.total, 'runs')} as CSV",
            lambda: client.contributions_export(asked),
            file_name="contributions.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
    return page.runs[chosen or 0]


def _within(detail: ContributionDetail) -> None:
    run = detail.shares
    names = tuple(one.party for one in run.parties)
    st.subheader(f"Run {short_id(run.run_id)}", help=HELP["value"])
    gain = None if run.v_everyone is None or run.v_nobody is None else run.v_everyone - run.v_nobody
    title = plain(run.purpose or run.consortium, longest=90)
    counted = plain(COUNTED.get(run.method, run.method))
    st.caption(f"{title} · valued {when(run.at)} {counted} · {things(run.n_periods, 'periods')}", help=instant(run.at))
    cells = st.columns([2, 2, 2, 3])
    cells[0].metric("All together", correlation(run.v_everyone), border=True, help=HELP["rank_ic"])
    cells[1].metric("Label party alone", correlation(run.v_nobody), border=True, help=HELP["nobody"])
    cells[2].metric("Gain to share", correlation(gain), border=True, help=HELP["gain"])
    cells[3].metric("Pot", plain(amount(run.pot, run.unit, run.scale)), border=True, help=HELP["share"])
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**How each mean settled over the run's periods**", help=HELP["standard_error"])
        if any(detail.over_time.values()):
            told = "Mean contribution up to each period, with its interval"
            draw(charts.settling_chart, tuple(detail.over_time.items()), names, alt=told)
        else:
            st.caption("The report gives no values by period.")
    with right:
        st.markdown("**Every way of counting**", help=HELP["ways"])
        draw(charts.ways_chart, run.parties, alt="Conditioned, plain, leave one out, standalone")
    table = shares_table(run)
    show_text_table(table, alt="Contributions and rewards", right=tuple(table.columns[1:]))
    if run.rolled_over:
        rest = plain(amount(run.rolled_over, run.unit, run.scale))
        st.info(f"{rest} rolled over to the next run: no score was above zero.")
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**Shares of the reward**", help=HELP["share"])
        draw(charts.share_chart, run.parties, alt="Shares of the pot by party")
    with right:
        _attribution(detail)
    _definitions(detail)
    if st.button(f"Run {short_id(run.run_id)}", icon=":material/monitoring:", key="run of the contributions"):
        go("run", run=run.run_id)


def _attribution(detail: ContributionDetail) -> None:
    st.markdown("**Attribution**", help=HELP["attribution"])
    known = {one.party: one.attribution for one in detail.shares.parties if one.attribution is not None}
    if not known:
        st.caption("This run's agreement asks for no attribution.")
        return
    st.caption("It explains the model's output. It never decides pay.")
    rows = [(party, f"{value:+.4f}") for party, value in sorted(known.items(), key=lambda item: -item[1])]
    table = pd.DataFrame(rows, columns=["Party", "Attribution"])
    show_text_table(table, alt="Attribution by party", right=("Attribution",))


def _definitions(detail: ContributionDetail) -> None:
    told = (
        ("Conditioned, which is paid", detail.definition),
        ("Plain", detail.plain_definition),
        ("Attribution", detail.attribution_definition),
    )
    with st.expander("Definitions", icon=":material/menu_book:"):
        for title, text in told:
            if text:
                st.markdown(f"**{title}.** {plain(text, longest=1200)}")
