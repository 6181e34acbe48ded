"""How many entities parties share, as a differentially private estimate and nothing else.

Every party sends one list of the same agreed length round the ring: its entities, padding, and dummies. Each hop raises
the list to its own scalar and shuffles it, so that whoever counts at the end sees tokens that neither it nor the
owner can match with an entity. What it counts is, for each group of parties, how many tokens are in exactly their
lists; the dummies make that a noised number.

Noise: for each party i and each group G of two or more with i in it there are m dummies. The others of G put all of
them into their lists, i each with probability one half. An entity more or less in i's set moves one count exactly as
one dummy more or less of i's does. So whoever knows everything but i's choices learns of i's set what a binomial
count of m halves lets through: (epsilon, delta) for every entity, all counts together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from psi.flow import Flow, LocalProtocolError, RemoteProtocolError, Send, receive
from psi.group import (
    InvalidPoint,
    Randomness,
    Scalar,
    check_points,
    hash_block,
    join_points,
    random_element,
    split_points,
)
from psi.identifiers import check_canonical
from psi.messages import OverlapCounts, OverlapList
from psi.padding import DUMMY

__all__ = ["Overlap", "OverlapTerms", "dummies_for", "estimate_overlap"]

_MOST_MEMBERS = 5
Group = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OverlapTerms:
    """What the members agreed on. ``dummies``: m of the module's text; the first member counts."""

    members: tuple[str, ...]
    largest_set: int
    dummies: int

    def __post_init__(self) -> None:
        if not 2 <= len(self.members) <= _MOST_MEMBERS or len(set(self.members)) != len(self.members):
            raise ValueError(f"an overlap is estimated among two to {_MOST_MEMBERS} differently named members")
        if self.largest_set < 1 or self.dummies < 1:
            raise ValueError("largest_set and dummies must be 1 or above")

    @property
    def groups(self) -> tuple[Group, ...]:
        """Every group of two or more members, small ones first."""
        return tuple(group for size in range(2, len(self.members) + 1) for group in combinations(self.members, size))

    @property
    def length(self) -> int:
        """Entries of every list: the largest set, and every dummy that a member may put in."""
        return self.largest_set + self.dummies * sum(len(group) for group in self.groups if self.members[0] in group)

    def deviation(self, size: int) -> float:
        """Standard deviation of the estimate of what all of a group of ``size`` hold, whoever else does.

        Noise of those outside the group cancels over its larger groups; what is left is that of its own members.
        """
        return math.sqrt(size * 2 ** (len(self.members) - size) * self.dummies) / 2


@dataclass(frozen=True, slots=True)
class Overlap:
    """Estimates: of entities that exactly a group holds, and of those that all of it do, whoever else does."""

    exactly: Mapping[Group, float]
    together: Mapping[Group, float]


@cache
def dummies_for(epsilon: float, delta: float) -> int:
    """Fewest halves whose binomial count, moved by one, is (epsilon, delta) indistinguishable from itself.

    Exact, by summing what the ratio of neighbouring probabilities lets through: (m - k + 1) / k above e^epsilon.
    Source: Dwork et al., EUROCRYPT 2006, section 4 (binomial noise).
    """
    if not 0 < epsilon <= 10 or not 0 < delta < 1:
        raise ValueError("epsilon lies above 0 and at most 10, delta between 0 and 1")
    low, high = 1, 2
    while _passes(high, epsilon) > delta:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _passes(middle, epsilon) <= delta else (middle, high)
    return high


def _passes(trials: int, epsilon: float) -> float:
    """The delta of ``trials`` halves: sum over k of max(0, P(k) - e^epsilon P(k + 1)), the other side being alike."""
    bound, total = math.exp(epsilon), 0.0
    scale = math.lgamma(trials + 1) - trials * math.log(2)

    def probability(k: int) -> float:
        return math.exp(scale - math.lgamma(k + 1) - math.lgamma(trials - k + 1)) if 0 <= k <= trials else 0.0

    for k in range(-1, trials + 1):
        total += max(0.0, probability(k + 1) - bound * probability(k))
    return max(total, sum(max(0.0, probability(k) - bound * probability(k + 1)) for k in range(trials + 1)))


