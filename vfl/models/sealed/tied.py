"""Tied heads: feature parties with the same columns whose rows add up under one set of weights, as one party's would.

W = U + V once for the group: V at the label party, U at every member alike. The first member is its *lead*: it takes
part in the truncation of the update for all, and passes on what it got. Each step's gradient is the sum of the members'
shares, which they send the lead under zero-sum masks of the group: a bare share would be, with the label party's other
half, the gradient of one member's rows. Before every step each member shows each other a digest of what it holds, so
that no lead brings the rows of a member of its choice under other weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, Message, Payload, RemoteProtocolError, Role, Send, gather, message, receive
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.models.sealed.messages import Members, elements
from vfl.models.sealed.step import Block
from vfl.protocols.opening import ZeroSumMasks

__all__ = [
    "TiedGradient",
    "TiedHead",
    "TiedHeld",
    "TiedSpeed",
    "TiedStart",
    "added_columns",
    "agree_start",
    "by_head",
    "group_seed",
]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

_SOURCE = "docs/protocols/sealed.md#tied-heads"
SEED_BYTES = 32


@message(
    "sealed.tied-start",
    sender=Role.FEATURE,
    receiver=Role.FEATURE,
    payload=Payload.SHARE,
    reveals="to members of one tied group: the sender's part of what their share of the first weights is drawn from",
    source=_SOURCE,
)
class TiedStart(Message):
    """32 bytes of the sender's own, of which all members' make the seed of the group's share of the first weights."""

    part: bytes


@message(
    "sealed.tied-gradient",
    sender=Role.FEATURE,
    receiver=Role.FEATURE,
    payload=Payload.MASKED,
    reveals="nothing: a uniform share under a zero-sum mask of a tied group, to the group's first member",
    source="zero-sum masks after Bonawitz et al. 2017",
)
class TiedGradient(Message):
    """A member's share of its gradient sum, (d, h + 1), plus its mask."""

    step: int
    values: bytes


@message(
    "sealed.tied-held",
    sender=Role.FEATURE,
    receiver=Role.FEATURE,
    payload=Payload.COMMITMENT,
    reveals="to members of one tied group: a digest of the share of weights and speed that all of them hold alike",
    source=_SOURCE,
)
class TiedHeld(Message):
    """Digest of the group's share as the sender holds it when a step begins."""

    step: int
    held: bytes


@message(
    "sealed.tied-speed",
    sender=Role.FEATURE,
    receiver=Role.FEATURE,
    payload=Payload.SHARE,
    reveals="to members of one tied group: their share of the weights' speed, uniform without the label party's",
    source=_SOURCE,
)
class TiedSpeed(Message):
    """The group's share of the speed after a step, (d, h + 1), which every member subtracts from its weights."""

    step: int
    values: bytes


def group_seed(parts: Mapping[str, bytes]) -> bytes:
    """Seed of a group's share of its first weights, from its members' parts by name: 32 bytes."""
    digest = hashlib.sha256(b"entente/tied-start")
    for name, part in sorted(parts.items()):
        digest.update(hashlib.sha256(name.encode()).digest() + part)
    return digest.digest()


def agree_start(me: str, group: Sequence[str], mine: bytes) -> Flow[bytes]:
    """Every member's part to every other; the :func:`group_seed` that all of them have then.

    Learns: the group's share of the first weights, as every member does; nothing of the label party's.
    Leaks: to the other members its own part, which is used for nothing else.
    Model: semi-honest. A member that picks its part last picks the share, but not the weights: the label party's draw
        is added. Who has that one too, a member and the label party together, has the weights in any case. One that
        sends members different parts is found when they compare what they hold, before the first step.
    Source: docs/protocols/sealed.md#tied-heads.
    """
    others = [name for name in group if name != me]
    for peer in others:
        yield Send(peer, TiedStart(mine))
    parts = {me: mine}
    for peer in others:
        got = yield from receive(peer, TiedStart)
        if len(got.part) != SEED_BYTES:
            raise RemoteProtocolError(f"sent a part of the tied start that is not of {SEED_BYTES} bytes", peer)
        parts[peer] = got.part
    return group_seed(parts)


def by_head(members: Members, parts: Mapping[str, U64]) -> dict[str, U64]:
    """Elements of Z_p by feature party, added up by the owner of the weights that they belong to."""
    summed: dict[str, U64] = {}
    for name, part in parts.items():
        head = members.head(name)
        summed[head] = PRIME_RING.add(summed[head], part) if head in summed else part
    return summed


