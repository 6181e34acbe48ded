"""A member killed in a federated run: its pack lacks the end of a session, which is no fault where others show why."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from parties.audit.log import AuditLog
from parties.evidence import pack
from parties.evidence.parts import Parts, Report, read_parts
from parties.evidence.statements import Statements
from parties.evidence.together import check_together
from parties.evidence.writing import log_files
from parties.names import COORDINATOR
from tests.parties.agreement.test_federated_terms import federated
from vfl.factors.verify import METADATA

TERMS = federated(rounds=5)
RUN, MEMBERS = TERMS.run_id, ("l", "a", "b", "c")
SUMS = 5 + 2
LOST = "c"
SESSION = "train-1"


def session(me: str, keys: Mapping[str, int], outcome: str = "done") -> dict[str, Any]:
    """What a member logs of the training: from each other member so many keys."""
    links = [
        {"from": sender, "to": receiver, "messages": count, "sha256": f"{count:064x}"}
        for peer, count in keys.items()
        for sender, receiver in ((peer, me), (me, peer))
    ]
    traffic = [
        {"way": "received", "peer": peer, "message": "fed.key", "messages": count, "bytes": 200 * count}
        for peer, count in keys.items()
    ]
    return {"session": SESSION, "outcome": outcome, "transcripts": links, "traffic": traffic}


def pack_of(folder: Path, name: str, body: Mapping[str, Any] | None, reports: tuple[Report, ...] = ()) -> Parts:
    """A pack whose log has begun, and then this session."""
    with AuditLog(name, f"sqlite:///{folder / name}.db", Ed25519PrivateKey.generate().sign) as log:
        log.append("approval", RUN, {"signature": "ab" * 64})
        if body is not None:
            log.append("session", RUN, body)
        files, _ = log_files(log, RUN, (*MEMBERS, COORDINATOR))
    about = pack.About(run_id=RUN, writer=name, made_at="2026-01-05T00:00:00+00:00", code_version="0")
    files |= {METADATA: about.model_dump_json().encode(), pack.AGREEMENT: TERMS.canonical(), pack.APPROVALS: b"{}"}
    if reports:
        files[pack.REPORTS] = b"".join(one.model_dump_json().encode() + b"\n" for one in reports)
    return read_parts(files)


def checked(folder: Path, keys: int, *, outcome: str = "done", reports: tuple[Report, ...] = ()) -> Statements:
    """Packs of all members, of whom one logged no session and had sent so many keys; with reports the coordinator's."""
    stayed = [name for name in MEMBERS if name != LOST]
    packs = [
        pack_of(
            folder, me, session(me, {n: keys if n == LOST else SUMS for n in MEMBERS if n != me}, outcome=outcome)
        )
        for me in stayed
    ]  # fmt: skip
    packs.append(pack_of(folder, LOST, None))
    if reports:
        packs.append(pack_of(folder, COORDINATOR, None, reports))
    return check_together(packs)


def rounds(*, gone: list[str], until: int) -> Report:
    taken = [list(MEMBERS) if number < until else list(MEMBERS[:3]) for number in range(5)]
    return Report(phase="train", attempt=1, by=COORDINATOR, report={"rounds": taken, "gone": gone})


def test_what_others_logged_of_a_killed_member_is_told_and_is_no_fault(tmp_path: Path) -> None:
    said = checked(tmp_path, keys=3)
    assert said.faults == []
    assert f"l logged 3 of its keys for {SUMS} sums" in " ".join(said.proved)
    [lacks] = said.asserted
    assert lacks.startswith(f"That c's node stopped in session {SESSION}: its log has no end of it.")
    assert "messages received by l 3, a 3, b 3" in lacks


def test_the_coordinators_record_names_its_last_round(tmp_path: Path) -> None:
    said = checked(tmp_path, keys=3, reports=(rounds(gone=[LOST], until=2),))
    assert said.faults == []
    assert "The coordinator logged that c dropped out of session train-1: its last was round 2 of 5." in said.proved


@pytest.mark.parametrize(
    "reports",
    [
        (),
        (rounds(gone=[], until=5),),
        (Report(phase="train", attempt=1, by=LOST, report={"seconds": 1.0}), rounds(gone=[LOST], until=5)),
        (rounds(gone=[LOST], until=5), Report(phase="train", attempt=1, by=LOST, report={"seconds": 1.0})),
    ],
)
def test_a_session_that_the_member_ended_is_still_missed(tmp_path: Path, reports: tuple[Report, ...]) -> None:
    """By its messages, by the coordinator's record, or by its own report it was there to the end."""
    said = checked(tmp_path, keys=SUMS if not reports else 3, reports=reports)
    assert any("c's pack has no transcript" in fault for fault in said.faults)


def test_an_attempt_that_everybody_gave_up_is_no_fault_of_who_was_killed_in_it(tmp_path: Path) -> None:
    said = checked(tmp_path, keys=3, outcome="failed")
    assert said.faults == []
    assert "Nobody here logged that session train-1 came to its end." in said.proved
