"""Phase align: which entities all parties share, in one order."""

from __future__ import annotations

import json
import logging
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from parties.agreement.document import Agreement
from parties.data.agreed_rows import rows_of
from parties.data.security_list import SecurityList, read_security_list
from parties.errors import AgreementError, ConfigError, DataError
from parties.names import COORDINATOR
from parties.node.alignment_history import Shown, check_repeats, large_sets, noted, record_alignment
from parties.node.alignments import load_previous, remember
from parties.node.checkpoints import CheckpointStore
from parties.node.context import RunContext
from parties.node.settings import NodeSettings
from psi.commitment import AlignmentLimits, OwnSetRefused, PreviousAlignment
from psi.flow import Flow
from psi.identifiers import IdentifierError
from psi.kept import confirm_kept
from psi.ring import Alignment, PoolMap, align_party
from psi.union import unite_party
from vfl.protocols.spread import Workers

__all__ = [
    "AlignedRows",
    "alignment_limits",
    "earlier_rows",
    "forget_steps",
    "keep_alignment",
    "kept_alignment",
    "listed_universe",
    "perform_align",
    "runs_begun",
    "spread_over",
]


_LOG = logging.getLogger(__name__)
_ROWS = "alignment"


@dataclass(frozen=True)
class AlignedRows:
    """The shared row order; where sets are compared also this party's set size and every party's commitment.

    ``remember`` keeps the alignment for the next run's comparison: call it once every party is known to have it.
    """

    ids: tuple[str, ...]
    set_size: int
    roots: Mapping[str, bytes]
    remember: Callable[[], None] = lambda: None


def perform_align(context: RunContext, attempt: int) -> AlignedRows:
    """Find the rows as the agreement's policy says: common entities, the union of all, or a public list."""
    if context.agreement.alignment.policy == "universe":
        return _public_universe(context)
    if context.agreement.rows_kept:
        return _rows_kept(context, attempt)
    memory = context.folder / "alignment.json"
    peers = {p.name for p in context.agreement.parties} - {context.me}
    check_repeats(context.folder, peers, context.settings.limits.alignments, datetime.now(UTC))
    previous = load_previous(memory, peers)
    shown = Shown()
    try:
        alignment = _compare(context, attempt, previous, shown)
    except Exception:
        if shown.answered:
            _write_down(context, shown, 0)
        raise
    _write_down(context, shown, len(alignment.ids))
    keep = partial(remember, memory, context.me, alignment, previous)
    # tokens put the rows in another order in every run; by name the same rows make the same batches again
    ids = alignment.ids if context.agreement.alignment.policy == "union" else tuple(sorted(alignment.ids))
    return AlignedRows(ids, alignment.set_sizes[context.me], alignment.roots, keep)


def _write_down(context: RunContext, shown: Shown, rows: int) -> None:
    policy = context.agreement.alignment.policy
    entry = record_alignment(context.folder, context.run_id, policy, shown, rows, datetime.now(UTC))
    context.audit.append("alignment", context.run_id, entry.model_dump(mode="json", exclude={"at", "run"}))
    for line in large_sets(entry):
        _LOG.warning("run %s: %s", context.run_id[:12], line)


def _rows_kept(context: RunContext, attempt: int) -> AlignedRows:
    """The rows of the run that this one goes on from, once everyone is known to have kept the same."""
    agreement, terms = context.agreement, context.agreement.continues
    assert terms is not None
    found = earlier_rows(context.folder, context.secret, context.me, terms.run_id)
    if found is None:
        raise AgreementError(f"this node has no rows of run {terms.run_id[:12]} any more: go on with --rows fresh")
    names = tuple(p.name for p in agreement.parties)
    flow = confirm_kept(
        context.me, names, found.ids, run=bytes.fromhex(context.run_id), earlier=bytes.fromhex(terms.run_id)
    )
    context.perform("align", attempt, flow)
    return AlignedRows(found.ids, found.set_size, {name: found.roots[name] for name in names if name in found.roots})


def _public_universe(context: RunContext) -> AlignedRows:
    ids = listed_universe(context.agreement, context.settings, context.folder).ids
    return AlignedRows(ids, len(ids), {})


def listed_universe(agreement: Agreement, settings: NodeSettings, folder: Path) -> SecurityList:
    """The agreed public list, from the file that node.toml names. Raises ConfigError or DataError."""
    path = folder / settings.universe
    if not settings.universe:
        raise ConfigError("node.toml: the agreement uses a public universe; set universe to its CSV file")
    listed = read_security_list(path)
    if listed.digest.hex() != agreement.alignment.universe_sha256:
        raise DataError(f"{path}: not the universe of the agreement (its hash differs); fetch the agreed file")
    return listed


