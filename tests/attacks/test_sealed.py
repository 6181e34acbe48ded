"""Attacks on the sealed network: what each holder of shares receives, what a cheating label party gets, what pools."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare, rankdata

from psi.flow import Flow, LocalProtocolError, Message, RemoteProtocolError
from tests.vfl.models.sealed import test_coalition_values as valuing
from tests.vfl.models.sealed.rig import Consortium, anchor_key, columns
from vfl.arithmetic.bit_packing import pack_bits, unpack_bits
from vfl.arithmetic.he import KeyHolder
from vfl.arithmetic.mask import MaskSource
from vfl.arithmetic.prime_ring import PRIME, PRIME_RING
from vfl.models.sealed import anchor as anchor_module
from vfl.models.sealed import label as label_module
from vfl.models.sealed.coalitions import CoalitionEmbedding, CoalitionNumbers
from vfl.models.sealed.ends import HeldProducts
from vfl.models.sealed.messages import MaskedEmbedding, Scores, SealedStep, UpdateShare
from vfl.models.sealed.opens import NUMBER_BITS
from vfl.models.sealed.scales import SCORE_BITS, WEIGHT_BITS
from vfl.protocols import truncation as truncation_module
from vfl.protocols.opening import ZeroSumMasks
from vfl.protocols.truncation import evaluate_truncation
from vfl.terms import SealedModel
from vfl.walk.schedule import Step

ROWS = 200
TERMS = SealedModel(width=3, batch_rows=64)
LABELS = np.random.default_rng(0).normal(size=ROWS)
STEPS = [
    Step(0, "train", 0, np.arange(64), 64),
    Step(1, "train", 0, np.arange(60, 124), 124),
    Step(2, "predict", 1, np.arange(124, 200)),
]
U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]


def consortium(parties: str = "abc", own: int = 2, anchor: str = "a", **options: Any) -> Consortium:
    features = {n: columns(ROWS, 3 + i, n) for i, n in enumerate(parties)}
    return Consortium(features, columns(ROWS, own, "own"), TERMS, anchor=anchor, **options)


class Received:
    """All that the two holders of shares get of a run: what their keys decrypt, and what travels as shares."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.shares: dict[str, list[U64]] = {"label": [], "anchor": []}
        self.opened: dict[str, list[U64]] = {"sealed.scores": [], "sealed.numbers": []}
        self.kinds: dict[str, set[str]] = {"label": set(), "anchor": set(), "other": set()}
        given = KeyHolder.decrypt_all

        def decrypt_all(key: KeyHolder, *rest: Any) -> list[U64]:
            found = given(key, *rest)
            self.shares["anchor" if key is anchor_key() else "label"] += found
            return found

        patch.setattr(KeyHolder, "decrypt_all", decrypt_all)

    def run(self, made: Consortium, steps: list[Step] = STEPS, labels: NDArray[np.float64] = LABELS) -> None:
        with suppress(LocalProtocolError):  # a score of a label party that cheats may have wrapped, which ends the run
            made.run(steps, labels)
        self.take(made)

    def take(self, made: Consortium) -> None:
        """What ``made`` heard since it was last taken."""
        for heard in made.heard:
            holder = "label" if heard.receiver == "label" else "anchor" if heard.receiver == made.anchor else "other"
            self.kinds[holder].add(heard.kind)
            message = heard.message
            if isinstance(message, MaskedEmbedding | UpdateShare | CoalitionEmbedding):
                self.shares[holder].append(PRIME_RING.unpack(message.values, len(message.values) * 8 // 59))
            if isinstance(message, Scores | CoalitionNumbers):
                bits = SCORE_BITS if isinstance(message, Scores) else NUMBER_BITS
                count = len(message.values) * 8 // bits
                self.opened[heard.kind].append(unpack_bits(message.values, bits, count, 1 << bits))
        made.heard.clear()


def uniformity(values: U64, bound: int = PRIME) -> float:
    """p-value of a chi-square test of uniformity, in 64 equal parts of the ring and of its low bits."""
    high = np.bincount((values.astype(np.float64) / bound * 64).astype(int).clip(0, 63), minlength=64)
    low = np.bincount((values & np.uint64(63)).astype(int), minlength=64)
    return float(min(chisquare(high).pvalue, chisquare(low).pvalue))


SLOT_ANSWERS = {"slots.answer", "slots.verdict"}
REGISTER = {
    "label": {
        "product.answer", *SLOT_ANSWERS, "sealed.update", "sealed.scores", "sealed.numbers", "source.ready",
        "sealed.range-point", "sealed.range-verdict",
    },
    "anchor": {
        "slots.key", "product.operand", "product.answer", "slots.operand", "slots.check", "sealed.embedding",
        "sealed.coalition", "sealed.step", "sealed.value", "sealed.values-end", "sealed.numbers-committed",
        "sealed.range-guess", "source.done", "source.open",
    },
    "other": {
        "slots.key", "product.operand", "slots.operand", "slots.check", "sealed.step", "sealed.value",
        "sealed.values-end", "source.done", "mask.key",
    },
}  # fmt: skip
"""Every kind of message that reaches a side of a sealed run, from its first step to its coalition values."""


def test_the_register_of_a_whole_run_is_uniform_shares_scores_and_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same data and labels in every run, trained, predicted and valued. What else travels is a ciphertext under
    another's key, a public announcement, or the test of a check slot."""
    seen = Received(monkeypatch)
    for run in range(3):
        features = {n: columns(valuing.ROWS, 3 + i, n) for i, n in enumerate("abc")}
        made = Consortium(features, columns(valuing.ROWS, 2, "own"), valuing.TERMS, salt=str(run))
        seen.run(made, valuing.STEPS, valuing.LABELS)
        valuing.value(made)
        seen.take(made)
    assert seen.kinds == REGISTER
    for holder, shares in seen.shares.items():
        values = np.concatenate([share.reshape(-1) for share in shares])
        assert len(values) > 5000
        assert uniformity(values) > 1e-4, holder
    predicted = sum(len(step.rows) for step in valuing.STEPS if step.kind == "predict")
    numbers = 2 * 7 * len(valuing.periods())
    for kind, bits, count in (("sealed.scores", SCORE_BITS, predicted), ("sealed.numbers", NUMBER_BITS, numbers)):
        found = np.concatenate(seen.opened[kind])
        assert len(found) == 3 * count, "nothing but one score a row, and two numbers a coalition and period"
        assert uniformity(found, 1 << bits) > 1e-4, f"{kind} without the label party's shares"


def test_without_masks_the_label_party_receives_numbers_that_are_not_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(source: MaskSource, stream: Any, count: int) -> tuple[U64, U64]:
        return np.zeros((2, count), dtype=np.uint64), np.zeros(count, dtype=np.uint64)

    monkeypatch.setattr(MaskSource, "draw", none)
    seen = Received(monkeypatch)
    seen.run(consortium(), STEPS[:1])
    values = np.concatenate([share.reshape(-1) for share in seen.shares["label"]])
    assert uniformity(values) < 1e-12


def auc(view: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Of a ridge classifier fitted on half of the rows, on the other half."""
    half = len(view) // 2
    x = np.concatenate([view, np.ones((len(view), 1))], axis=1)
    fitted = np.linalg.solve(x[:half].T @ x[:half] + np.eye(x.shape[1]), x[:half].T @ (2.0 * truth[:half] - 1))
    ranks, test = rankdata(x[half:] @ fitted), truth[half:]
    positive = int(test.sum())
    return float((ranks[test].sum() - positive * (positive + 1) / 2) / (positive * (len(test) - positive)))


def test_the_anchor_cannot_tell_a_label_from_all_that_it_holds_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its shares of embedding, square, residual and gradient, high and low bits; with the other shares it would."""
    rows = 8000
    mine: dict[str, U64] = {}
    theirs: dict[str, U64] = {}

    def evaluate(peer: str, name: str, share: U64, *rest: Any, **more: Any) -> Flow[U64]:
        made = yield from evaluate_truncation(peer, name, share, *rest, **more)
        mine[f"{name}/in"], mine[name] = share, made
        return made

    hold = label_module.hold_truncation

    def held(peer: str, name: str, share: U64, *rest: Any, **more: Any) -> Flow[U64]:
        made = yield from hold(peer, name, share, *rest, **more)
        theirs[name] = made
        return made

    monkeypatch.setattr(anchor_module, "evaluate_truncation", evaluate)
    monkeypatch.setattr(label_module, "hold_truncation", held)
    y = np.random.default_rng(1).normal(size=rows)
    terms = SealedModel(width=2, batch_rows=rows)
    made = Consortium({"a": columns(rows, 3, "a")}, columns(rows, 1, "own"), terms)
    made.run([Step(0, "train", 0, np.arange(rows), rows)], y)
    names = ["embedding/0/in", "embedding/0", "residual/0/in", "residual/0"]
    shares = np.concatenate([mine[name].reshape(rows, -1) for name in names], axis=1)
    bits = [(shares >> np.uint64(bit)) & np.uint64(1) for bit in (0, 1, 2, 12, 30, 42, 57, 58)]
    view = np.concatenate([part.astype(np.float64) - 0.5 for part in bits], axis=1)
    assert abs(auc(view, y > 0) - 0.5) < 0.03
    # had the label party not encrypted its part of the residual, the anchor would add its own
    residual = PRIME_RING.signed(PRIME_RING.add(mine["residual/0"], theirs["residual/0"]))
    assert auc(residual[:, None].astype(np.float64), y < 0) > 0.9


def swapped(made: Consortium, linear: NDArray[np.int64]) -> Consortium:
    """A label party that puts a linear column of its choice into its share: the other share starts at zero."""
    given = made.label_side

    def side(**options: Any) -> Any:
        found = given(**options)
        for block in found.blocks.values():
            block.weight[:] = 0
        found.blocks["a"].weight[:, 0] = PRIME_RING.wrap(linear)
        return found

    made.label_side = side  # type: ignore[method-assign]
    return made


def cheated(linear: NDArray[np.int64], **options: Any) -> tuple[Consortium, NDArray[np.int64]]:
    """One prediction by a label party that swaps its share, and a column's whole numbers."""
    terms = SealedModel(width=1, start=1e-9, score_limit=16)
    made = swapped(Consortium({"a": columns(ROWS, 3, "a")}, columns(ROWS, 0, "own"), terms, **options), linear)
    run_to_its_end(made)
    return made, made.features["a"]


def run_to_its_end(made: Consortium) -> None:
    """One prediction of all rows, whose scores the label party keeps though it cannot show that none has wrapped."""
    opens = label_module.open_scores

    def kept(anchor: str, step: int, *rest: Any) -> Flow[F64]:
        made.scores[step] = yield from opens(anchor, step, *rest)
        return made.scores[step]

    with pytest.MonkeyPatch.context() as patch, suppress(LocalProtocolError):
        patch.setattr(label_module, "open_scores", kept)
        patch.setattr(label_module, "check_scores", lambda *_: None)
        made.run([replace(STEPS[2], rows=np.arange(ROWS), number=0)], LABELS)


def test_a_label_party_that_swaps_its_share_reads_seventeen_bits_a_row_of_its_choice() -> None:
    """One column at weight 1 shows in full; three columns packed at 1, 2**17 and 2**34 show the first alone."""
    one, x = cheated(np.array([1, 0, 0]) << WEIGHT_BITS)
    assert np.abs(one.scores[0] * 2**12 - x[:, 0]).max() <= 2
    sent = [h.message for h in one.heard if isinstance(h.message, Scores)]
    assert [len(message.values) for message in sent] == [-(-ROWS * SCORE_BITS // 8)]
    # room for the packing: coarse columns, 6 bits each, at 2**17 apart in what is truncated
    packed, x = cheated(np.array([1, 1 << 4, 1 << 8]) << (WEIGHT_BITS - 4))
    found = np.rint(packed.scores[0] * 2**12).astype(np.int64)
    whole = (x[:, 0] + (x[:, 1] << 4) + (x[:, 2] << 8)) >> 4
    wrapped = ((whole + 2**16) % 2**17) - 2**16
    assert np.abs(((found - wrapped + 2**16) % 2**17) - 2**16).max() <= 2
    assert np.abs(whole).max() >= 2**16, "more than 17 bits were put in"


def test_a_share_that_was_not_cut_to_seventeen_bits_would_show_three_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The defence out: the anchor sends all of its share, and the packed columns come apart."""
    full: list[U64] = []

    def evaluate(peer: str, name: str, share: U64, *rest: Any, **more: Any) -> Flow[U64]:
        made = yield from evaluate_truncation(peer, name, share, *rest, **more)
        if name.startswith("score/"):
            full.append(made)
        return made

    mine: list[U64] = []
    hold = label_module.hold_truncation

    def held(peer: str, name: str, share: U64, *rest: Any, **more: Any) -> Flow[U64]:
        made = yield from hold(peer, name, share, *rest, **more)
        if name.startswith("score/"):
            mine.append(made)
        return made

    monkeypatch.setattr(anchor_module, "evaluate_truncation", evaluate)
    monkeypatch.setattr(label_module, "hold_truncation", held)
    made = Consortium(
        {"a": columns(ROWS, 3, "a")}, columns(ROWS, 0, "own"), SealedModel(width=1, start=1e-9, score_limit=16)
    )
    coarse = made.features["a"] >> 9
    made.features = {"a": coarse << 4}
    swapped(made, np.array([1, 1 << 10, 1 << 20], dtype=np.int64) << (WEIGHT_BITS - 4))
    run_to_its_end(made)
    whole = PRIME_RING.signed(PRIME_RING.add(full[0], mine[0]))
    third = (whole + (1 << 19)) >> 20
    second = (whole - (third << 20) + (1 << 9)) >> 10
    assert np.array_equal(third, coarse[:, 2])
    assert np.array_equal(second, coarse[:, 1])
    # what arrived in fact holds neither
    assert np.abs(made.scores[0]).max() <= 16


SWAPPED = {
    "share of the embedding": (label_module, "offer_slots", "square/"),
    "residual": (label_module, "offer_slots", "gradient/"),
    "half of the gradient": (HeldProducts, "backward", "backward/"),
    "share of the weights": (HeldProducts, "forward", "forward/"),
    "own columns": (label_module, "hold_own", "own"),
    "low bits of a truncation": (truncation_module, "hold_slots", ""),
    "share of what is truncated": (label_module, "hold_truncation", ""),
}
"""Everything that a label party sends of its own: where, and of which products."""


@pytest.mark.parametrize("kind", SWAPPED)
def test_whatever_a_label_party_swaps_it_receives_uniform_shares_and_seventeen_bits(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row alone stands out, and its own part of everything else vanishes."""
    owner, function, prefix = SWAPPED[kind]
    given, swaps = getattr(owner, function), []

    def swapped_in(*arguments: Any, **more: Any) -> Flow[Any]:
        at = next(place for place, one in enumerate(arguments) if isinstance(one, np.ndarray))
        if not arguments[at - 1].startswith(prefix):
            return given(*arguments, **more)  # type: ignore[no-any-return]
        alone = np.zeros_like(arguments[at])
        alone[0] = 2**57 + 12345
        swaps.append(arguments[at - 1])
        return given(*arguments[:at], alone, *arguments[at + 1 :], **more)  # type: ignore[no-any-return]

    monkeypatch.setattr(owner, function, swapped_in)
    seen = Received(monkeypatch)
    for run in range(3):
        seen.run(consortium(salt=str(run)))
    assert swaps
    assert seen.kinds["label"] <= REGISTER["label"]
    scores = np.concatenate(seen.opened["sealed.scores"])
    assert len(scores) == 3 * len(STEPS[2].rows), "17 bits of each predicted row"
    values = np.concatenate([share.reshape(-1) for share in seen.shares["label"]])
    assert uniformity(values) > 1e-4
    assert uniformity(scores, 1 << SCORE_BITS) > 1e-4, "which without its own share say nothing"


def pooled(made: Consortium, patch: pytest.MonkeyPatch) -> dict[str, U64]:
    """What label party and anchor hold together of each other party's embedding in the first step."""
    held: dict[str, U64] = {}
    forward = HeldProducts.forward

    def watched(self: HeldProducts, peer: str, name: str, *rest: Any, **more: Any) -> Flow[U64]:
        share = yield from forward(self, peer, name, *rest, **more)
        if name == "forward/0":
            held[peer] = share
        return share

    patch.setattr(HeldProducts, "forward", watched)
    made.run(STEPS[:1], LABELS)
    found = {}
    for heard in made.heard:
        if isinstance(heard.message, MaskedEmbedding):
            theirs = PRIME_RING.unpack(heard.message.values, 64 * TERMS.embedding_width).reshape(64, -1)
            found[heard.sender] = PRIME_RING.add(theirs, held[heard.sender])
    return found


def embedding(made: Consortium, name: str) -> NDArray[np.int64]:
    start = sum(made.features[n].shape[1] for n in made.features if n < name)
    weight = made.weights()[start : start + made.features[name].shape[1]]
    result: NDArray[np.int64] = made.features[name][:64] @ weight
    return result


def test_label_party_and_anchor_together_read_the_sum_of_the_others_and_no_single_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As docs/protocols/sealed.md says: of two other feature parties the sum of their embeddings, of one its own."""
    made = consortium("abc")
    found = pooled(made, monkeypatch)
    both = PRIME_RING.signed(PRIME_RING.add(found["b"], found["c"]))
    assert np.array_equal(both, embedding(made, "b") + embedding(made, "c"))
    for name in "bc":
        assert not (PRIME_RING.signed(found[name]) == embedding(made, name)).any()
        assert uniformity(found[name].reshape(-1)) > 1e-4
    with pytest.MonkeyPatch.context() as patch:
        alone = consortium("ab")
        assert np.array_equal(PRIME_RING.signed(pooled(alone, patch)["b"]), embedding(alone, "b"))


def test_without_zero_sum_masks_they_would_read_each_party_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ZeroSumMasks, "mask", lambda masks, name, parties, shape: np.zeros(shape, dtype=np.uint64))
    made = consortium("abc")
    found = pooled(made, monkeypatch)
    for name in "bc":
        assert np.array_equal(PRIME_RING.signed(found[name]), embedding(made, name))


HOSTILE: list[tuple[type[Message], dict[str, Any], str]] = [
    (SealedStep, {"rows": b""}, "label"),
    (SealedStep, {"rows": b"\x00" * 7}, "label"),
    (SealedStep, {"rows": np.array([1, 1], dtype="<u4").tobytes()}, "label"),
    (SealedStep, {"rows": np.array([ROWS], dtype="<u4").tobytes()}, "label"),
    (SealedStep, {"rows": np.arange(10**5, dtype="<u4").tobytes()}, "label"),
    (SealedStep, {"known": 0}, "label"),
    (SealedStep, {"known": ROWS + 1}, "label"),
    (SealedStep, {"again": True}, "label"),
    (MaskedEmbedding, {"values": b"\xff" * 5}, "b"),
    (MaskedEmbedding, {"values": pack_bits(np.full(256, PRIME, dtype=np.uint64), 59)}, "b"),
    (MaskedEmbedding, {"step": 9}, "b"),
    (UpdateShare, {"values": b""}, "a"),
    (UpdateShare, {"party": "c"}, "a"),
    (Scores, {"values": b"\x00"}, "a"),
    (Scores, {"step": -1}, "a"),
]


@pytest.mark.parametrize(("kind", "change", "peer"), HOSTILE)
def test_what_does_not_fit_is_refused_with_the_name_of_who_sent_it(
    kind: type[Message], change: dict[str, Any], peer: str
) -> None:
    def tamper(sender: str, receiver: str, got: Message) -> Message:
        return replace(got, **change) if isinstance(got, kind) else got  # type: ignore[type-var]

    made = consortium("ab", tamper=tamper)
    with pytest.raises(RemoteProtocolError) as refused:
        made.run([STEPS[0], STEPS[2]], LABELS)
    assert refused.value.peer == peer


def test_scores_are_packed_to_the_bit() -> None:
    draw = np.random.default_rng(0).integers(0, 1 << SCORE_BITS, 77, dtype=np.uint64)
    data = pack_bits(draw, SCORE_BITS)
    assert len(data) == -(-77 * SCORE_BITS // 8)
    assert np.array_equal(unpack_bits(data, SCORE_BITS, 77, 1 << SCORE_BITS), draw)


def test_no_side_sends_a_share_of_a_row_to_anybody_but_the_two_holders() -> None:
    made = consortium("abc")
    made.run(STEPS, LABELS)
    for heard in made.heard:
        if heard.receiver in ("b", "c"):
            assert heard.kind in {
                "mask.key", "slots.key", "sealed.step", "product.operand", "slots.operand", "slots.check",
                "slots.verdict", "source.done",
            }, heard.kind  # fmt: skip
