"""Beside the form of a new run: whether its terms hold, who learns what, the opening budget and the cost."""

from __future__ import annotations

from typing import Any

import streamlit as st

from parties.client import CostView, DraftView, ScreenPlanView
from ui import run_form
from ui.caution_words import caution_words
from ui.shortcuts import heard
from ui.tables.run_list import costs_table
from ui.text_table import show_text_table
from ui.wording import HELP, as_sentence, count, duration, marked, percent, plain, things

__all__ = ["show"]

_UNSAID = (
    "The terms hold together, but nobody could say what they are signing: fill in Purpose, in the tab 1 Who, and "
    "propose."
)
_NO_PURPOSE = "No purpose is given"


def show(draft: DraftView | None) -> bool:
    """The panel; whether the admin wants to propose what it shows."""
    if draft is None:
        return False
    if draft.fault:
        section = run_form.SECTIONS.get(run_form.section_of(draft.field), "")
        where = run_form.label_at(draft.field)
        title = " · ".join(part for part in (section, where or draft.field) if part) or "These terms do not hold"
        st.error(plain(as_sentence(draft.fault)), icon=":material/error:", title=plain(title))
        st.button("Propose", disabled=True, icon=":material/send:", key="propose", help="Mend what is named above.")
        return False
    unsaid = not str(draft.agreement.get("purpose", "")).strip()
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        if unsaid:
            st.badge("Purpose is missing", color="orange", icon=":material/edit:")
        elif draft.refusals:
            st.badge("Nodes will refuse this", color="red", icon=":material/block:")
        else:
            st.badge("These terms hold together", color="green", icon=":material/check:")
        wanted = st.button(
            "Propose", type="primary", icon=":material/send:", key="propose", disabled=unsaid, shortcut=heard("Shift+P")
        )  # fmt: skip
    if unsaid:
        st.markdown(f":orange[:material/edit: {_UNSAID}]")
    for sentence in draft.refusals:
        st.error(plain(caution_words(sentence), longest=600), icon=":material/block:")
    for sentence in draft.warnings:
        if unsaid and sentence.startswith(_NO_PURPOSE):
            continue  # it stands above, with where to mend it
        st.markdown(f":orange[:material/warning:] {plain(caution_words(sentence), longest=600)}")
    st.markdown("**Who learns what**")
    for who in draft.learns:
        title = f"{plain(who.who)}, {who.role}" if who.role else plain(who.who)
        with st.expander(title, expanded=who.role == "label party"):
            st.markdown("\n".join(f"- {plain(marked(line), longest=2000)}" for line in who.what))
    _openings(draft)
    if draft.cost is not None:
        _cost(draft.cost, screened=draft.screen is not None)
    return wanted


def _openings(draft: DraftView) -> None:
    if draft.screen is not None:
        _screen(draft, draft.screen)
        return
    model = draft.agreement.get("model")
    if isinstance(model, dict) and model.get("kind") == "federated":
        _sums(draft, model)
        return
    if draft.score_bits:
        _scores(draft)
        return
    st.markdown("**Opening budget of a row**", help=HELP["budget"])
    share = draft.exposed / draft.features if draft.features else None
    share_words = percent(share).replace(" ", "\N{NO-BREAK SPACE}")
    forms = things(draft.exposed, "linear forms")
    _bar(draft, "Openings", f"at most {forms} of {draft.features} features ({share_words})")
    st.caption(" · ".join(f"{use.most} for {plain(use.what)}" for use in draft.openings))


def _bar(draft: DraftView, counted: str, beside: str = "") -> None:
    """How much of the limit is used, by this run and by those before it: a node counts a row over all runs."""
    used, before = sum(use.most for use in draft.openings), draft.opened_before
    earlier = f"up to {before} in earlier ones" if before else "none known in earlier ones"
    words = f"{counted} of a row over all runs: {used} in this run, {earlier}, limit {draft.row_limit}"
    st.progress(
        min(1.0, (used + before) / draft.row_limit) if draft.row_limit else 0.0,
        text=" · ".join(part for part in (words, beside) if part),
    )


def _screen(draft: DraftView, plan: ScreenPlanView) -> None:
    """Of a screen: how many formulas, what they open, and what one has to reach."""
    st.markdown("**What is tried, and what opens**", help=HELP["screen"])
    with st.container(horizontal=True):
        st.metric("Formulas", count(plan.trials), border=True, width="content", help=HELP["screen_trials"])
        st.metric("Opens, Mbit", count(plan.opened_bits / 1e6, 1), border=True, width="content",
                  help=HELP["screen_bits"])  # fmt: skip
        st.metric("Lone |t|", f"{plan.lone_t:.1f}", border=True, width="content", help=HELP["lone_t"])
    st.caption(
        f"{things(plan.alone, 'terminals')} alone and {things(plan.products, 'products')} of two. Each opens one "
        f"number of {plan.bits} bits in each of {things(plan.periods, 'periods')}, and nothing of a row."
    )
    st.caption(
        f"Chosen on {things(plan.halves, 'periods')}, confirmed on as many: |t| above {plan.hurdle:g}, false "
        f"discoveries of {percent(plan.level)} over all formulas, a deflated Sharpe ratio of 95 % or more; "
        "then the same sign."
    )
    _bar(draft, "Label vectors")


def _sums(draft: DraftView, model: dict[str, Any]) -> None:
    """Of a federated model: sums over members, and of a row nothing."""
    st.markdown("**What opens**", help=HELP["federated"])
    members = len(draft.agreement.get("parties", ()))
    with st.container(horizontal=True):
        st.metric("Rounds", count(model.get("rounds")), border=True, width="content")
        st.metric("Members in a sum", f"{model.get('threshold')} of {members}", border=True, width="content")
        st.metric("Noise, clips", f"{model.get('noise', 0):g}", border=True, width="content")
    seen = "nobody sees one update" if model.get("rule") == "sum" else "the coordinator sees every update"
    st.caption(
        f"Each round one sum of updates opens over so many members or more; {seen}. Of a row nothing opens. Epsilon, "
        "where there is noise, stands above in what the label party learns."
    )


def _scores(draft: DraftView) -> None:
    """Of a run that opens scores alone."""
    st.markdown("**What opens**", help=HELP["scores"])
    used = sum(use.most for use in draft.openings)
    bits = f"{draft.score_bits} bits"
    scores = f"One score of {bits}" if used == 1 else f"{things(used, 'scores')} of {bits} each"
    _bar(draft, "Scores", f"{scores} per predicted row: {things(draft.opened_rows, 'rows')}")
    model = draft.agreement.get("model")
    trees = isinstance(model, dict) and model.get("kind") in ("trees", "ensemble")
    training = (
        "Each tree opens counts and sums of anonymous splits, 16 bits each" if trees else "Training opens nothing"
    )
    st.caption(f"{training}. The anchor's node counts scores and refuses more.")


def _cost(cost: CostView, *, screened: bool) -> None:
    st.markdown("**Cost, at most**", help=HELP["preflight"])
    with st.container(horizontal=True, gap="xsmall"):  # as wide as the figures are: the panel is narrow
        st.metric("On one core", duration(cost.seconds), border=True, width="content")
        st.metric("Rows", count(cost.rows), border=True, width="content")
        title = "Periods" if screened else "Predictions"
        st.metric(title, count(cost.predicted_periods), border=True, width="content")
    table = costs_table(cost.parties)
    show_text_table(table, alt="Bytes and memory by party", right=list(table.columns[1:]))
