"""What a node keeps of a run under way, so that it can go on after a crash: small encrypted files, one per step.

A file is AES-256-GCM over an npz archive (no pickle), under a key derived from the node's seed for this run, bound to
its name. It is on disk before the protocol goes on, and older ones are released only once nobody can need them. Keys of
the encryption scheme, encryptions of zero and masks are never here.
"""

from __future__ import annotations

import io
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from parties.errors import DataError, StorageError
from vfl.arithmetic.ring import Ring
from vfl.arithmetic.share import Share
from vfl.protocols.resume import START, Forward, Outcome, Resumed
from vfl.protocols.session import RingShare
from vfl.walk.schedule import Step

__all__ = ["CheckpointStore", "ServedRecords", "WalkRecords"]

_LOG = logging.getLogger(__name__)
_NONCE = 12
_KEPT = 2  # the label party may be one step behind a feature party, never two

Arrays = dict[str, NDArray[Any]]


class CheckpointStore:
    """Named sets of arrays in one run's folder. Raises :class:`StorageError` when the disk refuses."""

    def __init__(self, folder: Path, key: bytes, owner: str) -> None:
        self._folder = folder
        self._cipher = AESGCM(key)
        self._owner = owner.encode()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise self._trouble("cannot be written", error) from None

    def put(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep the arrays; on return they survive a crash, and before it any older ones of that name do."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, buffer.getvalue(), self._bound(name))
        partial = self._folder / f"{name}.part"
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(sealed)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._folder / name)
            self._sync_folder()
        except OSError as error:
            raise self._trouble("cannot be written", error) from None

    def get(self, name: str) -> Arrays | None:
        """The arrays kept under the name; None, with a line in the log, when they are damaged or missing."""
        try:
            sealed = (self._folder / name).read_bytes()
            data = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], self._bound(name))
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
        except (OSError, ValueError, InvalidTag):
            _LOG.warning("checkpoint %s is damaged or missing; an earlier one is used", self._folder / name)
            return None

    def names(self) -> list[str]:
        """What is kept, by name."""
        return sorted(path.name for path in self._folder.iterdir() if path.suffix != ".part")

    def drop(self, names: Iterable[str]) -> None:
        """Forget these; on return they are gone for good."""
        try:
            for name in names:
                (self._folder / name).unlink(missing_ok=True)
            self._sync_folder()
        except OSError as error:
            raise self._trouble("cannot be removed", error) from None

    def clear(self) -> None:
        """The run has ended: forget everything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _bound(self, name: str) -> bytes:
        return b"entente/checkpoint/1\x00" + self._owner + b"\x00" + self._folder.parent.name.encode() + name.encode()

    def _trouble(self, what: str, error: OSError) -> StorageError:
        return StorageError(
            f"{self._folder}: the run's checkpoint {what} ({error.strerror}); free the disk or mend the permissions"
        )


def _step_name(step: int) -> str:
    return f"step-{step:08}"


def _steps_in(store: CheckpointStore, prefix: str = "step-") -> list[int]:
    return [int(name.removeprefix(prefix)) for name in store.names() if name.startswith(prefix)]


class ServedRecords:
    """A feature party's records. ``data``: a digest of its features, which must be the same when it goes on."""

    def __init__(self, store: CheckpointStore, data: str, ring: Ring) -> None:
        self._store = store
        self._data = data
        self._ring = ring
        self._trained: list[int] = []

    def hold(self, record: Forward) -> None:
        """Keep a step's record; training steps before the last two are released."""
        self._store.put(
            _step_name(record.step),
            {
                "session": np.array(record.session),
                "train": np.array(record.train),
                "data": np.array(self._data),
                "rows": record.rows,
                "share": record.share.elements,
                "part": record.part.elements,
            },
        )
        if record.train:
            self._trained.append(record.step)
            if len(self._trained) > _KEPT:
                self._store.drop([_step_name(self._trained.pop(0))])

    def places(self) -> list[int]:
        """Steps this party can go on from: the record is sound, and so is every prediction before it."""
        found: list[int] = []
        for step in _steps_in(self._store):
            record = self._load(step)
            if record is not None:
                found.append(step)
            else:
                # whether it was a prediction cannot be told, so nothing after it is safe to build on
                break
        return found

    def go_on(self, step: int) -> tuple[Forward | None, list[Forward]]:
        """Drop everything after ``step``; its record, and the predictions before it."""
        self._store.drop([_step_name(s) for s in _steps_in(self._store) if s > step] + ["trained"])
        self._trained = []
        if step == START:
            return None, []
        record = self._load(step)
        assert record is not None
        before = [self._load(s) for s in _steps_in(self._store) if s < step]
        self._trained = sorted(r.step for r in (*before, record) if r is not None and r.train)
        return record, [r for r in before if r is not None and not r.train]

    def finish(self, share: RingShare) -> None:
        """Training is over: the last weight share, for whoever asks after a restart."""
        self._store.put("trained", {"share": share.elements})

    def finished(self) -> tuple[RingShare, list[Forward]] | None:
        """The last weight share and every prediction, when training had ended and all of it is sound."""
        if "trained" not in self._store.names():
            return None
        last = self._store.get("trained")
        records = [self._load(step) for step in _steps_in(self._store)]
        if last is None or any(record is None for record in records):
            return None
        return Share(self._ring, last["share"]), [r for r in records if r is not None and not r.train]

    def _load(self, step: int) -> Forward | None:
        kept = self._store.get(_step_name(step))
        if kept is None:
            return None
        if str(kept["data"]) != self._data:
            raise DataError(
                "this node's data changed since the run began, so the run ends here: restore the data, and have it "
                "proposed anew"
            )
        share, part = Share(self._ring, kept["share"]), Share(self._ring, kept["part"])
        return Forward(str(kept["session"]), step, bool(kept["train"]), kept["rows"], share, part)


