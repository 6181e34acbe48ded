"""A feature party's side of a screen: it answers with masked products, and sends 24 bits of each sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, Recv, RecvAny, RemoteProtocolError, Send, receive
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError
from vfl.arithmetic.zero_supply import FreshZeros
from vfl.models.screen.messages import (
    ScreenBegins,
    ScreenGoesOn,
    ScreenMembers,
    ScreenNumbers,
    ScreenShare,
    ScreenWon,
    TerminalCount,
)
from vfl.models.screen.numbers import RANK_TOP, Window
from vfl.models.sealed.ends import Supply, TakenProducts, take_products, take_slots
from vfl.protocols.slots import SlotEvaluator, answer_slots, receive_slots
from vfl.protocols.spread import Workers

__all__ = ["ScreenFeature", "secret_order"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]


def secret_order(stream: SecretStream, count: int) -> tuple[I64, I64]:
    """An order of ``count`` terminals and a sign for each, +1 or -1, uniform."""
    order = np.argsort(stream.bits(64, count), kind="stable").astype(np.int64)
    signs = 2 * stream.bits(1, count).astype(np.int64) - 1
    return order, signs


class ScreenFeature:
    """terminals: int64 (T, n, m), ranks of 8 bits, in the secret order and with the secret signs already.

    opening: is called once with how many terminals the label party has and how many the other feature parties, before
    anything of this party's leaves, and may refuse.
    """

    def __init__(
        self,
        me: str,
        members: ScreenMembers,
        terminals: I64,
        stream: SecretStream,
        *,
        opening: Callable[[int, int], None] = lambda own, others: None,
        supply: Supply = FreshZeros,
        workers: Workers | None = None,
    ) -> None:
        assert terminals.shape[:2] == (members.periods, members.entities)
        if not 1 <= terminals.shape[2] <= members.terminals or int(np.abs(terminals).max(initial=0)) > RANK_TOP:
            raise LocalProtocolError(f"a party brings 1 to {members.terminals} terminals, each a rank of 8 bits")
        self._me, self._members, self._stream, self._opening = me, members, stream, opening
        self._supply, self._workers = supply, workers
        self._lefts = [np.ascontiguousarray(period.T) for period in terminals]  # (m, n) of each period
        self._terminals = terminals
        self._windows = Window(members.entities, 1), Window(members.entities, 2)
        self._counts = {me: terminals.shape[2]}

    def serve(self) -> Flow[bytes]:
        """Its part in the whole screen; what the label party tells it of named formulas, as JSON.

        Learns: how many terminals the others have; shares uniform in Z_p; which of its terminals are in a formula that
            is named, with whose, its mean and its t.
        Leaks: to the label party 24 bits of each sum over a period; to later feature parties shares, uniform in Z_p.
        Model: hides its terminals from a malicious label party but for 24 bits a number; the label party together with
            a later feature party sees them.
        Source: docs/protocols/screen.md#the-protocol.
        """
        me, members, label = self._me, self._members, self._members.label
        begun = yield from receive(label, ScreenBegins)
        if not 0 <= begun.own <= (members.terminals if members.own else 0):
            raise RemoteProtocolError(f"brings {begun.own} terminals of its own, more than was agreed", label)
        products = yield from take_products(label, self._stream, self._supply, self._workers)
        try:
            slots = yield from take_slots(label, self._stream, self._supply, self._workers)
            try:
                yield from self._count(begun.own)
                yield from self._alone(products, begun.own)
                for name in members.features:
                    if name == me:
                        yield from self._multiply(slots)
                    elif name in members.earlier(me):
                        yield from self._pairs(name, products)
            finally:
                if slots.zeros is not None:
                    slots.zeros.close()
        finally:
            products.close()
        while True:
            chosen, got = yield RecvAny((Recv(label, ScreenGoesOn), Recv(label, ScreenWon)))
            if chosen == 1:
                return cast("ScreenWon", got).document

    def _count(self, own: int) -> Flow[None]:
        me, members = self._me, self._members
        others = [name for name in members.features if name != me]
        for name in (members.label, *others):
            yield Send(name, TerminalCount(self._counts[me]))
        for name in others:
            told = yield from receive(name, TerminalCount)
            if not 1 <= told.count <= members.terminals:
                raise RemoteProtocolError(
                    f"brings {told.count} terminals where 1 to {members.terminals} are agreed", name
                )
            self._counts[name] = told.count
        self._opening(own, sum(self._counts[name] for name in others))

    @property
    def counts(self) -> Mapping[str, int]:
        """Terminals of each feature party, once they were told."""
        return self._counts

    def _alone(self, products: TakenProducts, own: int) -> Flow[None]:
        """Sums of its own terminals, and of these times the label party's."""
        one, two = self._windows
        label = self._members.label
        for period, left in enumerate(self._lefts):
            prepared = products.prepared(left, 1 + own, train=False)
            share = yield from products.product(f"sums//{period}", prepared, 1 + own)
            yield Send(label, ScreenNumbers("", period, one.cut(share[:, 0]) + two.cut(share[:, 1:])))

    def _multiply(self, slots: SlotEvaluator) -> Flow[None]:
        """Shares of label times each of its terminals: one stays with the label party, one goes to later parties."""
        members, later = self._members, self._members.later(self._me)
        if not later:
            return
        label, rows = members.label, members.periods * members.entities
        loaded = yield from receive_slots(label, "label", rows, slots)
        for number in range(self._counts[self._me]):
            own = PRIME_RING.wrap(np.ascontiguousarray(self._terminals[:, :, number]))
            share = yield from answer_slots(label, f"terminal/{number}", [(loaded, own)], slots)
            packed = PRIME_RING.pack(share)
            for name in later:
                yield Send(name, ScreenShare(number, packed))

    def _pairs(self, other: str, products: TakenProducts) -> Flow[None]:
        """Sums of label times each terminal of ``other`` times each of its own."""
        members, count = self._members, self._counts[other]
        rows = members.periods * members.entities
        held = np.empty((rows, count), dtype=np.uint64)
        for number in range(count):
            got = yield from receive(other, ScreenShare)
            if got.number != number:
                raise RemoteProtocolError(f"sent its share of terminal {got.number} when {number} was due", other)
            try:
                held[:, number] = PRIME_RING.unpack(got.values, rows)
            except MalformedError as error:
                raise RemoteProtocolError(str(error), other) from None
        by_period = held.reshape(members.periods, members.entities, count)
        for period, left in enumerate(self._lefts):
            prepared = products.prepared(left, count, train=False)
            share = yield from products.product(f"sums/{other}/{period}", prepared, count)
            whole = PRIME_RING.add(share, PRIME_RING.matmul(left, by_period[period]))
            yield Send(members.label, ScreenNumbers(other, period, self._windows[1].cut(whole)))
