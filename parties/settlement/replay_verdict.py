"""What an auditor's replay of a run's contributions found: a file that a judgement of a dispute can rest on. Pure."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from parties.errors import DataError, LedgerError
from parties.fields import RunId, Sha256
from parties.names import PartyName
from parties.settlement.closed_run import ClosedRun
from parties.settlement.signed_contribution import contribution_digest
from vfl.terms import Terms

__all__ = ["ReplayVerdict", "read_verdict"]

_Text = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class ReplayVerdict(Terms):
    """``record``: digest of the signed contributions that were replayed. ``named``: whom the faults name, or "".

    ``checked``: parties whose logs were held against the label party's side; ``unchecked``: those that showed none.
    ``values``: v(S) by coalition, as the replay computes it.
    """

    run_id: RunId
    record: Sha256
    label_party: PartyName
    named: str = ""
    faults: tuple[_Text, ...] = Field(default=(), max_length=1000)
    checked: tuple[PartyName, ...] = Field(max_length=64)
    unchecked: tuple[PartyName, ...] = Field(default=(), max_length=64)
    not_repeated: tuple[_Text, ...] = Field(default=(), max_length=16)
    values: dict[str, float] = Field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the verdict, hex."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def sentence(self) -> str:
        """What it found, for the reasons of a dossier."""
        against = ", ".join(self.checked)
        if self.named:
            return f"replay against {against}: names {self.named!r}: {self.faults[0]}"
        return f"replay against {against}: gives what {self.label_party!r} signed"

    def require_of(self, run: ClosedRun) -> None:
        """Raise :class:`LedgerError` unless it is of this run's recorded contributions."""
        if self.run_id != run.run_id:
            raise LedgerError(f"the replay is of run {self.run_id[:12]}, not of {run.run_id[:12]}")
        if self.record != contribution_digest(run.contribution):
            raise LedgerError(f"the replay is of other contributions than run {run.run_id[:12]} recorded: replay these")


def read_verdict(path: Path) -> ReplayVerdict:
    """The file that ``entente audit replay --json`` wrote. Raises :class:`DataError` for anything else."""
    try:
        return ReplayVerdict.model_validate_json(path.read_bytes())
    except (OSError, ValidationError, ValueError, RecursionError):
        raise DataError(f"{path}: is no replay; make it with entente audit replay --json") from None
