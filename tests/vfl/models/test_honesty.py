"""Placebos and look-ahead, each with a planted case that must be caught by name and an honest one that must not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from vfl.factors.evaluate import ic_by_period
from vfl.factors.findings import Findings
from vfl.factors.lookahead import lookahead_findings, refuse_future
from vfl.factors.panel import Calendar, FeaturePanel, LabelPanel
from vfl.factors.placebo import (
    entity_order,
    label_memory,
    opened_placebo,
    past_mean,
    permuted_panel,
    permuted_placebo,
    refit,
    stale_and_memory,
)

T, N = 40, 150
RNG = np.random.default_rng(7)
KNOWN = np.repeat(np.arange(1, T + 1)[:, None], N, axis=1)
CONSTANTS = np.repeat(RNG.normal(size=(1, N, 40)), T, axis=0)
NEWS = RNG.normal(size=(T, N, 4))
USUAL = RNG.normal(size=(1, N))
NOISE = RNG.normal(size=(T, N))


def placebo(features: np.ndarray, labels: np.ndarray) -> tuple[Findings, np.ndarray]:
    def fitted(order: np.ndarray | None) -> np.ndarray:
        return refit(features if order is None else features[:, order], labels, KNOWN)

    return permuted_placebo(fitted, labels, horizon=1), fitted(None)


def test_a_fingerprint_is_caught_by_name():
    """The label is each entity's usual one, the features are 40 random constants: they know nothing but who it is."""
    labels = USUAL + NOISE
    found, scores = placebo(CONSTANTS, labels)
    assert found.value("placebo", "truth") > 0.2, "it scores well out of sample"
    assert found.value("placebo", "permuted") > 0.2, "and so does the placebo"
    assert found.warned("fingerprint")
    without = stale_and_memory(scores, labels, KNOWN, horizon=1)
    assert without.warned("fingerprint")
    assert "who the entities are" in without.warnings[0].text
    # the same from embeddings and models as they were
    opened = CONSTANTS[:, :, :3]
    told = stale_and_memory(
        scores,
        labels,
        KNOWN,
        horizon=1,
        embeddings=opened,
        rescored=lambda z: np.where(z[:, :, 0] == 0, np.nan, scores),
    )
    assert told.warned("fingerprint")
    assert "old values do as well as new ones" in told.warnings[0].text


def test_news_passes_the_placebos():
    labels = 0.4 * NEWS.sum(axis=2) + NOISE
    found, scores = placebo(NEWS, labels)
    assert found.value("placebo", "truth") > 0.4
    assert abs(found.value("placebo", "permuted")) < 0.05
    assert found.value("placebo", "truth_less_permuted_t") > 3
    assert not found.warnings
    without = stale_and_memory(scores, labels, KNOWN, horizon=1)
    assert not without.warnings
    assert without.value("placebo", "stale") < 0.1
    assert without.value("placebo", "beside_memory") > 0.4


def test_a_fresh_own_score_does_not_hide_stale_embeddings():
    """Half of the score is the label party's own news, half are constants: only the second half is judged."""
    own, opened = NEWS[:, :, 0], CONSTANTS[:, :, :1]
    labels = own + opened[:, :, 0] + 2 * NOISE + 2 * NEWS[:, :, 1]
    known = np.full((T, N), T)  # no label is ever known, so that there is no memory to test
    slow, fast = (
        stale_and_memory(
            own + z[:, :, 0], labels, known, horizon=1, embeddings=z, rescored=lambda z: own + z[:, :, 0], own=own
        )
        for z in (opened, NEWS[:, :, 1:2])
    )
    assert slow.warned("persistent")
    assert "over the label party's own" in slow.warnings[0].text
    assert not fast.warnings
    assert "memory" in slow.left_out


def test_the_placebo_on_openings_says_what_embeddings_add_to_the_own_score():
    labels = 0.5 * NEWS[:, :, 0] + 0.4 * NEWS[:, :, 1] + NOISE
    opened = np.where(np.arange(T)[:, None, None] < 3, np.nan, 2 * NEWS[:, :, 1:2])
    found = opened_placebo(opened, labels, KNOWN, horizon=1, own=NEWS[:, :, 0])
    assert found.value("placebo", "truth") > 0.05
    assert abs(found.value("placebo", "permuted")) < 0.02
    assert not found.warnings
    few = opened_placebo(opened[:5], labels[:5], KNOWN[:5], horizon=1)
    assert "permuted" in few.left_out


