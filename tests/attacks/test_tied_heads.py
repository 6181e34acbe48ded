"""Attacks on tied heads: what a label party and one member of a group, or one that cheats, read of others' rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from psi.flow import Flow, RemoteProtocolError, Send, receive
from tests.attacks.test_sealed import uniformity
from tests.vfl.models.sealed import test_coalition_values as valuing
from tests.vfl.models.sealed.rig import FIXED, Consortium, columns, label_keys
from tests.vfl.models.sealed.test_tied import GROUP, LABELS, ROWS, STEPS, TERMS, rows_of_each, tied
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.models.sealed import anchor as anchor_module
from vfl.models.sealed import label as label_module
from vfl.models.sealed import tied as tied_module
from vfl.models.sealed.ends import HeldProducts
from vfl.models.sealed.messages import MaskedEmbedding
from vfl.models.sealed.scales import WEIGHT_BITS, Update
from vfl.models.sealed.step import Block
from vfl.models.sealed.tied import TiedGradient, TiedHead, TiedHeld, TiedSpeed, by_head
from vfl.models.sealed.twin import FloatTwin
from vfl.protocols.opening import ZeroSumMasks
from vfl.walk.schedule import Step

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]


class Pool:
    """A label party and the lead of a group put together what they hold: halves of every member's gradient."""

    def __init__(self, made: Consortium, patch: pytest.MonkeyPatch) -> None:
        self.made, self.halves = made, list[dict[str, U64]]()
        self._slopes: dict[str, list[U64]] = {"label": [], "anchor": []}

        def halves(members: Any, parts: dict[str, U64]) -> dict[str, U64]:
            self.halves.append(dict(parts))
            return by_head(members, parts)

        patch.setattr(label_module, "by_head", halves)
        for name, module in (("label", label_module), ("anchor", anchor_module)):
            given, kept = module.gradient, self._slopes[name]

            def watched(*rest: Any, given: Any = given, kept: list[U64] = kept) -> U64:
                kept.append(given(*rest))
                return kept[-1]

            patch.setattr(module, "gradient", watched)
        made.run(STEPS[:2], LABELS)

    def sent(self, step: int, name: str) -> U64:
        """What the lead got of a member at a step."""
        shape = self.made.features[name].shape[1], self.made.terms.embedding_width
        (found,) = (
            heard.message.values
            for heard in self.made.heard
            if isinstance(heard.message, TiedGradient) and (heard.sender, heard.message.step) == (name, step)
        )
        return PRIME_RING.unpack(found, shape[0] * shape[1]).reshape(shape)

    def read(self, step: int, name: str) -> I64:
        """The pool's guess at a member's gradient sum: the label party's half and what reached the lead."""
        return PRIME_RING.signed(PRIME_RING.add(self.halves[step][name], self.sent(step, name)))

    def true(self, step: int, name: str) -> I64:
        """What nobody may read: X.T @ G of one member's rows."""
        whole = PRIME_RING.add(*(slopes[step] for slopes in self._slopes.values()))
        return PRIME_RING.signed(PRIME_RING.matmul(self.made.features[name][STEPS[step].rows].T, whole))


def bare(masks: ZeroSumMasks, label: str, parties: Any, shape: tuple[int, ...], given: Any = ZeroSumMasks.mask) -> U64:
    """Masks of embeddings as they are, and none of a group's gradients."""
    made: U64 = given(masks, label, parties, shape)
    return np.zeros(shape, dtype=np.uint64) if label.startswith("tied/") else made


def test_from_bare_shares_a_label_party_and_a_member_read_another_members_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ZeroSumMasks, "mask", bare)
    pool = Pool(tied(), monkeypatch)
    for step in (0, 1):
        for name in "cd":
            assert pool.true(step, name).any()
            assert np.array_equal(pool.read(step, name), pool.true(step, name))


def test_under_masks_they_read_the_sum_of_the_others_and_nothing_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum is theirs in any case: together they have the group's weights, before each step and after."""
    own, given = [], ZeroSumMasks.mask

    def watched(masks: ZeroSumMasks, label: str, parties: Any, shape: tuple[int, ...]) -> U64:
        made = given(masks, label, parties, shape)
        if label.startswith("tied/") and masks._me == "b":
            own.append(made)
        return made

    monkeypatch.setattr(ZeroSumMasks, "mask", watched)
    pool = Pool(tied(), monkeypatch)
    for step in (0, 1):
        read = {name: pool.read(step, name) for name in "cd"}
        assert not any((read[name] == pool.true(step, name)).any() for name in "cd")
        both = PRIME_RING.add(PRIME_RING.wrap(read["c"]), PRIME_RING.wrap(read["d"]))
        assert np.array_equal(
            PRIME_RING.signed(PRIME_RING.add(both, own[step])), pool.true(step, "c") + pool.true(step, "d")
        )


