"""Messages of the sealed network beside those of products and slots, and who takes part."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi.flow import LocalProtocolError, Message, Payload, RemoteProtocolError, Role, message
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.received import MalformedError
from vfl.models.sealed.pairs import check_pairs
from vfl.product_terms import Pair

__all__ = [
    "FEWEST_TIED",
    "MaskedEmbedding",
    "Members",
    "Scores",
    "SealedStep",
    "UpdateShare",
    "as_told",
    "check_scored",
    "check_told",
    "elements",
    "step_rows",
]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

_SOURCE = "docs/protocols/sealed.md#a-step"

FEWEST_TIED = 3
"""Members of a tied head: of two each reads the other's gradient off the sum."""


@message(
    "sealed.step",
    sender=Role.LABEL,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="which aligned rows are trained on or predicted, and how many have labels",
    source=_SOURCE,
)
class SealedStep(Message):
    """Announces a step: its number, whether it trains, row ids (little-endian u32), rows with labels so far.

    ``again``: a prediction that was recorded before a crash, whose recorded shares are opened.
    """

    step: int
    train: bool
    rows: bytes
    known: int
    again: bool


@message(
    "sealed.embedding",
    sender=Role.FEATURE,
    receiver=Role.PARTY,
    payload=Payload.MASKED,
    reveals="nothing: a uniform share under a zero-sum mask, to the anchor",
    source="zero-sum masks after Bonawitz et al. 2017",
)
class MaskedEmbedding(Message):
    """A feature party's share of its embedding of the batch, (B, h + 1), plus its zero-sum mask.

    ``told``: :func:`as_told` of the step that was announced to it.
    """

    step: int
    told: bytes
    values: bytes


@message(
    "sealed.update",
    sender=Role.PARTY,
    receiver=Role.LABEL,
    payload=Payload.SHARE,
    reveals="nothing: the anchor's share of a product whose other share its feature party, or a pair of them, keeps",
    source=_SOURCE,
)
class UpdateShare(Message):
    """The anchor's share of X_k^T G_A, (d_k, h + 1), of feature party ``party``, or of the products of a pair."""

    step: int
    party: str
    values: bytes


@message(
    "sealed.scores",
    sender=Role.PARTY,
    receiver=Role.LABEL,
    payload=Payload.SHARE,
    reveals="with the label party's share: 17 bits a row, the scores of an honest run",
    source=_SOURCE,
)
class Scores(Message):
    """The anchor's shares modulo 2**17 of the batch's scores, packed to the bit."""

    step: int
    values: bytes


