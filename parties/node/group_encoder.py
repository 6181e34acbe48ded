"""The encoder that a node's group trained in a run: where it lies, and what is asked of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.agreement.group_terms import group_of, own_columns
from parties.agreement.tied_terms import is_tied
from parties.errors import AgreementError
from parties.settings.consortium import PartySettings
from parties.settlement.dossier_store import write_durably

__all__ = ["as_served", "check_group", "keep_encoder", "kept_encoder", "joint_weights"]

F64 = NDArray[np.float64]
_FILE = "group_encoder.json"


def check_group(agreement: Agreement, party: PartySettings) -> None:
    """Raise :class:`AgreementError` unless this node's encoder is the one that the agreement's group trains."""
    group, encoder = group_of(agreement, party.name), party.encoder
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


def joint_weights(agreement: Agreement, me: str, run_folder: Path) -> F64 | None:
    """The encoder of this party's group; None where it is in none. Raises where it should be there and is not."""
    if group_of(agreement, me) is None:
        return None
    found = kept_encoder(run_folder)
    if found is None:
        raise AgreementError("the encoder of its group is not among this node's records: propose the run again")
    return found