class WalkRecords:
    """The label party's records of one schedule. ``kept`` is called whenever everyone's record of a step is on disk."""

    def __init__(
        self,
        store: CheckpointStore,
        steps: Sequence[Step],
        parties: Sequence[str],
        ring: Ring,
        kept: Callable[[], None] = lambda: None,
        *,
        keep_sums: bool = False,
    ) -> None:
        self._store = store
        self._trained = [step.number for step in steps if step.kind == "train"] if keep_sums else []
        self._kept = kept
        self._parties = tuple(parties)
        self._ring = ring
        self._predictions = [step.number for step in steps if step.kind == "predict"]
        self._count = len(steps)
        self._next: Arrays = {}
        self._held: Arrays = {}
        self._recent: list[int] = []

    def begin(self, step: int, head: bytes, losses: Sequence[float], ics: Sequence[float]) -> None:
        """What is to go into the record of ``step``."""
        self._next = {
            "head": np.frombuffer(head, np.uint8),
            "losses": np.array(losses, dtype=np.float64),
            "ics": np.array(ics, dtype=np.float64),
        }

    def hold(self, step: int, shares: Mapping[str, RingShare], held: Mapping[str, RingShare]) -> None:
        """Keep the record of ``step``; those before the last two are released."""
        self._held = self._to_arrays("held", held)
        self._store.put(_step_name(step), {**self._next, **self._to_arrays("share", shares), **self._held})
        self._recent.append(step)
        if len(self._recent) > _KEPT:
            self._store.drop([_step_name(self._recent.pop(0))])
        self._kept()

    def opened(self, step: int, z: NDArray[np.float64]) -> None:
        """Keep what a training step opened, for trials on it and for an auditor's replay."""
        self._store.put(f"open-{step:08}", {"z": z})

    def sums(self, before: int) -> dict[int, NDArray[np.float64]]:
        """What the steps before this one opened, by number: those of training where they are kept, and predictions."""
        trained = {step: self._store.get(f"open-{step:08}") for step in self._trained if step < before}
        outcomes = {step: self._outcome(step) for step in self._predictions if step < before}
        found = {step: kept["z"] for step, kept in trained.items() if kept is not None}
        return found | {step: outcome.z for step, outcome in outcomes.items() if outcome is not None}

    def predicted(self, step: int, z: NDArray[np.float64], scores: NDArray[np.float64], scorer: bytes) -> None:
        """Keep a prediction with the shares of its step's record."""
        opened: Arrays = {"z": z, "scores": scores, "scorer": np.frombuffer(scorer, np.uint8)}
        self._store.put(f"done-{step:08}", {**opened, **self._held})

    def places(self) -> list[int]:
        """Steps to go on from: the record is sound, and so is every prediction before it."""
        sound = [step for step in _steps_in(self._store) if self._store.get(_step_name(step)) is not None]
        done = set(_steps_in(self._store, "done-"))
        kept = set(_steps_in(self._store, "open-"))
        return [
            step
            for step in sound
            if all(p in done and self._outcome(p) for p in self._predictions if p < step)
            and all(t in kept for t in self._trained if t < step)
        ]

    def go_on(self, step: int) -> Resumed | None:
        """Drop everything after ``step``; its record with the predictions before it."""
        later = [_step_name(s) for s in _steps_in(self._store) if s > step]
        later += [f"done-{s:08}" for s in _steps_in(self._store, "done-") if s >= step]
        later += [f"open-{s:08}" for s in _steps_in(self._store, "open-") if s >= step]
        self._store.drop([*later, "trained"])
        self._recent = _steps_in(self._store)
        if step == START:
            return None
        kept = self._store.get(_step_name(step))
        assert kept is not None
        held = self._from_arrays("held", kept)
        self._held = self._to_arrays("held", held)
        return self._resumed(step, kept, self._from_arrays("share", kept), held)

    def finish(self, head: bytes, losses: NDArray[np.float64], ics: NDArray[np.float64]) -> None:
        """Training is over."""
        self.begin(self._count, head, losses.tolist(), ics.tolist())
        self._store.put("trained", self._next)

    def finished(self) -> Resumed | None:
        """Where training ended, when it had and all of it is sound."""
        kept = self._store.get("trained") if "trained" in self._store.names() else None
        if kept is None or any(self._outcome(p) is None for p in self._predictions):
            return None
        return self._resumed(self._count, kept, {}, {})

    def _resumed(
        self,
        step: int,
        kept: Arrays,
        shares: Mapping[str, RingShare],
        held: Mapping[str, RingShare],
    ) -> Resumed:
        outcomes = {p: self._outcome(p) for p in self._predictions if p < step}
        found = {p: outcome for p, outcome in outcomes.items() if outcome is not None}
        return Resumed(step, shares, held, kept["head"].tobytes(), kept["losses"], kept["ics"], found)

    def _outcome(self, step: int) -> Outcome | None:
        kept = self._store.get(f"done-{step:08}")
        if kept is None:
            return None
        return Outcome(kept["z"], kept["scores"], kept["scorer"].tobytes(), self._from_arrays("held", kept))

    def _to_arrays(self, what: str, shares: Mapping[str, RingShare]) -> Arrays:
        return {f"{what}-{i}": shares[name].elements for i, name in enumerate(self._parties)}

    def _from_arrays(self, what: str, kept: Arrays) -> dict[str, RingShare]:
        return {name: Share(self._ring, kept[f"{what}-{i}"]) for i, name in enumerate(self._parties)}
