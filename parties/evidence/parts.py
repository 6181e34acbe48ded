"""The parts of an evidence pack, read: every one parsed before anything is made of it. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import rfc8785
from pydantic import BaseModel, Field, StringConstraints, TypeAdapter, ValidationError

from parties.agreement.document import Agreement
from parties.audit.committed_labels import LabelCommitment
from parties.audit.heads import Head, Inclusion
from parties.errors import DataError, EntenteError
from parties.evidence import pack
from parties.fields import Sha256, Signature, StrictTerms
from parties.ledger.heads import SignedHead, head_from_json
from parties.members.roster import Member
from parties.names import COORDINATOR, PartyName
from parties.settlement.dossier import Dossier
from parties.settlement.replay_verdict import ReplayVerdict
from parties.settlement.signed_contribution import SignedContribution
from vfl.factors.findings import Findings
from vfl.factors.trials import Trial, read_trials
from vfl.factors.verify import METADATA
from vfl.terms import FederatedModel

__all__ = ["LedgerLink", "Logged", "Parts", "Report", "read_parts"]

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

_Approvals = TypeAdapter(dict[PartyName, Signature])
_MOST_LINES = 200_000


class Report(StrictTerms):
    """What somebody reported of a phase, as the coordinator's log has it by its hash."""

    phase: Annotated[str, StringConstraints(pattern=r"^[a-z]{1,20}$")]
    attempt: int = Field(ge=1)
    by: Annotated[str, StringConstraints(max_length=32)]
    report: dict[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of the report's canonical JSON, hex: what the coordinator logged."""
        return hashlib.sha256(rfc8785.dumps(self.report)).hexdigest()


class LedgerLink(StrictTerms):
    """An entry of the journal, canonical, the digest before it, and the coordinator's signed head that ends with it."""

    before: Sha256
    content: Annotated[str, StringConstraints(max_length=1_000_000)]
    head: dict[str, Any]

    @property
    def signed(self) -> SignedHead:
        """The head. Raises :class:`LedgerError` where it is none."""
        return head_from_json(json.dumps(self.head))


@dataclass(frozen=True)
class Logged:
    """An entry of the writer's audit log, with its proof. kind and run are the entry's own words."""

    proof: Inclusion
    at: str
    kind: str
    run_id: str
    body: Mapping[str, Any]

    @classmethod
    def read(cls, line: bytes) -> Logged:
        """Raises ValueError for anything else."""
        proof = Inclusion.model_validate_json(line)
        raw = json.loads(proof.entry)
        if not isinstance(raw, dict) or not isinstance(raw.get("body"), dict):
            raise ValueError
        at, kind, run_id = raw.get("at"), raw.get("kind"), raw.get("run")
        if not (isinstance(at, str) and isinstance(kind, str) and isinstance(run_id, str)):
            raise ValueError
        return cls(proof, at, kind, run_id, raw["body"])


@dataclass(frozen=True)
class Parts:
    """Everything that a pack holds. None or empty: it is not in this one."""

    about: pack.About
    agreement: Agreement
    approvals: Mapping[str, str]
    coordinator: Member | None
    log: tuple[Logged, ...]
    heads: tuple[Head, ...]
    reports: tuple[Report, ...]
    labels: LabelCommitment | None
    contribution: SignedContribution | None
    verdict: ReplayVerdict | None
    factor: Mapping[str, bytes]
    ledger: tuple[LedgerLink, ...]
    ledger_head: SignedHead | None
    dossiers: Mapping[str, Dossier]
    factor_metadata: Mapping[str, Any]
    validation: Mapping[str, Any]
    findings: Findings | None
    trials: tuple[Trial, ...]

    @property
    def of_coordinator(self) -> bool:
        return self.about.writer == COORDINATOR

    @property
    def federated(self) -> bool:
        return isinstance(self.agreement.model, FederatedModel)

    @property
    def factor_signer(self) -> str:
        """Who signed the factor in this pack: in a federated run each member that of its own entities."""
        return self.about.writer if self.federated else self.agreement.label.party

    def logged(self, *kinds: str) -> tuple[Logged, ...]:
        """Entries of these kinds, in order."""
        return tuple(one for one in self.log if one.kind in kinds)


def read_parts(files: Mapping[str, bytes]) -> Parts:
    """Parse a pack's files. Raises :class:`DataError` naming the first part that is not what it should be."""
    for needed in (METADATA, pack.AGREEMENT, pack.APPROVALS, pack.LOG, pack.HEADS):
        if needed not in files:
            raise DataError(f"{needed} is missing, and every evidence pack has one")
    inner = {name.removeprefix(pack.FACTOR): data for name, data in files.items() if name.startswith(pack.FACTOR)}
    validation = _part(files, f"{pack.FACTOR}validation.json", _object) or {}
    settled = [name for name in sorted(files) if name.startswith(pack.SETTLEMENTS)]
    return Parts(
        about=_needed(files, METADATA, _model(pack.About)),
        agreement=_needed(files, pack.AGREEMENT, _model(Agreement)),
        approvals=_needed(files, pack.APPROVALS, _Approvals.validate_json),
        coordinator=_part(files, pack.COORDINATOR_KEY, _model(Member)),
        log=tuple(_lines(files, pack.LOG, Logged.read)),
        heads=tuple(_lines(files, pack.HEADS, _model(Head))),
        reports=tuple(_lines(files, pack.REPORTS, _model(Report))),
        labels=_part(files, pack.LABELS, _model(LabelCommitment)),
        contribution=_part(files, pack.CONTRIBUTION, SignedContribution.read),
        verdict=_part(files, pack.REPLAY, _model(ReplayVerdict)),
        factor=inner,
        ledger=tuple(_lines(files, pack.LEDGER, _model(LedgerLink))),
        ledger_head=_part(files, pack.LEDGER_HEAD, lambda data: head_from_json(data.decode())),
        dossiers={name: _needed(files, name, _model(Dossier)) for name in settled},
        factor_metadata=_part(files, f"{pack.FACTOR}{METADATA}", _object) or {},
        validation=validation,
        findings=_findings(validation),
        trials=_part(files, f"{pack.FACTOR}trials.parquet", _trials) or (),
    )


def _model(kind: type[M]) -> Callable[[bytes], M]:
    return kind.model_validate_json


def _object(data: bytes) -> dict[str, Any]:
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError
    return found


def _trials(data: bytes) -> tuple[Trial, ...]:
    return tuple(read_trials(data))


def _findings(validation: Mapping[str, Any]) -> Findings | None:
    battery = validation.get("battery")
    try:
        return None if battery is None else Findings.read(battery)
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError):
        raise DataError("factor/validation.json holds no battery that this version can read") from None


def _needed(files: Mapping[str, bytes], name: str, read: Callable[[bytes], T]) -> T:
    found = _part(files, name, read)
    assert found is not None
    return found


def _part(files: Mapping[str, bytes], name: str, read: Callable[[bytes], T]) -> T | None:
    return None if name not in files else _read(name, files[name], read)


def _lines(files: Mapping[str, bytes], name: str, read: Callable[[bytes], T]) -> Iterator[T]:
    lines = files.get(name, b"").splitlines()
    if len(lines) > _MOST_LINES:
        raise DataError(f"{name} has more than {_MOST_LINES:,} lines")
    for number, line in enumerate(lines, start=1):
        yield _read(f"{name}, line {number},", line, read)


def _read(name: str, data: bytes, read: Callable[[bytes], T]) -> T:
    try:
        return read(data)
    except (EntenteError, ValidationError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        raise DataError(
            f"{name} cannot be read as what it should be: it was changed, or another version wrote it"
        ) from None
