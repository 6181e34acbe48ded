"""What a node keeps of its alignments: runs of coalitions do not all have the same parties."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from parties.errors import DataError, StorageError
from parties.node import align
from parties.node.alignment_history import Shown
from parties.node.alignments import load_previous, remember
from psi.commitment import PreviousAlignment
from psi.flow import run_alone
from psi.merkle import SaltedSet
from psi.ring import Alignment
from tests.parties.agreement.test_model_terms import agreement

IDS = ("A", "B", "C")


def keep(path: Path, number: int, *peers: str) -> bytes:
    """Remember a run of ours with these peers; our set's root."""
    salted = SaltedSet.of(bytes([number]) * 32, IDS)
    roots = {"fund": salted.root} | {name: bytes([number]) * 31 + name.encode()[:1] for name in peers}
    alignment = Alignment(IDS, dict.fromkeys(roots, 3), b"", roots, salted)
    remember(path, "fund", alignment, load_previous(path, peers))
    return salted.root


def last(path: Path, *peers: str) -> bytes:
    found = load_previous(path, peers).salted
    assert found is not None
    return found.root


def test_a_run_builds_on_the_last_set_that_all_of_its_parties_saw(tmp_path: Path) -> None:
    path = tmp_path / "alignment.json"
    assert load_previous(path, ("sat",)).salted is None
    together = keep(path, 1, "sat", "social")
    alone = keep(path, 2, "sat")
    assert last(path, "sat") == alone, "the latest of those that it saw"
    assert last(path, "social") == together
    assert last(path, "sat", "social") == together
    social = keep(path, 3, "social")
    assert (last(path, "sat"), last(path, "social"), last(path, "social", "sat")) == (alone, social, together)
    again = keep(path, 4, "social", "sat")
    assert {last(path, "sat"), last(path, "social"), last(path, "sat", "social")} == {again}
    assert last(path, "stranger") == again, "who saw none of ours is no reason to begin anew"
    assert len(json.loads(path.read_text())["sets"]) == 3, "one for each group of peers"
    assert {len(roots) for roots in load_previous(path, ()).seen.values()} == {3}
    assert path.stat().st_mode & 0o077 == 0


def test_a_file_of_an_earlier_version_is_read_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "alignment.json"
    root = keep(path, 1, "sat", "social")
    body = json.loads(path.read_text())
    [one] = body.pop("sets")
    path.write_text(json.dumps(body | {"salt": one["salt"], "leaves": one["leaves"]}))
    assert last(path, "sat", "social") == root
    keep(path, 2, "sat")
    assert last(path, "sat", "social") == root
    for damaged in ('{"sets": [], "seen": {}}', '{"seen": {}}', "[]", '{"sets": [{"salt": 5}], "seen": {}}'):
        path.write_text(damaged)
        with pytest.raises(StorageError, match="damaged; restore it from a backup"):
            load_previous(path, ("sat",))


def test_what_refuses_the_own_set_stays_with_its_operators() -> None:
    """The words count this party's entities; a DataError's words are for its own log, and peers read none of them."""
    terms = agreement({"kind": "sealed", "anchor": "b"}, contribution="none", limit_per_row=1)
    context: Any = SimpleNamespace(
        agreement=terms, settings=SimpleNamespace(party=None, label=None), queries=None, data=None,
        me="a", workers=None,
        run_id=terms.run_id, secret=lambda purpose: bytes(32),
        identity=SimpleNamespace(key=SimpleNamespace(sign=bytes)),
        perform=lambda phase, attempt, flow: run_alone(flow),
    )  # fmt: skip
    few = SimpleNamespace(entities=lambda *_: IDS)
    with mock.patch.object(align, "rows_of", return_value=few), pytest.raises(DataError, match="holds 3 entities"):
        align._compare(context, 1, PreviousAlignment(), Shown())
