"""Each part of an evidence pack held against the agreement, the keys and the writer's log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

from parties.audit.bundles import logged_exports
from parties.audit.committed_labels import COMMITMENT
from parties.errors import AgreementError, LedgerError
from parties.evidence import pack
from parties.evidence.opened import OPENING
from parties.evidence.parts import Parts
from parties.evidence.statements import Statements
from parties.factor.bundle_check import BundleCheck
from parties.ledger.entries import linked
from parties.members.roster import Member
from parties.names import COORDINATOR
from parties.settlement.signed_contribution import contribution_digest
from vfl.factors.verify import MANIFEST, verify_bundle

__all__ = ["check_parts"]


def check_parts(
    parts: Parts,
    keys: Mapping[str, bytes],
    roster: Mapping[str, Member] | None,
    said: Statements,
) -> None:
    """Check all parts beside the agreement and the log; what is wrong is said with the part's name."""
    said.faults.extend(_approvals(parts))
    said.faults.extend(_reports(parts, said))
    said.faults.extend(_labels(parts, keys, said))
    said.faults.extend(_contribution(parts, said))
    said.faults.extend(_replay(parts, said))
    said.faults.extend(_factor(parts, keys, said))
    said.faults.extend(_ledger(parts, keys, said))
    said.faults.extend(_dossiers(parts, keys, roster, said))
    openings, writer = len(parts.logged(OPENING)), parts.about.writer
    if openings:
        said.proved.append(f"{writer} logged {openings} openings, each with its number of rows and its width.")
        said.asserted.append(f"That {writer} opened nothing else: its node logs an opening before it makes it.")


def _approvals(parts: Parts) -> Iterator[str]:
    """What the log has of signatures is what the pack has."""
    for entry in parts.logged("approval", "signed"):
        by = str(entry.body.get("party", parts.about.writer))
        if by in parts.approvals and parts.approvals[by] != entry.body.get("signature"):
            yield f"{pack.APPROVALS}: has another signature of {by!r} than {parts.about.writer}'s log"


def _reports(parts: Parts, said: Statements) -> Iterator[str]:
    """At the coordinator: each report is one whose hash stands in its log."""
    if not parts.reports:
        return
    logged = {
        (entry.body.get("phase"), entry.body.get("attempt"), entry.body.get("party", COORDINATOR), digest)
        for entry in parts.logged("phase_done", "coordinator_done")
        if isinstance(digest := entry.body.get("report_sha256"), str)
    }
    for one in parts.reports:
        if (one.phase, one.attempt, one.by, one.digest) not in logged:
            yield f"{pack.REPORTS}: {one.by}'s report on {one.phase} is not the one in the coordinator's log"
            return
    said.proved.append(f"{len(parts.reports)} reports of parties on phases are those that the coordinator logged.")
    said.asserted.append("That the reports are true: each is its party's own word.")


def _labels(parts: Parts, keys: Mapping[str, bytes], said: Statements) -> Iterator[str]:
    made, label = parts.labels, parts.agreement.label.party
    if made is None:
        return
    if made.run_id != parts.about.run_id:
        yield f"{pack.LABELS} is of run {made.run_id[:12]}, not of {parts.about.run_id[:12]}"
    elif made.party != label or not made.signed_by(keys[label].hex()):
        yield f"{pack.LABELS} is not signed by {label!r}, the run's label party"
    else:
        logged = parts.logged(COMMITMENT)
        body = made.model_dump(mode="json", exclude={"run_id"})
        if logged and dict(logged[0].body) != body:
            yield f"{pack.LABELS} is not the commitment that {parts.about.writer} logged"
            return
        when = f", logged by {parts.about.writer} at {logged[0].at}" if logged else ""
        openings = parts.logged(OPENING)
        if logged and openings:
            first = openings[0].proof.index
            if first < logged[0].proof.index:
                yield f"{pack.LABELS}: was logged after an opening (entries {first} and {logged[0].proof.index})"
                return
            when += ", before any opening"
        said.proved.append(
            f"{label} fixed its labels and its own columns, {made.rows:,} rows of each, by signed roots{when}."
        )
        said.asserted.append("That labels and columns are true: who holds the returns can compare what is disclosed.")


def _contribution(parts: Parts, said: Statements) -> Iterator[str]:
    signed = parts.contribution
    if signed is None:
        return
    try:
        signed.verify(parts.about.run_id, parts.agreement)
    except AgreementError as error:
        yield f"{pack.CONTRIBUTION}: {error}"
        return
    digest = contribution_digest(signed.record)
    for entry in parts.logged("contribution"):
        if entry.body.get("sha256") not in (None, digest):
            yield f"{pack.CONTRIBUTION}: is not the record that {parts.about.writer} logged"
            return
    said.proved.append(f"{parts.agreement.label.party} signed the contributions by which the parties are paid.")
    if parts.federated:
        said.asserted.append(
            "That the contributions follow from rows and labels: members' rank ICs open in sums alone, so that nobody "
            "can compute them anew."
        )
    elif parts.verdict is None:
        said.asserted.append(
            "That the contributions follow from labels, models and what the parties sent: replay them with the files "
            "that entente audit evidence writes."
        )