def test_the_label_party_and_one_member_have_the_groups_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is declared: of an own head a label party and another feature party learn no weight."""
    made = Pool(tied(), monkeypatch).made
    label, member = made.sides["label"].blocks["b"].weight, made.sides["d"].block.weight
    assert np.array_equal(PRIME_RING.signed(PRIME_RING.add(label, member)), made.opened_weights()[2:5])


def test_without_the_label_party_members_and_the_anchor_hold_uniform_shares() -> None:
    """All that reaches the lead from the others, and what it passes on, over runs of the same data and labels."""
    found, rows = [], 12
    for salt in range(3):
        features = {"a": columns(rows, 1, "a"), **{name: columns(rows, 60, name) for name in GROUP}}
        made = Consortium(features, columns(rows, 0, "own"), TERMS, tied=(GROUP,), salt=str(salt))
        made.run([Step(0, "train", 0, np.arange(rows), rows)], LABELS)
        found += [
            PRIME_RING.unpack(heard.message.values, 60 * TERMS.embedding_width)
            for heard in made.heard
            if isinstance(heard.message, TiedGradient | TiedSpeed)
        ]
    assert uniformity(np.concatenate(found).reshape(-1)) > 1e-4


OFFSET = 2**WEIGHT_BITS // 4
"""What a lead that cheats adds to one weight of one member."""


def lying_lead(patch: pytest.MonkeyPatch, at: int, *, compares: bool) -> None:
    """b tells d another speed than c at a step; each gets the digest that suits it, and what they send is ignored."""
    same = TiedHead.same
    given, off = Send, np.zeros((3, TERMS.embedding_width), dtype=np.int64)
    off[0, 0] = OFFSET
    lie, told = PRIME_RING.wrap(off), list[int]()

    def send(peer: str, message: Any) -> Send:
        if isinstance(message, TiedSpeed) and peer == "d" and message.step == at:
            true = PRIME_RING.unpack(message.values, off.size).reshape(off.shape)
            message = TiedSpeed(at, PRIME_RING.pack(PRIME_RING.sub(true, lie)))
            told.append(at)
        return given(peer, message)

    def suits(head: TiedHead, step: int, block: Block) -> Flow[None]:
        if not compares:
            return
        if head.me != "b":
            yield from same(head, step, block)
            return
        theirs = Block(PRIME_RING.add(block.weight, lie), PRIME_RING.sub(block.speed, lie)) if told else block
        yield given("c", TiedHeld(step, tied_module._held(block)))
        yield given("d", TiedHeld(step, tied_module._held(theirs)))
        for peer in "cd":
            yield from receive(peer, TiedHeld)

    patch.setattr(tied_module, "Send", send)
    patch.setattr(TiedHead, "same", suits)


def correlation(made: Consortium, name: str, column: int) -> float:
    """Of opened scores with a column of a member, over the rows that it has."""
    x = made.features[name][:, column]
    rows = np.flatnonzero(x)
    return float(np.corrcoef(made.scores[2][rows], x[rows])[0, 1])


def test_where_members_compare_nothing_a_lead_that_lies_reads_the_column_of_one_it_chose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = tied(own=0)
    honest.run(STEPS, LABELS)
    lying_lead(monkeypatch, 1, compares=False)
    made = tied(own=0)
    made.run(STEPS, LABELS)
    moved, x = made.scores[2] - honest.scores[2], made.features["d"][:, 0]
    assert np.abs(moved[x == 0]).max() < 0.01 < np.abs(moved[x != 0]).max()
    assert np.corrcoef(moved[x != 0], x[x != 0])[0, 1] > 0.999


@pytest.mark.parametrize("at", [0, 1], ids=["at a step", "at the last one before a prediction"])
def test_a_lead_that_lies_and_ignores_what_members_send_is_found_by_them(
    at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lying_lead(monkeypatch, at, compares=True)
    made = tied(own=0)
    with pytest.raises(RemoteProtocolError, match=r"or b, which passes it on, told members different ones") as caught:
        made.run(STEPS, LABELS)
    assert caught.value.peer in ("c", "d")
    assert not made.scores
    sent = [one.message.step for one in made.heard if isinstance(one.message, MaskedEmbedding) and one.sender in "cd"]
    assert max(sent) == at, "nothing of their rows under the false weights"


def test_a_member_that_cheats_sets_everybodys_weights_and_reads_columns_as_scores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is declared of a member that receives the factor: it adds a constant to its share of its gradient sum."""
    given = TiedHead.speed

    def speed(head: TiedHead, step: int, share: U64, truncated: Any) -> Flow[U64]:
        if (head.me, step) == ("d", 1):
            update = Update.of(TERMS, FIXED, 21, ROWS, head_columns)
            added = np.zeros(share.shape, dtype=np.int64)
            added[2, 0] = -((1 << WEIGHT_BITS + update.shift) // update.factors[0])
            share = PRIME_RING.add(share, PRIME_RING.wrap(added))
        return (yield from given(head, step, share, truncated))

    monkeypatch.setattr(TiedHead, "speed", speed)
    made = tied(own=0)
    head_columns = made.members.columns
    made.run(STEPS, LABELS)
    assert min(correlation(made, name, 2) for name in "bc") > 0.99


def test_a_label_party_that_cheats_and_a_member_read_a_row_of_another_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is declared: a number added to its half of the slope at one row brings that row into the common speed."""
    made, given, place, bits = tied(own=0), HeldProducts.backward, 5, 24
    row = int(STEPS[1].rows[place])
    (victim,) = (name for name in GROUP if made.features[name][row].any())
    pooled = next(name for name in GROUP[1:] if name != victim)
    update = Update.of(TERMS, FIXED, 21, ROWS, made.members.columns)

    def backward(held: HeldProducts, peer: str, name: str, slope: U64, count: int) -> Flow[U64]:
        if (peer, name) == (victim, "backward/1") and held.key is label_keys().coefficient:
            added = np.zeros(slope.shape, dtype=np.int64)
            added[place, 0] = (1 << bits + update.shift) // update.factors[0]
            slope = PRIME_RING.add(slope, PRIME_RING.wrap(added))
            held.begin()  # an encryption for this peer alone
        return (yield from given(held, peer, name, slope, count))

    monkeypatch.setattr(HeldProducts, "backward", backward)
    made.run(STEPS[:2], LABELS)
    speed = PRIME_RING.add(made.sides["label"].blocks["b"].speed, made.sides[pooled].block.speed)
    read = np.rint(PRIME_RING.signed(speed)[:, 0] / 2**bits)
    assert np.abs(read - made.features[victim][row]).max() <= 1


def test_a_coalitions_two_numbers_are_of_one_row_where_its_member_has_one() -> None:
    """What is declared of absent = "zeros": the label party reads the score of the one entity that a member serves."""
    features, period = rows_of_each(valuing.ROWS), valuing.periods()[0]
    rows = np.concatenate([piece.rows for piece in period.pieces])
    row, *rest = (one for one in rows if features["d"][one].any())
    features["d"][rest] = 0
    made = Consortium(features, columns(valuing.ROWS, 0, "own"), valuing.TERMS, tied=(GROUP,))
    made.run(valuing.STEPS, valuing.LABELS)
    label = period.labels[list(rows).index(row)] - period.labels.mean()
    read = valuing.value(made).covariance[frozenset("d")][0] * len(rows) / label
    twin, weights = made.twin(), dict[int, Any]()
    for step in valuing.STEPS:
        if step.kind == "train":
            twin.train(step, valuing.LABELS[step.rows])
        weights[step.number] = np.ldexp(twin.weight.astype(float), -WEIGHT_BITS)
    (at,) = (piece.step for piece in period.pieces if row in piece.rows)
    alone = np.concatenate([np.zeros_like(features["a"]), features["d"]], axis=1) / 2.0**FIXED.feature_bits
    score = FloatTwin(alone, weights[at], valuing.TERMS).predict(Step(0, "predict", 0, np.array([row])))
    assert len(rows) >= 10
    assert read == pytest.approx(score[0], abs=0.02 * abs(score[0]) + 0.005)
