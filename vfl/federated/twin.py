"""The same training in plain numbers, in one process: what an encrypted one is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vfl.federated.robust import combined
from vfl.federated.rounds import Learner, Rounds
from vfl.federated.updates import clipped

__all__ = ["in_plain"]

F64 = NDArray[np.float64]


def in_plain(
    rounds: Rounds,
    learners: Mapping[str, Learner],
    initial: F64,
    poison: Callable[[str, F64], F64] = lambda _, update: update,
    *,
    bound: bool = True,
    took_part: Sequence[Sequence[str]] = (),
) -> F64:
    """The common weights after the last round, without noise. poison: what a member makes of its update.

    bound: updates are clipped, as agreed; without it the average takes whatever comes. took_part: who was in each round
    of a run that some dropped out of; empty: whoever the rounds draw.
    """
    model, weights = rounds.model, initial
    for number in range(model.rounds):
        names = took_part[number] if took_part else rounds.wanted(number)
        updates = {name: poison(name, learners[name].train(weights, number) - weights) for name in names}
        if model.rule != "sum":
            weights = weights + combined(np.stack(list(updates.values())), model)
            continue
        held = [clipped(one, model.clip) if bound else one for one in updates.values()]
        counts = [min(learners[name].rows, model.most_rows) if model.weights == "rows" else 1 for name in names]
        weights = weights + np.average(held, axis=0, weights=np.array(counts, dtype=np.float64))
    return weights
