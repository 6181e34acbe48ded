"""The label head: losses against plain oracles, updates within their bound, exact restarts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import spearmanr

from vfl.models.split.losses import information_coefficient, rank_coefficient, soft_ranks
from vfl.models.split.top import LabelHead, TopModel
from vfl.terms import SplitModel

Batch = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]


def batch(rows: int, width: int, own: int, seed: int, dates: int = 3) -> Batch:
    generator = np.random.default_rng(seed)
    z, x = generator.normal(size=(rows, width)), generator.normal(size=(rows, own))
    label = 0.5 * z.sum(axis=1) + 0.3 * x.sum(axis=1) + generator.normal(size=rows)
    return z, x, label, generator.integers(0, dates, rows)


@settings(max_examples=80, deadline=None)
@given(rows=st.integers(1, 40), dates=st.integers(1, 6), seed=st.integers(0, 10**6), flat=st.booleans())
def test_ic_is_the_mean_of_numpys_per_date_correlation(rows: int, dates: int, seed: int, flat: bool) -> None:
    generator = np.random.default_rng(seed)
    when = generator.integers(0, dates, rows)
    score, label = generator.normal(size=rows), generator.normal(size=rows)
    if flat:
        score[when == 0] = 1.5
    wanted = [
        np.corrcoef(score[when == d], label[when == d])[0, 1]
        for d in np.unique(when)
        if (when == d).sum() >= 3 and not (flat and d == 0)
    ]
    got = information_coefficient(torch.from_numpy(score), torch.from_numpy(label), torch.from_numpy(when))
    if wanted:
        assert got is not None
        assert float(got) == pytest.approx(np.mean(wanted), abs=1e-10)
    else:
        assert got is None


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 30),
    width=st.integers(1, 4),
    own=st.integers(0, 3),
    weight=st.sampled_from([0.0, 0.5, 1.0]),
    spread=st.sampled_from([0.0, 1e-9, 1.0, 1e4]),
    seed=st.integers(0, 10**6),
)
def test_update_is_finite_and_within_its_bound(
    rows: int, width: int, own: int, weight: float, spread: float, seed: int
) -> None:
    z, x, label, dates = batch(rows, width, own, seed)
    head = LabelHead(SplitModel(embedding_width=width, hidden=3, ic_weight=weight), own)
    gradient = head.train_batch(z * spread, x, label * max(spread, 1.0), dates)
    assert gradient.shape == (rows, width)
    assert gradient.dtype == np.float64
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() <= head.gradient_bound


def test_update_is_the_normalised_slope_of_the_loss() -> None:
    terms = SplitModel(
        embedding_width=2, members=2, top_steps=1, source_learning_rate=0.25, source_decay=1.0, ic_weight=0.4
    )
    z, x, label, dates = batch(50, 2, 3, 7)
    head = LabelHead(terms, 3)
    for expected_rate in (0.25, 0.125):
        gradient = head.train_batch(z, x, label, dates)

        def loss(at: NDArray[np.float64]) -> float:
            with torch.no_grad():
                members = head.model.members(torch.from_numpy(at), torch.from_numpy(x)).numpy()
            np.testing.assert_allclose(members.mean(axis=0), head.predict(at, x))
            ics = [np.corrcoef(s[dates == d], label[dates == d])[0, 1] for s in members for d in np.unique(dates)]
            return float(0.6 * np.mean((members - label) ** 2) + 0.4 * (1 - np.mean(ics)))

        slope = np.zeros_like(z)
        for index in np.ndindex(*z.shape):
            nudge = np.zeros_like(z)
            nudge[index] = 1e-5
            slope[index] = (loss(z + nudge) - loss(z - nudge)) / 2e-5
        wanted = slope / np.sqrt((slope**2).mean(axis=0)) * expected_rate / len(z)
        np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-8)
        assert head.loss == pytest.approx(loss(z), abs=1e-9)


def test_head_and_source_updates_together_learn() -> None:
    generator = np.random.default_rng(3)
    features, own = generator.normal(size=(4000, 6)), generator.normal(size=(4000, 2))
    truth = generator.normal(size=6)
    label = features @ truth / np.linalg.norm(truth) + 0.5 * own[:, 0] + generator.normal(size=4000)
    dates = np.arange(4000) // 100
    weights = generator.normal(size=(6, 2)) * 0.1
    head = LabelHead(SplitModel(embedding_width=2, top_steps=3, top_learning_rate=0.01), 2)
    for start in range(0, 3000, 100):
        rows = slice(start, start + 100)
        weights -= features[rows].T @ head.train_batch(features[rows] @ weights, own[rows], label[rows], dates[rows])
    rest = slice(3000, 4000)
    score = head.predict(features[rest] @ weights, own[rest])
    best = features[rest] @ truth / np.linalg.norm(truth) + 0.5 * own[rest, 0]
    assert np.corrcoef(score, label[rest])[0, 1] > 0.9 * np.corrcoef(best, label[rest])[0, 1]


def test_restore_goes_on_exactly_and_scorer_only_predicts() -> None:
    terms = SplitModel(embedding_width=2, hidden=5)
    first = LabelHead(terms, 3)
    for seed in range(3):
        first.train_batch(*batch(30, 2, 3, seed))
    second = LabelHead(terms, 3)
    second.restore(first.snapshot())
    probe = batch(30, 2, 3, 99)
    np.testing.assert_array_equal(first.train_batch(*probe), second.train_batch(*probe))
    np.testing.assert_array_equal(first.predict(*probe[:2]), second.predict(*probe[:2]))
    third = LabelHead(terms, 3)
    third.load_scorer(first.scorer())
    np.testing.assert_array_equal(first.predict(*probe[:2]), third.predict(*probe[:2]))
    with pytest.raises(ValueError, match="lacks the optimiser"):
        third.restore(first.scorer())
    with pytest.raises(ValueError, match="other shapes"):
        LabelHead(terms, 2).restore(first.snapshot())


def test_result_does_not_depend_on_the_thread_count() -> None:
    threads = torch.get_num_threads()
    outcomes = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            head = LabelHead(SplitModel(embedding_width=4, hidden=64), 8)
            outcomes.append([head.train_batch(*batch(2000, 4, 8, seed)) for seed in range(3)])
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(outcomes[0], outcomes[1])


def test_top_model_starts_linear_and_seeds_differ() -> None:
    z, x, _, _ = batch(20, 3, 2, 0)
    model = TopModel(3, 2, SplitModel(hidden=8, members=2), torch.Generator().manual_seed(1))
    with torch.no_grad():
        scores = [model(torch.from_numpy(z * s), torch.from_numpy(x * s)).numpy() for s in (1.0, 2.0)]
    np.testing.assert_allclose(2 * scores[0], scores[1])
    a, b = (LabelHead(SplitModel(embedding_width=3, seed=s), 2).snapshot() for s in (1, 2))
    assert a != b


def test_wrong_batches_are_refused() -> None:
    head = LabelHead(SplitModel(embedding_width=2), 3)
    z, x, label, dates = batch(10, 2, 3, 0)
    with pytest.raises(ValueError, match="2 embedding and 3 own columns"):
        head.predict(z, x[:, :1])
    with pytest.raises(ValueError, match="9 labels"):
        head.train_batch(z, x, label[:9], dates)
    label[4] = np.nan
    with pytest.raises(ValueError, match="finite"):
        head.train_batch(z, x, label, dates)


KINDS = [
    SplitModel(embedding_width=2, members=2, hidden=3, batch_rows=64, top=top, loss=loss, ic_weight=0.4)
    for top in ("linear", "mlp", "residual")
    for loss in ("regression", "mse", "ic", "rank_ic", "logistic")
]


@pytest.mark.parametrize("terms", KINDS, ids=lambda t: f"{t.top}-{t.loss}")
def test_every_kind_and_loss_has_the_slope_of_its_differences(terms: SplitModel) -> None:
    z, x, label, dates = (torch.from_numpy(part) for part in batch(14, 2, 2, 5))
    label = (label > 0).double() if terms.loss == "logistic" else label
    head = LabelHead(terms, 2)
    with torch.no_grad():
        for weight in head.model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    learned = [p for p in head.model.parameters() if p.requires_grad and p.numel()]
    assert torch.autograd.gradcheck(
        lambda at, *_: head._loss(at, x, label, dates), (z.requires_grad_(True), *learned), fast_mode=True
    )


@pytest.mark.parametrize("terms", KINDS, ids=lambda t: f"{t.top}-{t.loss}")
def test_every_kind_and_loss_learns_and_restores(terms: SplitModel) -> None:
    generator = np.random.default_rng(3)
    features = generator.normal(size=(4000, 6))
    label = features @ np.array([1.0, -1, 1, 0, 0, 0]) + generator.normal(size=4000)
    target = (label > 0).astype(float) if terms.loss == "logistic" else label
    dates = np.arange(4000) // 100
    weights = generator.normal(size=(6, 2)) * 0.1
    terms = terms.model_copy(update={"top_steps": 3, "top_learning_rate": 0.01})
    head = LabelHead(terms, 0)
    for start in range(0, 3000, 100):
        rows = slice(start, start + 100)
        if start == 1500:
            saved, head = head.snapshot(), LabelHead(terms, 0)
            head.restore(saved)
        gradient = head.train_batch(features[rows] @ weights, np.zeros((100, 0)), target[rows], dates[rows])
        weights -= features[rows].T @ gradient
    score = head.predict(features[3000:] @ weights, np.zeros((1000, 0)))
    assert np.corrcoef(score, label[3000:])[0, 1] > 0.75


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 30), seed=st.integers(0, 10**6), scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_soft_ranks_harden_into_ranks(count: int, seed: int, scale: float) -> None:
    values = np.random.default_rng(seed).permutation(count) * scale
    ranks = soft_ranks(torch.from_numpy(values)[None], 1e-3)[0]
    np.testing.assert_allclose(ranks.numpy(), np.argsort(np.argsort(values)) + 1.0, atol=1e-9)
    soft = soft_ranks(torch.from_numpy(values)[None], 0.5)[0]
    assert float(soft.sum()) == pytest.approx(count * (count + 1) / 2)
    np.testing.assert_allclose(soft_ranks(torch.from_numpy(values * 3 + 1)[None], 0.5)[0].numpy(), soft.numpy())


def test_rank_coefficient_nears_the_rank_ic_and_ignores_outliers() -> None:
    generator = np.random.default_rng(2)
    score, dates = generator.normal(size=200), generator.integers(0, 4, 200)
    label = np.round(score + generator.normal(size=200), 1)
    wanted = np.mean([spearmanr(score[dates == d], label[dates == d]).statistic for d in range(4)])
    got, far = (
        rank_coefficient(torch.from_numpy(score), torch.from_numpy(y), torch.from_numpy(dates), 1e-4)
        for y in (label, np.where(label == label.max(), 1e6, label))
    )
    assert got is not None
    assert far is not None
    assert float(got) == pytest.approx(wanted, abs=1e-4)
    assert float(far) == pytest.approx(float(got), abs=1e-9)
    few = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]), torch.tensor([0, 0])
    assert rank_coefficient(*few, 0.1) is None


def test_members_of_a_line_are_one_and_others_differ() -> None:
    z, x, label, dates = batch(80, 2, 1, 0)
    spread = {}
    for top in ("linear", "mlp", "residual"):
        head = LabelHead(SplitModel(embedding_width=2, members=3, top=top), 1)
        for _ in range(5):
            head.train_batch(z, x, label, dates)
        with torch.no_grad():
            members = head.model.members(torch.from_numpy(z), torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(members.mean(axis=0), head.predict(z, x))
        spread[top] = members.std(axis=0).max()
    assert spread["linear"] < 1e-12
    assert min(spread["mlp"], spread["residual"]) > 1e-4
