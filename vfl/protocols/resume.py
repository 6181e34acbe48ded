"""Going on after an interruption: which step everyone can resume at, and what each side keeps of the one under way.

A step has one durable record at each party, written between the private product and the opening:

    feature party: product answered -> record (U, and the share it will send) -> Ready
    label party:   all Ready -> record (every V, its shares of the products, the top model) -> Open
    feature party: Open -> charge the opening -> send the sum under a fresh mask

So once anything may be opened, everyone's record is on disk. A step that is resumed sends the very sum that was kept:
it opens what it would have opened, whatever the label party now claims, and is charged once. Keys, encryptions of
zero and masks are of a session and never kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, Message, Payload, RemoteProtocolError, Role, Send, message, receive
from vfl.arithmetic.ring import Ring
from vfl.arithmetic.share import Share

__all__ = [
    "START",
    "Forward",
    "Open",
    "Outcome",
    "Place",
    "Ready",
    "ResumeAt",
    "Resumed",
    "SourceJournal",
    "WalkJournal",
    "agree_place",
    "await_open",
    "offer_place",
    "open_step",
    "repeated",
]

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Shares = Mapping[str, Share[Ring]]

START = -1
"""No record: from the first step."""


@message(
    "resume.place",
    sender=Role.FEATURE,
    receiver=Role.LABEL,
    payload=Payload.PUBLIC,
    reveals="which steps the sender has records of",
    source="docs/protocols/resume.md#records-in-training",
)
class Place(Message):
    """The steps this party can go on from, rising; empty: only from the start."""

    steps: tuple[int, ...]


@message(
    "resume.at",
    sender=Role.LABEL,
    receiver=Role.FEATURE,
    payload=Payload.PUBLIC,
    reveals="the step that everyone goes on from",
    source="docs/protocols/resume.md#records-in-training",
)
class ResumeAt(Message):
    """The step to go on from: one that every party has a record of, or ``START``."""

    step: int


@message(
    "source.ready",
    sender=Role.FEATURE,
    receiver=Role.LABEL,
    payload=Payload.PUBLIC,
    reveals="that the sender's record of this step is on disk",
    source="docs/protocols/resume.md#records-in-training",
)
class Ready(Message):
    """This party can repeat the step's opening after a crash."""

    step: int


@message(
    "source.open",
    sender=Role.LABEL,
    receiver=Role.FEATURE,
    payload=Payload.PUBLIC,
    reveals="that every party's record of this step is on disk",
    source="docs/protocols/resume.md#records-in-training",
)
class Open(Message):
    """Every record is kept: open the step."""

    step: int


@dataclass(frozen=True, eq=False)
class Forward:
    """A feature party's record of a step.

    session: in which the product was made; with ``step`` it labels the opening's charge. share: U before the step,
    (d, h). part: its share of the batch's embedding, (B, h), which is what it sends under a mask.
    """

    session: str
    step: int
    train: bool
    rows: I64
    share: Share[Ring]
    part: Share[Ring]

    @property
    def label(self) -> str:
        """The label of the opening that this record is bound to."""
        return f"{self.session}/{self.step}"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the label party keeps of a prediction: opened sums (B, h), scores (B,), the top model, its shares (B, h)."""

    z: F64
    scores: F64
    scorer: bytes
    held: Shares


@dataclass(frozen=True, eq=False)
class Resumed:
    """The label party's record of the step to go on from, and the predictions before it, by step number."""

    step: int
    shares: Shares
    held: Shares
    head: bytes
    losses: F64
    ics: F64
    outcomes: Mapping[int, Outcome] = field(default_factory=dict)


class SourceJournal(Protocol):
    """Where a feature party keeps its records. On return a record survives a crash."""

    def hold(self, record: Forward) -> None: ...


class WalkJournal(Protocol):
    """Where the label party keeps its records. On return of ``hold`` and ``predicted`` they survive a crash."""

    def begin(self, step: int, head: bytes, losses: Sequence[float], ics: Sequence[float]) -> None:
        """What is to go into the record of ``step``."""

    def hold(self, step: int, shares: Shares, held: Shares) -> None:
        """Keep the record of ``step``."""

    def opened(self, step: int, z: F64) -> None:
        """Keep what a training step opened, for trials that open nothing; only where a run searches."""

    def predicted(self, step: int, z: F64, scores: F64, scorer: bytes) -> None:
        """Keep a prediction; the record of ``step`` has its shares."""


def repeated(record: Forward, step: int, train: bool, rows: I64, label_party: str) -> Forward:
    """The record of the step under way, which must be repeated as it was."""
    if (record.step, record.train) != (step, train) or not np.array_equal(record.rows, rows):
        raise RemoteProtocolError("goes on with another batch than the one recorded", label_party)
    return record


def await_open(label_party: str, step: int) -> Flow[None]:
    """A feature party's side: its record of the step is on disk; return once everyone's is.

    Learns: that every party's record of the step is on disk.
    Leaks: that its own is.
    Model: semi-honest; whatever the label party claims, a step opens only what was recorded.
    Source: docs/protocols/resume.md#records-in-training.
    """
    yield Send(label_party, Ready(step))
    told = yield from receive(label_party, Open)
    if told.step != step:
        raise RemoteProtocolError(f"opens step {told.step} at step {step}", label_party)


def open_step(parties: Sequence[str], step: int, record: Callable[[], None]) -> Flow[None]:
    """The label party's side: ``record`` the step once everyone else has, then let it be opened.

    Learns: that every party's record of the step is on disk.
    Leaks: that its own is.
    Model: semi-honest.
    Source: docs/protocols/resume.md#records-in-training.
    """
    for party in parties:
        ready = yield from receive(party, Ready)
        if ready.step != step:
            raise RemoteProtocolError(f"is ready for step {ready.step} at step {step}", party)
    record()
    for party in parties:
        yield Send(party, Open(step))


def agree_place(parties: Sequence[str], own: Collection[int]) -> Flow[int]:
    """The label party's side: the latest step that everyone has a record of, or ``START``.

    Learns: which steps each feature party has records of.
    Leaks: the step chosen.
    Model: semi-honest; a wrong answer costs openings, which are counted, and reveals nothing.
    Source: docs/protocols/resume.md#records-in-training.
    """
    common = set(own)
    for party in parties:
        place = yield from receive(party, Place)
        common &= set(place.steps)
    chosen = max(common, default=START)
    for party in parties:
        yield Send(party, ResumeAt(chosen))
    return chosen


def offer_place(label_party: str, own: Collection[int]) -> Flow[int]:
    """A feature party's side.

    Learns: the step chosen.
    Leaks: which steps it has records of.
    Model: semi-honest; it goes on only from a record of its own.
    Source: docs/protocols/resume.md#records-in-training.
    """
    yield Send(label_party, Place(tuple(sorted(own))))
    chosen = yield from receive(label_party, ResumeAt)
    if chosen.step != START and chosen.step not in own:
        raise RemoteProtocolError("wants to go on from a step that this party has no record of", label_party)
    return chosen.step
