"""Messages of federated averaging: those of the secure sum, and those of a rule that sees every update."""

from __future__ import annotations

from psi.flow import Message, Payload, Role, message

__all__ = [
    "CountsAdded",
    "CountsShare",
    "EncoderHeld",
    "EncoderPassed",
    "EncoderTold",
    "MembersLeft",
    "PlainUpdate",
    "SumAgreed",
    "SumHeard",
    "SumIncluded",
    "SumKey",
    "SumPart",
    "SumStart",
    "SumSurvivors",
    "SumTotal",
    "SumUnmask",
]

_SOURCE = "Bonawitz et al. 2017, figure 4; docs/groups.md#the-secure-sum"


@message(
    "fed.start",
    sender=Role.COORDINATOR,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="who is to take part in a sum: drawn by a public seed, less those who are gone",
    source=_SOURCE,
)
class SumStart(Message):
    """``names`` are to bring their parts to sum ``number``."""

    number: int
    names: tuple[str, ...]


@message(
    "fed.key",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.SHARE,
    reveals="a one-sum X25519 public key; shares below the threshold say nothing",
    source=_SOURCE,
)
class SumKey(Message):
    """The sender's public key for one sum, and the receiver's shares of its private key and of its own seed."""

    number: int
    public: bytes
    key_share: bytes
    seed_share: bytes


@message(
    "fed.heard",
    sender=Role.PARTY,
    receiver=Role.COORDINATOR,
    payload=Payload.COMMITMENT,
    reveals="whose keys the sender holds, its public key, and a hash of a seed of 32 random bytes",
    source=_SOURCE,
)
class SumHeard(Message):
    """Whose shares the sender holds."""

    number: int
    names: tuple[str, ...]
    public: bytes
    seed_digest: bytes


@message(
    "fed.included",
    sender=Role.COORDINATOR,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="among whom parts are masked",
    source=_SOURCE,
)
class SumIncluded(Message):
    """Everyone in ``names`` holds everyone's shares."""

    number: int
    names: tuple[str, ...]


@message(
    "fed.part",
    sender=Role.PARTY,
    receiver=Role.COORDINATOR,
    payload=Payload.MASKED,
    reveals="numbers uniform in the ring, unless everybody else in the sum colludes with the coordinator",
    source=_SOURCE,
)
class SumPart(Message):
    """The sender's numbers under a mask with each other member and one of its own."""

    number: int
    values: bytes


@message(
    "fed.survivors",
    sender=Role.COORDINATOR,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="whose parts have arrived",
    source=_SOURCE,
)
class SumSurvivors(Message):
    """The parts of ``names`` are in the sum."""

    number: int
    names: tuple[str, ...]


@message(
    "fed.agreed",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="what the coordinator told the sender: among whom parts are masked, and whose have arrived",
    source=_SOURCE,
)
class SumAgreed(Message):
    """The sender was told of these, and opens no other sum of this number."""

    number: int
    included: tuple[str, ...]
    survivors: tuple[str, ...]


@message(
    "fed.unmask",
    sender=Role.PARTY,
    receiver=Role.COORDINATOR,
    payload=Payload.SHARE,
    reveals="of each member one of its two secrets: the seed of one whose part arrived, the key of one whose did not",
    source=_SOURCE,
)
class SumUnmask(Message):
    """A share for each included member, in their order."""

    number: int
    shares: tuple[bytes, ...]


@message(
    "fed.total",
    sender=Role.COORDINATOR,
    receiver=Role.PARTY,
    payload=Payload.RESULT,
    reveals="the sum of the members named, at least the agreed threshold of them",
    source=_SOURCE,
)
class SumTotal(Message):
    """The sum of the parts of ``names``, or what a robust rule made of them."""

    number: int
    names: tuple[str, ...]
    values: bytes


@message(
    "fed.plain",
    sender=Role.PARTY,
    receiver=Role.COORDINATOR,
    payload=Payload.RESULT,
    reveals="one member's clipped update, from which rows may be read: only where the agreement gives up secrecy",
    source="Yin et al. 2018; docs/groups.md#poisoned-updates",
)
class PlainUpdate(Message):
    """The sender's numbers as they are."""

    number: int
    values: bytes


@message(
    "fed.members",
    sender=Role.COORDINATOR,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="who is still in the run, which the rounds told everybody",
    source="docs/groups.md#what-members-bring",
)
class MembersLeft(Message):
    """``names`` are valued."""

    names: tuple[str, ...]


_GROUP = "docs/groups.md#a-group-in-a-vertical-run"


@message(
    "group.told",
    sender=Role.PARTY,
    receiver=Role.COORDINATOR,
    payload=Payload.COMMITMENT,
    reveals="whether the sender holds an encoder, or sums of an expansion, of an earlier attempt, and their hash",
    source=_GROUP,
)
class EncoderTold(Message):
    """The digest of what the sender holds before the rounds, or before an expansion's sums; empty: nothing."""

    digest: bytes


@message(
    "group.held",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.COMMITMENT,
    reveals="a hash of the encoder, or of an expansion's sums, that the sender holds, which all who made it have",
    source=_GROUP,
)
class EncoderHeld(Message):
    """The digest of what the sender holds: before the rounds (``number`` 0) and after (1); of an expansion 2 and 3.

    4: of the counts that an expansion begins with.
    """

    number: int
    digest: bytes


@message(
    "group.passed",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.RESULT,
    reveals="the encoder, or the expansion's sums, that the members have, to one that was lost before the end",
    source=_GROUP,
)
class EncoderPassed(Message):
    """The encoder's common weights, or an expansion's sums, 8 bytes each."""

    values: bytes


_COUNTS = "docs/groups.md#an-expansion-of-a-group"


@message(
    "group.share",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.SHARE,
    reveals="numbers uniform in the ring: one of as many shares of the sender's counts as there are members",
    source=_COUNTS,
)
class CountsShare(Message):
    """A share of what an expansion counts in the sender's rows."""

    values: bytes


@message(
    "group.added",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.RESULT,
    reveals="with those of all members, the sum of their counts; fewer are uniform in the ring",
    source=_COUNTS,
)
class CountsAdded(Message):
    """The sum of the shares that the sender was given and of the one that it kept."""

    values: bytes
