"""Pay that moves without merit: noise, backdated columns and recycled outputs, on the product's own valuation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from parties.settlement.closing import reward_split
from tests.attacks.valued_rig import ValuedConsortium, recorded

POT = 1_000_000
UNTESTED = {"risk_aversion": 0.0, "uplift_level": 1.0}
"""The defence switched off: a contribution is paid for as it is."""


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> ValuedConsortium:
    return ValuedConsortium(tmp_path_factory.mktemp("valued"))


def noise(consortium: ValuedConsortium, seed: int) -> dict[str, object]:
    """Everybody's columns replaced by noise of the same size."""
    rng = np.random.default_rng(seed)
    panels = {
        name: replace(panel, values=np.clip(rng.normal(size=panel.values.shape), -8, 8))
        for name, panel in consortium.panels.items()
    }
    return consortium.value(panels, seed=seed)[0]


def test_honest_data_is_paid_at_the_shipped_defaults(consortium: ValuedConsortium) -> None:
    record = recorded(consortium.value()[0])
    assert sum(reward_split(consortium.agreement(), record).shares.values()) == POT


def test_noise_takes_the_pot_where_nothing_is_tested_and_nothing_where_the_uplift_is(
    consortium: ValuedConsortium,
) -> None:
    """Attack 11: phis of pure noise are above zero about half the time, and something above zero took the whole pot."""
    records = [recorded(noise(consortium, seed)) for seed in range(4)]
    taken = [sum(reward_split(consortium.agreement(**UNTESTED), record).shares.values()) for record in records]
    assert taken.count(POT) >= 2, "with the defence off noise takes the whole pot"
    for record in records:
        split = reward_split(consortium.agreement(), record)
        assert (sum(split.shares.values()), split.rolled_over) == (0, POT)
