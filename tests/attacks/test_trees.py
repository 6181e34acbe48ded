"""Attacks on sealed trees: by owners and the anchor on labels, by the label party on features, by both together.

Each succeeds with the defence out, and fails with it, or reads exactly what docs/protocols/trees.md says.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from psi.flow import Flow, Message, RemoteProtocolError
from tests.attacks.test_sealed import auc, uniformity
from tests.vfl.models.trees.rig import Consortium, Observed, columns, keys, secret
from vfl.arithmetic.mask import MaskSource
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.models.sealed.scales import SCORE_BITS
from vfl.models.trees import anchor as anchor_module
from vfl.models.trees import ends
from vfl.models.trees import feature as feature_module
from vfl.models.trees import label as label_module
from vfl.models.trees.candidates import candidate_stream, draw_candidates
from vfl.models.trees.ends import take_sums
from vfl.models.trees.messages import CandidateSums, Owner, SplitShares
from vfl.models.trees.scales import PAIR_BITS, RESIDUAL_BITS, SUM_BITS, Packing32
from vfl.models.trees.shares import SideShares, TreeShares
from vfl.models.trees.tree_rows import TreeRows
from vfl.protocols.product import Packing
from vfl.tree_terms import TreesModel
from vfl.walk.refits import blocks_of, refits_static
from vfl.walk.schedule import Step

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

TERMS = TreesModel(depth=3, trees=2, candidates=3, smallest_leaf=5)


def fitted(rows: int, terms: TreesModel) -> list[Step]:
    return [step for step in refits_static(terms, rows) if step.kind == "train"]


class Received:
    """Every share that a holder of shares is given, by holder: of its own products, and passed on to it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.shares: dict[str, list[U64]] = {"label": [], "a": []}
        for name in ("finish_slots", "finish_product", "hold_own"):
            self._watch(patch, name)

    def _watch(self, patch: pytest.MonkeyPatch, name: str) -> None:
        finish = getattr(ends, name)

        def finished(peer: str, label: str, *rest: Any, **more: Any) -> Flow[U64]:
            made = yield from finish(peer, label, *rest, **more)
            anchors = any(one is keys("anchor").coefficient for one in rest)
            self.shares["a" if anchors else "label"].append(made.reshape(-1))
            return made

        patch.setattr(ends, name, finished)

    def run(self, made: Consortium, y: F64, steps: Sequence[Step]) -> None:
        made.run(steps, y)
        for heard in made.heard:
            if heard.receiver in self.shares and isinstance(heard.message, SplitShares | CandidateSums):
                data = heard.message.bits if isinstance(heard.message, SplitShares) else heard.message.values
                self.shares[heard.receiver].append(PRIME_RING.unpack(data, len(data) * 8 // 59))


def small(salt: str = "") -> tuple[Consortium, F64]:
    rows = 1400
    made = Consortium({n: columns(rows, 2, n) for n in "ab"}, columns(rows, 1, "own"), TERMS, salt=salt)
    return made, np.random.default_rng(0).normal(size=rows)


def test_everything_that_the_holders_receive_is_uniform_over_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same data, labels and candidates in every run. What travels is a ciphertext or one of these shares."""
    seen = Received(monkeypatch)
    for run in range(3):
        made, y = small(str(run))
        seen.run(made, y, fitted(len(y), TERMS))
        kinds = {h.kind for h in made.heard if h.receiver in ("label", "a")}
        assert kinds <= {
            "product.operand", "product.answer", "slots.key", "slots.operand", "slots.answer", "slots.check",
            "slots.verdict", "trees.step", "trees.sums", "trees.numbers", "trees.owner", "trees.chosen", "trees.split",
            "source.done",
        }  # fmt: skip
    for holder, shares in seen.shares.items():
        values = np.concatenate(shares)
        assert len(values) > 4000
        assert uniformity(values) > 1e-4, holder


def test_what_scores_coalitions_is_uniform_too_and_of_no_other_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are scored for each coalition while the tree grows; all that travels for it are shares and ciphertexts."""
    seen, shown = Received(monkeypatch), {False: set[str](), True: set[str]()}
    for run, valued in enumerate((True, True, False)):
        made, y = small(str(run))
        made.valued = valued
        seen.run(made, y, list(refits_static(TERMS, len(y), np.arange(60))))
        shown[valued] |= {h.kind for h in made.heard if h.receiver == "label"}
    assert shown[True] == shown[False], "no kind of message beside those of the trees themselves"
    for holder, shares in seen.shares.items():
        values = np.concatenate(shares)
        assert len(values) > 2000
        assert uniformity(values) > 1e-4, holder


def test_without_masks_a_holder_receives_numbers_that_are_not_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(source: MaskSource, stream: Any, count: int) -> tuple[U64, U64]:
        return np.zeros((2, count), dtype=np.uint64), np.zeros(count, dtype=np.uint64)

    monkeypatch.setattr(MaskSource, "draw", none)
    seen = Received(monkeypatch)
    made, y = small()
    with suppress(RemoteProtocolError):  # shares that are not uniform do not wrap as those of a truncation should
        seen.run(made, y, fitted(len(y), TERMS)[:1])
    assert uniformity(np.concatenate(seen.shares["label"])) < 1e-12


def test_nothing_under_another_key_than_its_own_comes_before_the_label_party() -> None:
    """With own candidates, which are taken at one level, and leaf values.

    Why it matters: tests/attacks/test_sealed_keys.py, where an evaluator whose answers come before it reads a key.
    """
    made, y = small()
    with pytest.MonkeyPatch.context() as patch:
        own = 2 * TERMS.candidates  # the first candidate of the label party
        patch.setattr(label_module, "best_candidate", lambda totals, *rest: own if len(totals.count) == 2 else 0)
        made.run(fitted(len(y), TERMS), y)
    assert {owner for _, level, owner, _ in made.sides["label"].chosen if level == 1} == {"label"}
    arrived = {h.kind for h in made.heard if h.receiver == "label"}
    assert "product.answer" in arrived
    assert not arrived & {"product.operand", "slots.operand", "slots.key"}
    answers = {h.message.label.split("/")[0] for h in made.heard if h.kind == "product.answer"}  # type: ignore[attr-defined]
    assert answers == {"sums", "own", "values"}, "own candidates and leaf values took part"
    under_anchors = {h.kind for h in made.heard if h.sender == "a" and h.receiver == "b"}
    assert under_anchors == {"slots.key", "product.operand"}, "and of the anchor's keys one, for sums alone"


class Watched:
    """One tree of which the levels take a candidate of the label party, of b and of a; what every side held of a row.

    The label hangs on the label party's own column alone, so whoever reads a row's leaf reads its label.
    """

    ROWS = 6000

    def __init__(self) -> None:
        terms = TreesModel(depth=3, trees=1, candidates=2, rate=1.0)
        own = columns(self.ROWS, 1, "own")
        self.y = np.where(own[:, 0] > 0, 1.0, -1.0) + 0.5 * columns(self.ROWS, 1, "noise")[:, 0]
        self.made = Consortium({n: columns(self.ROWS, 2, n) for n in "ab"}, own, terms)
        self.carries: dict[str, list[U64]] = {"label": [], "a": []}
        self.bits: dict[str, dict[str, U64]] = {"label": {}, "a": {}}
        self.parts: list[U64] = []
        with pytest.MonkeyPatch.context() as patch:
            for holder, module in (("label", label_module), ("a", anchor_module)):
                patch.setattr(module, "TreeShares", self._kept(self.carries[holder]))
                patch.setattr(module, "SideShares", self._taken(self.bits[holder]))
            give = feature_module.halves

            def given(bits: U64, stream: Any) -> tuple[U64, U64]:
                self.parts += [bits, *give(bits, stream)]
                return self.parts[-2], self.parts[-1]

            patch.setattr(feature_module, "halves", given)
            taken = [4, 2, 0]
            patch.setattr(
                label_module, "best_candidate", lambda totals, *rest: taken[len(totals.count).bit_length() - 1]
            )
            self.made.run(fitted(self.ROWS, terms), self.y / self.y.std())

    @staticmethod
    def _kept(into: list[U64]) -> type[TreeShares]:
        class Kept(TreeShares):
            def split(self, products: U64) -> None:
                super().split(products)
                into.append(self.carries.copy())

        return Kept

    @staticmethod
    def _taken(into: dict[str, U64]) -> type[SideShares]:
        class Taken(SideShares):
            def take(self, owner: str, more: U64 | None) -> U64:
                into[owner] = np.zeros(0, dtype=np.uint64) if more is None else more.copy()
                return super().take(owner, more)

        return Taken

    def held(self, holder: str) -> U64:
        """All shares of a row at a holder: carries after each split, bits of b, and its score."""
        score = self.made.sides[holder].fits.of(np.arange(self.ROWS))
        return np.concatenate([*self.carries[holder], self.bits[holder]["b"].T, score[:, None]], axis=1)

    def of_owner(self) -> F64:
        """What b has of a row: its bits, and the shares of them that it gives out."""
        bits, one, other = self.parts
        return np.concatenate([bits[:, None].astype(np.float64), as_view(np.stack([one, other], axis=1))], axis=1)


def as_view(shares: U64) -> F64:
    """Shares (rows, k) as a classifier takes them: high, middle and low bits."""
    parts = [(shares >> np.uint64(bit)) & np.uint64(1) for bit in (0, 1, 2, 16, 32, 57, 58)]
    return np.concatenate([part.astype(np.float64) - 0.5 for part in parts], axis=1)


@pytest.fixture(scope="module")
def watched() -> Watched:
    return Watched()


def test_neither_the_anchor_nor_an_owner_can_tell_a_label_from_all_that_it_holds_of_a_row(watched: Watched) -> None:
    truth = watched.y > 0
    assert abs(auc(as_view(watched.held("a")), truth) - 0.5) < 0.03
    assert abs(auc(watched.of_owner(), truth) - 0.5) < 0.03


def test_instance_sets_in_the_clear_would_tell_it(watched: Watched) -> None:
    """What other platforms show the owner of a split: which rows have reached its node."""
    both = [PRIME_RING.signed(PRIME_RING.add(*pair)) for pair in zip(*watched.carries.values(), strict=True)]
    reached = both[0] != 0
    assert (reached.sum(axis=1) == 1).all()
    assert auc(reached.astype(np.float64), watched.y > 0) > 0.6


def test_label_party_and_anchor_together_read_the_side_of_every_split(watched: Watched) -> None:
    """As docs/protocols/trees.md says; either of them alone holds uniform shares."""
    terms, rows = watched.made.terms, np.arange(Watched.ROWS)
    taken = draw_candidates(
        watched.made.features["b"],
        rows,
        terms.candidates,
        terms.smallest_leaf,
        candidate_stream(secret("candidates/b"), 0, 1, rows),
        deal=True,
    )[0]
    read = PRIME_RING.signed(PRIME_RING.add(watched.bits["label"]["b"], watched.bits["a"]["b"]))
    assert np.array_equal(read[0], taken), "b's split, at the second level"
    assert not watched.bits["label"]["a"].size, "of an owner that holds shares itself the other holder has nothing"
    assert not watched.bits["a"]["label"].size
    for holder in ("label", "a"):
        assert uniformity(watched.held(holder).reshape(-1)) > 1e-4


def read_from_counts(rows: int, trees: int, blocks: int, *, dealt_once: bool) -> float:
    """AUC of a column of zeros and ones, from the exact counts that a label party is shown of its candidates.

    It knows which rows each tree draws, and tells the column from its complement by the size of the count.
    """
    terms = TreesModel(depth=1, smallest_leaf=5, blocks=blocks)
    column = np.random.default_rng(5).random(rows) < 0.3
    nobody, every = np.zeros(0, dtype=np.int64), np.arange(rows)
    equations, counts = np.zeros((trees, rows)), np.zeros(trees)
    for tree in range(trees):
        dealt = blocks_of(terms if dealt_once else terms.model_copy(update={"seed": tree}), rows)
        drawn = TreeRows.of(every, nobody, dealt, tree, terms).drawn
        bits = draw_candidates(column[:, None].astype(float), drawn, 1, 5, secret(f"{tree}"))[0]
        held = int(bits[drawn].sum())
        equations[tree, drawn], counts[tree] = 1.0, min(held, len(drawn) - held)
    guess = np.linalg.lstsq(equations, counts, rcond=1e-9)[0]
    ones, others = guess[column][:, None], guess[~column][None]
    return float(((ones > others + 1e-9).mean() + (ones >= others - 1e-9).mean()) / 2)


def test_counts_of_rows_that_are_drawn_anew_for_each_tree_give_a_binary_column_away() -> None:
    """So rows are dealt into blocks once for a run: however many trees, there are as many counts as blocks."""
    assert read_from_counts(300, 900, 4, dealt_once=False) > 0.95
    assert abs(read_from_counts(2500, 60, 4, dealt_once=True) - 0.5) < 0.03


LOST, CHOSEN = 3, 40
"""Places that are left empty for the rounding, of 2 units at most; and rows that are asked about."""


def cheated(patch: pytest.MonkeyPatch) -> tuple[I64, U64, NDArray[np.bool_]]:
    """A label party that puts powers of two of chosen rows into the first tree's carries, where scores are zero.

    What arrived, modulo 2**32; what the truncated sums were in full; the candidate bits of the chosen rows.
    """
    rows = 400
    terms = TreesModel(depth=1, trees=1, candidates=4)
    made = Consortium({n: columns(rows, 3, n) for n in "ab"}, columns(rows, 0, "own"), terms)
    observed, packing = Observed().watch(patch), Packing32.of(rows)
    starting = TreeShares.starting

    class Indicator(TreeShares):
        @classmethod
        def starting(cls, carries: U64) -> TreeShares:
            planted = np.zeros_like(carries)
            planted[LOST:CHOSEN] = [1 << (packing.drop + place) for place in range(LOST, CHOSEN)]
            return starting(planted)

    patch.setattr(label_module, "TreeShares", Indicator)
    for module in (label_module, anchor_module):
        patch.setattr(module, "Packing32", _Wide)
    with pytest.raises(RemoteProtocolError, match="counts cannot be"):
        made.run(fitted(rows, terms), np.ones(rows))
    _, full = observed.both("numbers/0/0")
    from_anchor = next(h.message for h in made.heard if h.kind == "trees.numbers")
    assert len(from_anchor.values) * 8 == PAIR_BITS * len(full) + (-PAIR_BITS * len(full)) % 8
    bits = np.concatenate(
        [
            draw_candidates(
                made.features[n],
                np.arange(rows),
                4,
                terms.smallest_leaf,
                candidate_stream(secret(f"candidates/{n}"), 0, 0, np.arange(rows)),
                deal=True,
            )
            for n in "ab"
        ]
    )
    return full[:-1] % 2**PAIR_BITS, full[:-1].view(np.uint64), bits[:, :CHOSEN]


class _Wide(Packing32):
    """Room for what a cheating label party puts in: an honest anchor has the bound of the agreed rows."""

    @property
    def bound(self) -> int:
        from vfl.protocols.truncation import LARGEST

        return LARGEST


def spelled(numbers: NDArray[Any], places: int) -> NDArray[np.bool_]:
    """The rows' bits from a sum of their powers of two."""
    rounded = numbers.astype(np.int64) + (1 << LOST) // 2
    found: NDArray[np.bool_] = (rounded[:, None] >> np.arange(places)) & 1 == 1
    return found


def test_an_indicator_in_the_carries_reads_thirty_two_bits_of_each_candidate_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arrived, full, bits = cheated(monkeypatch)
    assert np.array_equal(spelled(arrived, PAIR_BITS)[:, LOST:], bits[:, LOST:PAIR_BITS])
    assert int(arrived.max()) < 2**PAIR_BITS
    beyond = spelled(full, CHOSEN)[:, PAIR_BITS:]
    assert np.array_equal(beyond, bits[:, PAIR_BITS:]), "a share that was not cut would show the rest"


def test_a_number_in_place_of_a_bit_reads_a_residual_in_the_same_thirty_two_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the label party puts beside its share of a row's bit multiplies that row's carry, as the protocol page says.

    The row's residual stands in the sums of the next level, and what arrives of them is 32 bits each.
    """
    rows, row, power = 400, 7, 1 << 24
    terms = TreesModel(depth=2, trees=1, candidates=4)
    made = Consortium({n: columns(rows, 3, n) for n in "ab"}, columns(rows, 0, "own"), terms)
    observed, packing, y = Observed().watch(monkeypatch), Packing32.of(rows), columns(rows, 1, "y")[:, 0].clip(-2, 2)

    class More(SideShares):
        def take(self, owner: str, more: U64 | None) -> U64:
            bits = super().take(owner, more).copy()
            bits[row] = PRIME_RING.add(bits[row : row + 1], np.array([power], dtype=np.uint64))[0]
            return bits

    monkeypatch.setattr(label_module, "best_candidate", lambda *rest: 4)  # the first of b
    monkeypatch.setattr(label_module, "SideShares", More)
    for module in (label_module, anchor_module):
        monkeypatch.setattr(module, "Packing32", _Wide)
    made.run(fitted(rows, terms), y)
    carry = (1 << packing.shift) + int(np.rint(np.ldexp(y[row], 16)))
    bits = {
        (n, level): draw_candidates(
            made.features[n],
            np.arange(rows),
            4,
            terms.smallest_leaf,
            candidate_stream(secret(f"candidates/{n}"), 0, level, np.arange(rows)),
            deal=True,
        )
        for n in "ab"
        for level in (0, 1)
    }
    every, taken = np.concatenate([bits["a", 1], bits["b", 1]]), bits["b", 0][0]
    carries = (1 << packing.shift) + np.rint(np.ldexp(y, 16)).astype(np.int64)
    honest = (every * (carries * taken)).sum(axis=1)
    inside, full = observed.both("numbers/0/1")
    assert np.array_equal(inside.reshape(8, 2)[:, 1] - honest, every[:, row] * carry * power)
    from_anchor = [h.message for h in made.heard if h.kind == "trees.numbers"][1]
    assert len(from_anchor.values) * 8 == PAIR_BITS * len(full)


@pytest.mark.parametrize("before", [0, 1], ids=["its own", "of the row before"])
def test_leaf_numbers_in_place_of_leaf_values_read_sides_of_rows_in_the_seventeen_bits_of_a_score(
    before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaf values are the label party's to choose: with numbers of its own a predicted score spells a row's leaves,
    of another row where the polynomial that it encrypts moves rows on.

    Three trees of depth 3, each at places of its own, some empty below the first for the rounding: 9 sides a score.
    """
    rows, terms = 420, TreesModel(depth=3, trees=3, candidates=2, smallest_leaf=5, score_limit=2)
    made = Consortium({n: columns(rows, 2, n) for n in "ab"}, columns(rows, 0, "own"), terms)
    lost, places = RESIDUAL_BITS - terms.score_fraction + LOST, iter(range(terms.trees))
    monkeypatch.setattr(
        label_module, "leaf_values", lambda *rest: np.arange(8, dtype=np.int64) << (lost + 3 * next(places))
    )
    if before:
        pack = Packing.right
        monkeypatch.setattr(label_module, "best_candidate", lambda *rest: 0)  # the anchor's, so that one party owns all

        def moved(packing: Packing, block: U64, *rest: Any, transposed: bool) -> U64:
            found = pack(packing, block, *rest, transposed=transposed)
            return found if transposed else np.concatenate([np.zeros_like(found), found])

        monkeypatch.setattr(Packing, "right", moved)
    known = np.arange(rows - 20)
    steps = list(refits_static(terms, rows, known))
    made.run(steps, columns(rows, 1, "y")[:, 0].clip(-2, 2) / 4)
    opened = np.concatenate([made.scores[step.number] for step in steps[terms.trees :]])
    read = spelled(np.ldexp(opened, terms.score_fraction), LOST + 9)[:, LOST:]
    for place, (tree, level, owner, number) in enumerate(made.sides["label"].chosen):
        stream = candidate_stream(secret(f"candidates/{owner}"), tree, level, known)
        sides = draw_candidates(made.features[owner], known, 2, terms.smallest_leaf, stream, deal=True)[number]
        assert np.array_equal(read[before:, place], sides[: rows - before]), "fitted rows, and rows that are predicted"
    from_anchor = [h.message for h in made.heard if h.kind == "sealed.scores"]
    assert sum(len(got.values) for got in from_anchor) == -(-rows * SCORE_BITS // 8), "and no more than that arrives"


def test_a_feature_party_that_makes_its_candidates_up_reads_labels_from_which_of_them_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its sums are of weights of its choice, heavy on two rows: the larger gain of r_i + r_j and r_i - r_j tells
    whether these residuals have one sign. The agreement says so; nobody sees on shares that bits are bits.
    """
    rows, heavy, terms = 700, 150, TreesModel(depth=1, trees=24, candidates=2, smallest_leaf=5, rate=0.01)
    made = Consortium({n: columns(rows, 2, n) for n in "ab"}, columns(rows, 0, "own"), terms)
    y = columns(rows, 1, "y")[:, 0].clip(-2, 2)
    asked = iter(range(1, terms.trees + 1))

    def sums(ends: Any, label: str, bits: Any, leaves: int) -> Flow[list[U64]]:
        other, weights = next(asked), np.zeros(bits.shape, dtype=np.int64)
        weights[:, 0], weights[:, other] = heavy, (heavy, -heavy)
        weights[1, rows - 2 * heavy :] = 1  # so that both count as many rows
        return (yield from take_sums(ends, label, weights, leaves))

    monkeypatch.setattr(feature_module, "take_sums", sums)
    made.run(fitted(rows, terms), y)
    told = {h.message.step: h.message.candidate for h in made.heard if h.kind == "trees.chosen" and h.receiver == "b"}
    read = {step + 1: number == 0 for step, number in told.items() if number >= 0}
    assert len(read) > 0.8 * terms.trees
    assert np.mean([alike == (y[0] * y[row] > 0) for row, alike in read.items()]) > 0.85


def test_whoever_names_an_owner_that_brings_nothing_is_named_itself() -> None:
    """Not the party that the label party names, which had no part in it."""
    made, y = small()

    def tamper(_: str, __: str, got: Message) -> Message:
        return Owner(got.step, got.level + 1, "b") if isinstance(got, Owner) else got

    made.tamper = tamper
    with pytest.raises(RemoteProtocolError, match=r"^label: names an owner of another level"):
        made.run(fitted(len(y), TERMS)[:1], y)


def test_what_an_honest_label_party_is_shown_does_not_tell_a_row_of_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ridge attack on a column from everything opened: of each row, the sums of labels of the trees that drew it."""
    rows = 2000
    terms = TreesModel(depth=2, trees=6, candidates=2, blocks=2)
    column = np.random.default_rng(2).random(rows) < 0.5
    made = Consortium({"a": column[:, None].astype(float)}, columns(rows, 1, "own"), terms)
    observed = Observed().watch(monkeypatch)
    y = np.random.default_rng(3).normal(size=rows)
    made.run(fitted(rows, terms), y)
    dealt = blocks_of(terms, rows)
    view = []
    for tree in range(terms.trees):
        for level in range(terms.depth):
            _, numbers = observed.both(f"numbers/{tree}/{level}")
            pairs = Packing32.of(int((dealt == tree % 2).sum())).read(numbers.view(np.uint64) & np.uint64(2**32 - 1))
            drawn = (dealt == tree % 2).astype(float)
            view += [drawn * total * y for total in pairs.total] + [drawn * count for count in pairs.count]
    assert abs(auc(np.stack(view, axis=1) / 1000, column) - 0.5) < 0.03
    assert SUM_BITS == 16


def test_no_side_sends_a_share_of_a_row_to_anybody_but_the_two_holders() -> None:
    made, y = small()
    made.run(fitted(len(y), TERMS), y)
    for heard in made.heard:
        if heard.receiver == "b":
            assert heard.kind in {
                "slots.key", "trees.step", "product.operand", "trees.chosen", "source.done",
            }, heard.kind  # fmt: skip
