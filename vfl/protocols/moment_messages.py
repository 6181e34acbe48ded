"""Messages of secure cross-moments (:mod:`vfl.protocols.moments`)."""

from __future__ import annotations

from psi.flow import Message, Payload, Role, message

__all__ = ["MomentRows", "OwnMoments", "PairAnswer", "PairKey", "PairOperand", "PairShares"]


@message(
    "moments.rows",
    sender=Role.LABEL,
    receiver=Role.FEATURE,
    payload=Payload.PUBLIC,
    reveals="which aligned rows enter the model now, hence which labels have become known",
    source="docs/protocols/ridge.md#the-protocol",
)
class MomentRows(Message):
    """Announces a block: its number, and its row ids (little-endian u32)."""

    block: int
    rows: bytes


@message(
    "moments.pair-key",
    sender=Role.FEATURE,
    receiver=Role.FEATURE,
    payload=Payload.PUBLIC,
    reveals="a one-session BFV public key",
    source="Fan and Vercauteren 2012",
)
class PairKey(Message):
    """The sender's public key, for products in which it is the key holder."""

    parameter_set: str
    ring_bits: int
    key: bytes


@message(
    "moments.operand",
    sender=Role.FEATURE,
    receiver=Role.FEATURE,
    payload=Payload.CIPHERTEXT,
    reveals="the shape of the sender's columns; nothing of their values",
    source="BFV (Fan and Vercauteren 2012); secret-key encryption under the sender's own key",
)
class PairOperand(Message):
    """The sender's columns of one chunk (inner x columns), encrypted block by block."""

    label: str
    inner: int
    columns: int
    packing: tuple[int, ...]
    blocks: tuple[bytes, ...]


@message(
    "moments.answer",
    sender=Role.FEATURE,
    receiver=Role.FEATURE,
    payload=Payload.CIPHERTEXT,
    reveals="after decryption a share uniform in Z_t; nothing of the sender's columns",
    source="mask uniform in R_q, fresh public-key encryption of zero: docs/protocols/product.md#operand-and-answer",
)
class PairAnswer(Message):
    """Masked cross-moment of one chunk."""

    label: str
    rows: int
    first: tuple[bytes, ...]
    second: tuple[bytes, ...]


@message(
    "moments.own",
    sender=Role.FEATURE,
    receiver=Role.LABEL,
    payload=Payload.RESULT,
    reveals="second moments and sums of the sender's columns over a block, in a basis only the sender knows",
    source="docs/protocols/ridge.md#the-protocol",
)
class OwnMoments(Message):
    """X_k^T X_k (row-major) and column sums of a block, fixed point in Z_t."""

    block: int
    gram: bytes
    sums: bytes


@message(
    "moments.share",
    sender=Role.FEATURE,
    receiver=Role.LABEL,
    payload=Payload.SHARE,
    reveals="with the other ends' shares: a block's cross-moments of each pair of parties, and with the label",
    source="docs/protocols/ridge.md#the-protocol",
)
class PairShares(Message):
    """This party's shares: of X_k^T [X_L, y], and of its product with each other feature party in agreed order."""

    block: int
    label: bytes
    pairs: tuple[bytes, ...]
