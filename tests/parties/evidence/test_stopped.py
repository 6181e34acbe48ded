"""A party killed in a run: its pack lacks the end of a session, which is no fault where others show why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from parties.agreement.document import Agreement
from parties.agreement.group_terms import group_rounds
from parties.audit.log import AuditLog
from parties.evidence import pack
from parties.evidence.parts import Parts, Report, read_parts
from parties.evidence.statements import Statements
from parties.evidence.together import check_together
from parties.evidence.writing import log_files
from parties.names import COORDINATOR
from tests.parties.agreement.test_federated_terms import federated
from tests.parties.agreement.test_group_terms import signed
from tests.parties.agreement.test_model_terms import agreement
from vfl.factors.verify import METADATA

TERMS = federated(rounds=5)
MEMBERS = ("l", "a", "b", "c")
SUMS = 5 + 2
LOST = "c"
SESSION = "train-1"


def session(
    me: str,
    keys: Mapping[str, int],
    outcome: str = "done",
    *,
    named: str = SESSION,
    held: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """What a member logs of a session: from each other member so many keys, and digests of an encoder."""
    links = [
        {"from": sender, "to": receiver, "messages": count, "sha256": f"{count:064x}"}
        for peer, count in keys.items()
        for sender, receiver in ((peer, me), (me, peer))
    ]
    traffic = [
        {"way": "received", "peer": peer, "message": message, "messages": count, "bytes": 200 * count}
        for peer, keyed in keys.items()
        for message, count in (("fed.key", keyed), ("group.held", (held or {}).get(peer, 0)))
        if count
    ]
    return {"session": named, "outcome": outcome, "transcripts": links, "traffic": traffic}


def pack_of(
    folder: Path,
    name: str,
    body: Mapping[str, Any] | None,
    reports: tuple[Report, ...] = (),
    *,
    terms: Agreement = TERMS,
    logged: Sequence[tuple[str, Mapping[str, Any]]] = (),
) -> Parts:
    """A pack whose log has begun, and then this session and what else is logged."""
    run = terms.run_id
    with AuditLog(name, f"sqlite:///{folder / name}.db", Ed25519PrivateKey.generate().sign) as log:
        log.append("approval", run, {"signature": "ab" * 64})
        for kind, said in (*(() if body is None else (("session", body),)), *logged):
            log.append(kind, run, said)
        files, _ = log_files(log, run, (*MEMBERS, COORDINATOR))
    about = pack.About(run_id=run, writer=name, made_at="2026-01-05T00:00:00+00:00", code_version="0")
    files |= {METADATA: about.model_dump_json().encode(), pack.AGREEMENT: terms.canonical(), pack.APPROVALS: b"{}"}
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


VERTICAL = agreement({"kind": "ridge"}, limit_per_row=3)
UNPROVED = "No coordinator's pack is here to say whose node it was"
SILENT = ("party_lost", {"party": LOST, "silent_for": 20.0, "during": SESSION})
RESTARTED = ("party_restarted", {"party": LOST, "during": SESSION})
BLAMED = ("phase_failed", {"party": "a", "phase": "train", "attempt": 1, "peer": LOST, "lost": True})


def given_up(folder: Path, *logged: tuple[str, Mapping[str, Any]], terms: Agreement = VERTICAL) -> Statements:
    """An attempt that all gave up, of which one party logged no end; with what the coordinator logged, if anything."""
    body = {name: session(name, {n: 3 for n in MEMBERS if n != name}, "failed") for name in MEMBERS if name != LOST}
    packs = [pack_of(folder, name, body.get(name), terms=terms) for name in MEMBERS]
    if logged:
        packs.append(pack_of(folder, COORDINATOR, None, terms=terms, logged=logged))
    return check_together(packs)


def test_of_a_vertical_attempt_that_was_given_up_members_alone_prove_less(tmp_path: Path) -> None:
    """Their packs cannot tell a killed party from one that left the session out."""
    said = given_up(tmp_path)
    assert said.faults == []
    [lacks] = said.asserted
    assert UNPROVED in lacks


@pytest.mark.parametrize("terms", [VERTICAL, TERMS])
@pytest.mark.parametrize("record", [SILENT, RESTARTED, BLAMED])
def test_the_coordinators_log_says_whose_node_it_was(
    tmp_path: Path, record: tuple[str, Mapping[str, Any]], terms: Agreement
) -> None:
    said = given_up(tmp_path, record, terms=terms)
    assert said.faults == []
    assert any(line.startswith("The coordinator logged that") and SESSION in line for line in said.proved)
    assert UNPROVED not in " ".join(said.asserted)


@pytest.mark.parametrize(
    "logged",
    [
        [("party_restarted", {"party": "a", "during": SESSION})],
        [("party_restarted", {"party": LOST, "during": "train-2"})],
        [("phase_failed", {"party": LOST, "phase": "train", "attempt": 1, "peer": "a", "lost": True}), RESTARTED],
        [("phase_done", {"party": LOST, "phase": "train", "attempt": 1}), SILENT],
        [("phase_failed", {"party": "a", "phase": "train", "attempt": 1, "peer": LOST, "lost": False})],
    ],
)
def test_who_leaves_out_a_session_that_ended_for_anothers_sake_is_missed(
    tmp_path: Path, logged: list[tuple[str, Mapping[str, Any]]]
) -> None:
    """Another was lost, or the party itself told its end: then its log has one."""
    said = given_up(tmp_path, *logged)
    assert any("c's pack has no transcript" in fault for fault in said.faults)


@pytest.mark.parametrize(
    ("keys", "held", "others", "missed"),
    [(2, 1, 2, False), (10, 1, 2, False), (10, 2, 2, True), (0, 1, 1, True), (11, 4, 5, False), (1, 4, 4, True)],
)
def test_a_member_killed_while_its_group_trains_an_encoder(
    tmp_path: Path, keys: int, held: int, others: int, missed: bool
) -> None:
    """The others came to the end without it. Who is there to the end tells as many digests as they: two of an encoder
    that is trained and one of one that was passed on, beside them three of an expansion.
    """
    terms, lost = signed(), "west"
    assert group_rounds(terms, terms.groups[0]).model.rounds == 10
    stayed = ("north", "south", "east")
    packs = []
    for name in stayed:
        told = {peer: (keys if peer == lost or not keys else 10) for peer in (*stayed, lost) if peer != name}
        body = session(name, told, named="encode-1", held=dict.fromkeys(stayed, others) | {lost: held})
        body["transcripts"] = [one | {"messages": 5} for one in body["transcripts"]]
        packs.append(pack_of(tmp_path, name, body, terms=terms))
    packs += [pack_of(tmp_path, name, None, terms=terms) for name in (lost, "fund")]
    said = check_together(packs)
    assert bool(said.faults) == missed
    assert any(f"That {lost}'s node stopped in session encode-1" in line for line in said.asserted) != missed
