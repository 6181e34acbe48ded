"""A session of a sealed layer: what everybody in it agreed on, its messages, and what each end keeps of it.

:class:`Session` is what all of them see alike; each end adds what it alone brings
(:class:`vfl.protocols.label_session.LabelSession`, :class:`vfl.protocols.feature_session.FeatureSession`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from psi.flow import LocalProtocolError, Message, Payload, RemoteProtocolError, Role, message
from vfl.arithmetic.he import Context
from vfl.arithmetic.received import MalformedError
from vfl.arithmetic.ring import Ring
from vfl.arithmetic.share import Share
from vfl.protocols.opened_numbers import OpenedNumbers
from vfl.terms import FixedPoint

__all__ = [
    "F64",
    "I64",
    "U64",
    "Batch",
    "Done",
    "Kept",
    "MaskedSum",
    "PredictionKeeper",
    "PublicKey",
    "RingShare",
    "ServedSource",
    "Session",
    "SingleSum",
    "row_ids",
    "rows_announced",
]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
RingShare = Share[Ring]


@message(
    "source.key",
    sender=Role.LABEL,
    receiver=Role.FEATURE,
    payload=Payload.PUBLIC,
    reveals="a one-session BFV public key",
    source="Fan and Vercauteren 2012",
)
class PublicKey(Message):
    """The label party's public key for this session, and the parameter set it belongs to."""

    parameter_set: str
    ring_bits: int
    key: bytes


@message(
    "source.batch",
    sender=Role.LABEL,
    receiver=Role.FEATURE,
    payload=Payload.PUBLIC,
    reveals="which aligned rows are opened at this step, hence which rows have labels or are predicted",
    source="docs/protocols/split.md#a-step, step 1",
)
class Batch(Message):
    """Announces a step: its number, whether it trains, and its row ids (little-endian u32)."""

    step: int
    train: bool
    rows: bytes


@message(
    "source.sum",
    sender=Role.FEATURE,
    receiver=Role.LABEL,
    payload=Payload.MASKED,
    reveals="with all parties' sums and the label party's shares: the sum of embeddings, nothing of any one party",
    source="zero-sum masks after Bonawitz et al. 2017",
)
class MaskedSum(Message):
    """This party's share of its embedding, with its noise and zero-sum mask: uniform in the ring of opened numbers."""

    step: int
    values: bytes


@message(
    "source.single",
    sender=Role.FEATURE,
    receiver=Role.LABEL,
    payload=Payload.SHARE,
    reveals="with the label party's share: this party's own embedding, as the agreement's single-party opening says",
    source="docs/protocols/split.md#a-step, step 4 with one feature party",
)
class SingleSum(Message):
    """The only feature party's share of its embedding, with its noise: uniform in the ring of opened numbers."""

    step: int
    values: bytes


@message(
    "source.done",
    sender=Role.LABEL,
    receiver=Role.FEATURE,
    payload=Payload.PUBLIC,
    reveals="training is over",
    source="docs/protocols/split.md#a-step",
)
class Done(Message):
    """Ends a session of the source layer."""

    steps: int


