"""What each end keeps of a valuation for an auditor, and the files that an auditor is given.

The label party keeps its shares, models and what it received, encrypted under a key of its node, beside what opens its
commitment to labels and columns. Each
feature party's audit log has digests of what the label party committed to and of what it sent itself.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StringConstraints, ValidationError

from parties.agreement.document import Agreement
from parties.audit.committed_labels import COMMITMENT
from parties.audit.heads import Inclusion
from parties.audit.log import AuditLog
from parties.errors import DataError, StorageError
from parties.fields import RunId
from parties.names import PartyName
from parties.node.checkpoints import CheckpointStore
from parties.node.context import RunContext, node_secret
from parties.node.label_commitment import DISCLOSURE
from parties.settlement.signed_contribution import LARGEST
from vfl.protocols.committed_values import arrays_digest
from vfl.terms import Terms

if TYPE_CHECKING:
    from parties.node.coalition_values import ValuedRun  # it brings torch, which a feature party does not need

__all__ = [
    "COALITIONS",
    "LabelEvidence",
    "PartyEvidence",
    "SentParts",
    "ValueEvidence",
    "evidence_of_label",
    "evidence_of_party",
]

COALITIONS = "coalitions"
"""Kind of a feature party's entry on a valuation: what was committed to, and what it sent."""

Arrays = dict[str, NDArray[Any]]
F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]

_LARGEST = 8 * 2**30


class ValueEvidence:
    """The label party's side of one valuation."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._store = CheckpointStore(
            context.run_folder / "evidence", context.secret(f"evidence/{context.run_id}"), context.me
        )
        self._salt = context.secret(f"basis/{context.run_id}")
        self._opened: Arrays = {}

    def basis(
        self, run: ValuedRun, shares: Mapping[str, U64], sums: Mapping[int, F64], own: F64 | None, more: Arrays
    ) -> bytes:
        """Keep what the values rest on; its digest. shares: its own of each party's predictions."""
        kept: Arrays = {"rows": run.rows, "scores": run.result.scores, "embeddings": run.result.embeddings, **more}
        kept |= {f"share_{name}": share for name, share in shares.items()}
        kept |= {f"head_{period}": np.frombuffer(data, np.uint8) for period, data in run.result.heads.items()}
        kept |= {f"sum_{step}": z for step, z in sums.items()}
        kept |= {} if own is None else {"own": own}
        self._store.put("basis", kept)
        return arrays_digest(self._salt, kept)

    def part(self, members: tuple[str, ...], party: str, values: bytes) -> None:
        """A member's part of a coalition's sums, as it arrived."""
        self._opened[f"{'+'.join(members)}|{party}"] = np.frombuffer(values, np.uint8)

    def commit_numbers(self, share: U64) -> bytes:
        """Digest of its shares of all numbers."""
        return arrays_digest(self._salt, {"ours": share})

    def numbers(self, ours: U64, theirs: U64, values: bytes) -> None:
        """Both sides' shares of all numbers, and the anchor's as they arrived."""
        self._opened |= {"ours": ours, "theirs": theirs, "values": np.frombuffer(values, np.uint8)}

    def finish(self) -> None:
        """Keep what opened."""
        self._store.put("opened", self._opened)


@dataclass
class SentParts:
    """A feature party's side: what it hears and sends, for one entry of its audit log."""

    session: str
    basis: bytes = b""
    numbers: bytes = b""
    sent: dict[str, str] = field(default_factory=dict)

    def part(self, members: tuple[str, ...], party: str, values: bytes) -> None:
        """Its part of a coalition's sums, before it leaves."""
        self.sent["+".join(members)] = hashlib.sha256(values).hexdigest()

    def shares(self, committed: bytes, values: bytes) -> None:
        """An anchor's shares of all numbers, before they leave, and what the label party committed to."""
        self.numbers, self.sent["numbers"] = committed, hashlib.sha256(values).hexdigest()

    def log(self, context: RunContext) -> None:
        """One entry of the audit log."""
        body = {"session": self.session, "basis": self.basis.hex(), "numbers": self.numbers.hex(), "sent": self.sent}
        context.audit.append(COALITIONS, context.run_id, body)


