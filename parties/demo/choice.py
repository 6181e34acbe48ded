"""What a run chose by periods before the reported ones, among what, and by how much: for a demo's summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parties.agreement.document import Agreement
from parties.terminal.console import correlation, say, table
from vfl.factors.trials import FILE, read_trials
from vfl.terms import EnsembleModel
from vfl.walk.configurations import SealedSearchTerms

__all__ = ["choice_of", "show_choice"]


def _listed(agreement: Agreement) -> tuple[str, ...]:
    """What was tried, in words, by number; nothing where nothing was chosen among a signed list."""
    if isinstance(agreement.search, SealedSearchTerms):
        return tuple(one.words for one in agreement.search.configurations)
    if isinstance(agreement.model, EnsembleModel) and agreement.model.chosen_by_periods:
        return tuple(agreement.model.told(number) for number in range(len(agreement.model.averages)))
    return ()


def choice_of(agreement: Agreement, folder: Path) -> list[dict[str, Any]]:
    """Of each trial of this run its words, what it was judged by, and whether it was chosen. folder: the bundle."""
    words = _listed(agreement)
    if not words:
        return []
    found: dict[int, dict[str, Any]] = {}
    for trial in read_trials((folder / FILE).read_bytes()):
        search = trial.terms.get("search")
        if trial.run_id == agreement.run_id and search is not None:
            number = int(search["number"])
            chosen = trial.selected or found.get(number, {}).get("chosen", False)
            found[number] = {"tried": words[number], "judged_by": search["chosen_by"], "chosen": chosen}
    return [found[number] for number in sorted(found)]


def show_choice(choice: Sequence[Mapping[str, Any]], agreement: Agreement) -> None:
    """The same for people, with the reason."""
    if not choice:
        return
    first = agreement.evaluation.first
    measure = "mean rank IC" if isinstance(agreement.model, EnsembleModel) else "mean IC"
    table(
        f"Tried on periods before {first}, of which nothing is reported",
        ("", "tried", f">{measure}"),
        (("chosen" if one["chosen"] else "", one["tried"], correlation(one["judged_by"])) for one in choice),
    )
    best = next((one for one in choice if one["chosen"]), None)
    if best is not None:
        say(
            f"Chosen: {best['tried']}, with the best {measure} of {len(choice)} on those periods. All count as trials "
            "in the factor's validation."
        )
