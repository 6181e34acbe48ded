"""Joint ridge from secure moments against scikit-learn on pooled columns, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import Ridge

from psi.flow import Flow, LocalProtocolError, Message, RemoteProtocolError, run_local
from tests.places import SHARED_DATA
from vfl.arithmetic.he import Context, KeyHolder
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring, unpack
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.ridge.basis import moment_bits, secret_rotation
from vfl.models.ridge.feature import serve_linear
from vfl.models.ridge.label import SealedLinear
from vfl.models.ridge.moments import Moments, moments_of, solve_ridge
from vfl.models.ridge.walk import RidgeHead, ridge_in_the_clear, ridge_steps, ridge_walk_forward
from vfl.models.split.training import score_coalition
from vfl.protocols.coalitions import open_coalitions, opened_coalitions, serve_coalitions
from vfl.protocols.feature_session import FeatureSession
from vfl.protocols.label_session import LabelSession
from vfl.protocols.moment_messages import MomentRows, PairShares
from vfl.protocols.opening import ZeroSumMasks, agree_masks
from vfl.protocols.opening_budget import OpeningBudget
from vfl.terms import FixedPoint, RidgeModel, WalkForward
from vfl.walk.result import TrainingResult

FIXED = FixedPoint()
RING = Ring(FIXED.ring_bits)
CONTEXT = Context("bfv-8192", FIXED.ring_bits)
RUN = hashlib.sha256(b"ridge").hexdigest()

F64 = NDArray[np.float64]
Served = dict[str, Any]


def secret(name: str) -> SecretStream:
    return SecretStream(hashlib.sha256(name.encode()).digest())


def label_end(columns: dict[str, int], *, single: bool = False) -> LabelSession:
    key = KeyHolder(CONTEXT)
    return LabelSession("label", "label", columns, FIXED, "bfv-8192", "train-1", single_party=single, key=key)


def feature_end(
    me: str, columns: dict[str, int], masks: ZeroSumMasks, budget: OpeningBudget, *, single: bool = False,
    name: str = "train-1",
) -> FeatureSession:  # fmt: skip
    return FeatureSession(
        me, "label", columns, FIXED, "bfv-8192", name, single_party=single, masks=masks, budget=budget,
        stream=secret(f"stream/{me}"),
    )  # fmt: skip


def feature_flow(
    me: str, columns: dict[str, int], features: F64, label_columns: int, terms: RidgeModel, limit: int, single: bool
) -> Flow[Any]:
    stream = secret(f"stream/{me}")
    masks = yield from agree_masks(me, list(columns), RUN, RING, stream)
    budget = OpeningBudget(len(features), limit)
    served = yield from serve_linear(
        feature_end(me, columns, masks, budget, single=single), features, label_columns, terms
    )
    return served, masks, budget


def run(
    features: dict[str, F64],
    label_columns: int,
    work: Callable[[SealedLinear], Flow[Any]],
    terms: RidgeModel,
    *,
    limit: int = 100,
    single: bool = False,
    relay: Callable[[str, str, Message], Message] | None = None,
) -> tuple[Any, dict[str, Any], SealedLinear]:
    columns = {name: x.shape[1] for name, x in features.items()}
    source = SealedLinear(label_end(columns, single=single))

    def label() -> Flow[Any]:
        yield from source.start()
        result = yield from work(source)
        yield from source.finish()
        return result

    flows: dict[str, Flow[Any]] = {"label": label()}
    for name, x in features.items():
        flows[name] = feature_flow(name, columns, x, label_columns, terms, limit, single)
    results = run_local(flows, relay=relay)
    return results.pop("label"), results, source


def turned(features: dict[str, F64]) -> dict[str, F64]:
    """What the label party's moments are about: each party's columns in its secret basis."""
    return {
        n: x @ secret_rotation(secret(f"stream/{n}").child("rotation/train-1"), x.shape[1]) for n, x in features.items()
    }


def block(rows: NDArray[np.int64], own: F64, label: F64) -> Callable[[SealedLinear], Flow[Moments]]:
    return lambda source: source.moments(0, rows, own, label)


def closed_form(x: F64, y: F64, alpha: float) -> tuple[F64, float]:
    """Ridge with a free intercept by least squares on stacked rows (no normal equations)."""
    xc, yc = x - x.mean(axis=0), y - y.mean()
    stacked = np.concatenate([xc, np.sqrt(alpha) * np.eye(x.shape[1])])
    beta = np.linalg.lstsq(stacked, np.concatenate([yc, np.zeros(x.shape[1])]), rcond=None)[0]
    return beta, float(y.mean() - x.mean(axis=0) @ beta)


@settings(max_examples=8, deadline=None)
@given(
    columns=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    own=st.integers(0, 3),
    extra=st.sampled_from([0, 1, 77]),
    seed=st.integers(0, 2**32 - 1),
)
def test_moments_equal_those_of_the_pooled_columns(columns: list[int], own: int, extra: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    terms = RidgeModel()
    n = terms.smallest_block(sum(columns), own + 1) + extra
    features = {f"p{i}": rng.normal(size=(n + 9, d)).clip(-8, 8) for i, d in enumerate(columns)}
    features["p0"][:, 0] = 0.0
    mine, label = rng.normal(size=(n, own)) * 1e3, rng.normal(size=n) * 50 + 1e4
    rows = rng.permutation(n + 9)[:n]
    got, served, _ = run(features, own + 1, block(rows, mine, label), terms, single=len(columns) == 1)
    pooled = np.concatenate([*(x[rows] for x in turned(features).values()), mine], axis=1)
    want = moments_of(pooled, label)
    scale = np.sqrt(np.concatenate([np.full(sum(columns), n), np.diag(want.gram)[sum(columns) :]]) + 1e-9)
    assert np.abs((got.gram - want.gram) / np.outer(scale, scale)).max() < 1e-5
    assert np.abs((got.cross - want.cross) / scale / np.linalg.norm(label)).max() < 1e-4
    assert (got.rows, got.label_sum, got.label_square) == (want.rows, want.label_sum, want.label_square)
    assert all(budget.counts.sum() == n for _, _, budget in served.values())


@settings(max_examples=40, deadline=None)
@given(d=st.integers(1, 6), alpha=st.sampled_from([0.01, 1.0, 300.0]), seed=st.integers(0, 10**6), scaled=st.booleans())
def test_solving_is_least_squares_on_pooled_rows(d: int, alpha: float, seed: int, scaled: bool) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, d)) * rng.uniform(0.5, 4, d) + rng.normal(size=d)
    y = x.sum(axis=1) + rng.normal(size=60) + 3
    parts = moments_of(x[:20], y[:20]) + moments_of(x[20:], y[20:])
    solution = solve_ridge(parts, alpha, standardise=scaled)
    deviation = x.std(axis=0) if scaled else np.ones(d)
    beta, intercept = closed_form(x / deviation, y, alpha)
    np.testing.assert_allclose(solution.coefficients, beta / deviation, rtol=1e-7, atol=1e-9)
    assert solution.intercept == pytest.approx(intercept, rel=1e-7, abs=1e-7)
    assert solution.mean_square == pytest.approx(np.mean((y - x @ solution.coefficients - solution.intercept) ** 2))


def test_solving_says_what_is_wrong() -> None:
    x = np.ones((4, 2))
    assert solve_ridge(moments_of(x, np.arange(4.0)), 1.0, standardise=True).coefficients.tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="alpha"):
        solve_ridge(moments_of(x, x[:, 0]), -1.0)
    with pytest.raises(ValueError, match="singular"):
        solve_ridge(moments_of(x, x[:, 0]), 0.0)


def panel(values: F64) -> FeaturePanel:
    shape = values.shape[:2]
    never = np.full(shape, np.datetime64("NaT"), dtype="datetime64[ns]")
    names = tuple(f"c{i}" for i in range(values.shape[2]))
    return FeaturePanel(names, values, np.ones(shape, dtype=bool), never, never)


def consortium(periods: int = 9, entities: int = 50) -> tuple[dict[str, FeaturePanel], LabelPanel]:
    rng = np.random.default_rng(3)
    shape = (periods, entities)
    features = {n: rng.normal(size=(*shape, d)).clip(-8, 8) for n, d in {"a": 3, "b": 2, "c": 4}.items()}
    own = rng.normal(size=(*shape, 2))
    label = sum(x.sum(axis=2) for x in features.values()) * 0.2 + own[..., 0] + rng.normal(size=shape)
    label[rng.random(shape) < 0.1] = np.nan
    known = np.repeat(np.arange(1, periods + 1)[:, None], entities, axis=1)
    return {n: panel(x) for n, x in features.items()}, LabelPanel(panel(own), label, known, rng.random(shape) < 0.9)


def walk(
    panels: dict[str, FeaturePanel], label: LabelPanel, terms: RidgeModel, walking: WalkForward
) -> tuple[TrainingResult, dict[str, Any], SealedLinear]:
    d = sum(p.values.shape[-1] for p in panels.values())
    steps = tuple(ridge_steps(terms, walking, label, d, 10, 3))
    own = label.features.values.shape[-1]
    return run(
        {n: p.rows for n, p in panels.items()},
        own + 1,
        lambda source: ridge_walk_forward(source, RidgeHead(own), terms.alpha, steps, label),
        terms,
        limit=2 + 3,
    )


def test_walk_forward_equals_the_twin_and_its_coalitions_add_up() -> None:
    panels, label = consortium()
    terms, walking = RidgeModel(alpha=5.0), WalkForward(horizon=1, warmup=2)
    sealed, served, source = walk(panels, label, terms, walking)
    plain, twin = ridge_in_the_clear(list(panels.values()), label, terms, walking, 9)
    assert np.array_equal(np.isnan(sealed.scores), np.isnan(plain.scores))
    spread = np.nanstd(plain.scores)
    assert np.nanmax(np.abs(sealed.scores - plain.scores)) < 1e-4 * spread
    np.testing.assert_allclose(sealed.losses, plain.losses, rtol=1e-4)
    np.testing.assert_array_equal(sealed.openings, plain.openings)

    flows: dict[str, Flow[Any]] = {"label": open_coalitions(source.session, source.kept)}
    for n, (state, masks, budget) in served.items():
        end = feature_end(n, dict(source.session.parties), masks, budget, name="value-1")
        flows[n] = serve_coalitions(end, state.predictions, consent=True)
    sums = run_local(flows)["label"]
    for members in opened_coalitions("abc"):
        want = twin.coalition(["abc".index(m) for m in members], plain.predictions)
        assert np.abs(sums[frozenset(members)] - want).max() < 2e-3
    alone = score_coalition(RidgeHead(2), sealed, label, sealed.in_place(sums[frozenset("a")]))
    assert np.array_equal(np.isnan(alone), np.isnan(sealed.scores))
    assert np.nanmax(np.abs(alone - sealed.scores)) > 0.1


def test_nothing_after_the_cutoff_moves_a_score() -> None:
    panels, label = consortium()
    terms, walking, decision = RidgeModel(alpha=5.0), WalkForward(horizon=2, warmup=1), 6
    rng = np.random.default_rng(1)
    changed = {n: panel(p.values.copy()) for n, p in panels.items()}
    for p in changed.values():
        p.values[decision + 1 :] = rng.normal(size=p.values[decision + 1 :].shape)
    late = label.label.copy()
    late[decision - 1 :] = rng.normal(size=late[decision - 1 :].shape) * np.sign(np.abs(late[decision - 1 :]))
    before, _ = ridge_in_the_clear(list(panels.values()), label, terms, walking, 9)
    after, _ = ridge_in_the_clear(list(changed.values()), replace(label, label=late), terms, walking, 9)
    np.testing.assert_array_equal(before.scores[: decision + 1], after.scores[: decision + 1])
    assert (before.scores[decision + 1 :] != after.scores[decision + 1 :]).any()
    for step in before.steps:
        if step.kind == "train":
            assert (step.rows // 50 + 2 <= step.period).all()
            assert len(step.rows) >= terms.smallest_block(9, 3)
    entered = np.concatenate([s.rows for s in before.steps if s.kind == "train"])
    assert len(np.unique(entered)) == len(entered)


def test_a_schedule_without_enough_rows_or_openings_is_refused() -> None:
    _, label = consortium()
    with pytest.raises(ValueError, match="rows_per_column"):
        list(ridge_steps(RidgeModel(), WalkForward(), label, 1000, 10, 0))
    with pytest.raises(ValueError, match="limit_per_row"):
        list(ridge_steps(RidgeModel(), WalkForward(), label, 9, 4, 3))


def two(rows: int = 60) -> dict[str, F64]:
    rng = np.random.default_rng(0)
    return {n: rng.normal(size=(rows, 2)) for n in "ab"}


def test_small_and_repeated_blocks_are_refused_by_the_feature_party() -> None:
    terms, y = RidgeModel(), np.arange(60.0)

    def repeat(source: SealedLinear) -> Flow[None]:
        yield from source.moments(0, np.arange(30), np.zeros((30, 0)), y[:30])
        yield from source.moments(1, np.arange(29, 60), np.zeros((31, 0)), y[29:])

    with pytest.raises(RemoteProtocolError, match="25 are needed"):
        run(two(), 1, block(np.arange(19), np.zeros((19, 0)), y[:19]), terms)
    with pytest.raises(RemoteProtocolError, match="entered before"):
        run(two(), 1, repeat, terms)
    with pytest.raises(RemoteProtocolError, match=r"^label: asked for more than it may have: .* which is the limit"):
        run(two(), 1, block(np.arange(30), np.zeros((30, 0)), y[:30]), terms, limit=0)


def test_headroom_and_consent() -> None:
    for rows in (2, 500, 2**11, 2**11 + 1, 100_000):
        bits = moment_bits(rows, 54)
        assert rows * 32**2 * 4**bits < 2**53
        assert bits == 16 or rows * 32**2 * 4 ** (bits + 1) >= 2**53
    with pytest.raises(ValueError, match="ring_bits"):
        moment_bits(100_000, 46)
    source = SealedLinear(label_end({"a": 2, "b": 2}))
    with pytest.raises(ValueError, match="alpha"):
        source.use(np.full(4, 1e3))
    with pytest.raises(LocalProtocolError, match="consent"):
        label_end({"a": 2})


def test_a_damaged_share_is_named() -> None:
    def relay(sender: str, _: str, got: Message) -> Message:
        if sender == "b" and isinstance(got, PairShares):
            return PairShares(got.block, got.label[:-1], got.pairs)
        return got

    with pytest.raises(RemoteProtocolError, match=r"^b: "):
        run(two(), 1, block(np.arange(60), np.zeros((60, 0)), np.arange(60.0)), RidgeModel(), relay=relay)


def test_shares_are_uniform_and_the_columns_stay_in_a_secret_basis() -> None:
    """Chi-square on the top 6 bits of every share at the label party; the moments it opens are turned."""
    seen: list[np.ndarray] = []
    announced: list[MomentRows] = []

    def relay(_: str, __: str, got: Message) -> Message:
        if isinstance(got, PairShares):
            parts = (got.label, *got.pairs)
            seen.extend(unpack(part, RING.width, len(part) // RING.width, RING.modulus) for part in parts)
        if isinstance(got, MomentRows):
            announced.append(got)
        return got

    rng = np.random.default_rng(5)
    features = {n: np.full((400, 14), 2.0) + rng.normal(size=(400, 14)) * 0.1 for n in "abc"}
    rows = np.arange(400)
    got, _, _ = run(features, 1, block(rows, np.zeros((400, 0)), rng.normal(size=400)), RidgeModel(), relay=relay)
    top = np.concatenate(seen) >> np.uint64(RING.bits - 6)
    assert len(announced) == 3
    assert stats.chisquare(np.bincount(top.astype(int), minlength=64)).pvalue > 1e-6
    raw = features["a"].T @ features["a"]
    assert np.abs(np.diag(got.gram)[:14] / np.diag(raw) - 1).min() > 1e-3


@pytest.mark.data
def test_motor_equals_pooled_ridge() -> None:
    folder = SHARED_DATA / "fate_hetero"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    guest, *hosts = (pd.read_csv(folder / f"motor_hetero_{n}.csv.gz") for n in ("guest", "host_1", "host_2"))
    label = guest["motor_speed"].to_numpy()
    own = guest.drop(columns=["idx", "motor_speed"]).to_numpy()
    features = {f"h{i}": h.drop(columns="idx").to_numpy(dtype=np.float64) for i, h in enumerate(hosts)}
    alpha, rows = 1.0, np.arange(len(label))

    def work(source: SealedLinear) -> Flow[tuple[F64, F64]]:
        moments = yield from source.moments(0, rows, own, label)
        head, solution = RidgeHead(own.shape[1]), solve_ridge(moments, alpha)
        source.use(head.take(solution))
        z = yield from source.forward(1, rows)
        return solution.coefficients, head.predict(z, own)

    (coefficients, scores), _, _ = run(features, own.shape[1] + 1, work, RidgeModel(alpha=alpha))
    pooled = np.concatenate([*features.values(), own], axis=1)
    fitted = Ridge(alpha=alpha).fit(pooled, label)
    beta, intercept = fitted.coef_, fitted.intercept_
    basis = [secret_rotation(secret(f"stream/{n}").child("rotation/train-1"), x.shape[1]) for n, x in features.items()]
    back = np.concatenate([basis[0] @ coefficients[:3], basis[1] @ coefficients[3:7], coefficients[7:]])
    assert np.linalg.norm(back - beta) < 1e-4 * np.linalg.norm(beta)
    assert np.linalg.norm(scores - pooled @ beta - intercept) < 1e-4 * np.linalg.norm(scores)
    r2 = 1 - ((scores - label) ** 2).sum() / ((label - label.mean()) ** 2).sum()
    assert r2 == pytest.approx(0.9134, rel=0.01)


@pytest.mark.data
def test_india_panel_equals_pooled_walk_forward() -> None:
    path = SHARED_DATA / "india_districts" / "reference_centralised_panel.parquet"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    frame = pd.read_parquet(path)
    quarters, ids = sorted(frame["quarter"].unique()), sorted(frame["id"].unique())
    frame = frame.set_index(["quarter", "id"])

    def cube(columns: list[str]) -> F64:
        whole = frame[columns].reindex(pd.MultiIndex.from_product([quarters, ids]))
        return whole.to_numpy(dtype=np.float64).reshape(len(quarters), len(ids), len(columns))

    groups = {p: [c for c in frame.columns if c.startswith(f"{p}_")] for p in ("sat", "pay", "app", "bnk")}
    label = cube(["label_credit_yoy_cs"])[..., 0]
    known = np.repeat(np.arange(1, len(quarters) + 1)[:, None], len(ids), axis=1)
    panels = {p: panel(np.nan_to_num(cube(c))) for p, c in groups.items()}
    mine = LabelPanel(panels.pop("bnk"), label, known, np.isfinite(label))
    terms = RidgeModel(alpha=300.0)
    sealed, _, _ = walk(panels, mine, terms, WalkForward(horizon=1, warmup=6))

    pooled = np.concatenate([*(p.values for p in panels.values()), mine.features.values], axis=2)
    ics, errors = [], []
    for t in range(quarters.index("2020Q3"), len(quarters)):
        past = np.isfinite(label[:t])
        now = np.isfinite(label[t])
        want = Ridge(alpha=300.0).fit(pooled[:t][past], label[:t][past]).predict(pooled[t][now])
        got = sealed.scores[t][now]
        errors.append(np.abs(got - want).max() / want.std())
        ics.append(stats.spearmanr(got, label[t][now]).statistic)
    assert max(errors) < 1e-4
    assert np.mean(ics) == pytest.approx(0.2943, abs=0.002)
