"""The messages of entity alignment by oblivious transfer. See ``docs/protocols/transfer.md#the-protocol``."""

from __future__ import annotations

from psi.flow import Message, Payload, Role, message

__all__ = [
    "BaseChoices",
    "BaseOffer",
    "CommonList",
    "Hint",
    "MaskedMatrix",
    "MatrixChallenge",
    "MatrixSums",
    "PairKey",
    "TooFewFound",
]

_SHARES = "Kolesnikov, Matania, Pinkas, Rosulek and Trieu, CCS 2017 (ePrint 2017/799), section 5"
_BASE = "Masny and Rindal, CCS 2019 (ePrint 2019/706), section 5"
_PRF = "Kolesnikov et al., CCS 2016 (ePrint 2016/799), over a table: Pinkas et al., EUROCRYPT 2020 (2020/193)"
_CHECK = "Orru, Orsini and Scholl, CT-RSA 2017 (ePrint 2016/933), figure 3"


@message(
    "psi.pair-key",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="a public key of one alignment, and whether both were shown the same set commitments",
    source=_SHARES,
)
class PairKey(Message):
    """A point of ristretto255: two parties' points give the seed of their zero shares."""

    point: bytes
    commitments: bytes


@message(
    "psi.ot-choices",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="nothing: both points of a transfer are uniform, whichever was chosen",
    source=_BASE,
)
class BaseChoices(Message):
    """Two points for each base transfer, 32 bytes each."""

    points: bytes


@message(
    "psi.ot-offer",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="a public key of one alignment",
    source=_BASE,
)
class BaseOffer(Message):
    """One point, the same for every base transfer."""

    point: bytes


@message(
    "psi.ot-matrix",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.BLINDED,
    reveals="nothing beyond its length: every row is under a keystream that the receiver lacks",
    source=_PRF,
)
class MaskedMatrix(Message):
    """The leader's table of one bucket under its streams, 64 bytes a row."""

    bucket: int
    rows: bytes


@message(
    "psi.ot-challenge",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="random bits",
    source=_CHECK,
)
class MatrixChallenge(Message):
    """The seed of the sums of rows that the leader is to open."""

    bucket: int
    seed: bytes


@message(
    "psi.ot-sums",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.BLINDED,
    reveals="nothing: each sum is under a random row of its own",
    source=_CHECK,
)
class MatrixSums(Message):
    """The sums that a challenge picks."""

    bucket: int
    sums: bytes


@message(
    "psi.ot-hint",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.BLINDED,
    reveals="which of the leader's entities every party holds, once it has all hints; one alone is uniform to it "
    "where three or more take part",
    source=_SHARES,
)
class Hint(Message):
    """The sender's zero shares in a table, under the oblivious PRF: 10 bytes a cell."""

    bucket: int
    cells: bytes


@message(
    "psi.ot-common",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.RESULT,
    reveals="which of the receiver's own entities every party holds: the protocol's agreed result",
    source="docs/protocols/transfer.md#the-protocol",
)
class CommonList(Message):
    """PRF values of the common entities, sorted, 10 bytes each, and the key of their shared order."""

    order_key: bytes
    values: bytes


@message(
    "psi.ot-too-few",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="that fewer entities are common than the agreed minimum; neither which nor how many",
    source="docs/protocols/transfer.md#below-the-minimum",
)
class TooFewFound(Message):
    """Stop: the intersection is below ``minimum``."""

    minimum: int
