"""What a grown tree gives to each row: a polynomial in the owners' bits, which both holders evaluate on shares.

A leaf's value is multilinear in the bits of the levels. An owner multiplies its own bits for nothing, and gives out
shares of these products; so only products between owners are left, one owner after the other. The first meets
coefficients that the label party knows, so the anchor multiplies its products by them; of each later one the products
meet shares. Who owns how many levels says which products there are; both holders know it, and nobody else takes part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.models.sealed.messages import Members
from vfl.models.trees.ends import AnchorEnd, LabelEnd

__all__ = ["Group", "coefficients", "evaluate_scores", "groups_of", "hold_scores"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """An owner and its levels in a tree, rising."""

    owner: str
    levels: tuple[int, ...]


def groups_of(owners: Sequence[str], members: Members) -> tuple[Group, ...]:
    """The owners of a tree's levels in the order in which they are multiplied: first who has most levels.

    Of equals the label party comes first, whose bits it multiplies by coefficients alone, then the anchor.
    """
    found: dict[str, list[int]] = {}
    for level, owner in enumerate(owners):
        found.setdefault(owner, []).append(level)
    rank = {members.label: 0, members.anchor: 1}
    made = [Group(owner, tuple(levels)) for owner, levels in found.items()]
    return tuple(sorted(made, key=lambda one: (-len(one.levels), rank.get(one.owner, 2))))


def coefficients(values: I64, groups: Sequence[Group]) -> I64:
    """Of leaf values (2**depth,) in products of bits, by group: (2**levels of the first, of the second, ...).

    A place is the sum of 2**i over those i-th levels of its owner whose bits it multiplies.
    """
    depth = sum(len(one.levels) for one in groups)
    made = values.reshape((2,) * depth).copy()
    for axis in range(depth):
        sides = np.moveaxis(made, axis, 0)
        sides[1:] -= sides[:1]
    order = [depth - 1 - level for one in groups for level in reversed(one.levels)]
    return np.ascontiguousarray(made.transpose(order)).reshape([1 << len(one.levels) for one in groups])


class _Tables:
    """Tables under way at one holder: ``known`` to the label party, until a first owner's bits meet them; ``shared``.

    A known one is (sides of each group that is left), a shared one has rows (.., rows) as well; 1 side of a group that
    it does not hang on. At the anchor a known one has the right shape and no content.
    """

    def __init__(self, made: Sequence[I64], rows: int) -> None:
        self.rows = rows
        self.known = dict(enumerate(made))
        self.shared: dict[int, U64] = {}

    def first(self) -> dict[int, I64]:
        """Known ones that hang on the group whose turn it is."""
        return {place: one for place, one in self.known.items() if len(one) > 1}

    def later(self) -> dict[int, U64]:
        """Shared ones that do."""
        return {place: one for place, one in self.shared.items() if len(one) > 1}

    def turn(self, met: Mapping[int, U64]) -> None:
        """The next group's turn. met: those that hung on this one, with its bits multiplied in."""
        self.known = {place: one[0] for place, one in self.known.items() if place not in met}
        self.shared = {place: one[0] for place, one in self.shared.items() if place not in met} | dict(met)

    def found(self, count: int, *, label: bool) -> U64:
        """Every table's share (count, rows); one that hangs on nobody is the label party's."""
        for place, one in self.known.items():
            value = PRIME_RING.wrap(one.reshape(1)) * np.uint64(label)
            self.shared[place] = np.broadcast_to(value, self.rows)
        made = [self.shared[place] for place in range(count)]
        return np.stack(made) if made else np.zeros((0, self.rows), dtype=np.uint64)


def _shapes(groups: Sequence[Group], present: Sequence[frozenset[str]]) -> list[list[int]]:
    return [[1 << len(one.levels) if one.owner in inside else 1 for one in groups] for inside in present]


def _flat(found: Mapping[int, U64], products: U64 | None, rows: int) -> tuple[U64, U64]:
    """The shared tables' factors of an owner's products, flat, and these as they stand beside them."""
    factors = [one[1:].reshape(len(one) - 1, -1, rows) for one in found.values()]
    if products is None:
        return np.concatenate([one.reshape(-1) for one in factors]), np.zeros(0, dtype=np.uint64)
    spread = [np.broadcast_to(products[:, None], one.shape).reshape(-1) for one in factors]
    return np.concatenate([one.reshape(-1) for one in factors]), np.concatenate(spread)


