"""Label inference by a feature party: norm, direction and spectral attacks, its own update, and the order of rows.

Everything a feature party receives or holds is tried: ciphertext bytes, its weight share before and after each
step, and row ids. The same attacks on gradients in the clear work, which shows that they are attacks.

Source: Li et al., "Label Leakage and Protection in Two-Party Split Learning", ICLR 2022 (norm, direction); Sun et al.,
"Label Leakage and Protection from Forward Embedding in Vertical Federated Learning", 2022 (spectral).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata, skew

from psi.flow import Flow
from tests.attacks.rig import FIXED, RING, RUN, Session, encoded, feature_end, key_for, label_end, secret, weight_share
from vfl.models.split.feature import serve_source
from vfl.models.split.label import SealedSource
from vfl.protocols.opening import agree_masks
from vfl.protocols.opening_budget import OpeningBudget
from vfl.protocols.product import Packing
from vfl.terms import SplitModel, WalkForward
from vfl.walk.schedule import prequential

F64 = NDArray[np.float64]
PERIODS, ENTITIES, D, WIDTH = 10, 1000, 4, 2
ROWS = PERIODS * ENTITIES
NEAR = 0.03


def auc(scores: F64, labels: F64) -> float:
    """Area under the curve, whichever way round it is better."""
    positive = labels > 0
    ranks = rankdata(scores)
    area = (ranks[positive].sum() - positive.sum() * (positive.sum() + 1) / 2) / (positive.sum() * (~positive).sum())
    return float(max(area, 1 - area))


@dataclass
class World:
    """Features of two parties, a label that follows them, and who has one."""

    features: dict[str, F64]
    labels: F64
    steps: list[NDArray[np.int64]]


@cache
def world() -> World:
    draw = np.random.default_rng(11)
    features = {n: draw.normal(size=(ROWS, D)).clip(-8, 8) for n in "ab"}
    signal = features["a"][:, 0] - features["b"][:, 1] + 2.0 * draw.normal(size=ROWS)
    labels = (signal > 1.0).astype(np.float64)
    grid = labels.reshape(PERIODS, ENTITIES)
    known = np.repeat(np.arange(1, PERIODS + 1)[:, None], ENTITIES, axis=1)
    terms = SplitModel(embedding_width=WIDTH, epochs=1, warmup_epochs=1, batch_rows=ENTITIES)
    plan = prequential(terms, WalkForward(warmup=4), known, grid, np.ones_like(grid, dtype=bool), 2, 0)
    return World(features, labels, [step.rows for step in plan if step.kind == "train"])


@dataclass
class Held:
    """What party a has after a run: per training step, its rows, its share's change, and what came for them."""

    rows: list[NDArray[np.int64]]
    updates: list[NDArray[np.uint64]]
    session: Session
    clear: list[F64]


@cache
def held() -> Held:
    """One sealed run; the logistic model at the label party learns, so its gradients follow the labels."""
    facts = world()
    clear: list[F64] = []
    shares: list[NDArray[np.uint64]] = []
    columns = dict.fromkeys("ab", D)

    def label() -> Flow[None]:
        held_shares = {n: weight_share(f"v/{n}", (D, WIDTH)) for n in "ab"}
        source = SealedSource(label_end(columns, session="s"), held_shares, secret("label"))
        head = np.array([1.0, -0.5])
        yield from source.start()
        for number, rows in enumerate(facts.steps):
            z = yield from source.forward(number, rows)
            error = 1 / (1 + np.exp(1.2 - z @ head)) - facts.labels[rows]
            gradient = 0.5 / len(rows) * error[:, None] * head[None, :]
            clear.append(gradient)
            yield from source.backward(number, rows, gradient)
        yield from source.finish()

    def feature(me: str) -> Flow[Any]:
        stream = secret(f"labels/{me}")
        masks = yield from agree_masks(me, "ab", RUN, RING, stream)
        share = weight_share(f"u/{me}", (D, WIDTH))
        end = feature_end(me, columns, masks, OpeningBudget(ROWS, 9), stream, session="s")
        flow = serve_source(end, encoded(facts.features[me]), share)
        # the flow keeps its weight share in a local: read it at every message, as its owner could
        answer = None
        try:
            while True:
                effect = flow.send(answer)
                if me == "a":
                    shares.append(flow.gi_frame.f_locals["share"].elements.copy())
                answer = yield effect
        except StopIteration as stop:
            return stop.value

    session = Session(lambda: {"label": label(), "a": feature("a"), "b": feature("b")})
    session.run()
    distinct = [shares[0]] + [after for before, after in pairwise(shares) if (before != after).any()]
    updates = [RING.sub(after, before) for before, after in pairwise(distinct)]
    assert len(updates) == len(facts.steps) == len(clear)
    return Held(facts.steps, updates, session, clear)


# --- attacks: a matrix with one line per row gives one score per row -----------------------------