def estimate_overlap(
    me: str, terms: OverlapTerms, ids: Sequence[str], *, run: bytes, randomness: Randomness
) -> Flow[Overlap]:
    """One member's side. ``ids`` are canonical and distinct, at most ``largest_set``; ``run`` names this estimate.

    Learns: for each group of the members, a noised count of the entities that exactly they hold, (epsilon, delta)
        differentially private for each entity of each other member, against all others together.
    Leaks: nothing else; lists are of one length, so no set size shows either.
    Model: semi-honest members. One that leaves out dummies of another's takes that other's noise away from the groups
        they share, and one that brings made-up entities asks about these: both are cheating, and are not caught.
    Source: De Cristofaro, Gasti and Tsudik, CANS 2012; Kacsmar et al., EuroS&P 2020; docs/protocols/overlap.md#noise.

    Raises :class:`IdentifierError`, :class:`LocalProtocolError` or :class:`RemoteProtocolError`.
    """
    if me not in terms.members:
        raise LocalProtocolError(f"{me!r} is not among the members of this estimate")
    held = check_canonical(ids)
    if any(name.startswith(DUMMY) for name in held):
        raise LocalProtocolError(f"identifiers that begin with {DUMMY} name dummies of an estimate: rename them")
    if len(held) > terms.largest_set:
        raise LocalProtocolError(
            "this party's set is larger than the agreed largest_set: propose it anew with a larger one"
        )
    names = [*held, *_dummies(me, terms, randomness)]
    points = hash_block(run, names)
    points += [random_element(randomness) for _ in range(terms.length - len(points))]
    scalar = Scalar.random(randomness).multiplier()
    seat, size = terms.members.index(me), len(terms.members)
    before, after, counter = terms.members[seat - 1], terms.members[(seat + 1) % size], terms.members[0]

    yield Send(after, OverlapList(me, 1, _worked(scalar, points, me, randomness)))
    finished: dict[str, list[bytes]] = {}
    for hop in range(1, size):
        owner = terms.members[seat - hop]
        points = yield from _received(before, owner, hop, terms)
        worked = _worked(scalar, points, before, randomness)
        if hop + 1 < size:
            yield Send(after, OverlapList(owner, hop + 1, worked))
        elif me == counter:
            finished[owner] = split_points(worked, terms.length, me)
        else:
            yield Send(counter, OverlapList(owner, size, worked))
    if me == counter:
        for finisher in terms.members[1:]:
            owner = terms.members[(terms.members.index(finisher) + 1) % size]
            finished[owner] = yield from _received(finisher, owner, size, terms)
        counts = OverlapCounts(_counted(terms, finished))
        for name in terms.members[1:]:
            yield Send(name, counts)
    else:
        counts = yield from receive(counter, OverlapCounts)
        if len(counts.counts) != len(terms.groups) or not all(0 <= c <= terms.length for c in counts.counts):
            raise RemoteProtocolError("sent counts that do not fit the agreed groups and list length", counter)
    return _estimates(terms, counts.counts)


def _dummies(me: str, terms: OverlapTerms, randomness: Randomness) -> Iterator[str]:
    """The names of the dummies in this member's list."""
    for group in terms.groups:
        if me not in group:
            continue
        for chooser in group:
            coins = int.from_bytes(randomness.token_bytes((terms.dummies + 7) // 8), "big")
            for number in range(terms.dummies):
                if chooser != me or coins >> number & 1:
                    yield f"{DUMMY}{'+'.join(group)}/{chooser}/{number}"


def _worked(scalar: Callable[[Sequence[bytes]], list[bytes]], points: list[bytes], sender: str, r: Randomness) -> bytes:
    """Raised to the scalar, in an order of this member's own."""
    try:
        made = scalar(points)
    except InvalidPoint:
        raise RemoteProtocolError("sent a point that is not a canonical encoding, or is the identity", sender) from None
    for last in range(len(made) - 1, 0, -1):
        pick = r.randbelow(last + 1)
        made[last], made[pick] = made[pick], made[last]
    return join_points(made)


def _received(sender: str, owner: str, hop: int, terms: OverlapTerms) -> Flow[list[bytes]]:
    got = yield from receive(sender, OverlapList)
    if (got.owner, got.hop) != (owner, hop):
        raise RemoteProtocolError(
            f"sent the list of {got.owner[:40]!r} at hop {got.hop} where that of {owner!r} at hop {hop} is due", sender
        )
    points = split_points(got.points, terms.length, sender)
    check_points(points, sender)
    return points


def _counted(terms: OverlapTerms, finished: Mapping[str, Sequence[bytes]]) -> tuple[int, ...]:
    """Tokens in exactly the lists of each group."""
    holders: dict[bytes, tuple[str, ...]] = {}
    for name in terms.members:
        for token in finished[name]:
            holders[token] = (*holders.get(token, ()), name)
    found = Counter(holders.values())
    return tuple(found[group] for group in terms.groups)


def _estimates(terms: OverlapTerms, counts: Sequence[int]) -> Overlap:
    """Every group's count less what its dummies add on average: half of them for each member, in the group or not."""
    expected = len(terms.members) * terms.dummies / 2
    exactly = {group: count - expected for group, count in zip(terms.groups, counts, strict=True)}
    together = {
        group: sum(count for other, count in exactly.items() if set(group) <= set(other)) for group in terms.groups
    }
    return Overlap(exactly, together)
