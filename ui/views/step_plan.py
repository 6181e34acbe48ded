"""A step's dry run on the page: what stands against it, each number and why, what would be posted, who must approve."""

from __future__ import annotations

from collections.abc import Collection

import streamlit as st

from parties.client import PlanView
from ui.money import effects_table, outcomes_table, steps_table
from ui.text_table import show_text_table
from ui.wording import HELP, as_sentence, listed, plain

__all__ = ["show_plan", "show_reasons"]

_WARNING = "warning: "


def show_plan(plan: PlanView) -> None:
    """The whole of it."""
    for why in plan.blocked:
        st.info(plain(as_sentence(why)), icon=":material/hourglass_top:", title="Not yet")
    if plan.outcomes:
        outcomes = outcomes_table(plan.outcomes, plan.kind, plan.unit, plan.scale)
        figures = [str(name) for name in outcomes if name not in ("Party", "Why")]
        show_text_table(outcomes, alt="Outcomes", right=figures)
    elif plan.reasons:
        show_reasons(plan.reasons, [person.name for person in plan.approvers])
    if plan.steps:
        st.markdown("**What would be posted**")
        show_text_table(steps_table(plan.steps), alt="What would be posted", right=("Debit", "Credit"))
        st.markdown("**What it does to each balance**")
        effects = effects_table(plan.effects)
        show_text_table(effects, alt="What it does to each balance", right=list(effects.columns[1:]))
    if plan.approvers:
        names = listed([person.name for person in plan.approvers])
        who = "must approve" if plan.needed > 1 else "must approve it"
        people = f"{plan.needed} different people of {plain(names)}" if plan.needed > 1 else plain(names)
        st.caption(f"{people} {who}.", help=HELP["four_eyes"])


def show_reasons(reasons: tuple[str, ...], names: Collection[str] = ()) -> None:
    """Reasons as a list; a warning among them stands out. ``names``: of parties, which keep their case."""
    others = [as_sentence(reason, names) for reason in reasons if not reason.startswith(_WARNING)]
    st.markdown("\n".join(f"- {plain(reason)}" for reason in others))
    for reason in reasons:
        if reason.startswith(_WARNING):
            told = as_sentence(reason.removeprefix(_WARNING), names)
            st.warning(plain(told), icon=":material/account_balance_wallet:")