@dataclass(frozen=True)
class Members:
    """Who takes part in a sealed network.

    features: columns of every feature party, in agreed order. own: the label party's own columns. anchor: the second
    holder of shares, a feature party or somebody who brings no columns. tied: groups of feature parties whose rows add
    up under one set of weights (:mod:`vfl.models.sealed.tied`). products: columns that are products of two feature
    parties' own. Raises LocalProtocolError when they do not fit.
    """

    label: str
    anchor: str
    features: Mapping[str, int]
    own: int
    tied: tuple[tuple[str, ...], ...] = ()
    products: tuple[Pair, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.features) <= 8:
            raise LocalProtocolError(f"a sealed network takes 1 to 8 feature parties, not {len(self.features)}")
        if self.anchor == self.label or self.label in self.features:
            raise LocalProtocolError("the label party is neither anchor nor feature party: name another anchor")
        if min(self.features.values()) < 1 or self.own < 0:
            raise LocalProtocolError("every feature party brings at least one column")
        self._check_tied()
        check_pairs(self.products, self.features)
        if self.tied and self.products:
            raise LocalProtocolError("products of two parties' columns and tied heads do not go together")

    def _check_tied(self) -> None:
        members = [name for group in self.tied for name in group]
        if len(set(members)) < len(members) or not set(members) <= set(self.others):
            raise LocalProtocolError("tied heads are of feature parties beside the anchor, each in one group")
        for group in self.tied:
            if len(group) < FEWEST_TIED:
                raise LocalProtocolError(
                    f"a tied head needs {FEWEST_TIED} members: of two each reads the other's gradient off the sum"
                )
            if len({self.features[name] for name in group}) > 1:
                raise LocalProtocolError(f"{', '.join(group)} have one head and bring different numbers of columns")

    def group(self, name: str) -> tuple[str, ...]:
        """Who shares a party's head, itself among them, in agreed order; it alone where it has its own."""
        found = next((group for group in self.tied if name in group), ())
        return tuple(other for other in self.features if other in found) or (name,)

    def head(self, name: str) -> str:
        """The owner of the weights that a party's columns meet: the first of its group, or itself."""
        return self.group(name)[0]

    @property
    def heads(self) -> dict[str, int]:
        """Columns of the feature parties' weights by owner, in agreed order: one of each tied group."""
        return {name: count for name, count in self.features.items() if self.head(name) == name}

    @property
    def others(self) -> tuple[str, ...]:
        """Feature parties beside the anchor."""
        return tuple(name for name in self.features if name != self.anchor)

    @property
    def everyone(self) -> tuple[str, ...]:
        """All but the label party: the anchor first."""
        return (self.anchor, *self.others)

    @property
    def anchored(self) -> int:
        """The anchor's columns; 0 when it is no feature party."""
        return self.features.get(self.anchor, 0)

    @property
    def columns(self) -> int:
        """Of all parties together, those of a tied group once, their products among them."""
        return sum(self.heads.values()) + self.own + sum(pair.count for pair in self.products)

    @property
    def product_owners(self) -> tuple[str, ...]:
        """Feature parties with a half of any product, in agreed order."""
        return tuple(name for name in self.features if any(name in pair.owners for pair in self.products))

    def products_held(self, owner: str) -> dict[str, int]:
        """Products whose weights a side shares with the label party, by pair."""
        return {pair.name: pair.count for pair in self.products if pair.holder == owner}


def elements(data: bytes, shape: tuple[int, int], peer: str) -> U64:
    """Received elements of Z_p in this shape. Raises RemoteProtocolError."""
    try:
        return PRIME_RING.unpack(data, shape[0] * shape[1]).reshape(shape)
    except MalformedError as error:
        raise RemoteProtocolError(str(error), peer) from None


def as_told(announced: Message) -> bytes:
    """32 bytes that stand for an announcement of the label party, by which others find that all were told the same."""
    return hashlib.sha256(repr(sorted(vars(announced).items())).encode()).digest()


def check_told(told: bytes, announced: Message, name: str, label: str) -> None:
    """At the anchor: raise RemoteProtocolError unless ``name`` was told what the anchor was. It counts its own rows."""
    if told != as_told(announced):
        raise RemoteProtocolError(f"announced one thing to the anchor and another to {name!r}, as that one says", label)


def check_scored(announced: SealedStep, rows: I64, first: int | None, peer: str) -> None:
    """Raise RemoteProtocolError for a step that a session which only scores rows from ``first`` on has no place for."""
    if first is None:
        return
    if announced.train:
        raise RemoteProtocolError("wants to train in a session that only scores", peer)
    if int(rows.min()) < first:
        raise RemoteProtocolError("wants scores of periods that are not the agreed new ones", peer)


def step_rows(announced: SealedStep, existing: int, largest: int, peer: str) -> I64:
    """The rows of an announced step. Raises RemoteProtocolError where they may not be a batch."""
    data = announced.rows
    if len(data) % 4 or not data or len(data) > 4 * largest:
        raise RemoteProtocolError(f"announced a step that is not 1 to {largest} row ids", peer)
    rows = np.frombuffer(data, dtype="<u4").astype(np.int64)
    if len(np.unique(rows)) != len(rows) or int(rows.max()) >= existing:
        raise RemoteProtocolError("announced rows that do not exist or repeat", peer)
    if announced.train and not 1 <= announced.known <= existing:
        raise RemoteProtocolError(f"says that {announced.known} of {existing} rows have labels", peer)
    if announced.train and announced.again:
        raise RemoteProtocolError("wants to open a training step", peer)
    return rows
