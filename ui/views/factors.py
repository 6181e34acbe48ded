"""Finished factors as cards or as a list: how good, how old, whose, the way to each one's page and to a comparison."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from parties.client import COMPARED, ClientProtocol, FactorCard, FactorOrder, FactorPage, FactorsQuestion, ViewerView
from ui.empty_states import empty
from ui.links import go
from ui.list_rows import open_or_tick
from ui.paging import offset_of, turn_pages
from ui.shared_reads import kept
from ui.tables.factors import factors_table
from ui.wording import HELP, correlation, instant, plain, short_id, t_value, things, when
from ui.zone import viewer_zone

__all__ = ["render"]

_COLUMNS = 3
_CARDS, _ROWS = 12, 50
_LOOKS: Mapping[str, str] = {"cards": "Cards", "list": "List"}
_ORDERS: Mapping[FactorOrder, str] = {
    "newest": "Newest first",
    "rank_ic": "Highest rank IC",
    "uplift": "Largest uplift",
    "t": "Highest t",
    "name": "Name",
}


def render(client: ClientProtocol, _: ViewerView) -> None:
    """The page."""
    st.title("Factors")
    left, middle, right, looks = st.columns([4, 2, 2, 1.4], vertical_alignment="bottom")
    search = left.text_input(
        "Search",
        placeholder="Name, version, purpose, recipient or run id",
        icon=":material/search:",
        key="factor words",
    )
    order = right.selectbox("Order", list(_ORDERS), format_func=_ORDERS.__getitem__, key="factor order")
    look = looks.segmented_control(
        "Shown as", list(_LOOKS), default="cards", format_func=_LOOKS.__getitem__, required=True, key="factor look",
        label_visibility="collapsed",
    )  # fmt: skip
    rows = _ROWS if look == "list" else _CARDS
    only = middle.toggle("Only favourites", key="favourite factors")
    pages = f"factors {order} {look} {search} {only}"
    question = FactorsQuestion(
        search=search[:200], sort=order, favourites=only, limit=rows, offset=offset_of(pages, rows)
    )
    page = kept(pages, "factors", lambda: client.factor_page(question))
    if page is None:
        return
    if not page.total:
        _nothing(search, only)
        return
    (_list if look == "list" else _cards)(page)
    turn_pages(pages, page.total, rows, "factors")


def _nothing(search: str, only: bool) -> None:
    if only:
        empty("No favourite here", "On a factor's page, “Add to favourites” keeps it. Only you see them.")
    elif search:
        empty("No factor fits", f"Nothing has the words “{plain(search, longest=60)}”. Use fewer words.")
    else:
        empty("No factor yet", "A run's factor appears here as soon as its label party has exported it.")


def _cards(page: FactorPage) -> None:
    for start in range(0, len(page.cards), _COLUMNS):
        for column, card in zip(st.columns(_COLUMNS), page.cards[start : start + _COLUMNS], strict=False):
            with column, st.container(border=True, height="stretch"):
                _card(card)


def _list(page: FactorPage) -> None:
    hint = "Click a row to open the factor; tick some to compare their runs. A column's title sorts this page."
    opened, ticked = open_or_tick(
        factors_table(page.cards), hint, key=f"list of factors {page.offset} {page.total}", alt="Factors",
        column_config={
            "Rank IC": st.column_config.NumberColumn(format="%+.3f", help=HELP["rank_ic"]),
            "t": st.column_config.NumberColumn(format="%.1f", help=HELP["t"]),
            "Uplift": st.column_config.NumberColumn(format="%+.3f", help=HELP["uplift"]),
            "Made": st.column_config.DatetimeColumn(format="YYYY-MM-DD", timezone=str(viewer_zone())),
        },
    )  # fmt: skip
    if opened is not None:
        go("factor", run=page.cards[opened].run_id)
    if st.button("Compare", icon=":material/compare_arrows:", key="compare chosen", disabled=len(ticked) < 2):
        go("compare", runs=",".join(page.cards[row].run_id for row in ticked[:COMPARED]))


def _card(card: FactorCard) -> None:
    st.markdown(f"**{plain(card.factor_id, longest=60)}**")
    st.caption(f"{plain(card.consortium, longest=40)} · version {plain(card.version, longest=20)}")
    t = f"t = {t_value(card.t_joint)}" if card.t_joint is not None else "no t statistic"
    chart = list(card.spark) if len(card.spark) > 1 else None
    st.metric(
        "Rank IC, and its running sum", correlation(card.ic_joint), t, help=HELP["rank_ic"], chart_data=chart,
        chart_type="area", delta_color="off", delta_arrow="off",
    )  # fmt: skip
    uplift = f"Uplift **{correlation(card.uplift)}** · " if card.uplift is not None else ""
    st.markdown(f"{uplift}{things(card.n_periods, 'periods')}", help=HELP["uplift"])
    with st.container(horizontal=True):
        if card.available:
            st.badge("files here", color="green", icon=":material/folder_zip:")
        else:
            st.badge("at the recipients", color="gray", icon=":material/cloud_off:")
        for name in card.warnings[:3]:
            st.badge(plain(name, longest=24), color="orange", icon=":material/warning:")
    st.caption(f"Made {when(card.created_at)} · run `{short_id(card.run_id)}`", help=instant(card.created_at))
    if st.button("Open", key=f"open factor {card.run_id}", icon=":material/query_stats:", width="stretch"):
        go("factor", run=card.run_id)
