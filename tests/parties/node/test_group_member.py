"""A member's phase encode: what it keeps."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from parties.agreement.group_terms import group_rounds
from parties.data.entities import party_entities
from parties.errors import AgreementError
from parties.names import COORDINATOR
from parties.node.context import RunContext
from parties.node.group_encoder import joint_fit, keep_encoder, keep_expansion, kept_encoder
from parties.node.group_member import train_encoder
from tests.parties.agreement.test_group_terms import EXAMPLE, expanding, settings, signed, signed_by
from tests.vfl.federated.rig import play
from vfl.federated.group import join_group, serve_group


def test_who_kept_another_encoder_of_an_earlier_attempt_takes_the_one_that_the_others_hold(tmp_path: Path) -> None:
    runpy.run_path(str(EXAMPLE.parent / "panel.py"))["write"](tmp_path, 3, 60, 0)
    for query in EXAMPLE.parent.glob("*.sql"):
        shutil.copy(query, tmp_path)
    agreement = signed()
    rounds = group_rounds(agreement, agreement.groups[0])
    old, new = np.zeros(rounds.numbers), np.ones(rounds.numbers)

    def perform(phase: str, attempt: int, flow: Any) -> Any:
        others = {
            name: join_group(rounds, name, cast("Any", None), old, cast("Any", None), new)
            for name in rounds.members
            if name != "north"
        }
        found, _ = play({"north": flow, **others, COORDINATOR: serve_group(rounds, set())})
        return found["north"]

    context = SimpleNamespace(
        agreement=agreement,
        settings=SimpleNamespace(party=next(one for one in settings().party if one.name == "north")),
        me="north",
        queries=tmp_path,
        data=tmp_path,
        run_folder=tmp_path,
        perform=perform,
    )
    keep_encoder(tmp_path, old, [])
    entities = party_entities(context.settings.party, tmp_path, tmp_path)
    assert train_encoder(cast("RunContext", context), entities, 3) == {"rounds": 0, "members": 0}
    kept = kept_encoder(tmp_path)
    assert kept is not None
    np.testing.assert_array_equal(kept, new)


def test_the_expansion_is_kept_beside_the_encoder_and_missed_where_it_is_not(tmp_path: Path) -> None:
    agreement, folder = signed_by(expanding(tmp_path)), tmp_path / "run"
    keep_encoder(folder, np.zeros(3), [])
    with pytest.raises(AgreementError, match="the expansion of its group is not among this node's records"):
        joint_fit(agreement, "east", folder)
    keep_expansion(folder, np.arange(4.0))
    found = joint_fit(agreement, "east", folder)
    assert found is not None
    assert found.expansion is not None
    assert found.expansion[0].shape == agreement.groups[0].expand
    np.testing.assert_array_equal(found.expansion[1], np.arange(4.0))
    assert joint_fit(agreement, "fund", folder) is None
