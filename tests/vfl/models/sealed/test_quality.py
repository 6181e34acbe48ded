"""What the sealed network's defaults are worth: on products of two parties' columns, and on the usual signal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks._pooled import Pooled
from benchmarks.quality import ALPHA, simulated, tuned_network
from vfl.terms import SealedModel

NETWORKS: tuple[dict[str, Any], ...] = tuple(
    {
        "hidden_layer_sizes": (32,),
        "alpha": alpha,
        "max_iter": passes,
        "batch_size": 500,
        "learning_rate_init": 4e-3,
    }
    for alpha, passes in ((1.0, 40), (3.0, 40))
)


@pytest.fixture(scope="module", params=["products", "mixed"])
def panel(request: pytest.FixtureRequest) -> tuple[str, Pooled]:
    return request.param, simulated(request.param, 7, entities=200, periods=60, ic=0.3)


def test_the_defaults_find_what_a_pooled_network_finds_and_lose_nothing_of_a_line(panel: tuple[str, Pooled]) -> None:
    """One set of terms for both. The network is tuned on weeks 15 to 29, and both are judged from week 30 on."""
    signal, pooled = panel
    found = pooled.sealed(SealedModel(), 0)
    ridge = float(np.nanmean(pooled.ridge(ALPHA)))
    if signal == "mixed":
        assert ridge > 0.15
        assert np.nanmean(found.whole) > 0.95 * ridge
        assert np.nanmean(found.linear) > 0.95 * ridge
        return
    assert abs(ridge) < 0.03, "a line finds nothing"
    assert abs(np.nanmean(found.linear)) < 0.03
    _, network = tuned_network(pooled, 15, 30, NETWORKS, every=10)
    late, rival = float(np.nanmean(found.whole[30:])), float(np.nanmean(network[30:]))
    assert rival > 0.1, "the rival is a network that learned"
    assert late > 0.9 * rival
