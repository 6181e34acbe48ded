"""What was measured of a factor: the numbers that matter most, what could fool one, and each part of the battery."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from parties.client import FactorCard, FactorDetail, NumberView, SectionView
from ui import battery_words
from ui.charts.drawn_once import draw
from ui.charts.factors import factor_chart
from ui.empty_states import empty
from ui.text_table import show_text_table
from ui.wording import HELP, MISSING, as_sentence, correlation, plain, t_value, things

__all__ = ["headline", "honesty", "left_out", "measures", "sections", "warnings"]

_FIGURES = frozenset(("Value", "t", "95 % interval", "n"))
_HELPS = {
    "ic": "rank_ic", "uplift": "uplift", "decay": "decay", "quantiles": "quantile", "stability": "turnover",
    "long_short": "drawdown", "capacity": "capacity", "neutralised": "neutralised", "significance": "hurdle",
    "search": "deflated_sharpe", "placebo": "placebo",
}  # fmt: skip


def warnings(detail: FactorDetail) -> None:
    """What the battery warns of, each on a line of its own."""
    for warning in detail.warnings:
        st.warning(
            plain(as_sentence(warning.text), longest=600),
            title=plain(battery_words.measure_title(warning.name)),
            icon=":material/warning:",
        )
    if detail.facts and not detail.withheld and not detail.warnings:
        st.caption("No check of the battery raised a warning. What could not be checked is listed below.")


def measures(card: FactorCard) -> None:
    """What static data has in place of ICs: of the joint scores, and of the label party's own."""
    found = card.static
    assert found is not None
    rows = [
        {"Scores": "joint" if model == "joint" else "label party alone"}
        | {
            battery_words.measure_title(name): MISSING if value is None else f"{value:.4f}"
            for name, value in by.items()
        }
        for model, by in found.measures.items()
    ]
    table = pd.DataFrame(rows).fillna(MISSING)
    st.subheader(f"On {things(found.rows, 'test rows')}", help=HELP["test_rows"])
    show_text_table(table, alt="Measures on the test rows", right=list(table.columns[1:]))


def headline(detail: FactorDetail) -> None:
    """The numbers that matter most, side by side."""
    card = detail.card
    icir = battery_words.number_named(detail.sections, "ic", "rank_ic_ir")
    turnover = battery_words.number_named(detail.sections, "stability", "turnover")
    trials = battery_words.number_named(detail.sections, "search", "n_trials")
    cells = st.columns(6)
    _tile(cells[0], "Rank IC, joint", correlation(card.ic_joint), "rank_ic", card.t_joint)
    _tile(cells[1], "Rank IC, own", correlation(card.ic_own), "ic_own")
    _tile(cells[2], "Uplift", correlation(card.uplift), "uplift", card.t_uplift)
    _tile(cells[3], "ICIR", _value(icir), "icir")
    _tile(cells[4], "Turnover", _value(turnover), "turnover")
    _tile(cells[5], "Trials counted", _value(trials), "trials")


def _value(number: NumberView | None) -> str:
    return MISSING if number is None else battery_words.quantity(number.value, number.unit)


def _tile(cell: DeltaGenerator, label: str, value: str, word: str, t: float | None = None) -> None:
    note = None if t is None else f"t = {t_value(t)}"
    meaning = HELP[word] if t is None else f"{HELP[word]} {HELP['t']}"
    cell.metric(label, value, note, help=meaning, border=True, delta_color="off", delta_arrow="off", height="stretch")


def honesty(detail: FactorDetail) -> None:
    """What a good number could hide, with a verdict each."""
    if not detail.facts or detail.withheld:
        empty("No battery here", "The files with their checks are at the recipients.")
        return
    st.subheader("What could fool you", help=HELP["trials"])
    rows = battery_words.honesty_rows(detail)
    for first in range(0, len(rows), 4):  # row by row, so that those side by side are of one height
        for cell, row in zip(st.columns(4), rows[first : first + 4], strict=False):
            _verdict(cell, row)


def _verdict(cell: DeltaGenerator, row: battery_words.HonestyRow) -> None:
    with cell.container(border=True, height="stretch"):
        st.markdown(f"**{row.title}**", help=row.meaning)
        icon = {True: ":green[:material/check_circle:]", False: ":red[:material/error:]", None: ""}[row.good]
        st.markdown(f"#### {row.value} {icon}")
        st.caption(plain(as_sentence(row.says), longest=300))


def sections(detail: FactorDetail, keys: Collection[str], *, others: bool = False) -> None:
    """The parts of the battery with these keys; ``others``: and those that no other tab names."""
    chosen = [one for one in detail.sections if (one.key in keys) != others]
    if not chosen:
        empty("Nothing measured here", "The report of this factor has none of these parts.")
    for group in battery_words.side_by_side(chosen):
        for column, section in zip(st.columns(len(group), gap="medium"), group, strict=True):
            with column:
                _section(section, detail)


def _section(section: SectionView, detail: FactorDetail) -> None:
    meaning = HELP.get(_HELPS.get(section.key, ""), None)
    st.subheader(plain(section.title), help=meaning)
    mean = battery_words.number_named(detail.sections, "ic", "rank_ic")
    if section.charts:
        for column, chart in zip(st.columns(len(section.charts)), section.charts, strict=True):
            with column:
                st.markdown(f"**{plain(chart.title)}**")
                draw(factor_chart, chart, mean if chart.key == "rank_ic" else None, alt=chart.title)
                st.caption(plain(as_sentence(chart.series.definition)))
    if section.numbers:
        table = battery_words.numbers_table(section)
        whose = "its definition" if len(table) == 1 else "their definitions"
        with st.expander(f"{things(len(table), 'numbers')} with {whose}", expanded=not section.charts):
            show_text_table(table, alt=f"Numbers: {section.title}", right=_FIGURES & set(table))


def left_out(detail: FactorDetail) -> None:
    """Checks that were not made, and why."""
    if not detail.facts or detail.withheld:
        return
    st.subheader("Left out", help=HELP["left_out"])
    if detail.left_out:
        show_text_table(battery_words.left_out_table(detail.left_out), alt="Checks that were left out")
        st.caption("With prices, sectors or known factors of your own, `entente factors validate` makes these at home.")
    else:
        st.caption("Nothing: every check was made.")
