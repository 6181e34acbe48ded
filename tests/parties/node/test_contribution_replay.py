"""An auditor's replay of real runs' contributions: it gives what an honest label party signed, and names a liar."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from parties.audit.committed_labels import COMMITMENT
from parties.audit.log import AuditLog
from parties.cli import run as entente
from parties.client import Client
from parties.data.simulate import SimulatedModel, simulate
from parties.demo.homes import DemoHomes, lay_out
from parties.errors import DataError
from parties.members.keys import load_identity
from parties.node.contribution_evidence import LabelEvidence, PartyEvidence
from parties.node.contribution_replay import replay_contributions
from parties.settings.consortium import load_consortium
from parties.settlement.contribution import ContributionRecord
from parties.settlement.pay_rule import check_record
from parties.settlement.replay_verdict import ReplayVerdict, read_verdict
from parties.settlement.signed_contribution import SignedContribution
from tests.parties.demo_rig import until
from tests.parties.node_rig import in_this_process
from vfl.contribution import coalitions, exact_shapley

LABEL, NAMES = "fund", ("satellite", "social")
pytestmark = pytest.mark.system


@dataclass(frozen=True)
class Audited:
    """A finished run and what its parties show an auditor."""

    homes: DemoHomes
    run_id: str
    folder: Path
    label: LabelEvidence
    parties: tuple[PartyEvidence, ...]

    @property
    def files(self) -> list[str]:
        return [str(self.folder / f"{name}.evidence") for name in (LABEL, *NAMES)]


@pytest.fixture(scope="module", params=["split", "sealed", "trees"])
def audited(request: pytest.FixtureRequest) -> Iterator[Audited]:
    with tempfile.TemporaryDirectory(prefix="replay-") as folder:
        yield _run(Path(folder), request.param)


TREES = 'kind = "trees"\ntrees = 2\ndepth = 2\nrefit_every = 9\nsmallest_leaf = 10\nrate = 0.5\ninit_score = "linear"'


def _run(folder: Path, kind: Literal["split", "sealed", "trees"]) -> Audited:
    model: SimulatedModel = "split" if kind == "split" else "sealed"
    made = simulate(folder / "sim", entities=40, periods=18, parties=2, seed=7, model=model)
    if kind == "trees":
        made.config.write_text(made.config.read_text().replace('kind = "sealed"', TREES))
    settings = load_consortium(made.config)
    homes = lay_out((folder / "out").resolve(), settings, made.config.parent, made.data, 7)
    with in_this_process(homes, [party.name for party in settings.party]):
        assert (
            entente(["run", "propose", str(made.config), "--wait", "120", "--yes", "--credentials", str(homes.admin)])
            == 0
        )
        with Client("", homes.admin) as client:
            until(lambda: bool(client.runs()) and client.runs()[0].ended, "the run")
            view = client.run(client.runs()[0].run_id)
            assert view.status == "settled", view.reason
    for name in (LABEL, *NAMES):
        shown = ["--home", str(homes.party(name)), "--out", str(folder / f"{name}.evidence")]
        assert entente(["audit", "evidence", view.run_id[:12], *shown]) == 0
    label = LabelEvidence.read(folder / f"{LABEL}.evidence")
    parties = tuple(PartyEvidence.read(folder / f"{name}.evidence") for name in NAMES)
    return Audited(homes, view.run_id, folder, label, parties)


def record_of(audited: Audited) -> ContributionRecord:
    return SignedContribution.read(audited.label.contribution).record


def signed_anew(audited: Audited, record: ContributionRecord) -> tuple[LabelEvidence, tuple[PartyEvidence, ...]]:
    """The label party signed this record and sent it to everybody."""
    key = load_identity(LABEL, audited.homes.party(LABEL) / "keys").key
    document = SignedContribution.made(key, audited.run_id, record).model_dump_json()
    shown = tuple(one.model_copy(update={"contribution": document}) for one in audited.parties)
    return replace(audited.label, contribution=document.encode()), shown


def test_an_honest_record_is_what_the_replay_gives(audited: Audited, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = audited.folder / "verdict.json"
    assert entente(["audit", "replay", *audited.files, "--json", str(verdict)]) == 0
    said = capsys.readouterr().out
    found = read_verdict(verdict)
    assert (found.named, found.faults, found.unchecked) == ("", (), ())
    assert found.checked == NAMES
    assert found.not_repeated == ()
    assert re.search(rf"fund signed what .*every number of the record of run {audited.run_id[:12]}", said, re.S)
    record = record_of(audited)
    assert found.values["nobody"] == pytest.approx(record.v_nobody, abs=1e-9)
    assert found.values["satellite + social"] == pytest.approx(record.v_everyone, abs=1e-9)
    alone = record.parties["social"].standalone
    assert alone is not None
    assert found.values["social"] - found.values["nobody"] == pytest.approx(alone, abs=1e-9)


def test_a_label_party_that_lies_about_one_value_is_named(audited: Audited, capsys: pytest.CaptureFixture[str]) -> None:
    """The forged record agrees with itself, as every node checks: v(satellite) is 0.02 too low, all else follows."""
    record = record_of(audited)
    lie = _forged(record, 0.02)
    check_record(audited.label.agreement, lie, whole=True)
    assert lie.parties["social"].phi - record.parties["social"].phi == pytest.approx(0.01)
    label, parties = signed_anew(audited, lie)
    found = replay_contributions(label, parties)
    assert found.named == LABEL
    assert any(fault.startswith("signed v(satellite) - v(nobody) ") for fault in found.faults)
    assert not any("v(social)" in fault for fault in found.faults), "only what was lied about is named"
    folder = audited.folder / "lie"
    folder.mkdir()
    (folder / "label").write_bytes(label.packed())
    for one in parties:
        (folder / one.party).write_text(one.model_dump_json())
    files = [str(folder / name) for name in ("label", *NAMES)]
    capsys.readouterr()
    assert entente(["audit", "replay", *files, "--json", str(folder / "verdict")]) != 0
    assert "the replay names 'fund', who signed v(satellite) - v(nobody)" in capsys.readouterr().err
    assert read_verdict(folder / "verdict").sentence.startswith("replay against satellite, social: names 'fund'")


def test_each_party_sees_which_of_its_own_columns_trees_were_split_by(
    audited: Audited, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = {}
    for name in (LABEL, *NAMES):
        code = entente(["run", "importance", audited.run_id[:12], "--home", str(audited.homes.party(name))])
        printed = capsys.readouterr()
        if audited.label.agreement.model.kind != "trees":
            assert code != 0
            assert "is not of sealed trees" in printed.err
            continue
        assert code == 0
        shown[name] = printed.out
    for name, said in shown.items():
        columns = {one.name: set(one.columns) for one in audited.label.agreement.parties}
        assert all(column in said for column in columns[name])
        others = set().union(*(those for other, those in columns.items() if other != name)) - columns[name]
        assert not any(re.search(rf"\b{column}\b", said) for column in others), "no column of anybody else"
        assert "share of the gain" in said
        assert ("By party" in said) == (name == LABEL)


def _forged(record: ContributionRecord, less: float) -> ContributionRecord:
    """The record of the same game with one value lower by ``less`` in every period."""
    one, other = record.parties["satellite"], record.parties["social"]
    nobody = np.zeros(len(record.periods))
    gain = np.array(one.phi_by_period, float) + np.array(other.phi_by_period, float)
    # phi of satellite by period is (v(1) + v(12) - v(2)) / 2 with v(nobody) = 0: any such game will do
    first = np.array(one.phi_by_period, float) - gain / 2
    game = {
        frozenset(): nobody,
        frozenset({"satellite"}): first + (one.standalone or 0) - np.nanmean(first) - less,
        frozenset({"social"}): -first + (other.standalone or 0) + np.nanmean(first),
        frozenset(NAMES): gain,
    }
    assert set(game) == set(coalitions(NAMES))
    report = exact_shapley(game, method=record.method, parties=NAMES).record()  # type: ignore[arg-type]
    told = record.model_dump(mode="json")
    for name in NAMES:
        told["parties"][name] |= report["parties"][name]
    return ContributionRecord.model_validate(told)


def _other(change: Callable[[dict[str, NDArray[Any]]], None], arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    made = {name: values.copy() for name, values in arrays.items()}
    change(made)
    return made


def verdict_with(audited: Audited, group: str, change: Callable[[dict[str, NDArray[Any]]], None]) -> ReplayVerdict:
    label = replace(audited.label, **{group: _other(change, getattr(audited.label, group))})
    return replay_contributions(label, audited.parties)


def test_whatever_it_shows_otherwise_than_it_was_fixed_names_it(audited: Audited) -> None:
    def label(arrays: dict[str, NDArray[Any]]) -> None:
        arrays["label"][10] = -arrays["label"][10]

    def column(arrays: dict[str, NDArray[Any]]) -> None:
        arrays["columns"][400, 0] += 0.5

    def entity(arrays: dict[str, NDArray[Any]]) -> None:
        arrays["entities"][[0, 1]] = arrays["entities"][[1, 0]]

    def score(arrays: dict[str, NDArray[Any]]) -> None:
        arrays["scores"] += 0.01 * np.arange(arrays["scores"].shape[1])

    def received(arrays: dict[str, NDArray[Any]]) -> None:
        name = "values" if "values" in arrays else "social|social"
        arrays[name][0] ^= 1

    for change in (label, column, entity):
        found = verdict_with(audited, "inputs", change)
        assert found.named == LABEL
        assert "shows other labels or columns than it committed to" in found.faults[0]
    found = verdict_with(audited, "basis", score)
    assert "shows other shares, scores or models than it committed to" in found.faults[0]
    found = verdict_with(audited, "opened", received)
    assert re.search(r"shows another (part|share) of .* than '\w+' logged that it sent", found.faults[0])


def test_only_what_others_logged_binds_it(audited: Audited) -> None:
    """With no other party's log nothing was fixed; where a party is missing the verdict says so."""
    with pytest.raises(DataError, match="needs the evidence of one feature party"):
        replay_contributions(audited.label, ())
    found = replay_contributions(audited.label, audited.parties[:1])
    assert (found.checked, found.unchecked, found.named) == (("satellite",), ("social",), "")
    shown = audited.parties[0]
    proof = shown.entries[-1]
    forged = json.loads(proof.entry)
    forged["body"]["basis"] = "00" * 32
    other = proof.model_copy(update={"entry": json.dumps(forged)})
    with pytest.raises(DataError, match="has an entry that its log does not prove"):
        replay_contributions(audited.label, [shown.model_copy(update={"entries": (*shown.entries[:-1], other)})])
    with pytest.raises(DataError, match="no commitment before its valuation"):
        replay_contributions(audited.label, [shown.model_copy(update={"entries": shown.entries[:1]})])


def test_a_malformed_entry_is_named_with_its_party(audited: Audited, tmp_path: Path) -> None:
    shown = audited.parties[0]
    key = load_identity(shown.party, audited.homes.party(shown.party) / "keys").key
    with AuditLog(shown.party, f"sqlite:///{tmp_path / 'audit.db'}", key.sign) as log:
        log.append(COMMITMENT, shown.run_id, {"rows": "many"})
        log.head()
        entries = (log.prove(0),)
    with pytest.raises(DataError, match=r"entry 0 of its log is malformed .*: ask satellite to make the file anew"):
        replay_contributions(audited.label, [shown.model_copy(update={"entries": entries})])


@pytest.mark.parametrize("kind", ["label", "party"])
def test_other_files_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    reader = LabelEvidence if kind == "label" else PartyEvidence
    for content in (b"", b"{}", b"PK\x03\x04", json.dumps({"run_id": "x"}).encode()):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(DataError, match="other: is no evidence of a"):
            reader.read(tmp_path / "other")
