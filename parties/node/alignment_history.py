"""What this node was shown and showed in alignments, by counterparty: one line a run, and how many are too many.

An intersection answers the question that it is asked. Asked often, each time with another set, it answers which of a
whole universe this party holds. So each alignment is written down, also one whose run ended early, and a counterparty
that comes with changed sets more often than the standing limit allows is refused before anything moves. One that
stops a session once it has its answer is written down as any other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from parties.errors import AgreementError, StorageError
from parties.private_files import open_private
from psi.flow import Flow, Recv, Send
from psi.messages import FinishedTokens, SetCommitment
from psi.ot.messages import CommonList, Hint

__all__ = [
    "AlignmentEntry",
    "HeldSet",
    "Shown",
    "alignments",
    "check_repeats",
    "large_sets",
    "noted",
    "record_alignment",
]

T = TypeVar("T")

_FILE = "alignments.jsonl"
_WINDOW = timedelta(days=30)
_LARGE = 3.0
"""Times the own set beyond which another's is named in the log."""
_ANSWERS = (FinishedTokens, Hint, CommonList)
"""With the first of these that a party sends, others can learn which entities it holds."""


class HeldSet(BaseModel):
    """A counterparty's set as it declared it. changed: ids since its previous set; None: it named none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    changed: int | None = None

    @property
    def new(self) -> bool:
        """Whether it may show more than the one before."""
        return self.changed is None or self.changed > 0


class AlignmentEntry(BaseModel):
    """One alignment. own: entries of this party's list, padding included, as of every other. rows: 0 if it failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: AwareDatetime
    run: str
    policy: str
    own: int
    rows: int
    peers: Mapping[str, HeldSet] = Field(default_factory=dict)


def alignments(folder: Path) -> tuple[AlignmentEntry, ...]:
    """Every alignment of the node in ``folder``, oldest first."""
    path = folder / _FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return tuple(AlignmentEntry.model_validate_json(line) for line in lines if line)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, ValidationError):
        raise StorageError(f"{path}: damaged; restore it from a backup, or tell the others and remove it") from None


@dataclass(slots=True)
class Shown:
    """What a session has shown so far: every set as its owner declared it, and whether the own one was answered for."""

    own: int = 0
    peers: dict[str, HeldSet] = field(default_factory=dict)
    answered: bool = False

    def _sent(self, message: object) -> None:
        if isinstance(message, SetCommitment):
            self.own = message.size
        self.answered = self.answered or isinstance(message, _ANSWERS)

    def _received(self, sender: str, message: object) -> None:
        if isinstance(message, SetCommitment):
            self.peers[sender] = HeldSet(size=message.size, changed=message.changed if message.previous_root else None)


def noted(flow: Flow[T], shown: Shown) -> Flow[T]:
    """``flow``, with what it shows noted in ``shown`` as it goes: it may not come to its end."""
    got: Any = None
    try:
        effect = next(flow)
        while True:
            if isinstance(effect, Send):
                shown._sent(effect.message)
            try:
                got = yield effect
            except Exception as error:
                effect = flow.throw(error)
                continue
            if isinstance(effect, Recv):
                shown._received(effect.sender, got)
            effect = flow.send(got)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        flow.close()


def record_alignment(folder: Path, run: str, policy: str, shown: Shown, rows: int, now: datetime) -> AlignmentEntry:
    """Write an alignment down, before its rows are used."""
    made = AlignmentEntry(at=now, run=run, policy=policy, own=shown.own, rows=rows, peers=shown.peers)
    path = folder / _FILE
    try:
        with open(path, "a", encoding="utf-8", opener=open_private) as file:
            file.write(made.model_dump_json() + "\n")
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); check disk and permissions") from None
    return made


def check_repeats(folder: Path, peers: Collection[str], most: int, now: datetime) -> None:
    """Raise :class:`AgreementError` where one of ``peers`` would be answered more often than ``most`` in 30 days.

    Alignments count whose set of that party was new or had changed; one that stays the same is shown nothing more.
    """
    recent = [one for one in alignments(folder) if now - one.at < _WINDOW]
    for name in sorted(peers):
        asked = sum(name in one.peers and one.peers[name].new for one in recent)
        if asked >= most:
            raise AgreementError(
                f"{name} was aligned with {asked} times in 30 days with a set that was new or had changed, and this "
                f"node's standing limit (limits.alignments) is {most}: each time it learns more of which entities this "
                "party holds; wait, or agree that it is raised"
            )


def large_sets(made: AlignmentEntry) -> tuple[str, ...]:
    """What to say of counterparties whose sets are much larger than the own one."""
    return tuple(
        f"{name} brings {one.size:,} entities, {one.size / made.own:.1f} times this party's {made.own:,}: whoever "
        "submits a whole universe learns which of it all others hold (alignment.maximum_set_size caps it)"
        for name, one in made.peers.items()
        if one.size > _LARGE * made.own
    )
