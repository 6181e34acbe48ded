"""Check an evidence pack offline: nothing that it says of itself is believed, and what is proved is told from what is
asserted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from parties import __version__
from parties.agreement.signing import verify_signature
from parties.audit.heads import Head, check_head, check_inclusion, continues
from parties.errors import AgreementError, DataError
from parties.evidence import pack
from parties.evidence.part_checks import check_parts
from parties.evidence.parts import Logged, Parts, read_parts
from parties.evidence.report import render_report
from parties.evidence.statements import Statements
from parties.factor.provenance import git_revision
from parties.members.roster import Member
from parties.names import COORDINATOR
from vfl.factors.verify import SIGNATURES, verify_bundle

__all__ = ["EvidenceCheck", "check_evidence"]


@dataclass(frozen=True)
class EvidenceCheck:
    """What a pack proves, what its writer only says, and what is wrong with it. parts: None where they are not read.

    ``keys``: raw Ed25519 keys by name that were believed.
    """

    proved: tuple[str, ...] = ()
    asserted: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    parts: Parts | None = None
    keys: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        return not self.faults


def check_evidence(data: bytes, roster: Mapping[str, Member] | None = None) -> EvidenceCheck:
    """Check a pack. ``roster``: members whose keys the reader knows from elsewhere.

    Never raises on what the file holds: the first thing that stops the check is its last fault.
    """
    try:
        files = pack.unpacked(data)
    except DataError as error:
        return EvidenceCheck(faults=(f"the file {error}",))
    faults = tuple(map(str, verify_bundle(files).faults))
    if faults:
        return EvidenceCheck(faults=faults)
    try:
        parts = read_parts(files)
    except DataError as error:
        return EvidenceCheck(faults=(str(error),))
    try:
        return _checked(files, parts, roster)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        return EvidenceCheck(faults=("a part of the pack holds records that this version cannot read",))


def _checked(files: Mapping[str, bytes], parts: Parts, roster: Mapping[str, Member] | None) -> EvidenceCheck:
    """Check parts whose hashes fit. Raises ValueError, TypeError and the like on records that nobody here writes."""
    said = Statements()
    keys = _keys(parts, roster, said)
    _signed(files, parts, keys, said)
    if not said.faults:
        _agreed(files, parts, said)
    if not said.faults:
        _logged(parts, keys, said)
        _heads(parts, keys, said)
        check_parts(parts, keys, roster, said)
        _report(files, parts, said)
    for one in parts.about.left_out:
        said.asserted.append(f"Not in this pack: {one.what} ({one.why}).")
    return EvidenceCheck(tuple(said.proved), tuple(said.asserted), tuple(said.faults), parts, keys)


def _keys(parts: Parts, roster: Mapping[str, Member] | None, said: Statements) -> dict[str, bytes]:
    """The key of every party, as the agreement names it, and the coordinator's, as far as it can be told."""
    keys = {party.name: bytes.fromhex(party.identity_key) for party in parts.agreement.parties}
    known = None if roster is None else {name: bytes.fromhex(one.identity_key) for name, one in roster.items()}
    if known is None:
        said.asserted.append(
            "That the keys are those of these organisations: they are the ones that the agreement names. Give --roster "
            "with a roster that you hold."
        )
    else:
        for name in sorted(keys):
            if name not in known:
                if name == parts.about.writer:
                    said.faults.append(f"the pack's writer {name!r} is not in the roster: its key was removed")
                else:
                    said.asserted.append(f"Whose key signed for {name}: the roster does not know {name} any more.")
            elif known[name] != keys[name]:
                said.faults.append(f"the agreement names another key for {name!r} than the roster has")
        if not said.faults:
            said.proved.append("The roster that was given has the same key for every party that it knows.")
    if parts.coordinator is not None:
        mine = bytes.fromhex(parts.coordinator.identity_key)
        tied = _certified(parts)
        if known is not None and COORDINATOR not in known:
            said.faults.append("the roster does not know the coordinator: name the consortium's own roster")
        elif known is not None and known[COORDINATOR] != mine:
            said.faults.append("coordinator.json names another key for the coordinator than the roster has")
        elif tied:
            said.proved.append(
                "The coordinator's key is the one whose certificate every party accepted in the agreement."
            )
        elif known is None:
            said.asserted.append(
                "That the coordinator's key is the coordinator's: its certificate is not the one in the agreement any "
                "more. Give --roster."
            )
        keys[COORDINATOR] = mine
    return keys


def _certified(parts: Parts) -> bool:
    """Whether the certificate that the parties agreed on for the coordinator carries the signature of its key."""
    member = parts.coordinator
    assert member is not None
    agreed = parts.agreement.coordinator_certificate_sha256
    return member.certificate_sha256 == agreed and member.self_certified(COORDINATOR)


def _signed(files: Mapping[str, bytes], parts: Parts, keys: Mapping[str, bytes], said: Statements) -> None:
    """The signature is the writer's, under its known key, and there is no other."""
    writer = parts.about.writer
    names = {name for name in files if name.startswith(SIGNATURES)}
    if names != {f"{SIGNATURES}{writer}.sig", f"{SIGNATURES}{writer}.pub"}:
        said.faults.append(f"signatures/ must hold the signature of {writer!r}, whose pack it says it is, and no other")
    elif writer not in keys:
        said.faults.append(f"{writer!r}, whose pack it says it is, takes no part in the run")
    else:
        report = verify_bundle(files, trusted={writer: keys[writer]})
        said.faults.extend(map(str, report.faults))
        pem = Ed25519PublicKey.from_public_bytes(keys[writer]).public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        if not report.faults and files[f"{SIGNATURES}{writer}.pub"] != pem:
            said.faults.append(f"signatures/{writer}.pub was changed")
    if not said.faults:
        said.proved.append(f"{writer} signed this file; no byte was changed since.")
        said.asserted.append(f"When it was written ({parts.about.made_at}): that is {writer}'s word.")