def _met(found: Mapping[int, U64], made: U64) -> dict[int, U64]:
    """The shared tables after the owner's turn. made: shares of :func:`_flat`'s products."""
    done, start = dict[int, U64](), 0
    for place, one in found.items():
        size = one[1:].size
        part = made[start : start + size].reshape(one[1:].shape)
        done[place] = PRIME_RING.add(one[0], PRIME_RING.sum(part, axis=0))
        start += size
    return done


def hold_scores(
    name: str,
    values: I64,
    groups: Sequence[Group],
    present: Sequence[frozenset[str]],
    bits: Mapping[str, U64],
    rows: int,
    end: LabelEnd,
) -> Flow[U64]:
    """Label party: its share (tables, rows) of each table of leaf values (tables, leaves) at the rows' leaves.

    present: of each table the owners whose levels it hangs on. bits: :class:`vfl.models.trees.shares.SideShares`'.

    Learns: its own share, uniform in Z_p; which ciphertexts failed.
    Leaks: to the anchor nothing that the owners do not say; no value.
    Model: semi-honest.
    Source: docs/protocols/trees.md#scores.
    """
    label, shapes = end.members.label, _shapes(groups, present)
    cut = [tuple(slice(side) for side in shape) for shape in shapes]
    tables = _Tables([coefficients(one, groups)[part] for one, part in zip(values, cut, strict=True)], rows)
    for turn, group in enumerate(groups):
        mine, met, first, later = bits.get(group.owner), dict[int, U64](), tables.first(), tables.later()
        if first:
            flat = [one.reshape(len(one), -1) for one in first.values()]
            asked = np.concatenate([one[1:] for one in flat], axis=1)
            if group.owner == label:
                assert mine is not None, "its own bits"
                made = PRIME_RING.matmul(asked.T, mine)
            else:
                made = yield from end.tabled(f"values/{name}/{turn}", asked, mine, rows)
            made = PRIME_RING.add(made, PRIME_RING.wrap(np.concatenate([one[0] for one in flat]))[:, None])
            met |= _parted(first, made)
        if later:
            factors, spread = _flat(later, mine, rows)
            met |= _met(later, (yield from end.times(f"scores/{name}/{turn}", group.owner, factors, spread)))
        tables.turn(met)
    return tables.found(len(values), label=True)


def evaluate_scores(
    name: str,
    groups: Sequence[Group],
    present: Sequence[frozenset[str]],
    bits: Mapping[str, U64],
    rows: int,
    end: AnchorEnd,
) -> Flow[U64]:
    """Anchor: its share (tables, rows) of the label party's tables at the rows' leaves. Arguments: :func:`hold_scores`.

    Learns: its own share, uniform in Z_p; which ciphertexts failed.
    Leaks: to the label party a share, uniform too, and which ciphertexts failed.
    Model: hides its shares from a malicious label party, as :class:`vfl.models.trees.ends.AnchorEnd` does.
    Source: docs/protocols/trees.md#scores.
    """
    label = end.members.label
    tables = _Tables([np.zeros(shape, dtype=np.int64) for shape in _shapes(groups, present)], rows)
    for turn, group in enumerate(groups):
        mine, met, first, later = bits.get(group.owner), dict[int, U64](), tables.first(), tables.later()
        if first:
            columns = sum(math.prod(one.shape[1:]) for one in first.values())
            if group.owner == label:
                made = np.zeros((columns, rows), dtype=np.uint64)
            else:
                assert mine is not None, "its own bits, or shares"
                made = yield from end.tabled(f"values/{name}/{turn}", columns, mine)
            met |= _parted(first, made)
        if later:
            factors, spread = _flat(later, mine, rows)
            met |= _met(later, (yield from end.times(f"scores/{name}/{turn}", group.owner, factors, spread)))
        tables.turn(met)
    return tables.found(len(present), label=False)


def _parted(first: Mapping[int, I64], made: U64) -> dict[int, U64]:
    """The known tables after their first owner's turn. made: shares (columns, rows)."""
    done, start = dict[int, U64](), 0
    for place, one in first.items():
        size = math.prod(one.shape[1:])
        done[place] = made[start : start + size].reshape(*one.shape[1:], made.shape[1])
        start += size
    return done
