"""The rounds of a federated run on a terminal: how many have opened, who took part, what privacy they have cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parties.plurals import things
from parties.terminal.console import say, table

if TYPE_CHECKING:
    from parties.calls.run_parts import FederatedView

__all__ = ["privacy_spent", "show_rounds"]


def show_rounds(found: FederatedView | None) -> None:
    """Of a federated run, or of a group: the rounds that opened, who was in them, and what privacy they have cost."""
    if found is None:
        return
    whose = f" of group {found.group}" if found.group else ""
    say(f"Rounds{whose}: {found.done:,} of {found.rounds:,}, each over {things(found.threshold, 'members')} or more")
    if found.dropped:
        say(f"Dropped, without a further part in the run: {', '.join(found.dropped)}")
    if found.stretches:
        table(
            "Who took part",
            ("rounds", "members", "missing"),
            (
                (
                    f"{one.first:,}" if one.first == one.last else f"{one.first:,} to {one.last:,}",
                    ", ".join(one.members),
                    ", ".join(one.missed) or "-",
                )
                for one in found.stretches
            ),
        )
    say(privacy_spent(found))


def privacy_spent(found: FederatedView) -> str:
    """What the member that was in most rounds has spent, in a sentence."""
    if not found.noise:
        return "No noise is added: sums are exact to their rounding, and nothing is differentially private."
    if found.epsilon is None or found.agreed_epsilon is None:
        return f"Epsilon cannot be told here: {found.untold}"
    most = max(found.taken.values(), default=0)
    least = "at least " if found.missed else ""
    return (
        f"Epsilon spent: {least}{found.epsilon:.3g} at delta {found.delta:g}, of who was in most rounds "
        f"({most:,} of all trainings); {found.agreed_epsilon:.3g} was signed for"
    )