@dataclass(eq=False, repr=False)
class Session:
    """One attempt at a protocol between the label party and its feature parties, as ``me`` sees it.

    parties: columns of each feature party, in agreed order. name: of this attempt, part of every mask's and every
    charge's label, so that a repeated step never meets an old mask. single_party: the agreement's consent to open what
    a lone feature party holds. largest_batch: most rows of a step. numbers: how the numbers of a row open; None, for
    the arithmetic alone, opens all bits without noise. Raises :class:`LocalProtocolError` where these do not go
    together.
    """

    me: str
    label_party: str
    parties: Mapping[str, int]
    fixed: FixedPoint
    parameter_set: str
    name: str
    single_party: bool = field(default=False, kw_only=True)
    largest_batch: int = field(default=8192, kw_only=True)
    numbers: OpenedNumbers | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        self.parties = dict(self.parties)
        if not self.parties or min(self.parties.values()) < 1:
            raise LocalProtocolError("a session needs feature parties with at least one column each: propose it again")
        if self.label_party in self.parties:
            raise LocalProtocolError(f"{self.label_party!r} cannot be label party and feature party of one session")
        if self.me != self.label_party and self.me not in self.parties:
            raise LocalProtocolError(f"{self.me!r} takes no part in this session: it is of other parties' agreement")
        if len(self.parties) < 2 and not self.single_party:
            raise LocalProtocolError("what a single feature party holds opens only with the agreement's consent")
        if not self.name:
            raise LocalProtocolError("a session needs a name of its own: masks of two attempts would meet")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r} at {self.me!r}, ...)"

    @property
    def names(self) -> tuple[str, ...]:
        """The feature parties, in agreed order."""
        return tuple(self.parties)

    @property
    def others(self) -> tuple[str, ...]:
        """The other feature parties, in agreed order."""
        return tuple(name for name in self.parties if name != self.me)

    @cached_property
    def ring(self) -> Ring:
        return Ring(self.fixed.ring_bits)

    @cached_property
    def opened_ring(self) -> Ring:
        """In which the numbers of a row open: the whole ring, or the short one that was agreed."""
        return self.ring if self.numbers is None else self.numbers.ring(self.fixed)

    @cached_property
    def summed_ring(self) -> Ring:
        """In which numbers of rows enter a sum over rows: one bit wider, since a wrap is told from known signs."""
        return Ring(min(self.ring.bits, self.opened_ring.bits + 1))

    def short(self, share: RingShare, *, ring: Ring | None = None) -> RingShare:
        """A share of numbers of rows, as it may leave: in the ring in which they open, or in ``ring``."""
        ring = ring or self.opened_ring
        return Share(ring, ring.reduced(share.elements))

    @cached_property
    def context(self) -> Context:
        """Of the agreed parameter set. Raises ValueError where it is not one of those allowed."""
        return Context(self.parameter_set, self.fixed.ring_bits)

    @property
    def sum_kind(self) -> type[MaskedSum] | type[SingleSum]:
        """How a feature party's part of a sum travels."""
        return SingleSum if len(self.parties) == 1 else MaskedSum

    def zeros(self, *shape: int) -> RingShare:
        return Share.zeros(self.ring, shape)

    def received(self, data: bytes, shape: tuple[int, ...], peer: str, *, ring: Ring | None = None) -> RingShare:
        """A share as ``peer`` sent it. Raises :class:`RemoteProtocolError` where it is not one of that shape."""
        try:
            return Share.unpacked(ring or self.ring, data, shape)
        except MalformedError as error:
            raise RemoteProtocolError(str(error), peer) from None


@dataclass(frozen=True, eq=False)
class Kept:
    """Shares of opened predictions, kept for coalition openings: row ids and the share (rows, h)."""

    rows: I64
    share: RingShare

    @classmethod
    def joined(cls, parts: Iterable[Kept]) -> Kept:
        """One or more parts, one below the other."""
        found = [*parts]
        return cls(np.concatenate([part.rows for part in found]), Share.joined([part.share for part in found]))


@dataclass(eq=False)
class ServedSource:
    """What a feature party holds after a session: its weight share and its shares of the predictions."""

    share: RingShare
    predictions: Kept
    steps: int = 0


class PredictionKeeper:
    """Collects one party's shares (B, width) of predictions, step by step."""

    def __init__(self, ring: Ring, width: int) -> None:
        self._parts = [Kept(np.zeros(0, dtype=np.int64), Share.zeros(ring, (0, width)))]

    def add(self, rows: I64, share: RingShare) -> None:
        self._parts.append(Kept(rows, share))

    def kept(self) -> Kept:
        return Kept.joined(self._parts)


def row_ids(rows: I64) -> bytes:
    """Row ids as they are announced: little-endian u32."""
    return rows.astype("<u4").tobytes()


def rows_announced(data: bytes, existing: int, peer: str, *, most: int | None = None) -> I64:
    """The row ids of an announcement: distinct, below ``existing``, not more than ``most``."""
    rows = np.frombuffer(data, dtype="<u4").astype(np.int64) if len(data) % 4 == 0 else np.zeros(0, np.int64)
    if not len(rows) or len(np.unique(rows)) != len(rows) or int(rows.max()) >= existing:
        raise RemoteProtocolError("announced rows that do not exist or repeat", peer)
    if most is not None and len(rows) > most:
        raise RemoteProtocolError(f"announced {len(rows)} rows where {most} are allowed", peer)
    return rows
