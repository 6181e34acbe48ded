"""One factor: how good it is first, then what could fool one, and its files to take away."""

from __future__ import annotations

import streamlit as st

from parties.client import ClientProtocol, FactorCheck, FactorDetail, FactorsQuestion, ViewerView
from ui.empty_states import ask, empty
from ui.favourites import star
from ui.links import go, reachable
from ui.list_rows import open_row
from ui.shared_reads import kept
from ui.tables.factors import live_table, versions_table
from ui.tables.run import files_table
from ui.text_table import show_text_table
from ui.views import factor_battery as battery
from ui.views import factor_take as take
from ui.views.daily_use import daily_detail, daily_use
from ui.views.evidence_download import evidence
from ui.wording import HELP, instant, listed, plain, short_id, things, when

__all__ = ["TABS", "render"]

TABS = ("Skill", "Portfolio", "What could fool you", "Live and versions", "Files")
_PORTFOLIO = ("stability", "long_short", "capacity", "neutralised", "library")
_FOOLED = ("significance", "search", "placebo")
_VERSIONS = 50


def render(client: ClientProtocol, viewer: ViewerView) -> None:
    """The page of the factor named in the address (``?run=``), or of the newest one."""
    run_id = st.query_params.get("run", "") or _newest(client)
    if not run_id:
        st.title("Factor")
        empty("No factor yet", "A run's factor appears here as soon as its label party has exported it.")
        return
    missing = st.container()
    detail = kept(f"factor {run_id}", "the factor", lambda: client.factor(run_id))
    if detail is None:
        missing.title("Factor")
        if reachable("factors") and st.button("All factors", icon=":material/query_stats:", key="all factors"):
            go("factors")
        return
    check = take.checked(client, detail.card)
    _heading(client, detail, check)
    if check is not None and not check.sound:
        take.answer(check)
    if detail.card.static is None:
        battery.headline(detail)
    else:
        battery.measures(detail.card)
    battery.warnings(detail)
    # only the tab that is open is made; which one stands in the address
    for name, tab in zip(TABS, st.tabs(TABS, key="section", bind="query-params"), strict=True):
        if tab.open:
            with tab:
                _part(client, viewer, detail, check, name)


def _part(
    client: ClientProtocol, viewer: ViewerView, detail: FactorDetail, check: FactorCheck | None, name: str
) -> None:
    if name == "Skill":
        battery.sections(detail, (*_PORTFOLIO, *_FOOLED), others=True)
    elif name == "Portfolio":
        battery.sections(detail, _PORTFOLIO)
    elif name == "What could fool you":
        battery.honesty(detail)
        battery.sections(detail, _FOOLED)
        battery.left_out(detail)
    elif name == "Live and versions":
        _live(detail)
        daily_detail(detail.daily, detail.card.run_id)
        _versions(client, detail)
    else:
        left, right = st.columns(2, gap="medium")
        with left:
            take.verification(detail.card, check)
        with right:
            take.downloads(client, detail, check)
        _about(detail)
        evidence(client, viewer, detail.card.run_id)


def _newest(client: ClientProtocol) -> str:
    page = ask("factors", lambda: client.factor_page(FactorsQuestion(limit=1)))
    return page.cards[0].run_id if page and page.cards else ""


def _heading(client: ClientProtocol, detail: FactorDetail, check: FactorCheck | None) -> None:
    card = detail.card
    with st.container(horizontal=True):
        if st.button("All factors", icon=":material/arrow_back:", type="tertiary", key="all factors"):
            go("factors")
        if st.button(f"Run {short_id(card.run_id)}", icon=":material/monitoring:", type="tertiary", key="factor's run"):
            go("run", run=card.run_id)
        if reachable("compare") and st.button(
            "Compare", icon=":material/compare_arrows:", type="tertiary", key="compare factor"
        ):
            go("compare", runs=card.run_id)
        star(client, "factor", card.run_id)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title(plain(card.factor_id, longest=90), width="content")
        take.badge(card, check)
    words = [plain(card.purpose, longest=90), plain(card.consortium, longest=60)]
    words.append(f"version {plain(card.version, longest=40)}")
    words += [f"made {when(card.created_at)}", f"for {plain(listed(card.recipients))}"]
    st.caption(" · ".join(word for word in words if word), help=f"Made {instant(card.created_at)}.")
    if detail.withheld:
        st.info(plain(detail.withheld), icon=":material/lock:")


def _live(detail: FactorDetail) -> None:
    st.subheader("Live", help=HELP["live"])
    daily_use(detail.daily)
    if detail.live:
        table = live_table(detail.live)
        show_text_table(table, alt="Live periods that the label party attested", right=list(table.columns[1:4]))
    else:
        st.caption("No live period has been attested yet. `entente factors monitor` scores a factor at home meanwhile.")


def _versions(client: ClientProtocol, detail: FactorDetail) -> None:
    st.subheader("Versions")
    name = detail.card.factor_id
    page = ask("versions", lambda: client.factor_page(FactorsQuestion(factor_id=name[:200], limit=_VERSIONS)))
    if page is not None:
        table = versions_table(page.cards, detail.card.run_id)
        hint = "Click a row to open that version."
        chosen = open_row(table, hint, key=f"versions {name}", alt="Versions of this factor")
        if chosen is not None and page.cards[chosen].run_id != detail.card.run_id:
            go("factor", run=page.cards[chosen].run_id)


def _about(detail: FactorDetail) -> None:
    if detail.facts:
        with st.expander("What it is", icon=":material/info:"):
            st.table({"": list(detail.facts), " ": [plain(value) for value in detail.facts.values()]})
    if detail.files:
        what = "its fingerprint" if len(detail.files) == 1 else "their fingerprints"
        with st.expander(f"{things(len(detail.files), 'files')} with {what}", icon=":material/folder_zip:"):
            st.code(f"SHA-256 of SHA256SUMS: {detail.card.sha256}", language=None)
            show_text_table(files_table(detail.files), alt="Files of the bundle", right=("Size",), code=("SHA-256",))
