"""What a node keeps of a finished sealed run for daily use: its shares of the last weights, encrypted at rest.

One folder a run below ``kept-weights/``: ``weights`` with the rows they were trained on, and ``scored``, this node's
own list of the periods that were scored. Files are as :mod:`parties.node.checkpoints` writes them, under a key of the
run.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parties.errors import AgreementError, StorageError
from parties.node.align import AlignedRows
from parties.node.checkpoints import CheckpointStore
from parties.node.context import Secret
from vfl.terms import SealedModel

__all__ = ["KeptRun", "erase_kept", "keep_weights", "kept_run", "kept_runs"]

U64 = NDArray[np.uint64]

_FOLDER, _WEIGHTS, _SCORED, _BODY = "kept-weights", "weights", "scored", "body"
_WEIGHT = "weight/"


@dataclass(frozen=True)
class KeptRun:
    """One run's kept shares. terms: of the model that was trained. weights: by owner. rows: the run's own."""

    run_id: str
    terms: SealedModel
    weights: Mapping[str, U64]
    rows: AlignedRows
    store: CheckpointStore

    def scored(self) -> dict[str, str]:
        """The session's run id by the period that it scored."""
        kept = self.store.get(_SCORED) if _SCORED in self.store.names() else {}
        if kept is None:
            raise StorageError(
                f"this node's list of the scored periods of run {self.run_id[:12]} is damaged, so none is scored any "
                "more: restore its folder from a backup"
            )
        found: dict[str, str] = json.loads(kept[_BODY].tobytes()) if kept else {}
        return found

    def check_free(self, period: str, session: str, most: int) -> None:
        """Raise :class:`AgreementError` where another session scored the period, or ``most`` periods were scored."""
        known = self.scored()
        before = known.get(period)
        if before is not None and before != session:
            raise AgreementError(f"{period} was scored in run {before[:12]}: its scores stand, and nothing opens twice")
        if before is None and len(known) >= most:
            raise AgreementError(
                f"{len(known)} periods of run {self.run_id[:12]} were scored, which is all that was agreed "
                "(daily.scores): propose a new run"
            )

    def count(self, period: str, session: str, most: int) -> None:
        """Count a period before anything of it opens; on return that survives a crash. Raises as check_free."""
        self.check_free(period, session, most)
        known = self.scored()
        if period not in known:
            self.store.put(_SCORED, {_BODY: _packed(known | {period: session})})


def keep_weights(
    home: Path,
    secret: Secret,
    me: str,
    run_id: str,
    kept: tuple[SealedModel, Mapping[str, U64]],
    rows: AlignedRows,
) -> None:
    """Keep a side's shares of the last weights; a repeated training replaces them. Raises :class:`StorageError`."""
    terms, weights = kept
    body = {
        "terms": terms.model_dump(mode="json"),
        "ids": list(rows.ids),
        "set_size": rows.set_size,
        "roots": {name: root.hex() for name, root in rows.roots.items()},
    }
    arrays = {f"{_WEIGHT}{owner}": share for owner, share in weights.items()}
    _store(home, secret, me, run_id).put(_WEIGHTS, arrays | {_BODY: _packed(body)})


def kept_run(home: Path, secret: Secret, me: str, run_id: str) -> KeptRun | None:
    """What the node in ``home`` kept of a run; None where it kept nothing, or erased it since."""
    if not re.fullmatch("[0-9a-f]{64}", run_id) or not (home / _FOLDER / run_id).is_dir():
        return None
    store = _store(home, secret, me, run_id)
    kept = store.get(_WEIGHTS) if _WEIGHTS in store.names() else None
    if kept is None:
        return None
    body = json.loads(kept[_BODY].tobytes())
    roots = {name: bytes.fromhex(root) for name, root in body["roots"].items()}
    weights = {name[len(_WEIGHT) :]: array for name, array in kept.items() if name.startswith(_WEIGHT)}
    rows = AlignedRows(tuple(body["ids"]), body["set_size"], roots)
    return KeptRun(run_id, SealedModel.model_validate(body["terms"]), weights, rows, store)


def kept_runs(home: Path) -> list[str]:
    """Ids of the runs of which the node in ``home`` keeps weights."""
    return sorted(path.name for path in (home / _FOLDER).glob("*") if re.fullmatch("[0-9a-f]{64}", path.name))


def erase_kept(home: Path, run_id: str) -> bool:
    """Remove what was kept of a run; whether there was anything. Raises :class:`StorageError` when it stays."""
    folder = home / _FOLDER / run_id
    if not re.fullmatch("[0-9a-f]{64}", run_id) or not folder.is_dir():
        return False
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be erased ({error.strerror}); mend the permissions") from None
    return True


def _store(home: Path, secret: Secret, me: str, run_id: str) -> CheckpointStore:
    return CheckpointStore(home / _FOLDER / run_id, secret(f"kept-weights/{run_id}"), me)


def _packed(body: object) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(body).encode(), np.uint8)
