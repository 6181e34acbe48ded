"""The sealed source layer against plain arithmetic, and its refusals."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from psi.flow import Flow, LocalProtocolError, Message, RemoteProtocolError, run_local
from vfl.arithmetic.he import Context, KeyHolder
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring, encode_features, unpack
from vfl.arithmetic.share import Share, opened
from vfl.models.split.feature import serve_source
from vfl.models.split.label import SealedSource
from vfl.protocols import product
from vfl.protocols.coalitions import CoalitionSum, open_coalitions, opened_coalitions, serve_coalitions
from vfl.protocols.feature_session import FeatureSession
from vfl.protocols.label_session import LabelSession
from vfl.protocols.opening import ZeroSumMasks, agree_masks
from vfl.protocols.opening_budget import OpeningBudget
from vfl.protocols.session import MaskedSum, RingShare, ServedSource, SingleSum
from vfl.terms import FixedPoint

FIXED = FixedPoint()
RING = Ring(FIXED.ring_bits)
RUN = hashlib.sha256(b"run").hexdigest()
CONTEXT = Context("bfv-8192", FIXED.ring_bits)
KEY = KeyHolder(CONTEXT)


def secret(name: str) -> SecretStream:
    return SecretStream(hashlib.sha256(name.encode()).digest())


def small_share(name: str, shape: tuple[int, int]) -> RingShare:
    unit = secret(name).unit(shape[0] * shape[1]).reshape(shape)
    return Share(RING, RING.wrap((unit * 2**27).astype(np.int64)))


def label_end(columns: dict[str, int], *, single: bool = False) -> LabelSession:
    return LabelSession("label", "label", columns, FIXED, "bfv-8192", "train-1", single_party=single, key=KEY)


def feature_end(
    me: str, columns: dict[str, int], masks: ZeroSumMasks, budget: OpeningBudget, *, single: bool = False, **other: Any
) -> FeatureSession:
    brought = {"name": "train-1", "stream": secret(f"stream/{me}"), **other}
    return FeatureSession(
        me, "label", columns, FIXED, "bfv-8192", single_party=single, masks=masks, budget=budget, **brought
    )


def label_flow(source: SealedSource, steps: list[tuple[np.ndarray, np.ndarray | None]]) -> Flow[list[np.ndarray]]:
    yield from source.start()
    found = []
    for number, (rows, gradient) in enumerate(steps):
        found.append((yield from source.forward(number, rows)))
        if gradient is not None:
            yield from source.backward(number, rows, gradient)
    yield from source.finish()
    return found


def feature_flow(
    me: str, columns: dict[str, int], features: np.ndarray, share: RingShare, limit: int = 100, *, single: bool
) -> Flow[tuple[ServedSource, ZeroSumMasks, OpeningBudget]]:
    stream = secret(f"stream/{me}")
    masks = yield from agree_masks(me, list(columns), RUN, RING, stream)
    budget = OpeningBudget(len(features), limit)
    encoded = encode_features(features, FIXED.feature_bits, FIXED.clip)
    served = yield from serve_source(
        feature_end(me, columns, masks, budget, single=single, stream=stream), encoded, share
    )
    return served, masks, budget


def run(
    features: dict[str, np.ndarray],
    width: int,
    steps: list[tuple[np.ndarray, np.ndarray | None]],
    *,
    relay: Callable[[str, str, Message], Message] | None = None,
    limit: int = 100,
    single: bool = False,
) -> tuple[list[np.ndarray], dict[str, tuple[ServedSource, ZeroSumMasks, OpeningBudget]], SealedSource]:
    names = list(features)
    held = {n: small_share(f"v/{n}", (features[n].shape[1], width)) for n in names}
    predictions = [i for i, (_, gradient) in enumerate(steps) if gradient is None]
    columns = {n: x.shape[1] for n, x in features.items()}
    source = SealedSource(label_end(columns, single=single), held, secret("label"), predictions=predictions)
    flows: dict[str, Flow[Any]] = {"label": label_flow(source, steps)}
    for n in names:
        share = small_share(f"u/{n}", held[n].shape)
        flows[n] = feature_flow(n, columns, features[n], share, limit, single=single)
    results = run_local(flows, relay=relay)
    return results.pop("label"), results, source


def plain(
    features: dict[str, np.ndarray], width: int, steps: list[tuple[np.ndarray, np.ndarray | None]]
) -> list[np.ndarray]:
    weights = {
        n: opened([small_share(f"{side}/{n}", (x.shape[1], width)) for side in "uv"], FIXED.weight_bits)
        for n, x in features.items()
    }
    sums = []
    for rows, gradient in steps:
        sums.append(sum(features[n][rows] @ weights[n] for n in features))
        if gradient is not None:
            for n in features:
                weights[n] = weights[n] - features[n][rows].T @ gradient
    return sums


@settings(max_examples=12, deadline=None)
@given(
    parties=st.integers(1, 4),
    batch=st.sampled_from([1, 2, 37, 130]),
    width=st.integers(1, 9),
    columns=st.integers(1, 13),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_plain_arithmetic(parties: int, batch: int, width: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = {f"p{i}": np.clip(rng.normal(size=(200, columns + i)), -8, 8) for i in range(parties)}
    features["p0"][:, 0] = 0.0
    features[f"p{parties - 1}"][:, -1] = 1.0
    steps = [
        (rng.permutation(200)[:batch], rng.normal(size=(batch, width)) * 0.01 if kind else None) for kind in (1, 1, 0)
    ]
    got, _, _ = run(features, width, steps, single=parties == 1)
    rounding = 2.0 ** -(FIXED.feature_bits + 1) * 16 * (columns + parties) * parties
    for one, want in zip(got, plain(features, width, steps), strict=True):
        assert one.shape == (batch, width)
        assert np.abs(one - want).max() < rounding


@pytest.mark.parametrize(
    ("parties", "batch", "columns", "width"),
    [(8, 5, 2, 2), (1, 1, 1, 1), (2, 1, 512, 64), (1, 8192, 3, 2), (2, 1000, 33, 7)],
)
def test_the_edges_of_what_is_allowed(parties: int, batch: int, columns: int, width: int) -> None:
    rng = np.random.default_rng(batch)
    features = {f"p{i}": rng.normal(size=(batch, columns)).clip(-8, 8) for i in range(parties)}
    features["p0"][:, 0] = 0.0
    steps = [(rng.permutation(batch), rng.normal(size=(batch, width)) * 1e-3), (np.arange(batch), None)]
    got, _, _ = run(features, width, steps, single=parties == 1)
    for one, want in zip(got, plain(features, width, steps), strict=True):
        assert np.abs(one - want).max() < 1e-3 * (1 + columns * parties)


def test_a_left_operand_too_large_to_keep_is_encoded_as_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    features = {n: rng.normal(size=(300, 9)).clip(-8, 8) for n in "ab"}
    steps = [(np.arange(300), rng.normal(size=(300, 2)) * 1e-3), (np.arange(300), None)]
    kept, _, _ = run(features, 2, steps)
    monkeypatch.setattr(product, "MOST_PREPARED_BYTES", 0)
    streamed, _, _ = run(features, 2, steps)
    for one, two in zip(kept, streamed, strict=True):
        assert np.abs(one - two).max() < 1e-5


def test_coalitions_open_the_sums_of_their_members() -> None:
    rng = np.random.default_rng(1)
    features = {n: rng.normal(size=(60, 5)).clip(-8, 8) for n in "abc"}
    rows = np.arange(40)
    together, served, source = run(features, 3, [(rows, None)])
    flows: dict[str, Flow[Any]] = {"label": open_coalitions(source.session, source.kept)}
    for n in "abc":
        state, masks, budget = served[n]
        end = feature_end(n, dict.fromkeys("abc", 5), masks, budget, name="value-1")
        flows[n] = serve_coalitions(end, state.predictions, consent=True)
    results = run_local(flows)
    sums = results["label"]
    assert set(sums) == {frozenset(m) for m in opened_coalitions("abc")}
    for members in opened_coalitions("abc"):
        want = plain({n: features[n] for n in members}, 3, [(rows, None)])[0]
        assert np.abs(sums[frozenset(members)] - want).max() < 0.05
    alone = sum(sums[frozenset(n)] for n in "abc")
    assert np.abs(alone - together[0]).max() < 1e-9
    assert all(served[n][2].counts[:40].tolist() == [4] * 40 for n in "abc")


def test_a_coalition_needs_consent() -> None:
    _, served, _ = run({n: np.ones((4, 2)) for n in "ab"}, 2, [(np.arange(4), None)])
    state, masks, budget = served["a"]
    with pytest.raises(LocalProtocolError, match="consent"):
        end = feature_end("a", dict.fromkeys("ab", 2), masks, budget, name="v")
        next(serve_coalitions(end, state.predictions, consent=False))


def test_openings_stop_at_the_limit_before_anything_is_sent() -> None:
    sent: list[Message] = []
    rows = np.arange(5)

    def relay(_: str, __: str, got: Message) -> Message:
        sent.append(got)
        return got

    with pytest.raises(RemoteProtocolError, match=r"^label: asked for more than it may have: .* which is the limit"):
        run({n: np.ones((6, 2)) for n in "ab"}, 2, [(rows, None)] * 3, relay=relay, limit=2)
    assert sum(isinstance(m, MaskedSum) for m in sent) <= 4


def test_single_party_needs_consent_on_both_sides() -> None:
    with pytest.raises(LocalProtocolError, match="consent"):
        label_end({"a": 2})
    with pytest.raises(LocalProtocolError, match="consent"):
        feature_end("a", {"a": 2}, ZeroSumMasks("a", {}, RING), OpeningBudget(2, 1))


def test_what_the_label_party_receives_is_uniform_and_unrelated_to_the_features() -> None:
    """Chi-square on the top 6 bits of every masked sum, over runs with constant features."""
    seen: list[np.ndarray] = []

    def relay(_: str, __: str, got: Message) -> Message:
        if isinstance(got, MaskedSum):
            seen.append(unpack(got.values, RING.width, 64 * 4, RING.modulus))
        return got

    run({n: np.full((64, 3), 2.0) for n in "ab"}, 4, [(np.arange(64), None)] * 12, relay=relay)
    top = np.concatenate(seen) >> np.uint64(RING.bits - 6)
    assert stats.chisquare(np.bincount(top.astype(int), minlength=64)).pvalue > 1e-6


def test_a_mask_label_is_used_once() -> None:
    masks = ZeroSumMasks("a", {"b": bytes(32)}, RING)
    masks.mask("x", ["a", "b"], (2,))
    with pytest.raises(LocalProtocolError, match="before"):
        masks.mask("x", ["a", "b"], (2,))


@pytest.mark.parametrize(
    "damage",
    [
        lambda m: MaskedSum(m.step + 1, m.values),
        lambda m: MaskedSum(m.step, m.values[:-1]),
        lambda m: MaskedSum(m.step, b"\xff" * len(m.values)),
    ],
)
def test_a_damaged_sum_is_named(damage: Callable[[MaskedSum], MaskedSum]) -> None:
    def relay(sender: str, _: str, got: Message) -> Message:
        return damage(got) if sender == "b" and isinstance(got, MaskedSum) else got

    with pytest.raises(RemoteProtocolError, match=r"^b: "):
        run({n: np.ones((6, 2)) for n in "ab"}, 2, [(np.arange(6), None)], relay=relay)


def test_message_types_do_not_mix() -> None:
    assert SingleSum is not MaskedSum
    assert CoalitionSum is not MaskedSum
