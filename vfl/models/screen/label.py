"""The label party's side of a screen: it holds the keys, its label stays encrypted, and the sums open to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, Progress, RemoteProtocolError, Send, receive
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.received import MalformedError
from vfl.models.screen.messages import (
    ScreenBegins,
    ScreenGoesOn,
    ScreenMembers,
    ScreenNumbers,
    ScreenWon,
    TerminalCount,
)
from vfl.models.screen.numbers import Window
from vfl.models.screen.opens import SCREEN_BITS
from vfl.models.sealed.ends import packing_of
from vfl.models.sealed.label import LabelKeys
from vfl.protocols.prime_keys import announce_key
from vfl.protocols.product_flows import finish_product, offer_right
from vfl.protocols.slots import finish_slots, offer_slots

__all__ = ["Screened", "ScreenLabel"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


@dataclass
class Screened:
    """What opened, float64 with NaN where a number was left out.

    alone: by feature party (T, m), of each terminal. own: (T, m, own), of a party's terminals times the label party's.
    pairs: by (earlier, later) feature party (T, m, m').
    """

    alone: dict[str, F64] = field(default_factory=dict)
    own: dict[str, F64] = field(default_factory=dict)
    pairs: dict[tuple[str, str], F64] = field(default_factory=dict)


class ScreenLabel:
    """labels: int64 (T, n), 0 where unknown. own: its own terminals, int64 (T, n, k), k of 0 where it has none."""

    def __init__(self, members: ScreenMembers, labels: I64, own: I64, keys: LabelKeys) -> None:
        assert labels.shape == (members.periods, members.entities) == own.shape[:2]
        self._members, self._labels, self._own, self._keys = members, labels, own, keys
        self._counts: dict[str, int] = {}
        self._found = Screened()

    def screen(self) -> Flow[Screened]:
        """All sums of the screen.

        Learns: of each period 24 bits of the sum of label times terminal, and of label times two parties' terminals,
            for every terminal and every pair.
        Leaks: how many terminals the label party has; to a later feature party shares, uniform in Z_p.
        Model: whatever this side encrypts, no more than 24 bits a number arrive. Together with a feature party it sees
            the terminals of the feature parties before that one in the agreed order.
        Source: docs/protocols/screen.md#the-protocol.
        """
        members, keys = self._members, self._keys
        for name in members.features:
            yield Send(name, ScreenBegins(self._own.shape[2]))
            yield from announce_key(name, keys.coefficient)
            yield from announce_key(name, keys.slots)
        for name in members.features:
            told = yield from receive(name, TerminalCount)
            if not 1 <= told.count <= members.terminals:
                raise RemoteProtocolError(
                    f"brings {told.count} terminals where 1 to {members.terminals} are agreed", name
                )
            self._counts[name] = told.count
        yield from self._alone()
        for number, name in enumerate(members.features[:-1]):
            shares = yield from self._multiplied(name)
            yield from self._pairs(name, shares)
            yield Progress(number + 2, len(members.features), unit="sum tables")
        return self._found

    def _alone(self) -> Flow[None]:
        """Sums of every feature party's terminals, and of these times the label party's."""
        members = self._members
        one, two = Window(members.entities, 1), Window(members.entities, 2)
        alone: dict[str, list[F64]] = {name: [] for name in members.features}
        own: dict[str, list[F64]] = {name: [] for name in members.features}

        def right(period: int) -> U64:
            columns = np.column_stack([np.ones(members.entities, dtype=np.int64), self._own[period]])
            return PRIME_RING.wrap(self._labels[period][:, None] * columns)

        def take(name: str, share: U64, sent: bytes) -> None:
            split = len(share) * SCREEN_BITS // 8
            alone[name].append(one.read(sent[:split], share[:, 0]))
            own[name].append(two.read(sent[split:], share[:, 1:]))

        yield from self._products("", members.features, right, 1 + self._own.shape[2], take)
        for name in members.features:
            self._found.alone[name], self._found.own[name] = np.stack(alone[name]), np.stack(own[name])
        yield Progress(1, len(members.features), unit="sum tables")

    def _multiplied(self, name: str) -> Flow[U64]:
        """Its shares (T, n, m) of label times each terminal of the party."""
        slots, members = self._keys.slots, self._members
        labels = PRIME_RING.wrap(self._labels)
        yield from offer_slots(name, "label", labels, slots)
        made = np.empty((members.periods * members.entities, self._counts[name]), dtype=np.uint64)
        for number in range(self._counts[name]):
            made[:, number] = yield from finish_slots(name, f"terminal/{number}", len(made), slots)
            yield from self._pace(members.earlier(name))
        return made.reshape(members.periods, members.entities, -1)

    def _pairs(self, name: str, shares: U64) -> Flow[None]:
        """Sums of this party's terminals times those of every later one."""
        members, later = self._members, self._members.later(name)
        window, found = Window(members.entities, 2), {other: list[F64]() for other in later}

        def take(other: str, share: U64, sent: bytes) -> None:
            found[other].append(window.read(sent, share))

        done = (*members.earlier(name), name)
        yield from self._products(name, later, lambda period: shares[period], shares.shape[2], take, done)
        for other in later:
            self._found.pairs[name, other] = np.stack(found[other]).transpose(0, 2, 1)

    def _products(
        self,
        of: str,
        peers: Sequence[str],
        right: Callable[[int], U64],
        width: int,
        take: Callable[[str, U64, bytes], None],
        done: Sequence[str] = (),
    ) -> Flow[None]:
        """Period by period the peers' terminals times ``right``; the next is encrypted before one is waited for.

        take: is given the peer, this side's share and what the peer sends of its own. done: who waits meanwhile.
        """
        key, periods = self._keys.coefficient, self._members.periods
        packings = {peer: packing_of(self._counts[peer], self._members.entities, width, train=False) for peer in peers}
        for period in range(periods + 1):
            if period < periods:
                made, sent = right(period), dict[tuple[int, ...], list[tuple[bytes, ...]]]()
                for peer in peers:
                    packing = packings[peer]
                    kept = sent.setdefault(packing.sizes, [])
                    yield from offer_right((peer,), f"sums/{of}/{period}", made, key, packing, sent=kept)
            if not period:
                continue
            for peer in peers:
                name, rows = f"sums/{of}/{period - 1}", self._counts[peer]
                share = yield from finish_product(peer, name, rows, width, key, packings[peer])
                told = yield from receive(peer, ScreenNumbers)
                if (told.other, told.period) != (of, period - 1):
                    raise RemoteProtocolError("sent sums of other terminals or another period than were due", peer)
                try:
                    take(peer, share, told.values)
                except MalformedError as error:
                    raise RemoteProtocolError(str(error), peer) from None
            yield from self._pace(done)

    def _pace(self, done: Sequence[str]) -> Flow[None]:
        """Tell those who have nothing left to do that the screen goes on.

        Learns: nothing.
        Leaks: that it goes on.
        Model: semi-honest.
        Source: docs/protocols/screen.md#the-protocol.
        """
        for name in done:
            yield Send(name, ScreenGoesOn())

    def tell(self, won: Mapping[str, bytes]) -> Flow[None]:
        """Tell every feature party of the named formulas that it has a part in.

        Learns: nothing.
        Leaks: to a party which of its terminals are in a named formula, with whose, its mean and its t.
        Model: semi-honest; what a label party that cheats tells is not checked here.
        Source: docs/protocols/screen.md#what-owners-are-told.
        """
        for name in self._members.features:
            yield Send(name, ScreenWon(won[name]))
