"""Which entities a node serves where its group agreed on an order of precedence: found once in a run, kept, checked.

``precedence.json`` in the run's folder holds what every member told of its rows, and, once it is found, which rows this
node serves and which of its own entities it leaves to a member before it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.agreement.group_terms import GroupTerms, group_of
from parties.errors import AgreementError, StorageError
from parties.node.alignment_history import AlignmentEntry, HeldSet, Shown, alignments, check_repeats, record_alignment
from parties.node.context import RunContext
from parties.settlement.dossier_store import write_durably
from psi.flow import Flow
from psi.padding import FOREIGN
from psi.precedence import PrecedenceTerms, RowsTold, take_precedence
from vfl.factors.panel import FeaturePanel
from vfl.terms import Terms

__all__ = ["check_served", "in_order", "names_served"]

T = TypeVar("T")
_FILE, _POLICY = "precedence.json", "precedence"


class _KeptOrder(Terms):
    """told: by member the hex digests of the rows that it holds and serves. served: rows, 0 or 1 each; "": not found
    yet. left: own entities that a member before this one serves.
    """

    told: dict[str, tuple[str, str]]
    served: str = ""
    left: tuple[str, ...] = ()


def in_order(
    context: RunContext, group: GroupTerms, entities: Sequence[str], covered: NDArray[np.bool_], training: Flow[T]
) -> Flow[T]:
    """The group's ``training``, once its members know which of them serves an entity that several have.

    entities: names of the run's rows here. covered: bool (n,), which of them this node has values of.

    Learns: as :func:`psi.precedence.take_precedence`, and what training does.
    Leaks: as :func:`psi.precedence.take_precedence`, and what training does.
    Model: as :func:`psi.precedence.take_precedence`. What came of an attempt is kept, and holds in another.
    Source: docs/groups.md#who-serves-a-shared-entity.
    """
    if group.overlap == "precedence":
        yield from _found(context, group, entities, covered)
    return (yield from training)


def _found(context: RunContext, group: GroupTerms, entities: Sequence[str], covered: NDArray[np.bool_]) -> Flow[None]:
    kept, folder = _kept(context.run_folder), context.run_folder
    aligned = _aligned(context, group)
    asked = {name: len(entities) if aligned is None else _size(aligned, context.me, name) for name in group.members}

    def heard(told: Mapping[str, RowsTold], answers: bool) -> None:
        # written down before anything is answered: what is told counts, whatever becomes of the attempt
        before = _kept(folder) or _KeptOrder(told={})
        _keep(folder, before.model_copy(update={"told": _written(told)}))
        if answers:
            _count(context, group, asked, aligned, len(entities))

    found = yield from take_precedence(
        context.me,
        PrecedenceTerms(group.members, len(entities), asked),
        covered.tolist(),
        run=bytes.fromhex(context.run_id) + group.name.encode(),
        salt=context.secret(f"precedence/{context.run_id}"),
        randomness=secrets,
        served=[flag == "1" for flag in kept.served] if kept is not None and kept.served else None,
        known={} if kept is None else {name: _read(both) for name, both in kept.told.items()},
        heard=heard,
    )
    served = np.array(found.served, dtype=np.bool_)
    left = tuple(entities[place] for place in np.flatnonzero(covered & ~served).tolist())
    made = _KeptOrder(told=_written(found.told), served="".join("01"[flag] for flag in found.served), left=left)
    if made == kept:
        return
    body = {name: {"held": held, "served": serves} for name, (held, serves) in sorted(made.told.items())}
    context.audit.append("precedence", context.run_id, {"group": group.name, "rows": body})
    _keep(folder, made)


def _aligned(context: RunContext, group: GroupTerms) -> AlignmentEntry | None:
    """The run's alignment as this node wrote it down; None over a public list, where no set has a size."""
    if context.agreement.alignment.policy != "union":
        return None
    found = [one for one in alignments(context.folder) if one.run == context.run_id and one.policy == "union"]
    if not found or not set(group.members) <= {context.me, *found[-1].peers}:
        raise AgreementError("the run's alignment is not in this node's alignments.jsonl: restore it from a backup")
    return found[-1]


