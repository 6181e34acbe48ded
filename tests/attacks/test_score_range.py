"""A label party that predicts row by row, and what it reads from the check that no score has wrapped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, RemoteProtocolError, Send, receive, run_local
from tests.vfl.models.sealed.test_sealed_resume import World
from tests.vfl.models.trees.rig import Consortium, columns, secret
from vfl.arithmetic.prime_ring import PRIME, PRIME_RING
from vfl.models.sealed import anchor as network_anchor
from vfl.models.sealed import label as network_label
from vfl.models.sealed.scales import SCORE_BITS
from vfl.models.sealed.score_range import (
    Predicted,
    RangeGuess,
    RangePoint,
    RangeVerdict,
    answer_range,
    check_range,
    folded,
)
from vfl.models.trees import anchor as trees_anchor
from vfl.models.trees import label as trees_label
from vfl.models.trees.scales import RESIDUAL_BITS
from vfl.protocols.equality import Compared, proof
from vfl.tree_terms import TreesModel
from vfl.walk.refits import refits_static
from vfl.walk.schedule import Step

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Draw = Callable[[int], bytes]

TERMS = TreesModel(depth=3, trees=1, candidates=1, smallest_leaf=2)
ROWS, ASKED = 24, (18, 19, 20, 21, 22, 23)
BEYOND = 20
"""The place of a score at which a leaf is spelled: above all that opens of it."""

ENDS = ("range/label party", "range/anchor")
NOTHING = np.zeros(1, dtype=np.uint64)
THIS = Predicted(0, 7, "would wrap")


def element(value: int) -> U64:
    return np.array([value % PRIME], dtype=np.uint64)


# --- the attack: leaf values beyond what opens, read row by row -----------------------------------


class RowByRow:
    """A label party whose leaf values are the leaves' own numbers, and that asks for one row at a time.

    check: what it does in the place of the check. ``scores``: what opened.
    """

    def __init__(self, patch: pytest.MonkeyPatch, check: Callable[..., Flow[None]]) -> None:
        self.made = Consortium({"a": columns(ROWS, 3, "a")}, columns(ROWS, 0, "own"), TERMS)
        self.scores: list[int] = []
        self._check = check
        patch.setattr(trees_label, "leaf_values", self._spelled)
        patch.setattr(trees_label, "check_range", self._asked)

    def _spelled(self, leaves: object, terms: TreesModel) -> I64:
        return np.arange(1 << terms.depth, dtype=np.int64) << (RESIDUAL_BITS - terms.score_fraction + BEYOND)

    def _asked(self, anchor: str, this: Predicted, share: U64, scores: F64, *rest: object) -> Flow[None]:
        self.scores.append(int(np.ldexp(scores[0], TERMS.score_fraction)))
        yield from self._check(anchor, this, share, scores, *rest)

    def run(self) -> None:
        steps = [step for step in refits_static(TERMS, ROWS, np.arange(ASKED[0])) if step.kind == "train"]
        steps += [Step(len(steps) + n, "predict", 0, np.array([row])) for n, row in enumerate(ASKED)]
        self.made.run(steps, np.random.default_rng(0).normal(size=ROWS))

    @property
    def truth(self) -> list[int]:
        """The leaves of the rows that were asked for."""
        whole = self.made.opened_scores()[list(ASKED)] >> (RESIDUAL_BITS - TERMS.score_fraction + BEYOND)
        return [int(value) for value in whole]


def leaves(number: int) -> int:
    """What a truncated score spells."""
    return (number + (1 << (BEYOND - 1))) >> BEYOND


def test_a_check_number_that_opened_would_tell_fifty_nine_bits_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The defence out: the anchor sends its sum. Its weight is public, so of one row it is the score, all of it."""
    read: list[int] = []

    def shown(label: str, this: Predicted, share: U64, *_: object) -> Flow[None]:
        yield Send(label, RangePoint(this.step, PRIME_RING.pack(share)))

    def reads(anchor: str, this: Predicted, share: U64, *_: object) -> Flow[None]:
        got = yield from receive(anchor, RangePoint)
        whole = int(PRIME_RING.add(share, PRIME_RING.unpack(got.point, 1))[0])
        weight = int(folded(this.seed, this.step, element(1))[0])
        read.append(int(PRIME_RING.signed(element(whole * pow(weight, -1, PRIME)))[0]))

    monkeypatch.setattr(trees_anchor, "answer_range", shown)
    attack = RowByRow(monkeypatch, reads)
    attack.run()
    assert [leaves(number) for number in read] == attack.truth, "of every row its leaf"
    assert len(set(attack.truth)) > 1
    assert np.abs(attack.scores).max() <= 2, "of which no score tells anything"