def _replay(parts: Parts, said: Statements) -> Iterator[str]:
    verdict = parts.verdict
    if verdict is None:
        return
    record = "" if parts.contribution is None else contribution_digest(parts.contribution.record)
    if verdict.run_id != parts.about.run_id:
        yield f"{pack.REPLAY} is of run {verdict.run_id[:12]}, not of {parts.about.run_id[:12]}"
    elif verdict.record != record:
        yield f"{pack.REPLAY} is of other contributions than those in {pack.CONTRIBUTION}"
    else:
        said.asserted.append(f"The auditor's replay, which carries no signature: {verdict.sentence}.")


def _factor(parts: Parts, keys: Mapping[str, bytes], said: Statements) -> Iterator[str]:
    inner, signer, run_id = dict(parts.factor), parts.factor_signer, parts.about.run_id
    digests = {entry.body.get("sha256") for entry in parts.logged("export", "received")}
    digests |= {entry.body.get("sha256") for entry in parts.logged("phase_done") if entry.body.get("phase") == "export"}
    if not inner:
        if digests:
            said.proved.append(
                f"The factor's hash stood in {parts.about.writer}'s log: {', '.join(sorted(map(str, digests)))}."
            )
        return
    told = parts.factor_metadata
    if told.get("run_id") != run_id:
        yield f"{pack.FACTOR} is the factor of run {str(told.get('run_id'))[:12]}, not of {run_id[:12]}"
        return
    if parts.federated and parts.of_coordinator:
        yield f"{pack.FACTOR}: is in the coordinator's pack, and in a federated run no member gives its factor away"
        return
    report = verify_bundle(inner, trusted={signer: keys[signer]}, excerpt=True)
    check = BundleCheck(report, tuple(logged_exports(inner, {signer: keys[signer]})))
    faults = tuple(check.faults)
    if faults:
        yield f"{pack.FACTOR}{faults[0]}"
        return
    digest = hashlib.sha256(inner[MANIFEST]).hexdigest()
    superseding = told.get("supersedes") is not None
    if digests and digest not in digests and not superseding:
        yield f"{pack.FACTOR}{MANIFEST}: is another factor than the one in {parts.about.writer}'s log"
        return
    said.proved.append(f"{signer} signed the factor's validation, its trials and the hash of its scores.")
    said.proved.extend(
        f"{one.signer}'s log had the factor's hash as entry {one.index} of {one.size} under a signed head. Who was "
        "shown that head before the returns existed knows that the factor was there."
        for one in check.logged
    )
    said.asserted.append(
        "That the validation's numbers follow from scores and labels, and that no trial is missing: they are "
        f"{signer}'s own; entente factors validate computes them anew for who holds factor and labels."
    )


def _ledger(parts: Parts, keys: Mapping[str, bytes], said: Statements) -> Iterator[str]:
    heads = [link.signed for link in parts.ledger]
    if parts.ledger_head is not None:
        heads.append(parts.ledger_head)
    if not heads:
        return
    if COORDINATOR not in keys:
        yield f"{pack.LEDGER}: nothing in this pack says what the coordinator's key is"
        return
    for link, head in zip(parts.ledger, heads, strict=False):
        content = link.content.encode()
        run_id = _run_of(link.content)
        if run_id != parts.about.run_id:
            where = f"{pack.LEDGER}: entry {head.sequence}"
            yield f"{where} is of run {run_id[:12] or '-'}, not of {parts.about.run_id[:12]}"
            return
        if linked(link.before, content) != head.digest:
            yield f"{pack.LEDGER}: entry {head.sequence} does not have the digest that was signed"
            return
    for head in heads:
        try:
            head.verify(keys[COORDINATOR].hex())
        except LedgerError as error:
            yield f"{pack.LEDGER}: {error}"
            return
    last = heads[-1]
    said.proved.append(
        f"The coordinator signed the journal's head of {last.sequence} entries, and that {len(parts.ledger)} of them "
        "are the run's transactions in this pack; entente ledger check --head finds a journal that was rewritten since."
    )
    said.asserted.append("That the journal has no further entry on this run, and that money moved as it says.")


def _run_of(content: str) -> str:
    try:
        raw = json.loads(content)
        return str(raw["run_id"]) if raw["kind"] == "transaction" else ""
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _dossiers(
    parts: Parts, keys: Mapping[str, bytes], roster: Mapping[str, Member] | None, said: Statements
) -> Iterator[str]:
    people = {name: one.identity_key for name, one in (roster or {}).items()} | {n: k.hex() for n, k in keys.items()}
    posted: dict[str, str] = {}
    for link in parts.ledger:
        raw = json.loads(link.content)
        posted[str(raw.get("id"))] = str(raw.get("evidence"))
    for name, dossier in parts.dossiers.items():
        if dossier.run_id != parts.about.run_id:
            yield f"{name} is of run {dossier.run_id[:12] or '-'}, not of {parts.about.run_id[:12]}"
            return
        try:
            signers = dossier.signers(people)
        except LedgerError as error:
            yield f"{name}: {error}"
            return
        differing = [one.id for one in dossier.transactions if posted.get(one.id, dossier.digest) != dossier.digest]
        if differing:
            yield f"{name}: the journal's {differing[0]} was posted on other evidence"
            return
        strangers = sorted({one.name for one in dossier.approvals} - set(people))
        said.proved.append(
            f"{', '.join(signers) or 'Nobody that is known here'} approved the settlement step {dossier.kind}."
        )
        if strangers:
            said.asserted.append(f"That {', '.join(strangers)} approved {dossier.kind}: only a roster has their keys.")
