"""Several horizons in one top model: purged by the longest, each label used once it is known, one opening for all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from tests.vfl.models.test_train import COLUMNS, panel, seeds
from vfl.factors.horizons import horizon_findings
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.split.top import LabelHead
from vfl.models.split.training import scores_by_horizon
from vfl.models.split.twin import initial_weights, train_in_the_clear
from vfl.terms import FixedPoint, Horizon, SplitModel, WalkForward
from vfl.walk.schedule import prequential, resolved_at

PERIODS, ENTITIES = 22, 80
TERMS = SplitModel(embedding_width=2, hidden=4, epochs=2, batch_rows=80, top_learning_rate=0.02)
WALK = WalkForward(horizon=1, warmup=4, horizons=(Horizon(name="slow", periods=3, share=0.25),))


def market(seed: int = 0) -> tuple[list[FeaturePanel], LabelPanel]:
    """The first label follows the first two parties, the second label the third party."""
    generator = np.random.default_rng(seed)
    shape = (PERIODS, ENTITIES)
    features = [generator.normal(size=(*shape, d)) for d in COLUMNS]
    sides = [x @ generator.normal(size=x.shape[2]) / np.sqrt(x.shape[2]) for x in features]
    label = sides[0] + sides[1] + generator.normal(size=shape)
    slow = sides[2] + 0.7 * generator.normal(size=shape)
    known = np.repeat(np.arange(PERIODS)[:, None], ENTITIES, axis=1)
    further = (np.where(generator.random(shape) < 0.9, slow, np.nan),)
    held = LabelPanel(
        panel(np.zeros((*shape, 0))), label, known + 1, np.ones(shape, dtype=bool), further, (known + 3,)
    )  # fmt: skip
    return [panel(x) for x in features], held


def trained(features: list[FeaturePanel], held: LabelPanel, walk: WalkForward = WALK) -> NDArray[np.float64]:
    weights = initial_weights(seeds(3), COLUMNS, TERMS.embedding_width, FixedPoint())
    result, _ = train_in_the_clear(features, held, TERMS, walk, row_limit=4, reserved=0, weights=weights)
    scores = scores_by_horizon(LabelHead(TERMS, 0, shares=walk.shares), result, held)
    np.testing.assert_allclose(scores @ np.array(walk.shares), result.scores, atol=1e-12)
    assert result.openings.max() <= 4
    return scores


def test_each_output_finds_its_own_label() -> None:
    features, held = market()
    scores = trained(features, held)
    found = horizon_findings(
        scores, scores @ np.array(WALK.shares), (held.label, held.further[0]), (1, 3), ("fast", "slow")
    )
    assert found.value("horizons", "f0_rank_ic") > 0.4
    assert found.value("horizons", "f1_rank_ic") > 0.2
    assert found.value("horizons", "score_on_f0_rank_ic") < found.value("horizons", "f0_rank_ic")
    assert np.isnan(scores[:6]).all()
    with pytest.raises(ValueError, match="one of each"):
        horizon_findings(scores, scores[..., 0], (held.label,), (1, 3), ("fast", "slow"))


def test_training_waits_for_the_longest_horizon() -> None:
    _, held = market()
    alone = WalkForward(horizon=1, warmup=4)
    for walk, wait in ((alone, 1), (WALK, 3), (WALK.model_copy(update={"embargo": 2}), 5)):
        resolved = resolved_at(walk, held.known_from, held.label, held.universe)
        np.testing.assert_array_equal(resolved[0], wait)
        steps = prequential(TERMS, walk, held.known_from, held.label, held.universe, 4, 0)
        assert min(s.period - s.rows.max() // ENTITIES for s in steps if s.kind == "train") >= wait


def test_no_label_moves_a_score_before_it_is_known() -> None:
    features, held = market()
    decision = 12
    generator = np.random.default_rng(5)
    label = np.where(held.known_from > decision, generator.normal(size=held.label.shape), held.label)
    slow = np.where(held.further_known[0] > decision, generator.normal(size=label.shape), held.further[0])
    scores = trained(features, held)
    again = trained(features, replace(held, label=label, further=(slow,)))
    np.testing.assert_array_equal(scores[: decision + 1], again[: decision + 1])
    assert (scores[decision + 1 :] != again[decision + 1 :]).any()
    # a label that is late beyond its horizon is left out until it is there, whatever it will be
    late = (np.full_like(held.further_known[0], PERIODS),)
    silent = trained(features, replace(held, further_known=late))
    other = trained(features, replace(held, further_known=late, further=(slow * 7,)))
    np.testing.assert_array_equal(silent, other)


def test_no_rows_have_no_scores() -> None:
    head = LabelHead(TERMS, 1, shares=(0.5, 0.5))
    assert head.predict(np.zeros((0, 2)), np.zeros((0, 1))).shape == (0,)
    assert head.predict_each(np.zeros((0, 2)), np.zeros((0, 1))).shape == (0, 2)


def test_terms_that_do_not_hold_together_are_refused() -> None:
    one = Horizon(name="slow", periods=3, share=0.6)
    with pytest.raises(ValidationError, match="share a name"):
        WalkForward(horizons=(one, one))
    with pytest.raises(ValidationError, match="some of the score"):
        WalkForward(horizons=(one, Horizon(name="slower", periods=9, share=0.4)))
    with pytest.raises(ValueError, match="2 horizons"):
        LabelHead(TERMS, 0, shares=(0.5, 0.5)).train_batch(
            np.ones((4, 2)), np.ones((4, 0)), np.ones(4), np.zeros(4, dtype=np.int64)
        )
    assert b"horizons" not in WalkForward().model_dump_json().encode()
    assert WalkForward.model_validate_json(WALK.model_dump_json()) == WALK