def added_columns(heads: Sequence[str], columns: Sequence[I64]) -> list[I64]:
    """Small integers (rows, d) of each party, added up by the owner of their weights; ``heads`` names each one's.

    What the columns of one party would be that had all of a tied group's rows; an entity that several members serve has
    the sum of their rows.
    """
    summed: dict[str, I64] = {}
    for head, part in zip(heads, columns, strict=True):
        summed[head] = summed[head] + part if head in summed else part
    return list(summed.values())


@dataclass(frozen=True)
class TiedHead:
    """One member's part in its group's steps. group: in agreed order, the lead first. session: names the masks."""

    me: str
    group: tuple[str, ...]
    masks: ZeroSumMasks
    session: str

    @classmethod
    def of(cls, me: str, members: Members, masks: ZeroSumMasks, session: str) -> TiedHead | None:
        """None where the party has a head of its own."""
        group = members.group(me)
        return cls(me, group, masks, session) if len(group) > 1 else None

    def same(self, step: int, block: Block) -> Flow[None]:
        """Raise RemoteProtocolError where another member holds another share than this one when a step begins.

        Learns: whether all members hold the same share of weights and speed.
        Leaks: to every other member a digest of what it holds, which that one holds as well.
        Model: any that cheat. Two honest members that hold different shares always find it; a lead that has all members
            but one with it is not found by that one.
        Source: docs/protocols/sealed.md#tied-heads.
        """
        held, lead = _held(block), self.group[0]
        others = [name for name in self.group if name != self.me]
        for peer in others:
            yield Send(peer, TiedHeld(step, held))
        for peer in others:
            got = yield from receive(peer, TiedHeld)
            if got.step != step:
                raise RemoteProtocolError(f"sent the digest of what it holds at step {got.step} at step {step}", peer)
            if got.held != held:
                raise RemoteProtocolError(_differs(self.me, peer, lead), peer)

    def speed(self, step: int, share: U64, truncated: Callable[[U64], Flow[U64]]) -> Flow[U64]:
        """The group's share of the next speed, (d, h + 1). share: this member's of its own gradient sum. truncated:
        what the lead does with the group's, with the label party.

        Learns: the group's share of the speed, uniform; the lead also the sum of the members' shares, uniform as well.
        Leaks: to the lead its uniform share under a zero-sum mask of the group; as lead, to the other members what all
            of them hold.
        Model: semi-honest. The label party together with a member has the group's weights in every step, and so the sum
            of the other members' gradients; of two of them neither one's alone. A label party that cheats reads with
            any one member rows of every other member exactly. A member that cheats adds what it likes to its share, and
            so sets everybody's weights.
        Source: docs/protocols/sealed.md#tied-heads.
        """
        lead, *others = self.group
        mask = self.masks.mask(f"tied/{self.session}/{step}", self.group, share.shape)
        masked = PRIME_RING.add(share, mask)
        if self.me != lead:
            yield Send(lead, TiedGradient(step, PRIME_RING.pack(masked)))
            got = yield from receive(lead, TiedSpeed)
            if got.step != step:
                raise RemoteProtocolError(f"passed on the speed of step {got.step} at step {step}", lead)
            return elements(got.values, _shape(share), lead)
        for part in (yield from gather([self._masked(name, step, _shape(share)) for name in others])):
            masked = PRIME_RING.add(masked, part)
        speed = yield from truncated(masked)
        for name in others:
            yield Send(name, TiedSpeed(step, PRIME_RING.pack(speed)))
        return speed

    def _masked(self, name: str, step: int, shape: tuple[int, int]) -> Flow[U64]:
        got = yield from receive(name, TiedGradient)
        if got.step != step:
            raise RemoteProtocolError(f"sent its gradient of step {got.step} at step {step}", name)
        return elements(got.values, shape, name)


def _shape(share: U64) -> tuple[int, int]:
    rows, width = share.shape
    return rows, width


def _differs(me: str, peer: str, lead: str) -> str:
    """What is wrong with ``peer``, whose digest is not this member's."""
    if peer == lead:
        return "holds another share of its group's weights than it passed on to this member"
    if me == lead:
        return "holds another share of its group's weights than this member, which passes it on"
    return (
        "holds another share of its group's weights than this member: it made its own up, or "
        f"{lead}, which passes it on, told members different ones"
    )


def _held(block: Block) -> bytes:
    """Digest of what every member of a group holds alike."""
    digest = hashlib.sha256(b"entente/tied-share")
    for part in (block.weight, block.speed):
        digest.update(np.ascontiguousarray(part).astype("<u8").tobytes())
    return digest.digest()
