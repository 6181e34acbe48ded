"""A label party's commitment to labels and columns: kept before the first step, refused when changed, opened later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from parties.audit.committed_labels import LabelCommitment
from parties.audit.log import AuditLog
from parties.audit.merkle import leaf_hash, root_hash
from parties.cli.audit import app
from parties.errors import DataError
from parties.members.roster import Roster
from parties.node import label_commitment
from parties.node.label_commitment import DISCLOSURE, commit_labels, disclosed, keep_commitment
from psi.flow import Flow, RemoteProtocolError, run_local
from tests.parties.node.test_warm_start import consortium
from vfl.arithmetic.received import MalformedError
from vfl.protocols.label_commitment import hear_commitment, tell_commitment

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
RUN = "ab" * 32
PANEL = consortium("none").panel
NAMES = tuple(f"E{i}" for i in range(PANEL.label.shape[1]))


class Log:
    """Entries in memory."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str, dict[str, Any]]] = []

    def append(self, kind: str, run_id: str, body: dict[str, Any]) -> None:
        self.entries.append((kind, run_id, body))


def node(folder: Path, me: str, run_id: str = RUN) -> Any:
    party = SimpleNamespace(identity_key=KEY.public_key().public_bytes_raw().hex())
    agreement = SimpleNamespace(label=SimpleNamespace(party="l"), party=lambda name: party)
    return SimpleNamespace(
        me=me, run_id=run_id, run_folder=folder / me, audit=Log(), agreement=agreement,
        identity=SimpleNamespace(key=KEY), secret=lambda purpose: purpose.encode().ljust(32, b".")[:32],
    )  # fmt: skip


def told(document: bytes, *parties: Any) -> None:
    def keep(context: Any) -> Flow[None]:
        return hear_commitment("l", lambda got: keep_commitment(context, got))

    run_local({"l": tell_commitment([p.me for p in parties], document)} | {p.me: keep(p) for p in parties})


def test_every_feature_party_keeps_it_and_an_auditor_opens_it(tmp_path: Path) -> None:
    label, a, b = (node(tmp_path, name) for name in "lab")
    document = commit_labels(label, PANEL, NAMES)
    told(document, a, b)
    assert a.audit.entries == b.audit.entries == label.audit.entries
    (kind, run_id, body), shown = a.audit.entries[0], disclosed(label.run_folder / DISCLOSURE)
    assert (kind, run_id) == ("commitment", RUN)
    assert {name: body[name] for name in ("rows", "entities", "labels", "columns")} == {
        name: getattr(shown, name) for name in ("rows", "entities", "labels", "columns")
    }
    told(commit_labels(label, PANEL, NAMES), a, b)
    assert len(a.audit.entries) == 1, "another attempt commits to the same"
    assert (label.run_folder / DISCLOSURE).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("part", ["label", "known_from", "universe", "columns"])
def test_one_changed_number_is_another_commitment(part: str, tmp_path: Path) -> None:
    label, a = node(tmp_path, "l"), node(tmp_path, "a")
    told(commit_labels(label, PANEL, NAMES), a)
    if part == "columns":
        values = PANEL.features.values.copy()
        values[2, 3] += 1e-9
        other = replace(PANEL, features=replace(PANEL.features, values=values))
    else:
        changed = getattr(PANEL, part).copy()
        changed[2, 3] = not changed[2, 3] if part == "universe" else changed[2, 3] + 1
        other = replace(PANEL, **{part: changed})
    with pytest.raises(DataError, match="changed since the run's first step"):
        commit_labels(label, other, NAMES)
    # a label party whose node was made to forget
    forgetful = node(tmp_path / "again", "l")
    with pytest.raises(RemoteProtocolError, match=r"^l: commits to other labels or columns than before"):
        told(commit_labels(forgetful, other, NAMES), a)


def test_of_another_run_or_under_another_key_or_garbage_it_is_refused_by_name(tmp_path: Path) -> None:
    a = node(tmp_path, "a")
    with pytest.raises(RemoteProtocolError, match=r"^l: .* of another run or not signed by it"):
        told(commit_labels(node(tmp_path / "x", "l", "cd" * 32), PANEL, NAMES), a)
    stranger = node(tmp_path / "y", "l")
    stranger.identity = SimpleNamespace(key=Ed25519PrivateKey.generate())
    with pytest.raises(RemoteProtocolError, match=r"^l: .* of another run or not signed by it"):
        told(commit_labels(stranger, PANEL, NAMES), a)
    for garbage in (b"", b"{}", b"[" * 5000, b"\xff" * 9000):
        with pytest.raises(RemoteProtocolError, match=r"^l: sent a commitment to its labels that is not understood"):
            told(garbage, a)
        with pytest.raises(MalformedError):
            LabelCommitment.read(garbage)
    assert not a.audit.entries


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 13])
def test_the_streamed_root_is_that_of_the_tree(count: int) -> None:
    leaves = [leaf_hash(bytes([number])) for number in range(count)]
    assert label_commitment._root(iter(leaves)) == root_hash(leaves).hex()


def test_a_label_cannot_be_guessed_from_the_roots(tmp_path: Path) -> None:
    """Another secret of the node, other roots of the same labels."""
    one, two = node(tmp_path / "1", "l"), node(tmp_path / "2", "l")
    two.secret = lambda purpose: bytes(32)
    first, second = (LabelCommitment.read(commit_labels(made, PANEL, NAMES)) for made in (one, two))
    assert first.entities == second.entities
    assert first.labels != second.labels
    assert first.columns != second.columns


def test_the_command_says_whether_a_file_opens_what_was_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    label = node(tmp_path, "l")
    commit_labels(label, PANEL, NAMES)
    file, home = label.run_folder / DISCLOSURE, tmp_path / "home"
    home.mkdir()
    url = f"sqlite:///{home / 'state.db'}"
    monkeypatch.setattr("parties.cli.audit._place", lambda home: ("a", url))
    member = SimpleNamespace(identity_key=KEY.public_key().public_bytes_raw().hex())
    monkeypatch.setattr(Roster, "load", lambda path: {"l": member})

    def said() -> tuple[int, str]:
        found = CliRunner().invoke(app, ["labels", str(file), "--home", str(home)])
        return found.exit_code, " ".join((found.output + str(found.exception or "")).split())

    with AuditLog("a", url) as log:
        log.append("phase", RUN, {"phase": "train"})
    assert "its log holds no commitment of run" in said()[1]
    with AuditLog("a", url) as log:
        log.append(*label.audit.entries[0])
    code, text = said()
    assert code == 0
    assert f"l committed to these {PANEL.label.size} rows of labels and of columns" in text
    with np.load(file) as archive:
        parts = {name: archive[name] for name in archive.files}
    parts["label"][1, 2] += 1e-6
    np.savez(file, **parts)
    code, text = said()
    assert code != 0
    assert "labels are not what l committed to" in text
    file.write_bytes(b"no")
    assert "does not open a commitment to labels" in said()[1]
