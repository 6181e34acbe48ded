"""What this node was shown and showed in alignments, by counterparty: one line a run, and how many are too many.

An intersection answers the question that it is asked. Asked often, each time with another set, it answers which of a
whole universe this party holds. So each alignment is written down, also one whose run ended early, and a counterparty
that comes with changed sets more often than the standing limit allows is refused before anything moves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from parties.errors import AgreementError, StorageError
from parties.private_files import open_private
from psi.ring import Alignment

__all__ = ["AlignmentEntry", "HeldSet", "alignments", "check_repeats", "large_sets", "record_alignment"]

_FILE = "alignments.jsonl"
_WINDOW = timedelta(days=30)
_LARGE = 3.0
"""Times the own set beyond which another's is named in the log."""


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
    """One alignment. own: entries of this party's list, padding included, as of every other. rows: of the run."""

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


def record_alignment(folder: Path, me: str, run: str, policy: str, found: Alignment, now: datetime) -> AlignmentEntry:
    """Write an alignment down, before its rows are used."""
    peers = {name: HeldSet(size=size, changed=found.changed.get(name)) for name, size in found.set_sizes.items()}
    own = peers.pop(me)
    made = AlignmentEntry(at=now, run=run, policy=policy, own=own.size, rows=len(found.ids), peers=peers)
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
