"""Many small consortia, paused at boundaries that a seed draws, with crashes in between: one factor, exact counts."""

from __future__ import annotations

import os

import numpy as np
import pytest

from tests.faults.consortium import LABEL, Consortium, Crash, transparent_product
from tests.faults.test_resume import check, cut
from vfl.walk.result import TrainingResult

SIMULATED = int(os.environ.get("ENTENTE_SIMULATED", "100"))


class Pause(Exception):
    """The label party stops, as the run is paused."""


def pause_after(consortium: Consortium, boundaries: int) -> None:
    """Stop at the boundary of this number, counted from now."""
    left = [boundaries]

    def boundary() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Pause

    consortium.boundary = boundary


def check_stopped(consortium: Consortium) -> None:
    """Everyone stands behind the record of one step, and nobody opened it."""
    last = {
        name: max(record for record in consortium.stores[name].names() if record.startswith("step-"))
        for name in (LABEL, *consortium.parties)
    }
    assert len(set(last.values())) == 1, last
    step = int(last[LABEL].removeprefix("step-"))
    for name in consortium.parties:
        opened = sorted(int(charge.label.split("/")[1]) for charge in consortium.charges[name])
        assert opened == list(range(step)), "every step before was opened once, and this one was not"


def attempt(consortium: Consortium, boundaries: int, after: int | None = None) -> TrainingResult | None:
    """One attempt that a pause ends, a crash after so many messages, or the end of training."""
    pause_after(consortium, boundaries)
    try:
        return consortium.attempt(cut(after) if after is not None else None)
    except Pause:
        check_stopped(consortium)
    except Crash:
        pass
    return None


def test_a_run_that_is_paused_at_every_boundary_comes_to_the_same_factor() -> None:
    with transparent_product():
        whole = Consortium(0).attempt()
        consortium, pauses = Consortium(0), 0
        while (result := attempt(consortium, 0)) is None:
            pauses += 1
        assert pauses == len(consortium.steps), "each resumption gets one step further"
        check(consortium, result, whole)


def simulate(seed: int) -> None:
    draw = np.random.default_rng([seed, 7])
    parties = tuple("abc"[: draw.integers(1, 4)])
    make = {"parties": parties, "periods": int(draw.integers(4, 7)), "entities": int(draw.integers(8, 14))}
    whole = Consortium(seed, **make).attempt()
    consortium = Consortium(seed, **make)
    result = None
    for _ in range(int(draw.integers(1, 6))):
        crash = int(draw.integers(0, 160)) if draw.random() < 0.3 else None
        result = result or attempt(consortium, int(draw.integers(0, 9)), crash)
    consortium.boundary = lambda: None
    check(consortium, result or consortium.attempt(), whole)


@pytest.mark.parametrize("block", range(5))
def test_simulated_pauses(block: int) -> None:
    """ENTENTE_SIMULATED of them; a failing seed is named, and `simulate(seed)` replays it."""
    with transparent_product():
        for seed in range(block, SIMULATED, 5):
            try:
                simulate(seed)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {error}") from error
