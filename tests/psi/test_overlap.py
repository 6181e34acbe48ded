"""An estimate of how many entities parties share: right on average, noised for everyone, and nothing beside it."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psi import overlap
from psi.flow import LocalProtocolError, Message, RemoteProtocolError, run_local
from psi.group import hash_to_group
from psi.messages import OverlapCounts, OverlapList
from psi.overlap import Overlap, OverlapTerms, dummies_for, estimate_overlap
from tests.psi.rig import RUN, Seeded, Wire, cut, packed

NAMES = ("bank", "cards", "sky", "social", "web")
UNIVERSE = [f"TICKER{i}" for i in range(16)]


def estimate(
    sets: Mapping[str, Sequence[str]],
    *,
    dummies: int = 4,
    seed: object = 0,
    wire: Wire | None = None,
    largest: int = 16,
) -> dict[str, Overlap]:
    terms = OverlapTerms(tuple(sets), largest, dummies)
    made = {
        name: estimate_overlap(name, terms, ids, run=RUN, randomness=Seeded(seed, name)) for name, ids in sets.items()
    }
    return run_local(made, relay=wire)


def shared(sets: Mapping[str, Sequence[str]], group: Sequence[str]) -> int:
    return len(set.intersection(*(set(sets[name]) for name in group)))


@st.composite
def consortia(draw: st.DrawFn) -> dict[str, list[str]]:
    names = NAMES[: draw(st.integers(2, 4))]
    return {name: draw(st.lists(st.sampled_from(UNIVERSE), unique=True)) for name in names}


@settings(max_examples=12, deadline=None)
@given(sets=consortia(), seed=st.integers(0, 2**32))
def test_an_estimate_differs_from_set_arithmetic_by_the_coins_alone(sets: dict[str, list[str]], seed: int) -> None:
    """With every coin known the noise is known, and what is left is exact: for each group, at every member."""
    drawn: list[int] = []

    class Watched(Seeded):
        def token_bytes(self, nbytes: int, /) -> bytes:
            made = super().token_bytes(nbytes)
            if nbytes == 1:
                drawn.append(int.from_bytes(made, "big") & 15)
            return made

    terms = OverlapTerms(tuple(sets), 16, 4)
    flows = {
        name: estimate_overlap(name, terms, ids, run=RUN, randomness=Watched(seed, name)) for name, ids in sets.items()
    }
    found = run_local(flows)
    first = found[terms.members[0]]
    assert all(one == first for one in found.values())
    noise: Counter[tuple[str, ...]] = Counter()
    coins = iter(drawn)
    for me in terms.members:
        for group in terms.groups:
            for chooser in group if me in group else ():
                kept = next(coins).bit_count()
                if chooser == me:
                    noise[group] += kept
                    noise[tuple(name for name in group if name != me)] += 4 - kept
    for group in terms.groups:
        exactly = {
            x for x in UNIVERSE if all((x in ids) == (name in group) for name, ids in sets.items())
        }  # fmt: skip
        assert first.exactly[group] == len(exactly) + noise[group] - len(sets) * 4 / 2
        over = [other for other in terms.groups if set(group) <= set(other)]
        assert first.together[group] == sum(first.exactly[other] for other in over)


def test_dummies_are_the_fewest_that_hold_epsilon_and_delta() -> None:
    for epsilon in (0.5, 1.0, 3.0):
        fewest = dummies_for(epsilon, 1e-9)
        for trials, holds in ((fewest, True), (fewest - 1, False)):
            p = np.array([math.comb(trials, k) for k in range(trials + 1)], dtype=object)
            here, there = ([float(x) / 2.0**trials for x in [*p, 0]], [float(x) / 2.0**trials for x in [0, *p]])
            passed = sum(max(0.0, a - math.exp(epsilon) * b) for a, b in zip(here, there, strict=True))
            assert (passed <= 1e-9 * (1 + 1e-6)) == holds
    assert dummies_for(1.0, 1e-9) < dummies_for(0.5, 1e-9)
    for bad in ((0, 1e-9), (11, 1e-9), (1, 0), (1, 1)):
        with pytest.raises(ValueError, match="epsilon lies above 0"):
            dummies_for(*bad)


def guessed(rounds: int, dummies: int, middle: float = 4.5) -> float:
    """How often the best guess from an estimate tells two sets apart that differ in one shared entity."""
    sets, right = {"bank": UNIVERSE[:8], "sky": UNIVERSE[4:12]}, 0
    for number in range(rounds):
        more = number % 2 == 0
        here = {**sets, "sky": [*sets["sky"], *(["TICKER0"] if more else [])]}
        right += (estimate(here, dummies=dummies, seed=number)["bank"].together["bank", "sky"] > middle) == more
    return right / rounds


def test_the_exact_count_is_not_recoverable_and_without_dummies_it_is() -> None:
    """epsilon 3 is the most that a node signs by default; chance is one half, the bound e^3 / (1 + e^3) = 0.95."""
    with mock.patch.object(overlap, "_dummies", return_value=()):
        assert guessed(6, 1, middle=3.5) == 1.0  # one is taken off for the dummies that are not there
    assert guessed(24, dummies_for(3.0, 1e-9)) < 0.75


def test_transcripts_hold_no_size_no_id_and_no_token_of_the_others_ids() -> None:
    one = {"bank": UNIVERSE[:8], "sky": UNIVERSE[4:12], "web": UNIVERSE[2:10]}
    other = {"bank": UNIVERSE[:8], "sky": UNIVERSE[:1], "web": UNIVERSE[:15]}
    lengths = []
    for sets in (one, other):
        wire = Wire()
        estimate(sets, wire=wire)
        lengths.append([(s, to, type(m).__name__, len(getattr(m, "points", b""))) for s, to, m in wire.sent])
        seen = [point for _, _, m in wire.sent if isinstance(m, OverlapList) for point in cut(m.points)]
        assert len(seen) == len(set(seen)) + len(shared_tokens(wire, sets)), "only finished tokens come twice"
        bare = [hash_to_group(RUN, name) for name in UNIVERSE] + [name.encode() for name in UNIVERSE]
        assert not [found for _, _, m in wire.sent for found in bare if found in packed(m)]
    assert lengths[0] == lengths[1]


def shared_tokens(wire: Wire, sets: Mapping[str, Sequence[str]]) -> list[bytes]:
    """Tokens that stand in several finished lists which were sent, once for each further one."""
    finished = [set(cut(m.points)) for _, _, m in wire.sent if isinstance(m, OverlapList) and m.hop == len(sets)]
    return [point for one, two in combinations(finished, 2) for point in one & two]


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        (OverlapList, {"points": lambda m: bytes(32) + m.points[32:]}, "is the identity"),
        (OverlapList, {"points": lambda m: m.points[32:]}, "were announced"),
        (OverlapList, {"points": lambda m: m.points[:32] + m.points[:-32]}, "same point twice"),
        (OverlapList, {"hop": lambda m: m.hop + 1}, "is due"),
        (OverlapCounts, {"counts": lambda m: m.counts[1:]}, "do not fit"),
        (OverlapCounts, {"counts": lambda m: (10**9, *m.counts[1:])}, "do not fit"),
    ],
)
def test_a_malformed_message_is_refused_and_its_sender_named(kind: type, changes: dict[str, Any], reason: str) -> None:
    culprit = "bank" if kind is OverlapCounts else "sky"

    def tamper(sender: str, receiver: str, message: Message) -> Message:
        if sender != culprit or not isinstance(message, kind):
            return message
        return dataclasses.replace(message, **{name: edit(message) for name, edit in changes.items()})

    with pytest.raises(RemoteProtocolError, match=reason) as caught:
        estimate({"bank": UNIVERSE[:3], "sky": UNIVERSE[:3], "web": UNIVERSE[:3]}, wire=Wire(tamper))
    assert caught.value.peer == culprit


def test_terms_and_sets_that_cannot_be_are_refused_before_anything_moves() -> None:
    with pytest.raises(LocalProtocolError, match="larger than the agreed largest_set"):
        estimate({"bank": UNIVERSE, "sky": UNIVERSE}, largest=3)
    with pytest.raises(LocalProtocolError, match="name dummies of an estimate"):
        next(estimate_overlap(NAMES[0], OverlapTerms(NAMES, 5, 5), ["~DUM.1"], run=RUN, randomness=Seeded()))
    for members in (("bank",), ("bank", "bank"), (*NAMES, "more")):
        with pytest.raises(ValueError, match="two to 5"):
            OverlapTerms(members, 5, 5)
    with pytest.raises(LocalProtocolError, match="not among the members"):
        next(estimate_overlap("eve", OverlapTerms(NAMES, 5, 5), [], run=RUN, randomness=Seeded()))


def test_the_noise_is_as_large_as_is_said() -> None:
    sets = {"bank": UNIVERSE[:6], "sky": UNIVERSE[2:9], "web": UNIVERSE[4:12]}
    terms = OverlapTerms(tuple(sets), 16, 9)
    errors: dict[tuple[str, ...], list[float]] = {group: [] for group in terms.groups}
    for seed in range(24):
        found = estimate(sets, dummies=9, seed=seed)["web"]
        for group in terms.groups:
            errors[group].append(found.together[group] - shared(sets, group))
    for group, off in errors.items():
        assert abs(np.mean(off)) < 3 * terms.deviation(len(group)) / math.sqrt(24)
        assert 0.6 < np.std(off) / terms.deviation(len(group)) < 1.5
