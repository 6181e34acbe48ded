"""Every byte of a whole run in one process: no value of anybody occurs in it, and what opens is what was charged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

import vfl.register  # noqa: F401 - every message type of the product is declared
from psi.flow import REGISTER, Flow, Payload, Role
from tests.attacks.rig import (
    FIXED,
    RING,
    SET,
    Session,
    encoded,
    feature_end,
    feature_side,
    key_for,
    label_end,
    label_session,
    secret,
    weight_share,
)
from tests.attacks.scanner import find, needles
from tests.psi.rig import flows as alignment_flows
from tests.vfl.models.test_train import COLUMNS, TERMS, WALK, consortium
from vfl.arithmetic.ring import unpack
from vfl.arithmetic.share import opened
from vfl.models.split.label import SealedSource
from vfl.models.split.top import LabelHead
from vfl.models.split.training import walk_forward
from vfl.protocols.coalitions import open_coalitions, serve_coalitions
from vfl.protocols.delivery import deliver_bundle, receive_bundle
from vfl.protocols.opening_budget import OpeningBudget
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import prequential

F64 = NDArray[np.float64]
PARTIES = ("a", "b", "c")
SCALES = (FIXED.feature_bits, FIXED.gradient_bits, FIXED.weight_bits, FIXED.output_bits)
TICKERS = {name: [f"TICK{i}" for i in range(30)] + [f"{name.upper()}ONLY{i}" for i in range(5)] for name in PARTIES}


@dataclass
class Whole:
    """One run: what was said, and what each side kept to itself."""

    session: Session
    private: dict[str, F64]
    budgets: dict[str, OpeningBudget]
    result: TrainingResult


class Noting(LabelHead):
    """The real head; its gradients are noted."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.gradients: list[F64] = []

    def train_batch(self, *arguments: Any) -> F64:
        gradient = super().train_batch(*arguments)
        self.gradients.append(gradient)
        return gradient


@cache
def whole_run() -> Whole:
    """Alignment, training, coalitions and delivery, through the codec."""
    panels, labels = consortium(3)
    features = {n: p.rows.clip(-8, 8) for n, p in zip(PARTIES, panels, strict=True)}
    limit = 1 + TERMS.epochs + 3
    steps = tuple(prequential(TERMS, WALK, labels.known_from, labels.label, labels.universe, limit, 3))
    head = Noting(TERMS, labels.features.values.shape[-1])
    width = TERMS.embedding_width
    shares = {n: weight_share(f"v/{n}", (features[n].shape[1], width)) for n in PARTIES}
    predicted = [step.number for step in steps if step.kind == "predict"]
    columns = {n: features[n].shape[1] for n in PARTIES}
    source = SealedSource(label_end(columns), shares, secret("label"), predictions=predicted)
    budgets = {n: OpeningBudget(len(features[n]), limit) for n in PARTIES}

    def label() -> Flow[TrainingResult]:
        yield from source.start()
        result = yield from walk_forward(source, head, steps, labels)
        yield from source.finish()
        return result

    def training() -> dict[str, Flow[Any]]:
        return {"label": label()} | {n: feature_side(n, columns, features[n], width, budgets[n]) for n in PARTIES}

    session = Session(lambda: alignment_flows(TICKERS))
    session.run()
    session.flows = training
    served = session.run()
    result = served["label"]

    def valuing() -> dict[str, Flow[Any]]:
        made: dict[str, Flow[Any]] = {"label": open_coalitions(source.session, source.kept)}
        for n in PARTIES:
            state, masks = served[n]
            end = feature_end(n, columns, masks, budgets[n], secret(f"value/{n}"), session="value-1")
            made[n] = serve_coalitions(end, state.predictions, consent=True)
        return made

    session.flows = valuing
    session.run()
    files = {"factor.bin": result.scores.astype("<f4").tobytes()}
    session.flows = lambda: {
        "label": deliver_bundle({"a": Role.FEATURE}, files, lambda reader, packed: packed),
        "a": receive_bundle("label", Role.FEATURE, lambda sealed: sealed),
    }
    session.run()
    private = {f"features of {n}": x for n, x in features.items()}
    private |= {f"weight share of {n}": opened([served[n][0].share], FIXED.weight_bits) for n in PARTIES}
    private |= {f"label party's share for {n}": opened([s], FIXED.weight_bits) for n, s in source.shares.items()}
    private |= {f"weights of {n}": opened([served[n][0].share, source.shares[n]], FIXED.weight_bits) for n in PARTIES}
    private |= {
        "label": labels.label,
        "label party's features": labels.features.rows,
        "gradients": np.concatenate(head.gradients),
        "embeddings": result.embeddings.reshape(-1, width),
    }
    return Whole(session, private, budgets, result)


def bodies(session: Session) -> Iterator[tuple[str, bytes]]:
    return ((heard.kind, heard.body) for heard in session.heard)


def all_needles(private: dict[str, F64]) -> list[Any]:
    return [n for name, values in private.items() for n in needles(name, values, scales=SCALES, ring_bits=RING.bits)]


def test_no_feature_label_gradient_or_weight_occurs_on_the_wire() -> None:
    run = whole_run()
    assert sum(len(h.body) for h in run.session.heard) > 2**20
    assert find(all_needles(run.private), bodies(run.session)) == {}


