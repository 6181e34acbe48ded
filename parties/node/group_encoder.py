"""What a node's group trained and fitted in a run, encoder and expansion: where it lies, and what is asked of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.agreement.group_terms import GroupTerms, expansion_plan, group_of, own_columns
from parties.agreement.tied_terms import is_tied
from parties.data.joint_fit import JointFit
from parties.errors import AgreementError
from parties.settings.consortium import PartySettings
from parties.settlement.dossier_store import write_durably

__all__ = [
    "as_served",
    "check_group",
    "joint_fit",
    "keep_encoder",
    "keep_expansion",
    "kept_encoder",
    "kept_expansion",
]

F64 = NDArray[np.float64]
_FILE, _EXPANSION = "group_encoder.json", "group_expansion.json"


def check_group(agreement: Agreement, party: PartySettings) -> None:
    """Raise :class:`AgreementError` unless this node's encoder is the one that the agreement's group trains."""
    group, encoder = group_of(agreement, party.name), party.encoder
    _check_expansion(group, party)
    if group is None:
        if encoder is not None and encoder.group:
            raise AgreementError(
                f"[party.encoder] of node.toml is trained by group {encoder.group!r}, and the agreement has no such "
                "group with this party: add it under [[group]], or take encoder.group away"
            )
        return
    if encoder is None or encoder.group != group.name:
        raise AgreementError(
            f"the agreement has this party in group {group.name!r}, which [party.encoder] of node.toml does not name: "
            "set encoder.group there, or ask for a run without the group"
        )
    mine, agreed = encoder.shape, group.encoder
    if mine != agreed:
        differing = [name for name in type(agreed).model_fields if getattr(mine, name) != getattr(agreed, name)]
        raise AgreementError(
            f"the agreement's group {group.name!r} trains another encoder than [party.encoder] of node.toml says, they "
            f"differ in {', '.join(differing)}: propose it again with the same settings"
        )
    if (agreed.columns or own_columns(agreement, group)) != (mine.columns or party.own_columns):
        raise AgreementError(
            f"it cannot be told from the agreement which columns the encoder of group {group.name!r} reads: name them "
            "in group.encoder.columns and in encoder.columns of node.toml"
        )


def as_served(agreement: Agreement, party: PartySettings) -> PartySettings:
    """The settings that a run's columns are made by: under one head of a group nobody whitens, since a mix of a
    member's own columns would mean something else at each.
    """
    return party.model_copy(update={"whiten": False}) if is_tied(agreement, party.name) else party


def _check_expansion(group: GroupTerms | None, party: PartySettings) -> None:
    """Raise :class:`AgreementError` unless this node's expansion is fitted as the agreement's group says."""
    mine = party.expand if party.expand is not None and party.expand.group else None
    agreed = None if group is None else group.expand
    if mine is None and agreed is None:
        return
    if group is None or agreed is None or mine is None or mine.group != group.name:
        raise AgreementError(
            "[party.expand] of node.toml and the agreement's [group.expand] do not name the same group: set "
            "expand.group to the group that fits it, and propose a run whose group has [group.expand], or leave both "
            "out"
        )
    if mine.shape != agreed:
        differing = [name for name in type(agreed).model_fields if getattr(mine.shape, name) != getattr(agreed, name)]
        raise AgreementError(
            f"the agreement's group {group.name!r} fits another expansion than [party.expand] of node.toml says, they "
            f"differ in {', '.join(differing)}: propose it again with the same settings"
        )


def keep_encoder(run_folder: Path, weights: F64, rounds: Sequence[Sequence[str]]) -> None:
    """Keep the common weights, and who was in each round."""
    body = {"weights": weights.tolist(), "rounds": [list(names) for names in rounds]}
    write_durably(run_folder / _FILE, json.dumps(body))


def kept_encoder(run_folder: Path) -> F64 | None:
    """The common weights that were kept in a run's folder; None: there are none."""
    try:
        body: dict[str, Any] = json.loads((run_folder / _FILE).read_text())
        return np.array(body["weights"], dtype=np.float64)
    except (OSError, ValueError, KeyError):
        return None


def keep_expansion(run_folder: Path, sums: F64) -> None:
    """Keep the sums that the group's expansion is made of."""
    write_durably(run_folder / _EXPANSION, json.dumps({"sums": sums.tolist()}))


def kept_expansion(run_folder: Path) -> F64 | None:
    """The sums that were kept in a run's folder; None: there are none."""
    try:
        return np.array(json.loads((run_folder / _EXPANSION).read_text())["sums"], dtype=np.float64)
    except (OSError, ValueError, KeyError):
        return None


def joint_fit(agreement: Agreement, me: str, run_folder: Path) -> JointFit | None:
    """What this party's group made; None where it is in none. Raises where it should be there and is not."""
    group = group_of(agreement, me)
    if group is None:
        return None
    found = kept_encoder(run_folder)
    if found is None:
        raise AgreementError("the encoder of its group is not among this node's records: propose the run again")
    plan = expansion_plan(agreement, group)
    if plan is None:
        return JointFit(found)
    sums = kept_expansion(run_folder)
    if sums is None:
        raise AgreementError("the expansion of its group is not among this node's records: propose the run again")
    return JointFit(found, (plan, sums))
