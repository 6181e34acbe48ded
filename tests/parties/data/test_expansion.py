"""A party's local expansion: fixed functions of its own columns that see nothing ahead, and repeat."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from parties.agreement.terms import PartyTerms
from parties.data.expansion import expanded
from parties.data.panel import feature_panel_of
from parties.data.query import Observations
from parties.errors import ConfigError
from parties.settings.consortium import ExpansionSettings, PartySettings
from tests.parties.agreement.test_model_terms import agreement
from vfl.factors.panel import Calendar, FeaturePanel

F64 = NDArray[np.float64]
COLUMNS = ("a", "b", "c")
ALL = {"trees": 8, "fourier": 10, "bins": 3, "hinges": True, "outputs": 6, "fit_periods": 4}


def raw_of(seed: int = 1, periods: int = 10, entities: int = 40) -> F64:
    rng = np.random.default_rng(seed)
    values = rng.standard_t(3, size=(periods, entities, len(COLUMNS)))
    values[rng.random(values.shape) < 0.1] = np.nan
    return values


def made(raw: F64, **terms: Any) -> F64:
    return expanded(raw, ExpansionSettings.model_validate({**ALL, **terms}), COLUMNS, winsorise=0.01)


def test_every_kind_makes_its_columns_and_all_are_named() -> None:
    terms = ExpansionSettings.model_validate(ALL)
    assert terms.output_columns(COLUMNS) == tuple(f"exp_{k}" for k in range(12))
    assert made(raw_of()).shape == (10, 40, 12)
    for kind in ("trees", "fourier", "bins"):
        others = {other: 0 for other in ("trees", "fourier", "bins") if other != kind}
        columns = made(raw_of(), hinges=False, **others)
        assert columns.shape == (10, 40, 6)
        assert np.isfinite(columns[4:]).any(axis=1).all()


def test_what_is_fitted_is_empty_in_the_periods_it_was_fitted_on() -> None:
    columns = made(raw_of())
    assert np.isnan(columns[:4, :, 6:]).all()
    assert np.isfinite(columns[:4, :, :6]).any()  # signs and hinges are fitted on nothing


@settings(max_examples=12)
@given(st.integers(4, 9), st.integers(0, 5))
def test_no_later_period_changes_an_earlier_one(changed: int, seed: int) -> None:
    raw = raw_of(seed)
    later = raw.copy()
    later[changed] = 100.0 * np.random.default_rng(seed + 1).normal(size=later[changed].shape)
    np.testing.assert_array_equal(made(raw)[:changed], made(later)[:changed])


def test_a_later_period_would_change_them_if_it_were_fitted_on() -> None:
    raw = raw_of()
    later = raw.copy()
    later[5] = -raw[5] * 3
    assert not np.array_equal(made(raw, fit_periods=6)[6:, :, 6:], made(later, fit_periods=6)[6:, :, 6:])


def test_same_data_and_seed_make_the_same_columns_and_another_seed_others() -> None:
    np.testing.assert_array_equal(made(raw_of()), made(raw_of()))
    assert not np.array_equal(made(raw_of())[4:, :, 6:], made(raw_of(), seed=1)[4:, :, 6:])


def test_reduced_columns_are_whitened_on_what_they_were_fitted_on() -> None:
    """Standard deviation one and no correlation over the fitted rows: seen on a copy of them one period later."""
    raw = raw_of()
    again = np.concatenate([raw[:4], raw[:4]])
    columns = made(again)[4:, :, 6:].reshape(-1, 6)
    columns = columns[np.isfinite(columns).all(axis=1)]
    np.testing.assert_allclose(np.cov(columns.T), np.eye(6), atol=1e-8)


def test_hinges_are_the_sign_and_the_positive_part_of_each_score() -> None:
    raw = np.array([[[1.0, 5.0, 0.0], [-1.0, 5.0, 0.0], [np.nan, np.nan, np.nan]]])
    columns = expanded(raw, ExpansionSettings(hinges=True), COLUMNS, winsorise=0.0)
    np.testing.assert_allclose(columns[0, 0], [1, 0, 0, 1, 0, 0])
    np.testing.assert_allclose(columns[0, 1], [-1, 0, 0, 0, 0, 0])
    assert np.isnan(columns[0, 2]).all()


def test_a_product_of_two_columns_becomes_linear() -> None:
    """What a linear fit cannot see in the columns it sees in their expansion."""
    rng = np.random.default_rng(3)
    raw = rng.normal(size=(12, 300, 3))
    label = raw[:, :, 0] * raw[:, :, 1]
    columns = made(raw, fourier=200, trees=0, bins=0, hinges=False, outputs=40)[4:].reshape(-1, 40)
    target = label[4:].ravel()

    def fit(x: F64) -> float:
        half = len(x) // 2
        beta = np.linalg.lstsq(x[:half], target[:half], rcond=None)[0]
        return float(np.corrcoef(x[half:] @ beta, target[half:])[0, 1])

    assert fit(raw[4:].reshape(-1, 3)) < 0.15
    assert fit(columns) > 0.6


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"outputs": 30, "trees": 1, "depth": 1, "fourier": 0, "bins": 0}, "lower expand.outputs"),
        ({"outputs": 200, "fourier": 300}, "raise expand.fit_periods or lower expand.outputs"),
    ],
)
def test_too_little_to_fit_on_is_named_with_what_would_do(terms: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        made(raw_of(), **terms)


@pytest.mark.parametrize("terms", [{}, {"bins": 1}])
def test_an_expansion_that_makes_nothing_is_refused(terms: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"expand|bin"):
        ExpansionSettings.model_validate(terms)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"columns": ("a", "exp_0")}, "have names that the expansion's own columns need"),
        ({"expand": {"hinges": True, "columns": ("z",)}}, r"unknown columns \['z'\]"),
    ],
)
def test_names_that_do_not_fit_are_refused(changed: dict[str, Any], words: str) -> None:
    told = {"name": "sat", "role": "feature", "query": "q.sql", "columns": ("a", "b"), "expand": {"hinges": True}}
    with pytest.raises(ValidationError, match=words):
        PartySettings.model_validate({**told, **changed})


def panel_of(expand: dict[str, Any] | None) -> FeaturePanel:
    raw = raw_of()
    told: dict[str, Any] = {"name": "sat", "role": "feature", "query": "q.sql", "columns": COLUMNS}
    settings = PartySettings.model_validate(told | ({"expand": expand} if expand else {}))
    days = np.datetime64("2020-01-03", "ns") + 7 * np.arange(len(raw)) * np.timedelta64(1, "D")
    names = np.array([f"E{i}" for i in range(raw.shape[1])], dtype=object)
    observed = Observations(
        "q.sql",
        np.tile(names, len(raw)),
        np.repeat(days, len(names)),
        np.repeat(days, len(names)),
        COLUMNS,
        raw.reshape(-1, 3),
    )
    calendar = Calendar(tuple(str(t) for t in range(len(raw))), days, days)
    return feature_panel_of(settings, observed, observed.entity, calendar, list(names))


def test_a_panel_holds_the_made_columns_as_any_other_and_none_that_is_not_finite() -> None:
    panel = panel_of(ALL)
    assert panel.columns == (*COLUMNS, *(f"exp_{k}" for k in range(12)))
    assert np.isfinite(panel.values).all()
    assert panel_of(None).columns == COLUMNS


def test_an_agreement_says_what_the_columns_are_made_of_and_a_party_without_them_signs_what_it_signed() -> None:
    terms = ExpansionSettings.model_validate(ALL)
    told = terms.declared(COLUMNS)
    assert told == (
        "exp_0 to exp_11: of a, b, c: sign and hinge of each; the leaves of 8 random trees of depth 3, 10 random "
        "Fourier features, 3 bins of each, reduced to 6 whitened columns; fitted without labels on this party's first "
        "4 periods, then frozen; seed 0"
    )
    plain = PartyTerms(
        name="sat", role="feature", address="h:1", identity_key="0", certificate_sha256="0", columns=("a", "exp_0")
    )
    assert "expansion" not in plain.model_dump()
    assert not plain.makes("exp_0")
    assert plain.model_copy(update={"expansion": told}).makes("exp_0")


def test_an_expansion_adds_no_room_to_the_opening_budget() -> None:
    base = agreement({"embedding_width": 2}, limit_per_row=4, contribution="none")
    first, sat, *others = base.parties
    made = sat.model_copy(update={"columns": (*sat.columns, "exp_0", "exp_1"), "expansion": "exp_0 to exp_1: of a"})
    assert base.model_copy(update={"parties": (first, made, *others)}).counted_features == base.total_features
    bare = made.model_copy(update={"expansion": ""})
    assert base.model_copy(update={"parties": (first, bare, *others)}).counted_features == base.total_features + 2
