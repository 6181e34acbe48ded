"""What goes into the sealed network: clipped rows, and labels by the ranks known at the time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import spearmanr

from vfl.models.sealed.columns import SealedColumns, SealedLabels, sealed_columns, static_labels
from vfl.terms import FixedPoint, SealedModel

FIXED, TERMS = FixedPoint(), SealedModel()


@given(d=st.integers(1, 40), tail=st.floats(0.1, 100), seed=st.integers(0, 1000))
def test_no_row_is_longer_than_agreed_and_short_ones_stay_as_they_are(d: int, tail: float, seed: int) -> None:
    values = np.random.default_rng(seed).standard_t(2, size=(60, d)) * tail
    made = np.ldexp(sealed_columns(values, TERMS, FIXED).astype(float), -FIXED.feature_bits)
    longest = TERMS.row_clip * np.sqrt(d)
    assert (np.linalg.norm(made, axis=1) <= longest + np.sqrt(d) * 2.0**-FIXED.feature_bits).all()
    inside = np.clip(values, -FIXED.clip, FIXED.clip)
    short = np.linalg.norm(inside, axis=1) <= longest
    assert np.abs(made[short] - inside[short]).max(initial=0) <= 2.0 ** -(FIXED.feature_bits + 1)


def test_no_columns_stay_no_columns_and_what_is_not_finite_is_refused() -> None:
    assert sealed_columns(np.zeros((3, 0)), TERMS, FIXED).shape == (3, 0)
    with pytest.raises(ValueError, match="impute"):
        sealed_columns(np.array([[np.nan]]), TERMS, FIXED)


def test_labels_are_normal_scores_of_the_ranks_known_at_the_decision() -> None:
    draw = np.random.default_rng(0)
    label = draw.standard_t(2, size=(3, 50))
    resolved = np.full((3, 50), 2)
    resolved[1, 25:] = 3
    made = SealedLabels(label, resolved)
    first = made.at(2, np.arange(50))
    assert abs(first.mean()) < 1e-12
    assert first.std() == pytest.approx(1)
    assert spearmanr(first, label[0]).statistic == pytest.approx(1)
    early, late = made.at(2, np.arange(50, 75)), made.at(3, np.arange(50, 75))
    assert early.std() == pytest.approx(1)
    assert not np.allclose(early, late)
    # what is not known yet moves nothing
    label[1, 25:] *= -1000
    assert np.array_equal(SealedLabels(label, resolved).at(2, np.arange(50, 75)), early)


def test_a_constant_period_says_nothing_and_two_classes_are_two_values() -> None:
    label = np.array([[1.0] * 4, [0, 1, 1, 0]])
    made = SealedLabels(label, np.zeros((2, 4), dtype=np.int64))
    assert np.array_equal(made.at(0, np.arange(4)), np.zeros(4))
    assert made.at(0, np.arange(4, 8)) == pytest.approx([-1, 1, 1, -1])
    assert static_labels(np.array([0.0, 1, 1, 0])) == pytest.approx([-1, 1, 1, -1])
    assert static_labels(np.array([0.0, np.nan, 1])) == pytest.approx([-1, np.nan, 1], nan_ok=True)
    with pytest.raises(ValueError, match="not all the same"):
        static_labels(np.ones(3))


@pytest.mark.parametrize("key", ["loss", "classes", "top"])
def test_what_only_the_split_network_has_is_refused_by_its_name(key: str) -> None:
    with pytest.raises(ValidationError, match=f'no model.{key}: remove it, or set model.kind = "split"'):
        SealedModel.model_validate({"kind": "sealed", key: 2})


def test_columns_made_when_asked_for_are_the_same() -> None:
    values = np.random.default_rng(5).standard_t(2, size=(300, 4))
    lazy, whole = (
        SealedColumns(values, SealedModel(), FixedPoint()),
        sealed_columns(values, SealedModel(), FixedPoint()),
    )
    rows = np.array([7, 299, 0, 7])
    assert (len(lazy), lazy.shape) == (300, (300, 4))
    assert np.array_equal(lazy[rows], whole[rows])
    assert lazy[rows].dtype == np.int64
    assert SealedColumns(np.zeros((5, 0)), SealedModel(), FixedPoint())[rows % 5].shape == (4, 0)
    values[250, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        SealedColumns(values, SealedModel(), FixedPoint())
