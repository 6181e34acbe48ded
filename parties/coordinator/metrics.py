"""What the coordinator tells its machine's monitoring: runs, lines and certificate dates, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from parties.coordinator.engine import Engine
from parties.members.roster import Member
from parties.names import COORDINATOR
from parties.process.health import Sample, process_samples

__all__ = ["coordinator_samples"]


def coordinator_samples(
    home: Path, engine: Engine, members: Mapping[str, Member], relayed: Mapping[tuple[str, str], int]
) -> Iterator[Sample]:
    """The metrics as of now. ``relayed``: bytes by sender and receiver."""
    yield from process_samples(home, "coordinator", COORDINATOR)
    statuses = Counter(known.state.status for known in engine.all_runs())
    lines = engine.attachments(name for name in members if name != COORDINATOR)
    for status, count in sorted(statuses.items()):
        yield Sample("runs", "Runs by status.", count, {"status": status})
    for name, line in lines.items():
        yield Sample("party_attached", "Whether a party's line is up.", int(line.attached), {"party": name})
    for name, member in members.items():
        until = member.expires.timestamp()
        yield Sample("certificate_expires_timestamp_seconds", "When a certificate ends.", until, {"member": name})
    for (sender, receiver), size in relayed.items():
        labels = {"sender": sender, "receiver": receiver}
        yield Sample("relayed_bytes", "Bytes led from one member to another since the start.", size, labels)
