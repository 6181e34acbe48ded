from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from parties.data.preprocess import CLIP, FEW, cross_sectional_scores, model_ready, uncut, whitened, winsorised

CELLS = st.one_of(st.floats(-1e6, 1e6), st.just(float("nan")), st.sampled_from([0.0, 1.0, 1e150, -1e-150]))
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 4))
PANELS = SHAPES.flatmap(lambda shape: arrays(np.float64, shape, elements=CELLS))


@given(PANELS, st.sampled_from([0.0, 0.01, 0.1, 0.3]))
@settings(max_examples=120, deadline=None)
def test_winsorising_cuts_continuous_columns_at_numpys_quantiles_and_no_others(
    values: np.ndarray, share: float
) -> None:
    got, whole = winsorised(values, share), uncut(values, share)
    for t in range(values.shape[0]):
        for column in range(values.shape[2]):
            line = values[t, :, column]
            present = line[~np.isnan(line)]
            if present.size:
                low, high = np.quantile(present, [share, 1 - share])
                different = len(np.unique(present))
                categories = different <= FEW and 2 * different <= len(present)
                left = share > 0 and different > 1 and (categories or low == high)
                assert whole[t, column] == left
                expected = line if left else np.clip(line, low, high)
                assert np.allclose(got[t, :, column], expected, rtol=1e-9, atol=1e-9, equal_nan=True)
            else:
                assert np.isnan(got[t, :, column]).all()


@given(
    st.integers(2, 400).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1))),
    st.sampled_from([0.001, 0.01, 0.1, 0.3, 0.49]),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_a_flag_stays_a_flag_however_rare(counts: tuple[int, int], share: float, whiten: bool) -> None:
    """A 0/1 column that is rarer than the winsorising share was a constant: its rare value was cut away."""
    rows, ones = counts
    flag = np.zeros((1, rows, 1))
    flag[0, :ones] = 1.0
    got = model_ready(flag, [], winsorise=share, whiten=whiten)[0, :, 0]
    assert len(np.unique(got)) == 2
    assert got[0] > got[-1]


def test_rare_categories_and_counts_of_almost_nothing_but_zeros_are_not_cut_and_heavy_tails_are() -> None:
    rng = np.random.default_rng(3)
    rating = np.zeros(1000)
    rating[:4], rating[4:60] = -1.0, 1.0
    lawsuits = np.zeros(1000)
    lawsuits[:9] = rng.permutation(np.arange(1, 10)) * 1.5
    lawsuits[9:12] = [40.0, 50.0, 60.0]
    heavy = rng.standard_t(2, 1000)
    values = np.stack([rating, lawsuits, heavy], axis=1)[None]
    got = winsorised(values, 0.02)
    assert uncut(values, 0.02).tolist() == [[True, True, False]]
    assert np.array_equal(got[..., :2], values[..., :2])
    assert got[..., 2].max() < values[..., 2].max()


@given(PANELS)
@settings(max_examples=120, deadline=None)
def test_scores_have_mean_zero_and_deviation_one_over_what_is_there(values: np.ndarray) -> None:
    scores, varies = cross_sectional_scores(values)
    assert (np.isnan(scores) == np.isnan(values)).all()
    for t in range(values.shape[0]):
        for column in range(values.shape[2]):
            present = scores[t, :, column][~np.isnan(values[t, :, column])]
            if varies[t, column]:
                assert present.mean() == pytest.approx(0, abs=1e-6)
                assert present.std() == pytest.approx(1, abs=1e-6)
            else:
                assert (present == 0).all()


@given(PANELS, st.booleans(), st.sampled_from([0.0, 0.05]))
@settings(max_examples=150, deadline=None)
def test_whatever_comes_in_finite_clipped_features_come_out(values: np.ndarray, whiten: bool, share: float) -> None:
    got = model_ready(values, [0], winsorise=share, whiten=whiten)
    assert got.shape == (*values.shape[:2], values.shape[2] + 1)
    assert np.isfinite(got).all()
    assert np.abs(got).max() <= CLIP


@given(PANELS, st.integers(0, 3), st.booleans())
@settings(max_examples=100, deadline=None)
def test_later_periods_change_nothing_earlier(values: np.ndarray, cut: int, whiten: bool) -> None:
    cut = min(cut, values.shape[0])
    whole = model_ready(values, [0], winsorise=0.02, whiten=whiten)
    assert np.array_equal(whole[:cut], model_ready(values[:cut], [0], winsorise=0.02, whiten=whiten))


def test_constant_and_empty_columns_are_zero() -> None:
    values = np.random.default_rng(0).normal(size=(3, 50, 4))
    values[:, :, 1] = 7.25
    values[:, :, 2] = np.nan
    values[1, :, 3] = np.nan
    got = model_ready(values, [2], winsorise=0.01, whiten=True)
    assert (got[:, :, [1, 2, 4]] == 0).all()
    assert (got[1, :, 3] == 0).all()
    assert got[[0, 2]][:, :, 3].std() > 0.5


def test_a_missing_value_is_the_mean_and_its_indicator_says_so() -> None:
    values = np.array([[[1.0], [3.0], [np.nan], [np.nan]]])
    got = model_ready(values, [0], winsorise=0.0, whiten=False)
    assert got[0].tolist() == [[-1, -1], [1, -1], [0, 1], [0, 1]]


def test_whitening_uncorrelates_and_keeps_the_axes() -> None:
    rng = np.random.default_rng(1)
    mixed = rng.normal(size=(30, 400, 3)) @ np.array([[1.0, 0.9, 0.0], [0.0, 0.45, 0.0], [0.0, 0.0, 1.0]])
    scores, varies = cross_sectional_scores(mixed)
    got = whitened(scores, varies)[-1]
    before, after = (abs(np.corrcoef(table[:, 0], table[:, 1])[0, 1]) for table in (scores[-1], got))
    assert before > 0.85
    # The shrinkage leaves some of it on purpose.
    assert after < 0.45 * before
    assert all(np.corrcoef(scores[-1, :, j], got[:, j])[0, 1] > 0.85 for j in range(3))


def test_whitening_directions_settle() -> None:
    rng = np.random.default_rng(2)
    scores, varies = cross_sectional_scores(np.repeat(rng.normal(size=(1, 60, 3)), 20, axis=0))
    got = whitened(scores, varies)
    assert np.allclose(got[0], got[-1])


def test_a_column_that_starts_late_is_not_blown_up() -> None:
    values = np.random.default_rng(4).normal(size=(20, 200, 2))
    values[:15, :, 1] = np.nan
    got = model_ready(values, [], winsorise=0.0, whiten=True)
    assert got[15:, :, 1].std(axis=1) == pytest.approx(np.ones(5), abs=0.1)