class PartyEvidence(Terms):
    """What a feature party shows: the record that it keeps, and its log's entries with proofs under its signed head."""

    run_id: RunId
    party: PartyName
    contribution: Annotated[str, StringConstraints(max_length=LARGEST)]
    entries: tuple[Inclusion, ...] = Field(max_length=1000)

    @classmethod
    def read(cls, path: Path) -> PartyEvidence:
        """The file. Raises :class:`DataError` for anything else."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError, ValueError, RecursionError):
            raise DataError(f"{path}: is no evidence of a party; make it with entente audit evidence") from None


@dataclass(frozen=True)
class LabelEvidence:
    """What the label party shows: its panel, what its values rest on, what opened, and the signed record.

    inputs: what opens its commitment. salt: of its digests.
    """

    agreement: Agreement
    contribution: bytes
    salt: bytes
    inputs: Arrays
    basis: Arrays
    opened: Arrays

    def packed(self) -> bytes:
        """As a file: an npz archive without pickles."""
        buffer = io.BytesIO()
        groups = {"inputs": self.inputs, "basis": self.basis, "opened": self.opened}
        arrays = {f"{group}/{name}": one for group, found in groups.items() for name, one in found.items()}
        for name, data in (
            ("agreement", self.agreement.model_dump_json().encode()),
            ("contribution", self.contribution),
            ("salt", self.salt),
        ):
            arrays[name] = np.frombuffer(data, np.uint8)
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @classmethod
    def read(cls, path: Path) -> LabelEvidence:
        """The file. Raises :class:`DataError` for anything else."""
        wrong = DataError(f"{path}: is no evidence of a label party; make it with entente audit evidence")
        try:
            with zipfile.ZipFile(path) as archive:
                if sum(item.file_size for item in archive.infolist()) > _LARGEST:
                    raise wrong
            with np.load(path, allow_pickle=False) as found:
                arrays: Arrays = {name: found[name] for name in found.files}
            groups: dict[str, Arrays] = {"inputs": {}, "basis": {}, "opened": {}}
            for name in [name for name in arrays if "/" in name]:
                group, _, own = name.partition("/")
                groups[group][own] = arrays[name]
            agreement = Agreement.model_validate_json(arrays["agreement"].tobytes())
            rest = [arrays[name].tobytes() for name in ("contribution", "salt")]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, ValidationError):
            raise wrong from None
        return cls(agreement, rest[0], rest[1], **groups)


def evidence_of_label(folder: Path, seed: bytes, me: str, agreement: Agreement, run_id: str) -> LabelEvidence:
    """What the label party's node in ``folder`` keeps of a run's valuation.

    Raises :class:`StorageError` where it keeps none, or it is damaged.
    """
    place = folder / "runs" / run_id
    if not (place / "evidence" / "opened").is_file():
        raise StorageError(f"{place}: keeps no evidence of a valuation: none was made, or by an earlier version")
    store = CheckpointStore(place / "evidence", node_secret(seed, f"evidence/{run_id}"), me)
    basis, opened = store.get("basis"), store.get("opened")
    if basis is None or opened is None:
        raise StorageError(f"{place / 'evidence'}: damaged; restore it from a backup")
    try:
        with np.load(place / DISCLOSURE, allow_pickle=False) as archive:
            inputs: Arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError):
        raise StorageError(f"{place / DISCLOSURE}: damaged; restore it from a backup") from None
    try:
        contribution = (place / "contribution.json").read_bytes()
    except OSError:
        raise StorageError(f"{place / 'contribution.json'}: damaged; restore it from a backup") from None
    return LabelEvidence(agreement, contribution, node_secret(seed, f"basis/{run_id}"), inputs, basis, opened)


def evidence_of_party(folder: Path, log: AuditLog, run_id: str) -> PartyEvidence:
    """What a feature party's node in ``folder`` keeps and logged of a run's valuation.

    Raises :class:`StorageError` where that is nothing.
    """
    path = folder / "runs" / run_id / "contribution.json"
    wanted = [entry.index for entry in log.entries(run_id) if entry.kind in (COMMITMENT, COALITIONS)]
    if not wanted or not path.is_file():
        raise StorageError(f"{path.parent}: keeps no contributions of this run to hold them against")
    proofs = tuple(log.prove(index) for index in wanted)
    return PartyEvidence(run_id=run_id, party=log.name, contribution=path.read_text("utf-8"), entries=proofs)