def test_slow_but_true_features_are_persistent_not_fingerprints():
    """A few slow features drive the label through one rule for all entities: strangers' rows do not do."""
    slow = CONSTANTS[:, :, :2] + 0.1 * NEWS[:, :, :2]
    labels = slow.sum(axis=2) + 3 * NEWS[:, :, 3] + NOISE
    found, scores = placebo(slow, labels)
    assert not found.warned("fingerprint")
    without = stale_and_memory(scores, labels, KNOWN, horizon=1)
    assert without.warned("persistent")
    assert "permuted placebo" in without.warnings[0].text


def test_noise_is_neither():
    found, scores = placebo(NEWS, NOISE)
    assert not found.warnings
    assert not stale_and_memory(scores, NOISE, KNOWN, horizon=1).warnings


def test_the_label_partys_own_ic_is_not_counted_as_the_placebos():
    labels = NEWS[:, :, 0] + NEWS[:, :, 1] + NOISE
    own = NEWS[:, :, :1]

    def fitted(order: np.ndarray | None) -> np.ndarray:
        others = NEWS[:, :, 1:2] if order is None else NEWS[:, order, 1:2]
        return refit(np.concatenate([own, others], axis=2), labels, KNOWN)

    alone = refit(own, labels, KNOWN)
    blind, fair = permuted_placebo(fitted, labels, horizon=1), permuted_placebo(fitted, labels, horizon=1, own=alone)
    assert blind.value("placebo", "permuted") > 0.4
    assert abs(fair.value("placebo", "permuted")) < 0.05
    assert not fair.warnings


def test_a_permuted_panel_is_other_parties_rows_permuted():
    features = FeaturePanel(
        ("own",), NEWS[:, :, :1], np.ones((T, N), dtype=bool),
        np.zeros((T, N), dtype="datetime64[ns]"), np.zeros((T, N), dtype="datetime64[ns]"),
    )  # fmt: skip
    panel = LabelPanel(features, NOISE, KNOWN, np.ones((T, N), dtype=bool))
    order = entity_order(N, 1)
    moved = permuted_panel(panel, order)
    theirs = NEWS[:, :, 1:]
    one = refit(np.concatenate([moved.features.values, theirs], axis=2), moved.label, moved.known_from)
    back = np.argsort(order)
    other = refit(np.concatenate([panel.features.values, theirs[:, back]], axis=2), panel.label, panel.known_from)
    np.testing.assert_allclose(one[:, back], other, atol=1e-9)


def test_orders_are_permutations_that_repeat():
    order = entity_order(50, 3)
    assert sorted(order.tolist()) == list(range(50))
    np.testing.assert_array_equal(order, entity_order(50, 3))
    assert (order != entity_order(50, 4)).any()
    assert entity_order(0, 1).tolist() == []


def test_memory_holds_only_labels_known_at_the_time():
    labels = np.array([[1.0, np.nan], [3.0, 5.0], [9.0, 9.0]])
    known = np.array([[2, 3], [2, 2], [3, 3]])
    np.testing.assert_array_equal(label_memory(labels, known), [[np.nan] * 2, [np.nan] * 2, [2.0, 5.0]])
    np.testing.assert_array_equal(past_mean(labels), [[np.nan] * 2, [1.0, np.nan], [2.0, 5.0]])


def test_a_refit_never_sees_its_own_or_later_labels():
    labels = NEWS[:, :, 0] + NOISE
    scores = refit(NEWS, labels, KNOWN)
    changed = labels.copy()
    changed[20:] = 100.0
    again = refit(NEWS, changed, KNOWN)
    np.testing.assert_array_equal(scores[:21], again[:21])
    assert not np.array_equal(scores[21:], again[21:])
    assert np.isnan(scores[:4]).all()
    assert np.nanmean(ic_by_period(scores, labels)) > 0.5


def ended(returns: np.ndarray, length: int) -> np.ndarray:
    """What had happened over the last ``length`` periods, as of each period."""
    total = np.cumsum(np.vstack([np.zeros((length, returns.shape[1])), returns]), axis=0)
    return total[length:][: len(returns)] - total[: len(returns)]


