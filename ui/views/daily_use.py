"""Daily use of a finished run: what was scored and opened, what is due, whose weights are left, and what to type."""

from __future__ import annotations

import streamlit as st

from parties.client import DailyView, RunView
from ui.tables.daily import sessions_table
from ui.text_table import show_text_table
from ui.wording import HELP, count, data_size, instant, listed, plain, short_id, things

__all__ = ["daily_detail", "daily_use", "scored_periods", "trained_run"]

_MANY = 10_000_000


def daily_use(daily: DailyView | None) -> None:
    """In one line; nothing where no daily use was agreed."""
    if daily is None:
        return
    last = f"{daily.scored[-1]} the last of them" if daily.scored else "none yet"
    told = f"Daily use: {count(len(daily.scored))} of {count(daily.agreed)} later periods scored, {last}."
    if daily.ended:
        st.warning(plain(f"{told} No more follow: {daily.ended}."), icon=":material/event_busy:")
        return
    due = f" Next is {daily.next_period}, due from {instant(daily.next_due)}." if daily.next_due is not None else ""
    st.info(plain(f"{told}{due}"), icon=":material/event_repeat:")


def daily_detail(daily: DailyView | None, run_id: str) -> None:
    """Figures, sessions and commands; nothing where no daily use was agreed."""
    if daily is None:
        return
    st.subheader("Daily use", help=HELP["daily"])
    _figures(daily)
    if daily.sessions:
        table = sessions_table(daily.sessions)
        if not any(one.reason for one in daily.sessions):
            table = table.drop(columns="Why not")
        show_text_table(table, alt="Sessions that scored later periods", right=("Rows", "Bits opened"))
    else:
        st.caption("No later period has been scored yet.")
    if not daily.ended:
        _commands(daily, short_id(run_id))


def _figures(daily: DailyView) -> None:
    tiles = (
        ("Last scored period", plain(daily.scored[-1]) if daily.scored else "none yet", HELP["daily_scored"]),
        ("Rows scored", count(daily.rows), HELP["daily_rows"]),
        ("Bits opened", _bits(daily.bits), HELP["daily_bits"]),
        ("Periods left", count(max(0, daily.agreed - len(daily.taken))), HELP["daily_left"]),
        ("Weights kept until", str(daily.expires), HELP["daily_kept"]),
    )
    with st.container(horizontal=True):
        for label, value, meaning in tiles:
            st.metric(label, value, help=meaning, border=True)
    if daily.gone:
        st.caption(f"Left with their shares of the weights: {plain(listed(daily.gone))}.")
    else:
        st.caption("Every party of the run is still a member, so no share of the weights has left.")


def _bits(number: int) -> str:
    return count(number) if number < _MANY else f"{count(number / 1e6, 1)} M"


def _commands(daily: DailyView, run: str) -> None:
    st.markdown("**Score every period as soon as its data is complete**", help=HELP["daily_due"])
    st.code(f"entente run score {run} --watch --every 15m --credentials DIR", language=None)
    if daily.retrain == "never":
        st.caption("By the agreement nobody is advised to train anew: propose another run when it is time.")
        return
    st.markdown("**Train anew when monitoring advises it**", help=HELP["retrain"])
    st.caption(
        "Monitoring runs at a recipient, with its own labels, and this page does not hear what it advises. Where it "
        "says *retrain*, the second command writes the successor's terms; nobody is bound before all sign them."
    )
    st.code(
        "entente factors monitor factors/FACTOR/VERSION --labels my-labels.csv --out advice.json\n"
        f"entente run score {run} --advice advice.json --credentials DIR",
        language=None,
    )


def trained_run(run: RunView) -> str:
    """The run of whose weights this one scores later periods; "" where it trains its own."""
    scores = run.agreement.get("scores")
    return str(scores.get("of", "")) if isinstance(scores, dict) else ""


def scored_periods(run: RunView) -> None:
    """Of a session of daily use: what it scored, and what opened."""
    first = str(run.agreement["scores"].get("first", ""))
    last = str((run.agreement.get("calendar", {}).get("periods") or [first])[-1])
    told = first if first == last else f"{first} to {last}"
    st.subheader("Later periods scored", help=HELP["daily"])
    st.markdown(plain(f"{told}, under the weights that the parties kept of run {short_id(trained_run(run))}."))
    if run.scored_rows is not None:
        st.caption(
            f"{things(run.scored_rows, 'rows')} scored. One score of {run.score_bits} bits opened of each, "
            f"{data_size(run.scored_rows * run.score_bits / 8)} in all; nothing was trained, and no other row opened."
        )
    elif run.ended:
        st.caption("Nothing was scored.")