def _agreed(files: Mapping[str, bytes], parts: Parts, said: Statements) -> None:
    """The agreement hashes to the run, and the parties signed it."""
    agreement, run_id = parts.agreement, parts.about.run_id
    found = hashlib.sha256(files[pack.AGREEMENT]).hexdigest()
    if found != run_id:
        said.faults.append(f"{pack.AGREEMENT} is of run {found[:12]}, not of {run_id[:12]}, whose pack it says it is")
        return
    if agreement.canonical() != files[pack.AGREEMENT]:
        said.faults.append(
            f"{pack.AGREEMENT} is not the canonical document: read it with version {agreement.code_version}"
        )
        return
    names = [party.name for party in agreement.parties]
    for name in parts.approvals:
        if name not in names:
            said.faults.append(f"{pack.APPROVALS} names {name!r}, who takes no part in the run")
            return
        try:
            verify_signature(agreement, name, parts.approvals[name])
        except AgreementError:
            said.faults.append(f"{pack.APPROVALS}: the signature of {name!r} does not fit this agreement")
    missing = [name for name in names if name not in parts.approvals]
    if not said.faults:
        signed = [name for name in names if name in parts.approvals]
        if signed:
            said.proved.append(f"{', '.join(signed)} signed run {run_id[:12]}, whose agreement is in this file.")
        if missing:
            said.asserted.append(f"That {', '.join(missing)} signed too: their signatures are not in this pack.")


def _logged(parts: Parts, keys: Mapping[str, bytes], said: Statements) -> None:
    """Entries of the writer's log, each proved under one signed head."""
    writer, run_id, last = parts.about.writer, parts.about.run_id, -1
    for number, entry in enumerate(parts.log, start=1):
        where = f"{pack.LOG}, line {number}"
        if entry.proof.head.log != writer or not check_inclusion(entry.proof, keys[writer]):
            said.faults.append(f"{where}: is not proved to be in {writer}'s log")
        elif entry.run_id not in ("", run_id) or (not entry.run_id and not _beside(entry, run_id)):
            said.faults.append(f"{where}: is an entry of run {entry.run_id[:12] or '-'}, not of {run_id[:12]}")
        elif entry.proof.index <= last:
            said.faults.append(f"{where}: entry {entry.proof.index} stands out of order")
        elif entry.proof.head != parts.log[0].proof.head:
            said.faults.append(f"{where}: is proved under another head than the entries before it")
        if said.faults:
            return
        last = entry.proof.index
    if not parts.log:
        said.faults.append(f"{pack.LOG} is empty: {writer}'s log has no entry of this run")
        return
    head = parts.log[0].proof.head
    said.proved.append(
        f"{len(parts.log)} entries stood in {writer}'s audit log of {head.size} entries when it signed that log's head "
        f"({head.at})."
    )
    said.asserted.append(
        f"That no entry on this run was left out, and that what entries say is true: they are {writer}'s own record. "
        "Sessions and openings leave their mark in the other parties' packs: check these together."
    )


def _beside(entry: Logged, run_id: str) -> bool:
    """Whether an entry of no run may stand in a pack: a commitment to rows, or what was done about the run."""
    return entry.kind == "rows" or (entry.kind == "desk" and entry.body.get("about") == run_id)


def _heads(parts: Parts, keys: Mapping[str, bytes], said: Statements) -> None:
    """Heads of all logs that the writer holds: signed, and none against another."""
    logs: dict[str, int] = {}
    unknown: set[str] = set()
    by_log: dict[str, list[Head]] = {}
    for head in parts.heads:
        if head.log not in keys:
            unknown.add(head.log)
            continue
        if not check_head(head, keys[head.log]):
            said.faults.append(f"{pack.HEADS}: a head of {head.log!r}'s log is not signed by its key")
            return
        by_log.setdefault(head.log, []).append(head)
    for log, heads in by_log.items():
        heads.sort(key=lambda head: head.size)
        for old, new in pairwise(heads):
            if continues(old, new) is False:
                said.faults.append(
                    f"{pack.HEADS}: {log!r} signed heads at {old.size} and {new.size} entries that do not fit: cut or "
                    "forked"
                )
                return
        logs[log] = len(heads)
    told = ", ".join(f"{log} {count}" for log, count in sorted(logs.items()))
    said.proved.append(f"Signed heads of audit logs, none against another: {told}.")
    if unknown:
        said.asserted.append(f"Heads of {', '.join(sorted(unknown))}: nothing in this pack says whose key that is.")


def _report(files: Mapping[str, bytes], parts: Parts, said: Statements) -> None:
    if pack.REPORT not in files:
        said.faults.append(f"{pack.REPORT} is missing")
    elif (parts.about.code_version, parts.about.git_sha) != (__version__, git_revision()):
        said.asserted.append(
            f"That {pack.REPORT} says what the parts hold: version {parts.about.code_version} made it, and another one "
            "checked it."
        )
    elif render_report(parts) != files[pack.REPORT]:
        said.faults.append(f"{pack.REPORT} does not say what the parts of this pack hold")
    else:
        said.proved.append(f"{pack.REPORT} says what the parts of this pack hold: it was made anew and is the same.")
