"""A label party's commitment to its labels and columns: made before a run's first step, kept, and opened later.

Two Merkle trees over all rows of the run, period by period: of labels (label, when it is known, whether the row is
predicted) and of the label party's own columns. A leaf is salted, so that nothing can be guessed from a root; the file
``committed.npz`` in the label party's run folder opens both trees to whom its operator gives it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rfc8785
from numpy.typing import NDArray

from parties.audit.committed_labels import COMMITMENT, LabelCommitment
from parties.audit.merkle import leaf_hash, node_hash
from parties.errors import DataError, StorageError
from parties.node.context import RunContext
from parties.settlement.dossier_store import write_durably
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError
from vfl.factors.panel import FeaturePanel, LabelPanel

__all__ = [
    "DISCLOSURE",
    "commit_labels",
    "commitment_of",
    "disclosed",
    "keep_commitment",
    "panel_of",
]

DISCLOSURE = "committed.npz"
"""In the label party's run folder: what opens its commitment."""

_FILE = "label-commitment.json"
_FURTHER, _FURTHER_KNOWN = "further_", "further_known_"
_SALT, _TOGETHER = 32, 65_536


def commit_labels(context: RunContext, panel: LabelPanel, entities: tuple[str, ...]) -> bytes:
    """The label party's signed commitment, as JSON; what opens it is kept in its run folder."""
    key, columns = context.secret(f"labels-committed/{context.run_id}"), panel.features.rows
    opened = {
        "run_id": np.array(context.run_id), "party": np.array(context.me), "entities": np.array(entities),
        "key": np.frombuffer(key, np.uint8), "label": panel.label, "known": panel.known_from,
        "predicted": panel.universe, "columns": columns,
    }  # fmt: skip
    for place, (label, known) in enumerate(zip(panel.further, panel.further_known, strict=True)):
        opened |= {f"{_FURTHER}{place}": label, f"{_FURTHER_KNOWN}{place}": known}
    made = commitment_of(opened)
    signed = made.model_copy(update={"signature": context.identity.key.sign(made.said).hex()})
    document = signed.model_dump_json().encode()
    if not _kept(context, signed, document):
        raise DataError(
            "this node's labels or columns changed since the run's first step, and it is committed to them: restore "
            "the data, or cancel the run"
        )
    _write(context.run_folder / DISCLOSURE, opened)
    return document


def keep_commitment(context: RunContext, document: bytes) -> None:
    """At a feature party: verify the label party's commitment and keep it, durably and in the audit log.

    Raises MalformedError where it is not signed, not of this run's rows, or another one than was kept before.
    """
    made, label = LabelCommitment.read(document), context.agreement.label.party
    of_this_run = (made.run_id, made.party) == (context.run_id, label)
    if not of_this_run or not made.signed_by(context.agreement.party(label).identity_key):
        raise MalformedError("sent a commitment to its labels that is of another run or not signed by it")
    if not _kept(context, made, document):
        raise MalformedError("commits to other labels or columns than before the run's first step")


def _kept(context: RunContext, made: LabelCommitment, document: bytes) -> bool:
    """Whether ``made`` is what this node keeps of the run, from now on if it has kept nothing yet."""
    path = context.run_folder / _FILE
    if path.exists():
        return LabelCommitment.read(path.read_bytes()) == made
    context.audit.append(COMMITMENT, context.run_id, made.model_dump(mode="json", exclude={"run_id"}))
    write_durably(path, document.decode())
    return True


