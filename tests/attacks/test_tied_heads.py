"""Attacks on tied heads: what a label party and one member of a group read of another member's rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.attacks.test_sealed import uniformity
from tests.vfl.models.sealed.rig import Consortium, columns
from tests.vfl.models.sealed.test_tied import GROUP, LABELS, STEPS, TERMS, tied
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.models.sealed import anchor as anchor_module
from vfl.models.sealed import label as label_module
from vfl.models.sealed.tied import TiedGradient, TiedSpeed, by_head
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
