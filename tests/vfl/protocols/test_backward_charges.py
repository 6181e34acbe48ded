"""What a backward product that is made again after a crash counts."""

from __future__ import annotations

import numpy as np
import pytest

from vfl.protocols.opening_budget import BudgetExceededError, Charge, OpeningBudget
from vfl.protocols.row_bits import RowBits

ROWS = np.arange(4)


def budget(kept: list[Charge], limit: float = 60.0) -> OpeningBudget:
    """Of ten rows, each of its own content, as a restart reads it; a number tells 5 bits."""
    return OpeningBudget(10, 9, history=tuple(kept), record=kept.append, bits=RowBits(5.0, limit, np.arange(10)))


def step(made: OpeningBudget, session: str, number: int, rows: np.ndarray) -> None:
    made.charge(f"{session}/{number}", rows, 2)
    made.charge_backward(session, number, rows, 2)


def test_a_product_that_was_thrown_away_unseen_counts_once() -> None:
    kept: list[Charge] = []
    step(budget(kept), "train-1", 3, ROWS)
    for attempt in range(2, 9):
        again = budget(kept, limit=20.0)
        again.charge_once("train-1/3", ROWS, 2)
        again.charge_backward(f"train-{attempt}", 3, ROWS, 2)
    assert [charge.label for charge in kept] == ["train-1/3", "train-1/backward/3"]


@pytest.mark.parametrize("later", ["train-1/4", "train-2/4"])
def test_a_product_counts_again_once_a_later_step_has_opened(later: str) -> None:
    """Otherwise a label party that goes back a step has two gradients of the same rows shown for one."""
    kept: list[Charge] = []
    made = budget(kept)
    step(made, "train-1", 3, ROWS)
    made.charge(later, np.arange(5, 9), 2)
    again = budget(kept, limit=20.0)
    with pytest.raises(BudgetExceededError, match=r"more than 20\.0 bits would open"):
        again.charge_backward("train-3", 3, ROWS, 2)
    budget(kept).charge_backward("train-3", 3, ROWS, 2)
    assert kept[-1].label == "train-3/backward/3"


def test_other_rows_another_step_and_the_same_session_are_no_repetition() -> None:
    kept: list[Charge] = []
    step(budget(kept), "train-1", 3, ROWS)
    again = budget(kept)
    again.charge_backward("train-2", 3, ROWS + 5, 2)
    again.charge_backward("train-2", 2, ROWS, 2)
    with pytest.raises(BudgetExceededError, match="was made before"):
        budget(kept).charge_backward("train-1", 3, ROWS, 2)
    assert [charge.label for charge in kept[2:]] == ["train-2/backward/3", "train-2/backward/2"]


def test_coalitions_and_sessions_of_another_kind_open_no_later_step() -> None:
    kept = [Charge("value/ab/9", ROWS, 2), Charge("warm-1/9", ROWS, 1)]
    step(budget(kept), "train-1", 3, ROWS)
    budget(kept).charge_backward("train-2", 3, ROWS, 2)
    assert kept[-1].label == "train-1/backward/3"


def test_another_trial_is_another_training() -> None:
    """Each trial's weights hold its own product: the same rows at the same step of the next trial count again."""
    kept: list[Charge] = []
    step(budget(kept), "train-1/trial-0", 3, ROWS)
    again = budget(kept)
    again.charge_backward("train-2/trial-0", 3, ROWS, 2)
    assert len(kept) == 2, "thrown away unseen"
    again.charge_backward("train-1/trial-1", 3, ROWS, 2)
    again.charge_backward("train-1", 3, ROWS, 2)
    assert [charge.label for charge in kept[2:]] == ["train-1/trial-1/backward/3", "train-1/backward/3"]