def disclosed(path: Path) -> LabelCommitment:
    """The unsigned commitment that a disclosed file makes. Raises :class:`DataError` where it is no such file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return commitment_of({name: archive[name] for name in archive.files})
    except (OSError, KeyError, ValueError, EOFError):
        raise DataError(f"{path}: does not open a commitment to labels; ask the label party for {DISCLOSURE}") from None


def panel_of(opened: Mapping[str, NDArray[Any]]) -> LabelPanel:
    """The label party's panel in a disclosed file; names of columns and observation times are not in it."""
    label, count = opened["label"], opened["columns"].shape[1]
    columns = tuple(f"column_{place}" for place in range(count))
    never = np.full(label.shape, np.datetime64("NaT", "ns"))
    values = opened["columns"].reshape(*label.shape, count)
    features = FeaturePanel(columns, values, np.ones(label.shape, dtype=bool), never, never)
    further = sum(name.startswith(_FURTHER_KNOWN) for name in opened)
    return LabelPanel(
        features,
        label,
        opened["known"],
        opened["predicted"],
        tuple(opened[f"{_FURTHER}{place}"] for place in range(further)),
        tuple(opened[f"{_FURTHER_KNOWN}{place}"] for place in range(further)),
    )


def commitment_of(opened: Mapping[str, NDArray[Any]]) -> LabelCommitment:
    """Unsigned, of what is in a disclosed file. Raises ValueError where its parts do not fit together."""
    label, known, predicted, columns = (opened[name] for name in ("label", "known", "predicted", "columns"))
    entities, rows = [str(name) for name in opened["entities"]], label.size
    if not (label.shape == known.shape == predicted.shape and label.shape[1:] == (len(entities),)):
        raise ValueError("labels of other shapes")
    if columns.shape[:1] != (rows,) or columns.ndim != 2:
        raise ValueError("columns of other rows")
    labels = {"label": ("<f8", label.reshape(-1)), "known": ("<i8", known.reshape(-1))}
    labels["predicted"] = "?", predicted.reshape(-1)
    for name in sorted(name for name in opened if name.startswith(_FURTHER)):
        labels[name] = "<i8" if name.startswith(_FURTHER_KNOWN) else "<f8", opened[name].reshape(rows)
    key = opened["key"].tobytes()
    return LabelCommitment(
        run_id=str(opened["run_id"]),
        party=str(opened["party"]),
        rows=rows,
        entities=hashlib.sha256(rfc8785.dumps(entities)).hexdigest(),
        labels=_root(_leaves(labels, len(entities), rows, b"labels" + key)),
        columns=_root(_leaves({"columns": ("<f8", columns)}, len(entities), rows, b"columns" + key)),
    )


def _leaves(parts: Mapping[str, tuple[str, NDArray[Any]]], entities: int, rows: int, secret: bytes) -> Iterator[bytes]:
    """Salted leaves of all rows in order; each row begins with the numbers of its period and its entity.

    Salts are one stream, so that one row can be opened without the others. Rows are made some at a time.
    """
    stream = SecretStream(hashlib.sha256(secret).digest())
    fields = [("period", "<u4"), ("entity", "<u4")]
    kinds = np.dtype([*fields, *((name, kind, values.shape[1:]) for name, (kind, values) in parts.items())])
    for start in range(0, rows, _TOGETHER):
        numbers = np.arange(start, min(start + _TOGETHER, rows))
        some = np.zeros(len(numbers), dtype=kinds)
        some["period"], some["entity"] = np.divmod(numbers, entities)
        for name, (_, values) in parts.items():
            some[name] = values[numbers]
        salts, data, size = stream.take(_SALT * len(numbers)), some.tobytes(), kinds.itemsize
        for i in range(len(numbers)):
            yield leaf_hash(salts[_SALT * i : _SALT * (i + 1)] + data[size * i : size * (i + 1)])


def _root(leaves: Iterable[bytes]) -> str:
    """As :func:`parties.audit.merkle.root_hash`, hex, holding one hash for each power of two."""
    complete: list[tuple[int, bytes]] = []
    for leaf in leaves:
        depth, found = 0, leaf
        while complete and complete[-1][0] == depth:
            depth, found = depth + 1, node_hash(complete.pop()[1], found)
        complete.append((depth, found))
    found = complete.pop()[1]
    while complete:
        found = node_hash(complete.pop()[1], found)
    return found.hex()


def _write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    partial = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); free the disk") from None
