"""A member's columns of its group's expansion: fitted on everybody's first periods alone, frozen, and point in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from parties.data.expansion import expanded
from parties.data.group_expansion import expansion_rows, group_expanded
from parties.errors import DataError
from parties.settings.consortium import ExpansionSettings
from tests.vfl.federated.rig import COORDINATOR, RUN, play, secret
from vfl.expansion_terms import ExpansionShape
from vfl.federated.expansion import ExpansionPlan, join_expansion, serve_expansion
from vfl.federated.secure_sum import SumTerms
from vfl.federated.updates import RING

F64 = NDArray[np.float64]
NAMES, COLUMNS = ("n", "s", "e"), ("a", "b")
SHAPE = ExpansionShape(hinges=True, fourier=8, bins=4, outputs=6, fit_periods=6)
PLAN = ExpansionPlan(SHAPE, 2, SumTerms(NAMES, COORDINATOR, 2, RING, RUN), 0)


def raw_of(seed: int) -> F64:
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(12, 60, 2))
    values[draw.random(values.shape) < 0.1] = np.nan
    values[:, 0] = np.nan
    return values


def sums_of(raws: dict[str, F64]) -> F64:
    flows: dict[str, Any] = {
        name: join_expansion(PLAN, name, expansion_rows(raw, SHAPE, COLUMNS, winsorise=0.0, who=name), secret(name))
        for name, raw in raws.items()
    }
    found, _ = play({**flows, COORDINATOR: serve_expansion(PLAN, set())})
    made: F64 = found["n"].weights
    return made


RAW = {name: raw_of(place) for place, name in enumerate(NAMES)}


def made(raw: F64, sums: F64 | None) -> F64:
    return group_expanded(raw, SHAPE, COLUMNS, None if sums is None else (PLAN, sums), winsorise=0.0)


def test_columns_are_of_all_members_rows_whitened_and_empty_where_they_were_fitted() -> None:
    sums = sums_of(RAW)
    every = [made(raw, sums) for raw in RAW.values()]
    fitted = np.concatenate([one[6:, 1:, 4:].reshape(-1, 6) for one in every])
    assert np.isnan(every[0][:6, :, 4:]).all()
    assert np.isnan(every[0][:, 0]).all(), "an entity without a value has none"
    held = fitted[np.isfinite(fitted).all(axis=1)]
    np.testing.assert_allclose(held.mean(axis=0), 0.0, atol=0.25)
    np.testing.assert_allclose(held.std(axis=0), 1.0, atol=0.25)
    hinges = expanded(RAW["n"], ExpansionSettings(hinges=True), COLUMNS, winsorise=0.0)
    np.testing.assert_array_equal(every[0][:, :, :4], hinges)
    np.testing.assert_array_equal(made(RAW["n"], None)[:, :, :4], hinges)
    assert np.isnan(made(RAW["n"], None)[:, :, 4:]).all()


def test_later_periods_move_neither_sums_nor_earlier_columns() -> None:
    later = {name: np.concatenate([raw[:9], raw[9:] * 5 + 1]) for name, raw in RAW.items()}
    sums = sums_of(RAW)
    np.testing.assert_array_equal(sums_of(later), sums)
    np.testing.assert_array_equal(made(later["s"], sums)[:9], made(RAW["s"], sums)[:9])


def test_a_member_without_a_value_in_the_first_periods_is_named() -> None:
    empty = np.where(np.arange(12)[:, None, None] < 6, np.nan, RAW["n"])
    with pytest.raises(DataError, match="n has no value in the first 6 periods"):
        expansion_rows(empty, SHAPE, COLUMNS, winsorise=0.0, who="n")
