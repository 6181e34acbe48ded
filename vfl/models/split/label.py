"""The sealed source layer: Z = sum_k X_k W_k with every W_k shared between its party and the label party.

W_k = U_k + V_k mod t at scale f_w = f_x + f_g; U_k never leaves the feature party and V_k never leaves
the label party in the clear. A step is two private products and one masked opening per feature party.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from psi.flow import Flow, LocalProtocolError, gather
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.share import Share
from vfl.protocols.label_session import LabelSession
from vfl.protocols.product_flows import finish_product, offer_right
from vfl.protocols.session import F64, I64, Kept, RingShare

__all__ = ["SealedSource"]


class SealedSource:
    """The label party's side. ``forward`` and ``backward`` are flows; call ``start`` first, ``finish`` last.

    shares: V_k per feature party, (d_k, h), in agreed order. stream: what gradients are rounded by. predictions:
    numbers of the steps that only predict. Where the session goes on from a record, that takes the place of ``shares``.
    """

    def __init__(
        self,
        session: LabelSession,
        shares: Mapping[str, RingShare],
        stream: SecretStream,
        *,
        predictions: Collection[int] = (),
    ) -> None:
        shapes = {party: share.shape for party, share in shares.items()}
        self.width = next(iter(shapes.values()))[1]
        if shapes != {party: (columns, self.width) for party, columns in session.parties.items()}:
            raise LocalProtocolError("the weight shares do not fit the columns that were agreed")
        self.session = session
        self.shares = dict(shares if session.resumed is None else session.resumed.shares)
        self._stream = stream
        self._predictions = frozenset(predictions)

    @property
    def kept(self) -> dict[str, Kept]:
        """The label party's shares of each party's predictions."""
        return self.session.kept(self.width)

    def start(self) -> Flow[None]:
        """Send the session's public key to every feature party.

        Learns: nothing.
        Leaks: nothing.
        Model: semi-honest.
        Source: docs/protocols/product.md#key.
        """
        yield from self.session.start()

    def forward(self, step: int, rows: I64) -> Flow[F64]:
        """Open Z = sum_k X_k[rows] W_k, float64 (B, h).

        Learns: the sum over feature parties for these rows, at a fixed-point step of 2**-(2 f_x + f_g).
        Leaks: the row ids to every feature party.
        Model: semi-honest; with K = 1 the single party's embedding opens, which the agreement must say.
        Source: docs/protocols/split.md#a-step, steps 1 to 4.
        """
        return (yield from self.session.forward(step, rows, self.shares, train=step not in self._predictions))

    def backward(self, step: int, rows: I64, gradient: F64) -> Flow[None]:
        """W_k -= X_k[rows].T @ gradient at every feature party. gradient: float64 (B, h), learning rate inside.

        Learns: its own share of the update, uniform in Z_t.
        Leaks: nothing: one encryption of the gradient, the same for all parties, under the label party's key.
        Model: semi-honest.
        Source: docs/protocols/split.md#a-step, step 5.
        """
        session = self.session
        encoded = session.ring.encode(gradient, session.fixed.gradient_bits, stream=self._stream)
        label = f"backward/{step}"
        packings = {
            party: session.packing(len(rows), columns, self.width, both=True)
            for party, columns in session.parties.items()
        }
        for packing in dict.fromkeys(packings.values()):
            alike = [party for party, chosen in packings.items() if chosen == packing]
            yield from offer_right(alike, label, encoded, session.key, packing, transposed=True)
        updates = yield from gather(
            [
                finish_product(party, label, columns, self.width, session.key, packings[party], transposed=True)
                for party, columns in session.parties.items()
            ]
        )
        for party, update in zip(session.parties, updates, strict=True):
            self.shares[party] -= Share(session.ring, update)

    def finish(self) -> Flow[None]:
        """Tell every feature party that the session is over.

        Learns: nothing.
        Leaks: the number of steps.
        Model: semi-honest.
        Source: docs/protocols/split.md#a-step.
        """
        yield from self.session.finish()
