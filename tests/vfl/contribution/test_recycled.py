"""Outputs brought back as own columns: found whatever their scale, and nothing else is."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vfl.contribution.recycled import EXPLAINED, explained_by_outputs


@given(st.integers(0, 1000), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_a_linear_function_of_outputs_is_found_and_own_data_is_not(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    made = rng.normal(size=(6, 80, width))
    made[0] = np.nan
    scale = rng.uniform(0.5, 2, size=(6, 1))
    mixed = np.nan_to_num(made) @ rng.normal(size=width) * scale + 3 * scale
    own = rng.normal(size=(6, 80))
    share = explained_by_outputs(np.stack([mixed, own, 0.5 * mixed + own], axis=2), [made])
    assert share[0] >= EXPLAINED
    assert share[1] < 0.3
    assert share[2] < EXPLAINED
    assert explained_by_outputs(own[..., None], []).tolist() == [0.0]


def test_too_few_rows_explain_nothing() -> None:
    rng = np.random.default_rng(0)
    made = rng.normal(size=(3, 9, 1))
    assert explained_by_outputs(made, [made]).tolist() == [0.0]
    assert explained_by_outputs(np.ones((3, 40, 1)), [rng.normal(size=(3, 40, 1))]).tolist() == [0.0]
