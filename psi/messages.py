"""The messages of N-party entity alignment, of overlap estimates and of an order of precedence, one per round.

See ``docs/protocols/alignment.md`` and ``docs/protocols/overlap.md``.
"""

from __future__ import annotations

from psi.flow import Message, Payload, Role, message

__all__ = [
    "AlignmentConfirmation",
    "CirculatingList",
    "CommonTokens",
    "FinishedTokens",
    "OverlapCounts",
    "OverlapList",
    "PrecedenceAnswered",
    "PrecedenceAsked",
    "PrecedenceHeld",
    "PrecedenceSeed",
    "SetCommitment",
    "TooFewCommon",
    "UnionRows",
]

_OVERLAP = (
    "De Cristofaro, Gasti and Tsudik, CANS 2012 (cardinality by shuffled exponentiation); Kacsmar et al., EuroS&P 2020 "
    "(dummies as noise); docs/protocols/overlap.md#the-protocol"
)
_PRECEDENCE = "Jarecki and Liu, TCC 2009 (oblivious PRF by exponents); docs/groups.md#who-serves-a-shared-entity"
_RING = "Vaidya and Clifton, J. Computer Security 13(4), 2005, section 3, with a one-time factor per owner"


@message(
    "psi.commitment",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.COMMITMENT,
    reveals="the size of the sender's set, that of its previous set, how many ids changed since; nothing of the ids",
    source="Merkle tree of RFC 6962 section 2.1 over salted leaves, signed",
)
class SetCommitment(Message):
    """Before round 1: the sender's set, fixed. ``previous_root`` is empty when there was no earlier run."""

    size: int
    root: bytes
    previous_size: int
    previous_root: bytes
    changed: int
    signature: bytes


@message(
    "psi.list",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.BLINDED,
    reveals="nothing beyond its length: each point is uniform under the owner's one-time scalar (DDH, random oracle)",
    source=_RING,
)
class CirculatingList(Message):
    """``owner``'s blinded list after ``hop`` parties have worked on it, the owner among them. 32 bytes a point."""

    owner: str
    hop: int
    commitments: bytes
    points: bytes


@message(
    "psi.tokens",
    sender=Role.PARTY,
    receiver=Role.COORDINATOR,
    payload=Payload.BLINDED,
    reveals="all set sizes, and, once it has every list, how many entities each group of parties shares; no ids",
    source=_RING,
)
class FinishedTokens(Message):
    """The sender's tokens H(x)^(a_1 ... a_N), sorted, 32 bytes each; the sizes in the parties' agreed order."""

    sizes: tuple[int, ...]
    commitments: bytes
    points: bytes


@message(
    "psi.common",
    sender=Role.COORDINATOR,
    receiver=Role.PARTY,
    payload=Payload.BLINDED,
    reveals="which of the receiver's own entities every party holds: the protocol's agreed result",
    source=_RING,
)
class CommonTokens(Message):
    """The tokens present in all sets, sorted, 32 bytes each."""

    points: bytes


@message(
    "psi.union",
    sender=Role.COORDINATOR,
    receiver=Role.PARTY,
    payload=Payload.BLINDED,
    reveals="which rows are the receiver's own; of the others nothing: tokens it cannot make, among random points",
    source="docs/protocols/alignment.md#rows-over-the-union",
)
class UnionRows(Message):
    """The tokens of any set and random points, sorted: as many as the lists are long together. 32 bytes each."""

    points: bytes


@message(
    "psi.too-few",
    sender=Role.COORDINATOR,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="that fewer entities are common than the agreed minimum; neither which nor how many",
    source="docs/protocols/alignment.md#below-the-minimum",
)
class TooFewCommon(Message):
    """Stop: the intersection is below ``minimum``."""

    minimum: int


@message(
    "psi.confirmation",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.COMMITMENT,
    reveals="whether sender and receiver were given the same tokens and read the same entities from them",
    source="digest comparison against an equivocating coordinator, signed: docs/protocols/alignment.md#confirmation",
)
class AlignmentConfirmation(Message):
    """Digests of the common tokens and, keyed by them, of the entities in shared order."""

    tokens: bytes
    entities: bytes
    signature: bytes


@message(
    "overlap.list",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.BLINDED,
    reveals="nothing beyond its agreed length: each point is uniform to whoever lacks a scalar that it was raised to",
    source=_OVERLAP,
)
class OverlapList(Message):
    """``owner``'s list after ``hop`` parties have raised and shuffled it; after the last it goes to the counter."""

    owner: str
    hop: int
    points: bytes


@message(
    "overlap.counts",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="for each group of the parties, a noised count of what exactly they hold: the agreed estimate",
    source=_OVERLAP,
)
class OverlapCounts(Message):
    """Tokens in exactly the lists of each group of two or more, in the order of ``OverlapTerms.groups``."""

    counts: tuple[int, ...]


@message(
    "precedence.held",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.COMMITMENT,
    reveals="salted hashes of the rows that the sender holds and, once it knows, of those that it serves",
    source=_PRECEDENCE,
)
class PrecedenceHeld(Message):
    """Before (``number`` 0) and after (1): the sender's rows, fixed. ``served`` is empty until it knows."""

    number: int
    held: bytes
    served: bytes


@message(
    "precedence.seed",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.SHARE,
    reveals="nothing: a fresh seed of the masks of both, which cancel in what a later member adds up",
    source=_PRECEDENCE,
)
class PrecedenceSeed(Message):
    """Two members that both answer later ones: 32 random bytes."""

    seed: bytes


@message(
    "precedence.asked",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.BLINDED,
    reveals="nothing beyond its agreed length: each point is uniform under the sender's one-time scalar",
    source=_PRECEDENCE,
)
class PrecedenceAsked(Message):
    """The rows that the sender holds, blinded, and fillers. 32 bytes a point."""

    points: bytes


@message(
    "precedence.answered",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.BLINDED,
    reveals="with the answers of all members before the receiver: which of the rows that it asked for they serve",
    source=_PRECEDENCE,
)
class PrecedenceAnswered(Message):
    """``points`` as asked, raised to a key of this answer alone; ``rows`` a bit for each row, masked and padded."""

    points: bytes
    rows: bytes