def _compare(context: RunContext, attempt: int, previous: PreviousAlignment, shown: Shown) -> Alignment:
    """Run this party's side of the intersection, or of the union, on its own entity list."""
    agreement, settings = context.agreement, context.settings
    ids = rows_of(agreement).entities(settings.party, context.queries, context.data, settings.label)

    def verify(party: str, data: bytes, signature: bytes) -> bool:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(agreement.party(party).identity_key))
        try:
            key.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    side, leader = _side(agreement, context.workers)
    flow = side(
        context.me,
        tuple(p.name for p in agreement.parties),
        leader,
        ids,
        run=bytes.fromhex(context.run_id),
        limits=alignment_limits(context),
        randomness=secrets,
        padding=context.secret("alignment/padding"),
        sign=context.identity.key.sign,
        verify=verify,
        previous=previous,
    )
    try:
        return context.perform("align", attempt, noted(flow, shown))
    except IdentifierError as error:
        asked = settings.party.asked or (settings.label.query if settings.label is not None else "")
        raise DataError(f"{asked}: {error}") from None
    except OwnSetRefused as error:
        raise DataError(str(error)) from None  # it counts this party's entities, which no peer may read


def _side(agreement: Agreement, workers: Workers | None) -> tuple[Callable[..., Flow[Alignment]], str]:
    """A party's side of the agreed protocol, and who leads it."""
    if agreement.alignment.protocol == "ot":
        # its loops load a compiler, which a node that never uses them does without
        from psi.ot.align import align_by_transfer

        return align_by_transfer, agreement.label.party
    side = unite_party if agreement.alignment.policy == "union" else align_party
    return partial(side, pool_map=spread_over(workers)), COORDINATOR


def spread_over(workers: Workers | None) -> PoolMap:
    """Blocks of points multiplied by this party's workers (``[compute]``), or in the node's own process."""
    if workers is None:
        return map

    def spread(function: Callable[[Sequence[bytes]], list[bytes]], blocks: Iterable[Sequence[bytes]]) -> Iterator[Any]:
        waiting, room = iter(blocks), 4 * max(workers.count, 1)
        while several := [(block,) for block in islice(waiting, room)]:
            yield from workers(function, several)

    return spread


def alignment_limits(context: RunContext) -> AlignmentLimits:
    terms = context.agreement.alignment
    return AlignmentLimits(
        terms.minimum_common, terms.maximum_set_size, terms.largest_change, terms.size_bucket, terms.smallest_change
    )


def earlier_rows(folder: Path, secret: Callable[[str], bytes], me: str, run_id: str) -> AlignedRows | None:
    """The common rows that the node in ``folder`` kept of a run, under its own ``secret``; None: it has none."""
    kept = folder / "runs" / run_id / "checkpoints"
    if not kept.is_dir():
        return None
    return kept_alignment(CheckpointStore(kept, secret(f"checkpoint/{run_id}"), me))


def runs_begun(folder: Path) -> list[str]:
    """Runs of which the node in ``folder`` has more than kept rows: it does not know that they have ended."""
    return sorted({path.parents[1].name for path in folder.glob("runs/*/checkpoints/*") if path.name != _ROWS})


def forget_steps(folder: Path, *, rows: bool) -> None:
    """A run has ended: remove what a node kept of it, but for the ``rows`` that others may go on with."""
    for path in folder.glob("*") if rows else ():
        if path.name != _ROWS:
            path.unlink(missing_ok=True)
    if not rows or not (folder / _ROWS).exists():
        shutil.rmtree(folder, ignore_errors=True)


def keep_alignment(store: CheckpointStore, aligned: AlignedRows) -> None:
    """Keep the common rows among the run's checkpoints."""
    body = {
        "ids": list(aligned.ids),
        "set_size": aligned.set_size,
        "roots": {name: root.hex() for name, root in aligned.roots.items()},
    }
    store.put(_ROWS, {"json": np.frombuffer(json.dumps(body).encode(), np.uint8)})


def kept_alignment(store: CheckpointStore) -> AlignedRows | None:
    """The common rows as they were kept; None when they were not, or are damaged."""
    kept = store.get(_ROWS) if _ROWS in store.names() else None
    if kept is None:
        return None
    body = json.loads(kept["json"].tobytes())
    roots = {name: bytes.fromhex(root) for name, root in body["roots"].items()}
    return AlignedRows(tuple(body["ids"]), body["set_size"], roots)