def test_the_check_tells_it_a_bit_that_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    attack = RowByRow(monkeypatch, check_range)
    with pytest.raises(LocalProtocolError, match=r"would wrap: raise model\.score_limit"):
        attack.run()
    assert len(attack.scores) == 1
    assert abs(attack.scores[0]) <= 2, "and the score nothing"
    checks = [heard.message for heard in attack.made.heard if isinstance(heard.message, RangePoint | RangeVerdict)]
    assert [type(one) for one in checks] == [RangePoint, RangeVerdict]
    assert checks[1] == RangeVerdict(checks[0].step, b"")


# --- what either end makes of the comparison ------------------------------------------------------


def asked(mine: int, theirs: int, salt: str = "") -> tuple[bool, list[object]]:
    """Whether a label party that expects ``mine`` finds it at an anchor that holds ``theirs``; all that travelled."""
    travelled: list[object] = []

    def relay(_: str, __: str, got: object) -> object:
        travelled.append(got)
        return got

    flows = {
        "label": guessing("a", THIS, element(mine), secret(f"label {salt}").take),
        "a": answer_range("label", THIS, element(theirs), secret(f"anchor {salt}").take, lambda: None),
    }
    try:
        return bool(run_local(flows, relay=relay)["label"]), travelled  # type: ignore[arg-type]
    except LocalProtocolError:
        return False, travelled


def guessing(anchor: str, this: Predicted, value: U64, draw: Draw) -> Flow[bool]:
    """A label party that expects this sum, whatever its scores say."""
    got = yield from receive(anchor, RangePoint)
    mine = this.compared(value, draw)
    common = mine.common(got.point)
    yield Send(anchor, RangeGuess(this.step, mine.point, proof(common, "range/label party")))
    verdict = yield from receive(anchor, RangeVerdict)
    return bool(verdict.proof)


def test_a_label_party_reads_one_bit_of_a_number_that_it_has_put_together() -> None:
    """Whether its guess is right; of one that is not, nothing says in which way."""
    assert asked(41, 41)[0]
    wrong = [asked(guess, 41) for guess in (40, 42, 41 + 2**30)]
    assert not any(right for right, _ in wrong)
    assert {repr(travelled[-1]) for _, travelled in wrong} == {repr(RangeVerdict(THIS.step, b""))}


def test_what_it_keeps_of_a_guess_lets_it_try_no_second_one() -> None:
    """A hash of the sum in place of the point is found among the sums that there may be."""
    may_be = range(4096)
    shown = hashlib.sha256(PRIME_RING.pack(element(41))).digest()
    assert [n for n in may_be if hashlib.sha256(PRIME_RING.pack(element(n))).digest() == shown] == [41]
    _, (point, _, verdict) = asked(40, 41)
    kept = {point.point, verdict.proof}  # type: ignore[attr-defined]
    for other in (39, 41, 42):
        made: Compared = THIS.compared(element(other), secret("label ").take)
        common = made.common(point.point)  # type: ignore[attr-defined]
        assert not {made.point, *(proof(common, end) for end in ENDS)} & kept


def test_points_of_one_sum_are_new_in_every_attempt() -> None:
    points = {asked(40, 41, salt)[1][0] for salt in "abc"}
    assert len(points) == 3