def test_a_feature_shifted_into_the_future_is_flagged_by_name():
    outcome = NOISE  # of the period after each decision
    momentum = np.vstack([np.zeros((1, N)), ended(outcome, 3)[:-1]])
    reversal = -np.vstack([np.zeros((1, N)), outcome[:-1]])
    honest = {"momentum": momentum, "reversal": reversal, "news": NEWS[:, :, 0]}
    assert not lookahead_findings(honest, outcome, horizon=1).warnings
    shifted = {name: np.vstack([values[1:], np.full((1, N), np.nan)]) for name, values in honest.items()}
    found = lookahead_findings(shifted, outcome, horizon=1)
    assert [w.name for w in found.warnings] == ["look-ahead", "look-ahead"]
    assert found.warnings[0].text.startswith("momentum has a rank IC of +0.5")
    assert found.warnings[1].text.startswith("reversal has a rank IC of -")


def test_a_label_that_persists_may_be_foreseen():
    state = np.zeros((T, N))
    for t in range(1, T):
        state[t] = 0.9 * state[t - 1] + NOISE[t]
    trailing = np.vstack([np.zeros((1, N)), state[:-1]])
    found = lookahead_findings({"level": trailing}, state, horizon=1)
    assert np.nanmean(ic_by_period(trailing, state)) > 0.7
    assert not found.warnings
    assert lookahead_findings({"level": state}, state, horizon=1).warned("look-ahead")


def volatilities(level: float, moves: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Log volatilities over past days and over days to come, and over the next day, which is the label.

    Each entity has a level of its own, of deviation ``level``, and a state about it that reverts and ``moves``.
    """
    rng = np.random.default_rng(1)
    history, days, entities = 300, 60, 120
    usual, shocks = level * rng.normal(size=entities), moves * rng.normal(size=(history + days + 5, entities))
    state = np.empty_like(shocks)
    state[0] = shocks[0] / np.sqrt(1 - 0.97**2)
    for t in range(1, len(shocks)):
        state[t] = 0.97 * state[t - 1] + shocks[t]
    squares = np.square(np.exp(usual + state) * rng.normal(size=shocks.shape))
    total = np.cumsum(np.vstack([np.zeros(entities), squares]), axis=0)
    cuts = history + np.arange(days)

    def over(first: int, last: int) -> np.ndarray:
        return 0.5 * np.log((total[cuts + last] - total[cuts + first]) / (last - first))

    backward = {f"back_{k}": over(-k, 0) for k in (5, 21, 63, 250)}
    return backward | {"ahead": over(-4, 1), "centred": over(-2, 3)}, over(0, 1)


@pytest.mark.parametrize(("level", "moves"), [(0.4, 0.12), (0.8, 0.05), (0.0, 0.12)])
def test_a_volatility_of_the_past_knows_the_level_and_does_not_look_ahead(level: float, moves: float) -> None:
    """Long windows know the level better than three labels do, and were flagged for it; those that look are caught."""
    columns, label = volatilities(level, moves)
    assert np.nanmean(ic_by_period(columns["back_21"], label)) > 0.25, "it foresees the label, honestly"
    found = lookahead_findings(columns, label, horizon=1)
    assert {warning.text.split()[0] for warning in found.warnings} == {"ahead", "centred"}


def test_an_honest_small_lead_is_not_flagged():
    leads = 0.08 * NOISE + NEWS[:, :, 0]
    found = lookahead_findings({"lead": leads}, NOISE, horizon=1)
    assert not found.warnings
    few = lookahead_findings({"lead": leads[:3]}, NOISE[:3], horizon=1)
    assert few.left_out == {"look_ahead_lead": "needs 6 periods with labels, one after another"}


def test_values_available_after_the_cutoff_are_refused_by_name():
    ends = pd.date_range("2020-01-31", periods=3, freq="ME").to_numpy(dtype="datetime64[ns]")
    calendar = Calendar(("2020-01", "2020-02", "2020-03"), ends, ends + np.timedelta64(1, "D"))
    available = np.repeat(ends[:, None], 2, axis=1)
    refuse_future("radiance", available, calendar, ("A", "B"))
    available[:-1] = available[1:]
    with pytest.raises(ValueError, match=r"radiance: the value of A in 2020-01 became available .* it looks ahead \(4"):
        refuse_future("radiance", available, calendar, ("A", "B"))