def _size(aligned: AlignmentEntry, me: str, name: str) -> int:
    return aligned.own if name == me else aligned.peers[name].size


def _later(context: RunContext, group: GroupTerms) -> tuple[str, ...]:
    """Members after this one, who learn of it."""
    return group.members[group.members.index(context.me) + 1 :]


def _count(
    context: RunContext, group: GroupTerms, asked: Mapping[str, int], aligned: AlignmentEntry | None, rows: int
) -> None:
    """Write down who is answered, as an alignment with it: of a set as new as the one that it was aligned with, and in
    a further attempt of a new one, since nobody can tell whether it asks for the same again.
    """
    later, now = _later(context, group), datetime.now(UTC)
    if not later:
        return
    check_repeats(context.folder, later, context.settings.limits.alignments, now)
    before = any(one.run == context.run_id and one.policy == _POLICY for one in alignments(context.folder))
    sets = {name: HeldSet(size=asked[name], changed=None if before else _changed(aligned, name)) for name in later}
    shown = Shown(own=asked[context.me], peers=sets, answered=True)
    entry = record_alignment(context.folder, context.run_id, _POLICY, shown, rows, now)
    context.audit.append("alignment", context.run_id, entry.model_dump(mode="json", exclude={"at", "run"}))


def _changed(aligned: AlignmentEntry | None, name: str) -> int | None:
    return None if aligned is None else aligned.peers[name].changed


def _kept(run_folder: Path) -> _KeptOrder | None:
    path = run_folder / _FILE
    try:
        return _KeptOrder.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        raise StorageError(f"{path}: damaged; restore it from a backup, or propose the run again") from None


def _keep(run_folder: Path, kept: _KeptOrder) -> None:
    write_durably(run_folder / _FILE, kept.model_dump_json())


def _written(told: Mapping[str, RowsTold]) -> dict[str, tuple[str, str]]:
    return {name: (one.held.hex(), one.served.hex()) for name, one in told.items()}


def _read(both: tuple[str, str]) -> RowsTold:
    return RowsTold(bytes.fromhex(both[0]), bytes.fromhex(both[1]))


def _order(agreement: Agreement, me: str, run_folder: Path) -> _KeptOrder | None:
    """What this node serves by its group's order; None where there is none. Raises where it should be kept."""
    group = group_of(agreement, me)
    if group is None or group.overlap != "precedence":
        return None
    kept = _kept(run_folder)
    if kept is None or not kept.served:
        raise AgreementError(
            "which entities its group's order leaves to it is not among this node's records: propose the run again"
        )
    return kept


def names_served(agreement: Agreement, me: str, run_folder: Path, entities: Sequence[str]) -> tuple[str, ...]:
    """The entities, with those that a member before this one serves under names that nobody's data has."""
    kept = _order(agreement, me, run_folder)
    return tuple(entities) if kept is None else tuple(_named(entities, set(kept.left)))


def _named(entities: Sequence[str], left: set[str]) -> Iterator[str]:
    for name in entities:
        hidden = hashlib.sha256(f"entente/precedence/{name}".encode()).hexdigest()[:32].upper()
        yield f"{FOREIGN}{hidden}" if name in left else name


def check_served(agreement: Agreement, me: str, run_folder: Path, panel: FeaturePanel) -> None:
    """Raise :class:`AgreementError` where the rows to be served are not those that the other members were told of."""
    kept = _order(agreement, me, run_folder)
    if (
        kept is not None
        and "".join("01"[flag] for flag in np.asarray(panel.covered.any(axis=0)).tolist()) != kept.served
    ):
        raise AgreementError(
            "this node's data has other entities than when its group found who serves which: restore the data, or "
            "propose the run again"
        )
