"""Walk-forward training in the clear: no look-ahead, exact coalitions, honest counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from psi.flow import Flow, Progress, run_local
from vfl.arithmetic.ring import Ring, encode_features
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.split.initial import INITIAL_SCALE, initial_share
from vfl.models.split.top import LabelHead
from vfl.models.split.training import score_coalition, walk_forward
from vfl.models.split.twin import PlainSource, alone, initial_weights, train_in_the_clear
from vfl.terms import FixedPoint, SplitModel, WalkForward
from vfl.walk.schedule import prequential

PERIODS, ENTITIES = 14, 60
COLUMNS = (4, 3, 5)
TERMS = SplitModel(embedding_width=2, hidden=4, epochs=2, batch_rows=64, warmup_epochs=2, source_learning_rate=0.1)
WALK = WalkForward(horizon=1, warmup=4)


def panel(values: NDArray[np.float64]) -> FeaturePanel:
    shape = values.shape[:2]
    never = np.full(shape, np.datetime64("NaT"), dtype="datetime64[ns]")
    return FeaturePanel(
        tuple(f"c{i}" for i in range(values.shape[2])), values, np.ones(shape, dtype=bool), never, never
    )


def consortium(seed: int = 0) -> tuple[list[FeaturePanel], LabelPanel]:
    generator = np.random.default_rng(seed)
    shape = (PERIODS, ENTITIES)
    features = [generator.normal(size=(*shape, d)) for d in COLUMNS]
    own = generator.normal(size=(*shape, 2))
    signal = sum(x @ generator.normal(size=x.shape[2]) / np.sqrt(x.shape[2]) for x in features)
    label = 0.6 * signal + 0.5 * own[..., 0] + generator.normal(size=shape)
    label[generator.random(shape) < 0.1] = np.nan
    known = np.repeat(np.arange(1, PERIODS + 1)[:, None], ENTITIES, axis=1)
    universe = generator.random(shape) < 0.9
    return [panel(x) for x in features], LabelPanel(panel(own), label, known, universe)


def seeds(count: int) -> list[tuple[bytes, bytes]]:
    return [(bytes([2 * k]) * 32, bytes([2 * k + 1]) * 32) for k in range(count)]


def start(columns: tuple[int, ...] = COLUMNS) -> list[NDArray[np.float64]]:
    return initial_weights(seeds(len(columns)), columns, TERMS.embedding_width, FixedPoint())


def ic(scores: NDArray[np.float64], label: NDArray[np.float64]) -> float:
    good = np.isfinite(scores) & np.isfinite(label)
    return float(np.corrcoef(scores[good], label[good])[0, 1])


def test_joint_beats_every_fund_alone() -> None:
    features, label_panel = consortium()
    joint, _ = train_in_the_clear(features, label_panel, TERMS, WALK, row_limit=6, reserved=3, weights=start())
    own = alone(None, label_panel, TERMS, WALK)
    singles = [alone(p, label_panel, TERMS, WALK, weights=w) for p, w in zip(features, start(), strict=True)]
    best = max(ic(r.scores, label_panel.label) for r in [own, *singles])
    assert ic(joint.scores, label_panel.label) > best + 0.1
    assert own.embeddings.shape == (PERIODS, ENTITIES, 0)
    predicted = np.isfinite(joint.scores)
    assert (predicted[4:] == label_panel.universe[4:]).all()
    assert not predicted[:4].any()
    assert all((np.isfinite(r.scores) == predicted).all() for r in [own, *singles])


def test_nothing_after_the_cutoff_moves_a_score() -> None:
    features, label_panel = consortium()
    decision = 8
    future = np.random.default_rng(1)
    changed = [panel(p.values.copy()) for p in features]
    for p in changed:
        p.values[decision + 1 :] = future.normal(size=p.values[decision + 1 :].shape)
    label = label_panel.label.copy()
    unknown = label_panel.known_from > decision
    label[unknown] = np.where(np.isfinite(label[unknown]), future.normal(size=unknown.sum()) * 5, np.nan)
    results = [
        train_in_the_clear(f, p, TERMS, WALK, row_limit=6, reserved=3, weights=start())[0].scores
        for f, p in ((features, label_panel), (changed, replace(label_panel, label=label)))
    ]
    np.testing.assert_array_equal(results[0][: decision + 1], results[1][: decision + 1])
    assert (results[0][decision + 1 :] != results[1][decision + 1 :]).any()


def test_openings_are_those_of_the_schedule_and_within_budget() -> None:
    features, label_panel = consortium()
    result, _ = train_in_the_clear(features, label_panel, TERMS, WALK, row_limit=6, reserved=3, weights=start())
    counted = np.zeros(PERIODS * ENTITIES, dtype=np.int64)
    for step in result.steps:
        np.add.at(counted, step.rows, 1)
    np.testing.assert_array_equal(result.openings.reshape(-1), counted)
    assert (result.openings[np.isfinite(result.scores)] <= 6 - 3).all()
    assert len(result.losses) == len(result.ics) == sum(step.kind == "train" for step in result.steps)
    assert len(result.predictions) == PERIODS - 4
    assert sum(map(len, result.heads.values())) < 5000 * len(result.heads)


def test_coalitions_of_everyone_and_no_one() -> None:
    features, label_panel = consortium()
    result, source = train_in_the_clear(features, label_panel, TERMS, WALK, row_limit=6, reserved=3, weights=start())
    head = LabelHead(TERMS, 2)
    shape = (PERIODS, ENTITIES)

    def score(members: tuple[int, ...]) -> NDArray[np.float64]:
        opened = source.coalition(members, result.predictions)
        return score_coalition(head, result, label_panel, result.in_place(opened))

    np.testing.assert_allclose(score((0, 1, 2)), result.scores, atol=1e-12)
    last = max(result.heads)
    rows = np.isfinite(result.scores[last])
    bare = head.predict(np.zeros((rows.sum(), 2)), label_panel.features.values[last, rows])
    np.testing.assert_array_equal(score(())[last, rows], bare)
    values = {m: ic(score(m), label_panel.label) for m in ((), (0,), (0, 1), (0, 1, 2))}
    assert values[()] < values[0,] < values[0, 1] < values[0, 1, 2]
    np.testing.assert_array_equal(result.in_place(source.coalition((), result.predictions))[last, rows], 0.0)
    with pytest.raises(ValueError, match="rows were predicted"):
        result.in_place(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="lack rows that were predicted"):
        score_coalition(head, result, label_panel, np.full((*shape, 2), np.nan))


def test_backward_follows_forward_and_progress_counts_rows() -> None:
    features, label_panel = consortium()
    calls: list[tuple[str, int, int]] = []

    class Recorder(PlainSource):
        def forward(self, step: int, rows: NDArray[np.int64]) -> Flow[NDArray[np.float64]]:
            calls.append(("forward", step, len(rows)))
            return (yield from super().forward(step, rows))

        def backward(self, step: int, rows: NDArray[np.int64], gradient: NDArray[np.float64]) -> Flow[None]:
            assert gradient.shape == (len(rows), 2)
            calls.append(("backward", step, len(rows)))
            yield from super().backward(step, rows, gradient)

    steps = list(prequential(TERMS, WALK, label_panel.known_from, label_panel.label, label_panel.universe, 6, 3))
    source = Recorder([p.rows for p in features], start(), width=2)
    seen: list[Progress] = []
    run_local(
        {"label": walk_forward(source, LabelHead(TERMS, 2), steps, label_panel)},
        watch=lambda name, progress: seen.append(progress),
    )
    wanted = [
        (way, s.number, len(s.rows)) for s in steps for way in ("forward", "backward")[: 2 if s.kind == "train" else 1]
    ]
    assert calls == wanted
    total = sum(len(s.rows) for s in steps)
    assert [p.done for p in seen] == np.cumsum([len(s.rows) for s in steps]).tolist()
    assert {p.total for p in seen} == {total}
    assert set(seen[-1].metrics) == {"period", "loss", "ic"}


def test_rounding_features_as_encoded_moves_scores_little() -> None:
    features, label_panel = consortium()
    exact, rounded = (
        train_in_the_clear(
            features, label_panel, TERMS, WALK, row_limit=6, reserved=3, weights=start(), fixed_point=fixed
        )[0].scores
        for fixed in (None, FixedPoint())
    )
    difference = np.nanmax(np.abs(exact - rounded)) / np.nanstd(exact)
    assert 0 < difference < 0.02


@pytest.mark.parametrize("features", [1, 22, 400])
def test_initial_shares_have_the_stated_spread(features: int) -> None:
    fixed = FixedPoint()
    first, second = (initial_share(bytes([k]) * 32, (300, 64), fixed, features) for k in (1, 2))
    np.testing.assert_array_equal(first, initial_share(bytes([1]) * 32, (300, 64), fixed, features))
    spread = (first + second).std() / 2.0**fixed.weight_bits * np.sqrt(features)
    assert spread == pytest.approx(INITIAL_SCALE, rel=0.03)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.03
    with pytest.raises(ValueError, match="32 bytes"):
        initial_share(b"short", (2, 2), fixed, features)


@pytest.mark.parametrize(("features", "gradient_bits"), [(1, 23), (22, 23), (31, 23), (64, 23), (96, 22)])
def test_headroom_holds_for_the_largest_sum(features: int, gradient_bits: int) -> None:
    fixed = FixedPoint(gradient_bits=gradient_bits)
    headroom = fixed.headroom_bits(features)
    assert headroom >= 1
    ring = Ring(fixed.ring_bits)
    encoded = encode_features(np.full((1, features), fixed.clip), fixed.feature_bits, fixed.clip)
    for sign in (-1, 1):
        weights = np.full((features, 1), sign * 2 ** (headroom + fixed.weight_bits), dtype=np.int64)
        opened = ring.decode(ring.matmul(encoded, ring.wrap(weights)), fixed.output_bits)
        assert opened.item() == sign * features * fixed.clip * 2**headroom


def test_missing_weights_are_refused() -> None:
    features, label_panel = consortium()
    with pytest.raises(ValueError, match="initial weights"):
        alone(features[0], label_panel, TERMS, WALK)
    with pytest.raises(ValueError, match="one weight matrix"):
        PlainSource([features[0].rows], start()[1:2], width=2)
