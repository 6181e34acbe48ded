"""Coalition values: two numbers per coalition and period, and exact Shapley values of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from psi.flow import Flow, LocalProtocolError, Message, RemoteProtocolError, run_local
from tests.vfl.models.sealed.rig import FIXED, RUN, Consortium, columns, label_keys
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.contribution import exact_shapley
from vfl.models.sealed.coalitions import Moments, Piece, ValuedPeriod, ValuedRows, period_chunks
from vfl.models.sealed.opens import NUMBER_BITS
from vfl.models.sealed.scales import WEIGHT_BITS
from vfl.models.sealed.twin import FloatTwin
from vfl.models.sealed.valuation import AnchorValuation, FeatureValuation, LabelValuation
from vfl.protocols.opening import agree_masks
from vfl.terms import SealedModel
from vfl.walk.schedule import Step

ROWS, PERIOD = 90, 30
TERMS = SealedModel(width=3, batch_rows=32, square_rate=2.0**-5, start=0.8, threshold=0.2, alpha=1, score_limit=16)
STEPS = [
    Step(0, "train", 1, np.arange(30), 30),
    Step(1, "predict", 1, np.arange(30, 50)),
    Step(2, "predict", 1, np.arange(50, 60)),
    Step(3, "train", 2, np.arange(20, 52), 60),
    Step(4, "predict", 2, np.arange(60, 90)),
]
LABELS = np.random.default_rng(5).normal(size=ROWS)


def trained(parties: str, own: int, anchor: str) -> Consortium:
    features = {n: columns(ROWS, 2 + i, n) for i, n in enumerate(parties)}
    made = Consortium(features, columns(ROWS, own, "own"), TERMS, anchor=anchor)
    made.run(STEPS, LABELS)
    made.heard.clear()
    return made


def periods() -> list[ValuedPeriod]:
    """Of the first period a row in each step has no label."""
    kept = np.r_[31:50], np.r_[50:59]
    first = ValuedPeriod(1, (Piece(1, 1, kept[0]), Piece(1, 2, kept[1])), LABELS[np.r_[kept]])
    return [first, ValuedPeriod(2, (Piece(2, 4, np.arange(60, 90)),), LABELS[60:90])]


def opened(made: Consortium) -> list[np.ndarray]:
    first = np.concatenate([made.scores[1], made.scores[2]])
    return [first[np.r_[1:20, 20:29]], made.scores[4]]


def value(made: Consortium, most: int = 1000, **kept: Any) -> Moments:
    members, stream = made.members, made.stream

    def feature(me: str) -> Flow[None]:
        masks = yield from agree_masks(me, members.others, RUN, PRIME_RING, stream(f"value/masks/{me}"))
        side = FeatureValuation(
            members, made.features[me], made.sides[me].scored, TERMS, FIXED, stream(f"value/{me}"), session="value-1"
        )
        yield from side.serve(me, masks)

    none = np.zeros((ROWS, 0), dtype=np.int64)
    anchor = AnchorValuation(
        members, made.features.get(made.anchor, none), made.sides[made.anchor].scored, TERMS, FIXED,
        stream("value/anchor"), session="value-1",
    )  # fmt: skip
    label = LabelValuation(
        members, made.own, made.sides["label"].scored, TERMS, FIXED, stream("value/label"), session="value-1"
    )
    flows: dict[str, Flow[Any]] = {
        "label": label.value(periods(), opened(made), label_keys(), **kept.get("label", {})),
        made.anchor: anchor.serve(most=most, **kept.get("anchor", {})),
    }
    flows |= {name: feature(name) for name in members.others}
    found = run_local(flows, relay=made.relay)["label"]
    assert isinstance(found, Moments)
    return found


def plain(made: Consortium) -> Moments:
    """The same in the clear, from the weights at each prediction."""
    twin, members = made.twin(), made.members
    x = np.concatenate([*made.features.values(), made.own], axis=1) / 2.0**FIXED.feature_bits
    weights = {}
    for step in STEPS:
        if step.kind == "train":
            twin.train(step, LABELS[step.rows])
        weights[step.number] = np.ldexp(twin.weight.astype(float), -WEIGHT_BITS)
    owner = np.repeat([*members.features, "label"], [*members.features.values(), members.own])
    covariance, variance = {}, {}
    for size in range(len(members.features) + 1):
        for coalition in combinations(members.features, size):
            inside = np.isin(owner, [*coalition, "label"])
            pairs = []
            for period in periods():
                scores = []
                for piece in period.pieces:
                    weight = weights[piece.step] * inside[:, None]
                    scores.append(FloatTwin(x, weight, TERMS).predict(Step(0, "predict", 0, piece.rows)))
                score = np.concatenate(scores)
                score -= score.mean()
                pairs.append((float((score * period.labels).mean()), float((score**2).mean())))
            covariance[frozenset(coalition)] = np.array([a for a, _ in pairs])
            variance[frozenset(coalition)] = np.array([b for _, b in pairs])
    return Moments((1, 2), covariance, variance)


@pytest.mark.parametrize(("parties", "own", "anchor"), [("abc", 2, "b"), ("a", 1, "a"), ("ab", 0, "coordinator")])
def test_every_coalition_has_the_covariance_and_variance_of_the_clear(parties: str, own: int, anchor: str) -> None:
    made = trained(parties, own, anchor)
    found, expected = value(made), plain(made)
    assert found.periods == expected.periods
    assert set(found.covariance) == set(expected.covariance)
    for coalition, series in expected.covariance.items():
        assert found.covariance[coalition] == pytest.approx(series, abs=2e-3, rel=2e-3)
        assert found.variance[coalition] == pytest.approx(expected.variance[coalition], abs=2e-3, rel=2e-3)
    values = found.correlations()
    report = exact_shapley(values, method="moments", parties=tuple(parties))
    gain = values[frozenset(parties)].mean() - values[frozenset()].mean()
    assert report.total == pytest.approx(gain)
    clear = exact_shapley(expected.correlations(), method="moments", parties=tuple(parties))
    for name in parties:
        assert report.phi[name] == pytest.approx(clear.phi[name], abs=0.03)


def test_only_two_numbers_of_32_bits_open_per_coalition_and_period() -> None:
    made = trained("ab", 1, "a")
    value(made)
    to_label = [h for h in made.heard if h.receiver == "label" and h.kind == "sealed.numbers"]
    assert [len(h.message.values) for h in to_label] == [2 * 3 * 2 * NUMBER_BITS // 8]
    assert {h.kind for h in made.heard if h.receiver == "label"} <= {
        "slots.key", "product.operand", "product.answer", "slots.answer", "slots.verdict", "sealed.numbers",
        "source.ready",
    }  # fmt: skip


def test_numbers_recorded_before_a_crash_open_as_they_were() -> None:
    made = trained("ab", 1, "a")
    kept: dict[str, Any] = {}
    first = value(
        made, label={"record": lambda a: kept.update(label=a)}, anchor={"record": lambda *a: kept.update(anchor=a)}
    )
    again = value(made, label={"recorded": kept["label"]}, anchor={"recorded": kept["anchor"]})
    for coalition, series in first.covariance.items():
        assert np.array_equal(series, again.covariance[coalition])
        assert np.array_equal(first.variance[coalition], again.variance[coalition])


def test_more_numbers_than_agreed_are_refused_before_any_opens() -> None:
    made = trained("a", 1, "a")
    with pytest.raises(LocalProtocolError, match="2 periods of 1 coalitions open more than the 3 numbers"):
        value(made, most=3)
    assert not [h for h in made.heard if h.kind == "sealed.numbers"]


@pytest.mark.parametrize(
    "change",
    [
        {"counts": (19, 8, 30)}, {"steps": (1, 1, 4)}, {"periods": (1, 2, 1)}, {"rows": b"abc"}, {"counts": ()},
        {"periods": (2, 2, 1)},
    ],
)  # fmt: skip
def test_rows_that_were_not_predicted_so_are_refused_by_name(change: dict[str, Any]) -> None:
    made = trained("a", 1, "a")

    def tamper(sender: str, receiver: str, got: Message) -> Message:
        return replace(got, **change) if isinstance(got, ValuedRows) else got

    made.tamper = tamper
    with pytest.raises(RemoteProtocolError, match=r"label: (announced rows|wants to value)"):
        value(made)


def test_a_period_of_few_rows_is_not_valued() -> None:
    few = ValuedPeriod(7, (Piece(7, 1, np.arange(9)),), np.zeros(9))
    with pytest.raises(LocalProtocolError, match="period 7 has 9 rows with labels and 10 are needed: leave it out"):
        period_chunks([few])
