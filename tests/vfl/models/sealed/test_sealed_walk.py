"""A sealed run over a calendar and on static data, from panels to scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from psi.flow import Flow, LocalProtocolError, run_local
from tests.vfl.models.sealed.rig import FIXED, Consortium
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.sealed.columns import sealed_columns, static_labels
from vfl.models.sealed.opened_scores import check_scores
from vfl.models.sealed.twin import float_twin, integer_twin
from vfl.models.sealed.walk import sealed_static, sealed_walk_forward
from vfl.terms import SealedModel, WalkForward
from vfl.walk.cycles import cyclic, cyclic_static
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step

PERIODS, ENTITIES = 6, 40
WALK = WalkForward(horizon=1, warmup=2)
TERMS = SealedModel(width=2, batch_rows=64, warmup_steps=6, steps=2, alpha=5.0, threshold=0.5)


def feature_panel(d: int, seed: int) -> FeaturePanel:
    values = np.random.default_rng(seed).normal(size=(PERIODS, ENTITIES, d)).clip(-8, 8)
    times = np.full((PERIODS, ENTITIES), np.datetime64("2020-01-01", "ns"))
    return FeaturePanel(
        tuple(f"c{i}" for i in range(d)), values, np.ones((PERIODS, ENTITIES), dtype=bool), times, times
    )


def panels() -> tuple[list[FeaturePanel], LabelPanel]:
    sides, own = [feature_panel(3, 1), feature_panel(2, 2)], feature_panel(1, 3)
    label = sides[0].values[:, :, 0] * sides[1].values[:, :, 0] + own.values[:, :, 0]
    label = label + np.random.default_rng(4).normal(size=label.shape) * 0.5
    label[2, :5] = np.nan
    known = np.broadcast_to(np.arange(PERIODS)[:, None] + 1, label.shape).copy()
    universe = np.ones(label.shape, dtype=bool)
    universe[3, :4] = False
    return sides, LabelPanel(own, label, known, universe)


def consortium(sides: list[FeaturePanel], own: FeaturePanel) -> Consortium:
    features = {name: sealed_columns(side.rows, TERMS, FIXED) for name, side in zip("ab", sides, strict=True)}
    return Consortium(features, sealed_columns(own.rows, TERMS, FIXED), TERMS)


def run(made: Consortium, label: Flow[Any]) -> Any:
    flows: dict[str, Flow[Any]] = {"label": label, "a": made.anchor_side().serve(), "b": made.serve_feature("b")}
    return run_local(flows, relay=made.relay)["label"]


def test_a_walk_forward_run_gives_the_scores_of_both_twins() -> None:
    sides, panel = panels()
    made = consortium(sides, panel.features)
    steps = tuple(cyclic(TERMS, WALK, panel.known_from, panel.label, panel.universe))
    result = run(made, sealed_walk_forward(made.label_side(), steps, panel, WALK))
    assert isinstance(result, TrainingResult)
    exact, plain = (twin(sides, panel, TERMS, WALK, FIXED, made.weights()) for twin in (integer_twin, float_twin))
    predicted = np.isfinite(result.scores)
    assert np.array_equal(predicted, np.isfinite(exact))
    assert predicted[3:, 4:].all()
    assert not predicted[3, :4].any()
    assert np.abs(result.scores - exact)[predicted].max() < 5e-3
    assert np.abs(result.scores - plain)[predicted].max() < 5e-3
    assert np.abs(np.nanmean(result.scores[3:], axis=1)).max() < 1e-12
    correlation = np.corrcoef(result.scores[4], panel.label[4])[0, 1]
    assert correlation > 0.3, "products of two parties' columns are learned"
    assert result.openings[3:].max() == 1
    assert result.openings[:2].max() == 0


def test_static_data_with_two_classes_are_learned() -> None:
    sides, panel = panels()
    made = consortium(sides, panel.features)
    classes = (panel.features.rows[:, 0] > 0).astype(np.float64)
    steps = list(cyclic_static(TERMS, len(classes), passes=4))
    scores = run(made, sealed_static(made.label_side(), steps, static_labels(classes)))
    positive, negative = scores[classes == 1], scores[classes == 0]
    assert (positive[:, None] > negative[None, :]).mean() > 0.9


def test_rows_without_labels_are_predicted_and_never_trained_on() -> None:
    steps = list(cyclic_static(SealedModel(batch_rows=32), 70, passes=3, predicted=np.arange(70, 90)))
    trained = np.concatenate([s.rows for s in steps if s.kind == "train"])
    assert set(trained.tolist()) == set(range(70))
    assert np.concatenate([s.rows for s in steps if s.kind == "predict"]).tolist() == list(range(70, 90))


def test_a_run_never_trains_on_a_row_before_it_is_predicted() -> None:
    _, panel = panels()
    seen: set[int] = set()
    for step in cyclic(TERMS, WALK, panel.known_from, panel.label, panel.universe):
        rows = set(step.rows.tolist())
        assert len(rows) == len(step.rows)
        if step.kind == "predict":
            assert not rows & seen
        else:
            assert len(rows) == min(TERMS.batch_rows, step.known)
            assert max(rows) < step.period * ENTITIES
            assert not np.isnan(panel.label.reshape(-1)[step.rows]).any()
            seen |= rows


def test_every_row_is_trained_as_often_as_any() -> None:
    steps = list(cyclic_static(SealedModel(batch_rows=32), 100, passes=8))
    counts = np.bincount(np.concatenate([s.rows for s in steps if s.kind == "train"]), minlength=100)
    assert counts.max() - counts.min() <= 1


def test_a_schedule_holds_its_own_rows_and_nothing_of_all_that_wait() -> None:
    """The label party keeps every step: a step that kept the whole queue alive would make memory quadratic."""
    periods, entities = 60, 50
    label = np.random.default_rng(0).normal(size=(periods, entities))
    known = np.broadcast_to(np.arange(periods)[:, None] + 1, label.shape)
    terms = SealedModel(batch_rows=16, warmup_steps=1)
    steps = tuple(cyclic(terms, WALK, known, label, np.ones(label.shape, dtype=bool)))

    def whole(rows: np.ndarray) -> np.ndarray:
        return rows if rows.base is None else whole(rows.base)

    trained = [step.rows for step in steps if step.kind == "train"]
    held = {id(whole(rows)): whole(rows).nbytes for rows in trained}
    assert sum(held.values()) == sum(rows.nbytes for rows in trained)


def test_several_horizons_are_refused_by_the_model_that_has_them() -> None:
    sides, panel = panels()
    made = consortium(sides, panel.features)
    further = replace(panel, further=(panel.label,), further_known=(panel.known_from,))
    with pytest.raises(LocalProtocolError, match=r'set model\.kind = "split" for several'):
        next(sealed_walk_forward(made.label_side(), [], further, WALK))


def test_scores_that_fill_their_range_end_the_run_with_the_rates_to_lower() -> None:
    step = Step(7, "predict", 3, np.arange(100))
    draw = np.random.default_rng(0)
    check_scores(step, draw.normal(size=100), TERMS)
    with pytest.raises(LocalProtocolError, match=r"scores of step 7 .* lower model.linear_rate = 0.03125"):
        check_scores(step, draw.uniform(-4, 4, size=100), TERMS)
