"""What a tree gives to each row, as a polynomial in its owners' bits: in the clear, and on shares of both holders."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from psi.flow import Flow, run_local
from tests.vfl.models.trees.rig import keys, secret
from vfl.arithmetic.he import Context, Evaluator
from vfl.arithmetic.parameter_sets import SLOT_SET
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.models.sealed.messages import Members
from vfl.models.trees.coalitions import merged_values
from vfl.models.trees.ends import AnchorEnd, LabelEnd, halves
from vfl.models.trees.scoring import coefficients, evaluate_scores, groups_of, hold_scores
from vfl.models.trees.shares import SideShares, multiplied
from vfl.protocols.slots import SlotEvaluator

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

MEMBERS = Members("label", "a", {"a": 1, "b": 1, "c": 1}, 1)
OWNERS = ("label", "a", "b", "c")
ROWS = 40


def leaves(bits: U64) -> I64:
    """The leaf of each row, of bits (levels, rows)."""
    found: I64 = (bits.astype(np.int64) << np.arange(len(bits))[:, None]).sum(axis=0)
    return found


def own_products(owners: tuple[str, ...], bits: U64) -> dict[str, U64]:
    """Each owner's products of its own bits."""
    made: dict[str, U64] = {}
    for owner, row in zip(owners, bits, strict=True):
        more = multiplied(made.get(owner), row)
        made[owner] = np.concatenate([made[owner], more]) if owner in made else more
    return made


@given(st.data(), st.integers(1, 6))
def test_a_leaf_s_value_is_the_polynomial_of_its_bits(data: st.DataObject, depth: int) -> None:
    owners = tuple(data.draw(st.lists(st.sampled_from(OWNERS), min_size=depth, max_size=depth)))
    values = np.array(data.draw(st.lists(st.integers(-(2**16), 2**16), min_size=1 << depth, max_size=1 << depth)))
    bits = np.random.default_rng(depth).integers(0, 2, size=(depth, 9)).astype(np.uint64)
    groups, products = groups_of(owners, MEMBERS), own_products(owners, bits)
    found = coefficients(values, groups)[..., None] * np.ones(9, dtype=np.int64)
    for group in groups:
        whole = np.concatenate([np.ones((1, 9), dtype=np.int64), products[group.owner].astype(np.int64)])
        found = (found * whole.reshape(len(whole), *[1] * (found.ndim - 2), 9)).sum(axis=0)
    assert np.array_equal(found, values[leaves(bits)])


PATTERNS = (
    ("label",), ("a",), ("b",), ("label", "label"), ("b", "b", "a"), ("b", "a", "b", "a"), ("b", "c", "c", "b"),
    ("a", "b", "c", "label"), ("label", "b", "label", "c"), ("c", "label", "c", "b"), ("a", "a", "b", "label"),
)  # fmt: skip


def test_both_holders_have_shares_of_every_table_whoever_owns_the_levels() -> None:
    """A tree's own table, one of each owner left out, and one that nobody's bits are in."""
    key = keys("label").slots
    evaluator = Evaluator(Context(SLOT_SET, PRIME_RING.bits), key.public_key)
    for number, owners in enumerate(PATTERNS):
        draw, stream = np.random.default_rng(number), secret(f"scoring/{number}")
        bits = draw.integers(0, 2, size=(len(owners), ROWS)).astype(np.uint64)
        values, counts = draw.integers(-(2**16), 2**16, 1 << len(owners)), draw.integers(1, 9, 1 << len(owners))
        present = [frozenset(owners), *(frozenset(owners) - {one} for one in set(owners)), frozenset()]
        tables = np.stack([merged_values(values, counts, [owner in one for owner in owners]) for one in present])
        held = {"label": SideShares(), "a": SideShares()}
        mine = dict[str, U64]()
        for owner, row in zip(owners, bits, strict=True):
            more = multiplied(mine.get(owner), row)
            mine[owner] = np.concatenate([mine[owner], more]) if owner in mine else more
            for holder, part in zip(held, halves(more, stream), strict=True):
                if owner in held:
                    held[holder].take(owner, more if holder == owner else None)
                else:
                    assert held[holder].due(owner) == len(more)
                    held[holder].take(owner, part)
        groups, sides = groups_of(owners, MEMBERS), SlotEvaluator(evaluator, stream)
        flows: dict[str, Flow[U64]] = {
            "label": hold_scores("0", tables, groups, present, held["label"].held, ROWS, LabelEnd(MEMBERS, key)),
            "a": evaluate_scores("0", groups, present, held["a"].held, ROWS, AnchorEnd(MEMBERS, sides)),
        }
        made = run_local(flows)
        assert made["a"].shape == (len(present), ROWS)
        both = PRIME_RING.signed(PRIME_RING.add(made["label"], made["a"]))
        assert np.array_equal(both, tables[:, leaves(bits)]), owners
