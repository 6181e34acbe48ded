"""Federated averaging over secure sums: equal to plain averaging, with drop-outs, sampling and hostile messages."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psi.flow import Message, RemoteProtocolError, UnattributedError
from tests.vfl.federated.rig import COORDINATOR, RUN, Fixed, rounds_of, trained, weights_of
from vfl.federated.messages import SumHeard, SumIncluded, SumKey, SumPart, SumStart, SumSurvivors, SumTotal, SumUnmask
from vfl.federated.rounds import drawn
from vfl.federated.secure_sum import TooFewMembers
from vfl.federated.updates import RING
from vfl.federated_terms import FederatedModel

FIVE = ("a", "b", "c", "d", "e")
ONE = FederatedModel(rounds=1)


def learners(members: tuple[str, ...] = FIVE, numbers: int = 6, seed: int = 0) -> dict[str, Fixed]:
    draw = np.random.default_rng(seed)
    return {name: Fixed(draw.normal(size=numbers), int(draw.integers(1, 5000))) for name in members}


def mean_of(found: dict[str, Fixed], names: tuple[str, ...]) -> np.ndarray:
    rows = np.array([found[name].rows for name in names], dtype=np.float64)
    return np.average([found[name].update for name in names], axis=0, weights=rows)


@settings(max_examples=12, deadline=None)
@given(st.integers(2, 7), st.integers(1, 9), st.integers(0, 2**16))
def test_a_secure_average_is_the_plain_one(count: int, numbers: int, seed: int) -> None:
    members = tuple(f"m{place}" for place in range(count))
    found = learners(members, numbers, seed)
    results, _ = trained(rounds_of(ONE, members, numbers), found, np.zeros(numbers))
    for name in members:
        np.testing.assert_allclose(weights_of(results[name]), mean_of(found, members), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [SumKey, SumHeard, SumPart, SumUnmask])
def test_a_member_that_drops_costs_nothing(kind: type[Message]) -> None:
    """The average is that of the others, or of all where its part had arrived; the next round goes on without it."""
    found, model = learners(), FederatedModel(rounds=2)
    results, _ = trained(
        rounds_of(model, FIVE, 6), found, np.zeros(6), drops=lambda who, _, said: who == "b" and isinstance(said, kind)
    )
    rest = ("a", "c", "d", "e")
    first = FIVE if kind is SumUnmask else rest
    for name in rest:
        assert [one.names for one in results[name].rounds] == [first, rest]
        wanted = mean_of(found, first) + mean_of(found, rest)
        np.testing.assert_allclose(weights_of(results[name]), wanted, atol=2e-6, rtol=0)


def test_below_the_threshold_nothing_opens() -> None:
    gone = {"a", "b"}
    results, sent = trained(
        rounds_of(ONE, FIVE, 6),
        learners(),
        np.zeros(6),
        drops=lambda who, _, said: who in gone and isinstance(said, SumPart),
    )
    assert isinstance(results[COORDINATOR], TooFewMembers)
    assert "3 of 5 members are left after the parts" in str(results[COORDINATOR])
    assert not any(isinstance(said, SumUnmask) for *_, said in sent)


def test_of_each_member_one_secret_comes_together_and_never_both() -> None:
    """Of the one that dropped nobody gives a share of its seed; of the others nobody a share of the key."""
    _, sent = trained(
        rounds_of(ONE, FIVE, 6),
        learners(),
        np.zeros(6),
        drops=lambda who, _, said: who == "b" and isinstance(said, SumPart),
    )
    keys = {(who, to): said for who, to, said in sent if isinstance(said, SumKey)}
    told = {who: said.shares for who, _, said in sent if isinstance(said, SumUnmask)}
    assert set(told) == {"a", "c", "d", "e"}
    for holder, shares in told.items():
        for place, owner in enumerate(FIVE):
            if owner != holder:
                held = keys[owner, holder]
                assert shares[place] == (held.key_share if owner == "b" else held.seed_share)


def test_who_is_drawn_is_public_and_the_rest_follow() -> None:
    model = FederatedModel(rounds=6, sampled=0.6)
    found = learners()
    results, _ = trained(rounds_of(model, FIVE, 6), found, np.zeros(6))
    said = results["a"].rounds
    assert [one.names for one in said] == [drawn(FIVE, 3, RUN, number) for number in range(6)]
    assert len({one.names for one in said}) > 1
    assert all(np.array_equal(weights_of(results[name]), weights_of(results["a"])) for name in FIVE)


@pytest.mark.parametrize(
    ("kind", "sender", "changes", "words", "blamed"),
    [
        (SumStart, COORDINATOR, {"names": ("a", "x")}, "names others than", COORDINATOR),
        (SumStart, COORDINATOR, {"number": 9}, "spoke of sum 9 in sum 0", COORDINATOR),
        (SumIncluded, COORDINATOR, {"names": ("a", "b")}, "would open a sum of 2 members", COORDINATOR),
        (SumSurvivors, COORDINATOR, {"names": ("a",)}, "would open a sum of 1 members", COORDINATOR),
        (SumTotal, COORDINATOR, {"values": b"1"}, "expected 56 bytes", COORDINATOR),
        (SumKey, "b", {"public": b"short"}, "of another length", "b"),
        (SumKey, "b", {"public": bytes(32)}, "unusable X25519 key", "b"),
        (SumHeard, "b", {"names": ("a", "x")}, "keys of another sum", "b"),
        (SumPart, "b", {"values": b"1"}, "expected 56 bytes", "b"),
        (SumUnmask, "b", {"shares": (b"1",)}, "brought shares that are no 5 of 33 bytes", "b"),
        (SumUnmask, "b", {"shares": (bytes(33),) * 5}, "do not fit what it committed to", "a"),
    ],
)  # fmt: skip
def test_a_hostile_message_is_named(
    kind: type[Message], sender: str, changes: dict[str, Any], words: str, blamed: str
) -> None:
    def change(who: str, _: str, said: Message) -> Message:
        return dataclasses.replace(said, **changes) if who == sender and isinstance(said, kind) else said

    results, _ = trained(rounds_of(ONE, FIVE, 6), learners(), np.zeros(6), change=change)
    errors = [one for one in results.values() if isinstance(one, RemoteProtocolError)]
    assert any(words in str(one) and one.peer == blamed for one in errors), results


def test_an_average_that_honest_members_cannot_have_made_is_refused() -> None:
    def change(who: str, _: str, said: Message) -> Message:
        if who != "b" or not isinstance(said, SumPart):
            return said
        elements = RING.unpack(said.values, 7)
        poison = RING.encode(np.full(6, 5000.0 * 100), 24)
        return SumPart(said.number, RING.pack(np.concatenate([RING.add(elements[:6], poison), elements[6:]])))

    results, _ = trained(rounds_of(ONE, FIVE, 6), learners(), np.zeros(6), change=change)
    with pytest.raises(UnattributedError, match="one of them did not clip its own"):
        weights_of(results["a"])


@pytest.mark.parametrize(
    ("changes", "members", "words"),
    [
        ({"threshold": 3}, 6, "more than half"),
        ({"threshold": 7}, 6, "more than half"),
        ({}, 1, "two members"),
        ({"most_rows": 2**24, "clip": 1000.0, "fraction_bits": 30}, 100, "fraction_bits to"),
        ({"rule": "trimmed", "weights": "equal", "trimmed": 3}, 6, "leaves nothing"),
    ],
)  # fmt: skip
def test_terms_that_cannot_hold_are_refused(changes: dict[str, Any], members: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FederatedModel.model_validate(changes).agreed_for(members)


def test_terms_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match='weights = "equal"'):
        FederatedModel(noise=1.0)
    with pytest.raises(ValueError, match="counts members"):
        FederatedModel(rule="median")
