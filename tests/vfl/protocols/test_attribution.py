"""Sealed attribution against plain arithmetic, its headroom, its refusals, and what travels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from psi.flow import REGISTER, Flow, LocalProtocolError, Message, Payload, RemoteProtocolError, run_local
from vfl.arithmetic.he import Context, KeyHolder
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring, unpack
from vfl.arithmetic.share import Share
from vfl.contribution.attribution import attribution_of, covariance_slopes, in_the_clear, path_slopes
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.ridge.walk import RidgeHead
from vfl.models.split.top import LabelHead
from vfl.protocols.attribution import AttributionShares, attribute, serve_attribution
from vfl.protocols.feature_session import FeatureSession
from vfl.protocols.label_session import LabelSession
from vfl.protocols.opening import ZeroSumMasks
from vfl.protocols.opening_budget import OpeningBudget
from vfl.protocols.session import Kept
from vfl.terms import FixedPoint, SplitModel
from vfl.walk.result import TrainingResult

FIXED = FixedPoint()
RING = Ring(FIXED.ring_bits)
KEY = KeyHolder(Context("bfv-8192", FIXED.ring_bits))
Relay = Callable[[str, str, Message], Message]


def secret(name: str) -> SecretStream:
    return SecretStream(hashlib.sha256(name.encode()).digest())


class World:
    """Embeddings of K parties in shares, and slopes."""

    def __init__(self, parties: int, periods: int, entities: int, width: int, seed: int, *, size: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        self.entities, self.seed = entities, seed
        self.names = [f"p{k}" for k in range(parties)]
        # rows that were predicted: some of each period's, in no particular order
        rows = [
            t * entities + rng.permutation(entities)[: rng.integers(1, entities + 1)] for t in range(2, 2 + periods)
        ]
        self.rows = np.concatenate(rows).astype(np.int64)
        shape = (len(self.rows), width)
        self.slopes = rng.normal(size=shape) / entities
        whole = {n: np.rint(np.ldexp(size * rng.normal(size=shape), FIXED.output_bits)) for n in self.names}
        self.z = {n: np.ldexp(v, -FIXED.output_bits) for n, v in whole.items()}
        self.total = np.sum(list(self.z.values()), axis=0)
        self.theirs, self.ours = {}, {}
        for n, values in whole.items():
            share = Share(RING, RING.uniform(secret(f"{n}/{seed}"), shape))
            self.theirs[n] = Kept(self.rows, share)
            self.ours[n] = Kept(self.rows, Share(RING, RING.wrap(values.astype(np.int64))) - share)

    def expected(self, name: str) -> np.ndarray:
        return np.array([(self.slopes * self.z[name])[g].sum() for g in self.groups])

    @property
    def groups(self) -> list[np.ndarray]:
        periods = self.rows // self.entities
        return [periods == t for t in np.unique(periods)]

    @property
    def norms(self) -> np.ndarray:
        return np.array([np.linalg.norm(self.slopes[g]) * np.linalg.norm(self.total[g]) for g in self.groups])

    def run(self, *, relay: Relay | None = None, limit: int = 1, consent: bool = True) -> dict[str, Any]:
        columns, single = dict.fromkeys(self.names, 1), len(self.names) == 1
        keyed = LabelSession("label", "label", columns, FIXED, "bfv-8192", "value", single_party=single, key=KEY)
        flows: dict[str, Flow[Any]] = {"label": attribute(keyed, self.ours, self.slopes, self.total, self.entities)}
        self.budgets = {n: OpeningBudget(int(self.rows.max()) + 1, limit) for n in self.names}
        for n in self.names:
            session = FeatureSession(
                n, "label", columns, FIXED, "bfv-8192", "value-1", single_party=single,
                masks=ZeroSumMasks(n, {}, RING), budget=self.budgets[n], stream=secret(f"stream/{n}/{self.seed}"),
            )  # fmt: skip
            flows[n] = serve_attribution(session, self.theirs[n], self.entities, consent=consent)
        return run_local(flows, relay=relay)


@settings(deadline=None, max_examples=12)
@given(
    st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 7, 60]), st.integers(1, 4), st.integers(0, 10**6),
    st.sampled_from([1e-3, 0.3, 1.0, 25.0]),
)  # fmt: skip
def test_equals_plain_arithmetic_and_adds_up(
    parties: int, periods: int, entities: int, width: int, seed: int, size: float
) -> None:
    world = World(parties, periods, entities, width, seed, size=size)
    found = world.run()["label"]
    bounds = []
    for group in world.groups:
        slopes, largest = np.abs(world.slopes[group]).sum(), np.abs(world.total[group]).max()
        embedded = max(np.abs(z[group]).sum() for z in world.z.values())
        bounds.append(slopes * (2.0**-21 + largest * embedded * 2.0**-26))
    errors = {n: found[n] - world.expected(n) for n in world.names}
    for error in errors.values():
        np.testing.assert_array_less(np.abs(error), bounds)
    np.testing.assert_array_less(np.abs(sum(errors.values())), np.multiply(bounds, parties))


def test_a_full_period_adds_up_to_a_millionth() -> None:
    world = World(3, 1, 700, 3, 11)
    found = world.run()["label"]
    summed, total = sum(found.values()), sum(world.expected(n) for n in world.names)
    assert abs(summed - total)[0] < 1e-6 * world.norms[0]
    for name in world.names:
        assert abs(found[name] - world.expected(name))[0] < 1e-6 * world.norms[0]


def test_a_slope_of_zero_leaves_a_row_out() -> None:
    world = World(2, 2, 20, 2, 3)
    first = world.rows // 20 == 2
    world.slopes[first] = 0.0
    found = world.run()["label"]
    assert all(found[n][0] == 0.0 and found[n][1] != 0.0 for n in world.names)


def test_one_uniform_element_per_period_and_no_row_value_travels() -> None:
    opened: list[int] = []
    kinds: dict[str, set[str]] = {}

    def relay(sender: str, receiver: str, got: Message) -> Message:
        kinds.setdefault(sender, set()).add(got._kind)  # type: ignore[attr-defined]
        if isinstance(got, AttributionShares):
            opened.extend(unpack(got.values, RING.width, got.periods, RING.modulus).tolist())
        return got

    for seed in range(6):
        World(2, 12, 3, 1, seed).run(relay=relay)
    assert kinds["p0"] == {"product.answer", "attribution.shares"}
    assert kinds["label"] == {"source.key", "product.operand"}
    assert REGISTER["attribution.shares"].payload is Payload.SHARE
    assert len(opened) == 6 * 2 * 12
    counts = np.bincount(np.array(opened, dtype=np.uint64).astype(np.int64) >> (RING.bits - 3), minlength=8)
    assert stats.chisquare(counts).pvalue > 1e-4


def test_each_row_is_charged_once_and_the_limit_holds() -> None:
    world = World(2, 2, 6, 2, 7)
    world.run()
    assert world.budgets["p0"].counts[world.rows].tolist() == [1] * len(world.rows)
    sent: list[Message] = []

    def relay(_: str, __: str, got: Message) -> Message:
        sent.append(got)
        return got

    with pytest.raises(RemoteProtocolError, match=r"^label: asked for more than it may have: .* which is the limit"):
        world.run(limit=0, relay=relay)
    assert not any(isinstance(got, AttributionShares) for got in sent)


def test_consent_is_needed() -> None:
    with pytest.raises(LocalProtocolError, match="does not consent to attribution"):
        World(2, 1, 4, 1, 1).run(consent=False)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda m: replace(m, periods=m.periods + 1), "p0: sent attributions of 3 periods where 2 were predicted"),
        (lambda m: replace(m, values=m.values[:-1]), "p0: expected .* bytes, got"),
        (lambda m: replace(m, values=b"\xff" * len(m.values)), "p0: an element is out of range"),
    ],
)
def test_damaged_shares_are_named(damage: Callable[[AttributionShares], AttributionShares], why: str) -> None:
    def relay(sender: str, _: str, got: Message) -> Message:
        return damage(got) if sender == "p0" and isinstance(got, AttributionShares) else got

    with pytest.raises(RemoteProtocolError, match=why):
        World(2, 2, 6, 2, 7).run(relay=relay)


def test_numbers_that_do_not_add_up_are_refused() -> None:
    world = World(2, 1, 6, 2, 7)
    world.total = world.total + 1.0
    with pytest.raises(LocalProtocolError, match="do not add up to the opened sums"):
        world.run()


def test_the_parts_sum_to_the_covariance_of_what_the_embedding_adds() -> None:
    rng = np.random.default_rng(0)
    periods, entities, terms = 3, 40, SplitModel(embedding_width=2, hidden=6, members=2)
    head = LabelHead(terms, 2)
    with torch.no_grad():
        head.model.outer.copy_(torch.from_numpy(rng.normal(size=tuple(head.model.outer.shape))))
    z, own = rng.normal(size=(periods, entities, 2)) * 2, rng.normal(size=(periods, entities, 2))
    shape = (periods, entities)
    label = rng.normal(size=shape)
    label[0, :5] = np.nan
    never = np.full(shape, np.datetime64("NaT"), dtype="datetime64[ns]")
    features = FeaturePanel(("a", "b"), own, np.ones(shape, dtype=bool), never, never)
    panel = LabelPanel(features, label, np.ones(shape, dtype=np.int64), np.ones(shape, dtype=bool))
    predict = [head.predict(z[t], own[t]) for t in range(periods)]
    nothing = [head.predict(np.zeros_like(z[t]), own[t]) for t in range(periods)]
    heads = {t: head.scorer() for t in range(periods)}
    empty = np.zeros(0)
    result = TrainingResult(np.array(predict), z, empty, empty, np.ones(shape, dtype=np.int64), heads, ())
    rows = np.arange(periods * entities)
    window = np.array([True, True, False])
    slopes, embeddings = covariance_slopes(head, result, panel, rows, window)
    share = rng.normal(size=embeddings.shape)
    parts = {"one": share, "two": embeddings - share}
    report = attribution_of(slopes, embeddings, in_the_clear(slopes, parts, rows, entities), rows, entities)
    assert report.periods == (0, 1)
    gained = []
    for t in range(2):
        known = np.isfinite(label[t])
        centred = label[t, known] - label[t, known].mean()
        gained.append(float(np.mean(centred * (predict[t] - nothing[t])[known])))
    np.testing.assert_allclose(report.total, gained, rtol=1e-6)
    np.testing.assert_allclose(sum(report.values.values()), report.total, rtol=1e-9)
    record = report.record()
    assert sum(record["parties"].values()) == pytest.approx(record["total"], rel=1e-9)
    with pytest.raises(ValueError, match="nothing to attribute"):
        attribution_of(slopes * 0, embeddings, {}, rows, entities)
    assert (path_slopes(RidgeHead(2), z[0, :, :1], own[0]) == 1).all()