@pytest.mark.parametrize("moved", [0, 1, 2, -70_000])
def test_an_anchor_that_moves_a_score_learns_whether_it_is_still_in_range(moved: int) -> None:
    """One bit, as the text says; and where it is not, the run ends."""
    score, fraction, half = 2 ** (SCORE_BITS - 1) - 2, TERMS.score_fraction, 1 << (SCORE_BITS - 1)
    opened = (score + moved + half) % (2 * half) - half
    theirs = PRIME_RING.sub(folded(THIS.seed, THIS.step, element(score + moved)), NOTHING)
    flows = {
        "label": check_range("a", THIS, NOTHING, np.ldexp([float(opened)], -fraction), fraction, secret("l").take),
        "a": answer_range("label", THIS, theirs, secret("a").take, lambda: None),
    }
    if -half <= score + moved < half:
        run_local(flows)
    else:
        with pytest.raises(LocalProtocolError, match="would wrap"):
            run_local(flows)


@pytest.mark.parametrize(
    ("point", "words"),
    [(bytes(32), "a point is not"), (b"\xff" * 32, "a point is not"), (b"", "a point has 32 bytes")],
)
def test_points_that_are_none_are_refused_by_name(point: bytes, words: str) -> None:
    def label() -> Flow[None]:
        yield from receive("a", RangePoint)
        yield Send("a", RangeGuess(THIS.step, point, b""))

    def anchor() -> Flow[None]:
        yield Send("label", RangePoint(THIS.step, point))

    honest = answer_range("label", THIS, NOTHING, secret("a").take, lambda: None)
    with pytest.raises(RemoteProtocolError, match=f"^label: {words}"):
        run_local({"label": label(), "a": honest})
    other = check_range("a", THIS, NOTHING, np.zeros(1), 14, secret("l").take)
    with pytest.raises(RemoteProtocolError, match=f"^a: {words}"):
        run_local({"label": other, "a": anchor()})


def test_an_anchor_cannot_claim_that_scores_are_in_range() -> None:
    def anchor() -> Flow[None]:
        mine = THIS.compared(element(3), secret("a").take)
        yield Send("label", RangePoint(THIS.step, mine.point))
        guess = yield from receive("label", RangeGuess)
        yield Send("label", RangeVerdict(THIS.step, proof(mine.common(guess.point), "range/anchor")))

    other = check_range("a", THIS, NOTHING, np.zeros(1), 14, secret("l").take)
    with pytest.raises(RemoteProtocolError, match="says that scores are in range, and does not show it"):
        run_local({"label": other, "a": anchor()})


# --- a second guess after a restart ---------------------------------------------------------------


def guesses_of(wrong: Sequence[bool]) -> tuple[list[str], int]:
    """How attempts end in which the label party guesses wrong, or right, at its one prediction; points that it got."""
    ends, world = [], World("a", 0, "a", [Step(0, "predict", 0, np.arange(10))])
    for fails in wrong:
        with pytest.MonkeyPatch.context() as guess:
            if fails:

                def off(anchor: str, this: Predicted, share: U64, *rest: object) -> Flow[None]:
                    yield from check_range(anchor, this, PRIME_RING.add(share, element(1)), *rest)  # type: ignore[arg-type]

                guess.setattr(network_label, "check_range", off)
            try:
                world.attempt_once()
                ends.append("done")
            except LocalProtocolError as error:
                ends.append(str(error)[:6])
    return ends, sum(isinstance(heard.message, RangePoint) for heard in world.heard)


def test_a_wrong_guess_is_its_last_whatever_is_started_again() -> None:
    """The second attempt gets no point to guess at, and both sides end it with the sentence of the first."""
    assert guesses_of([True, False]) == (["step 0", "step 0"], 1)
    assert guesses_of([False]) == (["done"], 1)


def test_without_the_mark_it_would_guess_once_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_anchor, "refused", lambda record: False)
    assert guesses_of([True, False]) == (["step 0", "done"], 2)
