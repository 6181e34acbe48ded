"""Rounds of a federated run, or of groups: how many have opened, who took part, who was dropped, epsilon spent."""

from __future__ import annotations

import streamlit as st

from parties.client import FederatedView
from ui.tables.rounds import epsilon, members_table, rounds_table
from ui.text_table import show_text_table
from ui.wording import HELP, count, listed, plain, things

__all__ = ["Tile", "dropped", "latest_round", "round_tiles", "rounds"]

Tile = tuple[str, str, str, str | None]


def _small(value: float) -> str:
    """As people write a small number: 1e-5, not 1e-05."""
    return f"{value:g}".replace("e-0", "e-")


def round_tiles(found: FederatedView | None) -> tuple[Tile, ...]:
    """Of the numbers that matter most: rounds, and the privacy that they have cost. Label, value, help, note."""
    if found is None:
        return ()
    whose = f", {plain(found.group)}" if found.group else ""
    tiles: list[Tile] = [(f"Rounds{whose}", f"{count(found.done)} of {count(found.rounds)}", HELP["rounds"], None)]
    if found.epsilon is not None and found.agreed_epsilon is not None:
        spent = f"{epsilon(found.epsilon)} of {epsilon(found.agreed_epsilon)}"
        if found.missed:
            spent = f"\N{GREATER-THAN OR EQUAL TO} {epsilon(found.epsilon)}"
        tiles.append((f"Epsilon spent{whose}", spent, HELP["epsilon"], f"delta {_small(found.delta)}"))
    return tuple(tiles)


def latest_round(found: FederatedView | None) -> tuple[str, ...]:
    """While rounds go on: who is in them, in words."""
    if found is None or not found.latest:
        return ()
    missed = found.stretches[-1].missed
    without = f", without {listed(missed)}" if missed else ""
    if not found.group:
        return (f"Round {count(found.done)}: {listed(found.latest)}{without}.",)
    awaited = " The others train on; the run waits for who is away before the model is trained." if missed else ""
    of = f"Round {count(found.done)} of {count(found.rounds)} of group {found.group}"
    return (f"{of}: {listed(found.latest)}{without}.{awaited}",)


def dropped(found: FederatedView | None) -> None:
    """Whom the run goes on without."""
    if found is not None and found.dropped:
        names = plain(listed(found.dropped))
        st.warning(f"Dropped in training: {names}. {HELP['dropped']}", icon=":material/person_off:")


def rounds(found: FederatedView) -> None:
    """Who was in which rounds, and what each member has spent of its privacy."""
    st.subheader(f"Rounds of group {plain(found.group)}" if found.group else "Rounds", help=HELP["rounds"])
    if not found.stretches:
        st.caption(f"No round of {count(found.rounds)} has opened yet.")
        return
    st.caption(
        f"{count(found.done)} of {things(found.rounds, 'rounds')} have opened. A sum opens over "
        f"{things(found.threshold, 'members')} or more."
    )
    show_text_table(rounds_table(found), alt=f"Who took part in which rounds{_of(found)}", tall=True)
    st.markdown("**Each member, over all trainings**", help=HELP["epsilon"])
    told = f"Rounds and epsilon by member{_of(found)}"
    show_text_table(members_table(found), alt=told, right=("Rounds", "Epsilon"))
    st.caption(_privacy(found))
    if found.missed:
        st.caption("The coordinator began anew while rounds went on: some may be missing from these counts.")


def _of(found: FederatedView) -> str:
    return f" of group {found.group}" if found.group else ""


def _privacy(found: FederatedView) -> str:
    """What the noise is worth, or that there is none."""
    if not found.noise:
        return "No noise is added: sums are exact to their rounding, and nothing is differentially private."
    if found.agreed_epsilon is None:
        return f"Epsilon cannot be told here: {plain(found.untold)}"
    return (
        f"Noise of {found.noise:g} clips is in every opened sum of weights: a clip is the most one member changes. "
        f"{epsilon(found.agreed_epsilon)} at delta {_small(found.delta)} was signed for; a training that is begun anew "
        "spends its rounds again."
    )