def by_norm(lines: F64) -> F64:
    return np.linalg.norm(lines, axis=1)


def by_direction(lines: F64) -> F64:
    """Cosine with one row whose label the attacker knows, here the largest."""
    known = lines[np.argmax(by_norm(lines))]
    result: F64 = lines @ known / np.maximum(by_norm(lines), 1e-12)
    return result


def by_spectrum(lines: F64) -> F64:
    centred = lines - lines.mean(axis=0)
    result: F64 = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    return result


ATTACKS: list[Callable[[F64], F64]] = [by_norm, by_direction, by_spectrum]


def over_steps(lines: list[F64], attack: Callable[[F64], F64]) -> float:
    """Scores ranked within each step, then pooled; the attacker knows that positive labels are fewer."""
    facts = world()
    each = [attack(step) for step in lines]
    scores = np.concatenate([rankdata(score * np.sign(skew(score))) for score in each])
    return auc(scores, np.concatenate([facts.labels[rows] for rows in facts.steps]))


def ciphertext_lines(backward: bool) -> list[F64]:
    """The bytes of each step's operand, read as residues where its row's values are packed."""
    context = key_for().context
    wanted = "backward" if backward else "forward"
    found = []
    for operand in held().session.seen("product.operand", receiver="a"):
        if not operand.label.startswith(wanted):
            continue
        packing = Packing(*operand.packing, context.degree)
        first = context.degree * sum(context.widths)
        blocks = [context.unpack_polynomial(b[:first], context.degree)[0].astype(np.float64) for b in operand.blocks]
        step = []
        for row in range(ENTITIES):
            block, i = divmod(row, packing.m)
            places = (-i * packing.n * packing.k + np.arange(WIDTH) * packing.n) % context.degree
            step.append(blocks[block if backward else 0][places])
        found.append(np.array(step) - context.primes[0] / 2)
    return found


@pytest.mark.parametrize("attack", ATTACKS)
def test_gradients_in_the_clear_give_the_labels_away(attack: Callable[[F64], F64]) -> None:
    assert over_steps(held().clear, attack) > 0.9


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_encrypted_gradients_do_not(attack: Callable[[F64], F64]) -> None:
    lines = ciphertext_lines(backward=True)
    assert len(lines) == len(world().steps)
    assert over_steps(lines, attack) < 0.5 + NEAR


def update_scores(updates: list[F64]) -> float:
    """x_i . X^T G: a row's own gradient is part of its batch's update."""
    facts = world()
    scores = [facts.features["a"][rows] @ u[:, 0] for rows, u in zip(facts.steps, updates, strict=True)]
    return auc(
        np.concatenate([rankdata(s) for s in scores]), np.concatenate([facts.labels[rows] for rows in facts.steps])
    )


@cache
def scores_of_chance() -> F64:
    """What elements that know nothing of any label score, over 200 draws: features follow labels, so not just 0.5."""
    steps = len(world().steps)
    draws = [[RING.uniform(secret(f"chance/{k}/{i}"), (D, WIDTH)) for i in range(steps)] for k in range(200)]
    return np.array([update_scores([RING.signed(u).astype(np.float64) for u in drawn]) for drawn in draws])


def test_an_update_in_the_clear_gives_labels_away_and_a_share_of_it_does_not() -> None:
    facts = world()
    clear = [facts.features["a"][rows].T @ g for rows, g in zip(facts.steps, held().clear, strict=True)]
    assert update_scores(clear) > max(0.6, scores_of_chance().max())
    shared = [RING.signed(u).astype(np.float64) for u in held().updates]
    assert update_scores(shared) < np.quantile(scores_of_chance(), 0.99)
    for plain, share in zip(clear, shared, strict=True):
        assert np.abs(share).mean() > RING.modulus / 16, "a uniform share, whatever the update"
        assert np.abs(np.ldexp(plain, FIXED.output_bits)).max() < RING.modulus / 1000


def test_the_order_of_the_announced_rows_says_nothing_of_their_labels() -> None:
    """Which rows come says that they have labels; where they stand, and in which batch, says nothing else."""
    facts = world()
    place = np.concatenate([np.arange(len(rows)) for rows in facts.steps]).astype(np.float64)
    labels = np.concatenate([facts.labels[rows] for rows in facts.steps])
    assert auc(place, labels) < 0.5 + NEAR
    ordered = [rows[np.argsort(facts.labels[rows], kind="stable")] for rows in facts.steps]
    told = np.concatenate([facts.labels[rows] for rows in ordered])
    assert auc(place, told) > 0.9, "rows sorted by label would tell"


def test_what_a_feature_party_receives_has_the_same_size_whatever_the_labels() -> None:
    """Message sizes and counts depend on the agreed shape alone."""
    sizes = {
        (h.kind, h.message.label.partition("/")[0], len(h.body) // 256)  # type: ignore[attr-defined]
        for h in held().session.heard
        if h.kind == "product.operand"
    }
    assert len(sizes) == 2
