"""A group's order of precedence at its nodes: who serves what, what is kept and counted, and what changed data meet."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from parties.agreement.document import Agreement
from parties.data.agreed_rows import rows_of
from parties.errors import AgreementError, StorageError
from parties.node.alignment_history import HeldSet, Shown, alignments, record_alignment
from parties.node.context import RunContext, node_secret
from parties.node.group_order import check_served, in_order, names_served
from psi.flow import Flow, ProtocolError, RemoteProtocolError, Send, receive, run_local
from psi.messages import PrecedenceAsked, PrecedenceHeld
from tests.parties.agreement.test_group_terms import EXAMPLE, settings, signed
from tests.psi.rig import Wire
from vfl.federated.messages import EncoderHeld

MEMBERS = ("north", "south", "east", "west")
ROWS = ("NORTH000", "NORTH001", "SOUTH000", "SOUTH001", "EAST000", "EAST001", "WEST000", "WEST001", "FUND000")
ALSO = {"south": ("north001",), "west": ("north001", "south000", "south001")}
HELD = {"north": {0, 1}, "south": {1, 2, 3}, "east": {4, 5}, "west": {1, 2, 3, 6, 7}}
SERVED = {"north": {0, 1}, "south": {2, 3}, "east": {4, 5}, "west": {6, 7}}


@dataclass
class Audit:
    kinds: list[str] = field(default_factory=list)

    def append(self, kind: str, run_id: str, body: Mapping[str, Any]) -> None:
        self.kinds.append(kind)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two accounts a lender; south has one of north's too, and west three of others."""
    runpy.run_path(str(EXAMPLE.parent / "panel.py"))["write"](tmp_path, 2, 60, 0)
    frames = {name: pd.read_csv(tmp_path / f"{name}.csv") for name in MEMBERS}
    every = pd.concat(frames.values())
    for name, more in ALSO.items():
        pd.concat([frames[name], every[every.entity.isin(more)]]).to_csv(tmp_path / f"{name}.csv", index=False)
    for query in EXAMPLE.parent.glob("*.sql"):
        shutil.copy(query, tmp_path)
    return tmp_path


PARTIES = {one.name: one for one in settings().party}


def context(home: Path, name: str, agreement: Agreement, most: int = 12) -> Any:
    folder = home / "nodes" / name
    if not folder.exists():
        folder.mkdir(parents=True)
        peers = {one: HeldSet(size=16, changed=0) for one in ("fund", *MEMBERS) if one != name}
        record_alignment(folder, agreement.run_id, "union", Shown(16, peers, True), len(ROWS), datetime.now(UTC))
    return SimpleNamespace(
        agreement=agreement,
        run_id=agreement.run_id,
        settings=SimpleNamespace(party=PARTIES[name], limits=SimpleNamespace(alignments=most)),
        me=name,
        folder=folder,
        run_folder=folder / "runs" / agreement.run_id,
        audit=Audit(),
        secret=lambda purpose: node_secret(name.encode() * 8, purpose),
    )


def own_rows(held: set[int]) -> tuple[str, ...]:
    """The run's rows as a member of a union names them."""
    return tuple(name if place in held else f"~ROW.{place:032X}" for place, name in enumerate(ROWS))


def rounds(me: str) -> Flow[str]:
    """In place of the group's training: one message to each other, which is all that a turn of the flows needs."""
    for name in MEMBERS:
        if name != me:
            yield Send(name, EncoderHeld(0, b""))
    for name in MEMBERS:
        if name != me:
            yield from receive(name, EncoderHeld)
    return "trained"


def play(
    home: Path, agreement: Agreement, wire: Wire | None = None, most: int = 12, **held: set[int]
) -> dict[str, Any]:
    contexts = {name: context(home, name, agreement, most) for name in MEMBERS}
    flows = {}
    for name, one in contexts.items():
        rows = (HELD | held)[name]
        covered = np.isin(np.arange(len(ROWS)), list(rows))
        flows[name] = in_order(cast("RunContext", one), agreement.groups[0], own_rows(rows), covered, rounds(name))
    assert set(run_local(flows, relay=wire or Wire()).values()) == {"trained"}
    return contexts


def panel_of(home: Path, one: Any) -> Any:
    names = names_served(one.agreement, one.me, one.run_folder, own_rows(HELD[one.me]))
    return rows_of(one.agreement).features(one.settings.party, home, home, names)


def test_each_entity_is_served_once_and_the_same_after_a_restart(home: Path) -> None:
    agreement = signed(overlap="precedence")
    contexts = play(home, agreement)
    for name, one in contexts.items():
        panel = panel_of(home, one)
        assert set(np.flatnonzero(panel.covered.any(axis=0))) == SERVED[name]
        check_served(agreement, name, one.run_folder, panel)
        assert one.audit.kinds == ["alignment", "precedence"][name == "west" :], "the last answers nobody"
    wire = Wire()
    again = play(home, agreement, wire)
    assert not wire.received("north", PrecedenceAsked), "every node kept what came of it"
    assert all(one.audit.kinds == [] for one in again.values())
    counted = [one for one in alignments(contexts["south"].folder) if one.policy == "precedence"]
    assert [one.peers for one in counted] == [{name: HeldSet(size=16, changed=0) for name in ("east", "west")}]
    (contexts["east"].run_folder / "precedence.json").unlink()
    play(home, agreement)
    assert set(np.flatnonzero(panel_of(home, contexts["east"]).covered.any(axis=0))) == SERVED["east"]
    last = alignments(contexts["south"].folder)[-1]
    assert last.policy == "precedence"
    assert last.peers["east"] == HeldSet(size=16), "what is asked for anew may be something else"


def test_a_run_where_all_serve_what_they_have_asks_nothing(home: Path) -> None:
    agreement, wire = signed(), Wire()
    contexts = play(home, agreement, wire)
    assert not any(isinstance(message, PrecedenceHeld) for _, _, message in wire.sent)
    assert set(np.flatnonzero(panel_of(home, contexts["west"]).covered.any(axis=0))) == HELD["west"]


def test_changed_data_is_refused_at_home_and_by_the_others(home: Path) -> None:
    agreement = signed(overlap="precedence")
    contexts = play(home, agreement)
    frame = pd.read_csv(home / "east.csv")
    frame[frame.entity != "east001"].to_csv(home / "east.csv", index=False)
    east = contexts["east"]
    with pytest.raises(AgreementError, match="has other entities than when its group found who serves which"):
        check_served(agreement, "east", east.run_folder, panel_of(home, east))
    with pytest.raises(ProtocolError) as caught:
        play(home, agreement, east={4})
    assert isinstance(caught.value, RemoteProtocolError)
    assert caught.value.peer == "east"
    assert "tells other rows than in an earlier attempt" in str(caught.value)


def test_what_is_not_kept_or_was_asked_too_often_stops_the_run(home: Path) -> None:
    agreement = signed(overlap="precedence")
    one = context(home, "north", agreement)
    with pytest.raises(AgreementError, match="is not among this node's records"):
        names_served(agreement, "north", one.run_folder, ROWS)
    one.run_folder.mkdir(parents=True)
    (one.run_folder / "precedence.json").write_text("{")
    with pytest.raises(StorageError, match=r"precedence\.json: damaged"):
        names_served(agreement, "north", one.run_folder, ROWS)
    (one.run_folder / "precedence.json").unlink()
    new = Shown(16, {"west": HeldSet(size=16)}, True)
    record_alignment(one.folder, "00" * 32, "precedence", new, 0, datetime.now(UTC))
    with pytest.raises(AgreementError, match="west was aligned with 1 times in 30 days"):
        play(home, agreement, most=1)