def test_the_run_was_a_real_one() -> None:
    run = whole_run()
    assert len(run.private["gradients"]) > 500
    assert np.isfinite(run.result.scores).sum() > 300
    kinds = {heard.kind for heard in run.session.heard}
    assert {"source.sum", "coalition.sum", "psi.tokens", "mask.key", "factor.bundle"} <= kinds


PLANTS = [
    ("float32 <", lambda x: x.astype("<f4").tobytes()),
    ("float32 >", lambda x: x.astype(">f4").tobytes()),
    ("float64 <", lambda x: x.astype("<f8").tobytes()),
    ("float64 >", lambda x: x.astype(">f8").tobytes()),
    ("int16 at 8 bits <", lambda x: np.rint(x * 256).astype("<i2").tobytes()),
    ("int32 at 20 bits >", lambda x: np.rint(x * 2**20).astype(">i4").tobytes()),
    ("int64 at 28 bits <", lambda x: np.rint(x * 2**28).astype("<i8").tobytes()),
    ("residue at 20 bits", lambda x: b"".join((int(v) % 2**44).to_bytes(6, "little") for v in np.rint(x * 2**20))),
]


@pytest.mark.parametrize(("encoding", "write"), PLANTS, ids=[name for name, _ in PLANTS])
def test_the_scanner_finds_a_planted_value(encoding: str, write: Any) -> None:
    """Two neighbouring floats or four neighbouring integers, in the middle of noise, at an odd place."""
    run = whole_run()
    values = run.private["features of b"]
    planted = write(values.reshape(-1)[52 : 54 if "float" in encoding else 56])
    noise = secret("noise").take(100_001)
    hay = noise[:50_003] + planted + noise[50_003:]
    wanted = needles("features of b", values, scales=SCALES, ring_bits=RING.bits, most=10**6)
    assert find(wanted, [("noise", noise)]) == {}
    assert f"features of b {encoding}" in find(wanted, [("planted", hay)])["planted"]


def test_the_scanner_finds_a_lone_double() -> None:
    run = whole_run()
    hay = b"\x00" * 3 + run.private["label"][5, 7:8].astype("<f8").tobytes()
    assert np.isfinite(run.private["label"][5, 7])
    assert find(needles("label", run.private["label"], most=10**6), [("m", hay)]) == {"m": {"label float64 <"}}


def test_every_message_is_registered_and_of_a_class_that_was_agreed() -> None:
    seen = Counter((h.kind, REGISTER[h.kind].payload) for h in whole_run().session.heard)
    for kind, payload in seen:
        assert payload in set(Payload), kind
    opened = {kind for kind, payload in seen if payload in (Payload.MASKED, Payload.SHARE)}
    assert opened == {"source.sum", "coalition.sum"}, "the only messages that open anything"
    assert {kind for kind, payload in seen if payload is Payload.RESULT} == {"factor.bundle"}


def test_what_opened_is_what_every_feature_party_charged() -> None:
    """Counts rebuilt from the recorded bytes alone equal the budgets, row by row."""
    run = whole_run()
    for name in PARTIES:
        counts = np.zeros(len(run.budgets[name].counts), dtype=np.int64)
        batches = {b.step: np.frombuffer(b.rows, "<u4") for b in run.session.seen("source.batch", receiver=name)}
        predicted = np.concatenate(
            [batches[b.step] for b in run.session.seen("source.batch", receiver=name) if not b.train]
        )
        for sent in run.session.seen("source.sum", sender=name):
            assert len(sent.values) == RING.width * len(batches[sent.step]) * TERMS.embedding_width
            counts[batches[sent.step]] += 1
        for sent in run.session.seen("coalition.sum", sender=name):
            assert len(sent.values) == RING.width * len(predicted) * TERMS.embedding_width
            counts[predicted] += 1
        assert np.array_equal(counts, run.budgets[name].counts)
        assert counts.max() <= run.budgets[name].limit
    assert np.array_equal(run.result.openings.reshape(-1) > 0, run.budgets["a"].counts > 0)


def test_masked_values_are_uniform_over_many_runs() -> None:
    """Chi-square of the first and the last byte of each masked sum, over sessions with constant features."""
    seen = []
    for number in range(24):
        features = {n: np.full((48, 3), 2.0) for n in "ab"}
        session = label_session("ab", features, 4, session=f"train-{number}")
        plain = session.flows

        def flows(plain: Any = plain, number: int = number, features: Any = features) -> dict[str, Flow[Any]]:
            made = {"label": plain()["label"]}
            for n in "ab":
                stream = secret(f"uniform/{number}/{n}")
                made[n] = feature_side(n, dict.fromkeys("ab", 3), features[n], 4, OpeningBudget(48, 1), stream=stream)
            return made

        session.flows = flows
        session.run()
        seen += [unpack(m.values, RING.width, 48 * 4, RING.modulus) for m in session.seen("source.sum")]
    values = np.concatenate(seen)
    for shift in (0, RING.bits - 6):
        counts = np.bincount(((values >> np.uint64(shift)) & np.uint64(63)).astype(int), minlength=64)
        assert stats.chisquare(counts).pvalue > 1e-6
    first = np.array([v[0] for v in seen])
    assert len(np.unique(first)) == len(first), "the same cell of the same data never repeats"


def test_what_is_scanned_is_what_was_computed() -> None:
    run = whole_run()
    assert encoded(run.private["features of a"]).shape[1] == COLUMNS[0]
    assert key_for().context.name == SET
