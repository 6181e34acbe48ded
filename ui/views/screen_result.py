"""What a screen of formulas found, as far as a coordinator is told: counts, what opened, and where the formulas are."""

from __future__ import annotations

import streamlit as st

from parties.client import RunView, ScreenView, ViewerView
from ui.empty_states import empty
from ui.tables.screen import hurdles_table
from ui.text_table import show_text_table
from ui.wording import HELP, count, data_size, plain, short_id, things

__all__ = ["is_screen", "screen_opened", "screen_result"]


def is_screen(run: RunView) -> bool:
    """Whether the run tries formulas, and makes no factor."""
    model = run.agreement.get("model")
    return isinstance(model, dict) and model.get("kind") == "screen"


def screen_result(run: RunView, viewer: ViewerView) -> None:
    """How many formulas stand each hurdle, and how who may know them reads them."""
    st.subheader("What the screen found", help=HELP["screen"])
    found = run.screen
    if found is None:
        _nothing(run)
        return
    if found.named.all:
        st.success(_named(found), icon=":material/lightbulb:")
    else:
        st.info(
            f"**Nothing is named.** None of {things(found.tried.all, 'formulas')} stands every hurdle. "
            "On noise that is what comes out: it is a result, and no fault.",
            icon=":material/do_not_disturb_on:",
        )
    table = hurdles_table(found, run.agreement["model"])
    show_text_table(table, alt="Formulas left after each hurdle", right=list(table.columns[2:]))
    st.caption(
        "Both halves opened at once, so a label party could look at the second first: the report says what the rule "
        "above says, and no other."
    )
    _where(run, viewer)


def _named(found: ScreenView) -> str:
    named, are = found.named, "is" if found.named.all == 1 else "are"
    parts = [things(left, what) for left, what in ((named.products, "products"), (named.alone, "terminals")) if left]
    return (
        f"**{things(named.all, 'formulas')} {are} named** of {count(found.tried.all)} that were tried: "
        f"{' and '.join(parts)}."
    )


def _nothing(run: RunView) -> None:
    told = run.agreement.get("evaluation", {}).get("metrics_to_coordinator", True)
    if not run.ended:
        empty("Not known yet", "Formulas are judged once the sums of all periods have opened.")
    elif run.status == "aborted":
        empty("Nothing was judged", "The run ended before all sums had opened.")
    elif not told:
        empty("Kept private", "By its agreement the coordinator hears nothing of what the screen found.")
    else:
        empty("Not told", "The label party's node told no counts: it may be older than this page.")


def _where(run: RunView, viewer: ViewerView) -> None:
    """Names and statistics are at those whose they are; this page has neither."""
    st.markdown("**Where the formulas are**", help=HELP["screen_names"])
    run_id, label = short_id(run.run_id), plain(run.label_party)
    mine = viewer.party if viewer.role == "operator" else ""
    if mine != run.label_party and mine in run.parties:
        st.caption("Your node was told which of your own terminals are named, in your words, with mean and t:")
    elif mine == run.label_party:
        st.caption(
            "Your node has the report: of every formula mean, HAC t, BHY p, deflated Sharpe ratio, and t on the second "
            "half. Terminals have their owners' numbers; whose column one is its owner alone reads."
        )
    else:
        st.caption(
            f"{label} has the report: of every formula mean, HAC t, BHY p, deflated Sharpe ratio and t on the second "
            "half, under numbers. Each owner reads at home which of its own terminals are named. Both by this command:"
        )
    st.code(f"entente run screen {run_id} --home NODE", language=None)
    if run.screen is not None and run.screen.named.all:
        st.caption(
            "To use one, each of its owners keeps its half as a column (`keep = [...]` in `[party.terminals]`); nobody "
            "publishes anything. Judge the factor on later periods than this screen's."
        )


def screen_opened(run: RunView) -> None:
    """What opened of a screen's rows: nothing, and of its periods a number for each formula."""
    st.markdown("**Label vectors of the most used row**", help=HELP["label_vectors"])
    found = run.screen
    if found is not None:
        numbers = found.tried.all * found.periods
        st.caption(
            f"{count(found.tried.all)} formulas in {things(found.periods, 'periods')}: {count(numbers)} numbers of "
            f"{found.bits} bits opened to {plain(run.label_party)}, {data_size(found.opened_bits / 8)} in all. No "
            "score opened."
        )
