"""The doors about factors at a real coordinator: with the bundle and without it, sound and spoilt, for each role."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from parties.calls.comparing import CompareQuestion
from parties.calls.factors import FORMS, FactorsQuestion
from parties.cli import run as entente
from parties.coordinator.bundles import BundleStore
from parties.coordinator.desk.factors import _facts
from parties.errors import AgreementError, ConfigError, DataError
from tests.parties.coordinator_rig import LABEL, wait_for_status
from tests.parties.desk_rig import UNIVERSE, Desk, bundle_files, opened
from vfl.factors.adapters import alphalens_csv


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with opened(tmp_path_factory.mktemp("desk")) as made:
        yield made


@pytest.fixture
def spoilt(desk: Desk) -> Iterator[Path]:
    """The coordinator's copy, to be changed; put back afterwards."""
    kept = desk.folder.with_suffix(".kept")
    shutil.copytree(desk.folder, kept)
    yield desk.folder
    shutil.rmtree(desk.folder)
    kept.rename(desk.folder)


def test_a_factor_is_listed_found_and_sorted(desk: Desk) -> None:
    page = desk.client.factor_page(FactorsQuestion())
    assert page.total == 1
    (card,) = page.cards
    assert (card.run_id, card.factor_id, card.available) == (desk.run_id, "demo-joint", True)
    assert (card.ic_joint, card.uplift, card.t_joint) == (0.12, 0.07, 2.5)
    assert card.spark == (0.11, 0.24)
    assert set(card.warnings) == {warning.name for warning in desk.client.factor(desk.run_id).warnings}
    for words, total in (("DEMO bank", 1), (desk.run_id[:10], 1), ("sat test", 1), ("zzz", 0)):
        assert desk.client.factor_page(FactorsQuestion(search=words)).total == total
    assert desk.client.factor_page(FactorsQuestion(factor_id="other")).total == 0
    for order in ("newest", "name", "rank_ic", "uplift", "t"):
        assert desk.client.factor_page(FactorsQuestion(sort=order)).cards == page.cards
    assert desk.client.factor_page(FactorsQuestion(offset=5)).cards == ()


def test_the_battery_comes_with_definitions_and_reasons(desk: Desk) -> None:
    detail = desk.client.factor(desk.run_id)
    assert not detail.withheld
    sections = {section.key: section for section in detail.sections}
    ic = {number.name: number for number in sections["ic"].numbers}
    assert ic["rank_ic"].value is not None
    assert all(number.definition and number.unit for section in detail.sections for number in section.numbers)
    assert [chart.kind for chart in sections["ic"].charts] == ["line", "band"]
    assert len(sections["ic"].charts[1].series.low) == len(sections["ic"].charts[1].series.x)
    assert detail.left_out["drawdown"] == "no prices were given"
    assert detail.facts["Trials counted"] == "1"
    assert {file.path for file in detail.files} >= {"factor.parquet", "signatures/bank.log"}


def test_a_later_version_says_what_it_supersedes() -> None:
    told = _facts({"version": "1-2", "supersedes": {"version": "1", "why": "prices were restated", "sha256": "ab"}})
    assert told["Supersedes"] == "version 1: prices were restated"
    assert "Supersedes" not in _facts({"version": "1", "supersedes": None})


def test_verification_is_that_of_the_command_line(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    check = desk.client.check_factor(desk.run_id)
    assert check.sound
    assert [signer.signer for signer in check.signers] == ["bank"]
    assert [(proof.signer, proof.fault) for proof in check.logged] == [("bank", "")]
    assert entente(["factors", "verify", str(desk.folder)]) == 0
    assert f"{check.files} files are as signed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "fact"),
    [("factor.parquet", "was changed"), ("adapters/alphalens.csv", "was changed"), ("validation.json", "is missing")],
)
def test_a_spoilt_file_is_named_and_nothing_is_handed_over(
    desk: Desk, spoilt: Path, name: str, fact: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if fact == "is missing":
        (spoilt / name).unlink()
    else:
        (spoilt / name).write_bytes((spoilt / name).read_bytes() + b"0")
    check = desk.client.check_factor(desk.run_id)
    assert not check.sound
    assert check.faults[0].file == name
    assert fact in check.faults[0].fact
    assert entente(["factors", "verify", str(spoilt)]) == 3
    assert f"{name}: {check.faults[0].fact}" in capsys.readouterr().err
    with pytest.raises(DataError, match=name):
        desk.client.factor_file(desk.run_id, "zip")


def test_a_spoilt_proof_of_logging_is_red_too(desk: Desk, spoilt: Path) -> None:
    proof = spoilt / "signatures" / "bank.log"
    proof.write_bytes(proof.read_bytes().replace(b'"index":0', b'"index":1'))
    check = desk.client.check_factor(desk.run_id)
    assert not check.sound
    assert check.faults[0].file == "signatures/bank.log"


def test_another_bundle_of_the_same_signer_is_not_the_one_reported(desk: Desk, spoilt: Path) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from tests.parties.cli.test_factors import bundle_of
    from vfl.factors.export import Signer, export_bundle

    key = desk.consortium.identities["bank"].key
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    shutil.rmtree(spoilt)
    for name, content in export_bundle(bundle_of(9), Signer("bank", raw, key.sign)).items():
        (spoilt / name).parent.mkdir(parents=True, exist_ok=True)
        (spoilt / name).write_bytes(content)
    check = desk.client.check_factor(desk.run_id)
    assert [(fault.file, fault.fact) for fault in check.faults] == [
        ("SHA256SUMS", "is not the one that bank reported in the run")
    ]


def test_every_form_can_be_taken_and_is_what_the_adapters_write(desk: Desk) -> None:
    factor = pd.read_parquet(desk.folder / "factor.parquet")
    files = {form: desk.client.factor_file(desk.run_id, form) for form in FORMS}
    assert files["alphalens"] == alphalens_csv(factor)
    table = pd.read_csv(io.BytesIO(files["csv"]), dtype={"instrument": str}, keep_default_na=False)
    assert table["score"].tolist() == factor["score"].tolist()
    with zipfile.ZipFile(io.BytesIO(files["zip"])) as archive:
        assert "signatures/bank.sig" in archive.namelist()
    assert files["report"].startswith(b"<!doctype html>")
    assert files["numerai"].startswith(b"numerai_ticker,signal\n")
    assert files["qlib"][:4] == files["zipline"][:4] == b"PAR1"
    assert desk.client.factor_file(desk.run_id, "numerai", "ticker").startswith(b"ticker,signal\n")
    with pytest.raises(ConfigError, match="knows no id column 'isin'"):
        desk.client.factor_file(desk.run_id, "numerai", "isin")


def test_roles_see_what_is_theirs(desk: Desk) -> None:
    def one(role: Any, party: str = "") -> Any:
        return desk.ask("factors/one", role, party, run_id=desk.run_id)

    def take(role: Any, party: str = "") -> Any:
        return desk.ask("factors/file", role, party, run_id=desk.run_id, form="csv")

    for role, party in (("admin", ""), ("auditor", ""), ("operator", "sat"), ("operator", "bank")):
        assert one(role, party)["may_download"]
        assert take(role, party).startswith(b"datetime,instrument,score")
    reader = one("reader")
    assert (reader["may_download"], reader["files"], reader["left_out"], reader["facts"]) == (False, [], {}, {})
    assert [section["title"] for section in reader["sections"]] == ["Information coefficient, as reported"]
    with pytest.raises(AgreementError, match="this takes admin or auditor or operator"):
        take("reader")
    with pytest.raises(AgreementError, match="outsider takes no part"):
        one("operator", "outsider")
    with pytest.raises(AgreementError, match="outsider takes no part"):
        take("operator", "outsider")
    assert desk.ask("factors/page", "operator", "outsider")["total"] == 0


def test_a_party_that_is_no_recipient_gets_no_file(tmp_path: Path) -> None:
    with opened(tmp_path, recipients=("sat",)) as desk:
        shown = desk.ask("factors/one", "operator", "card", run_id=desk.run_id)
        assert (shown["may_download"], shown["facts"]) == (False, {})
        with pytest.raises(AgreementError, match="card is not among the recipients"):
            desk.ask("factors/file", "operator", "card", run_id=desk.run_id, form="zip")


def test_without_the_bundle_the_runs_report_is_shown_and_says_so(tmp_path: Path) -> None:
    with opened(tmp_path, held=False) as desk:
        (card,) = desk.client.factor_page(FactorsQuestion()).cards
        assert (card.available, card.factor_id, card.ic_joint) == (False, "joint-1", 0.12)
        detail = desk.client.factor(desk.run_id)
        assert detail.withheld.startswith("The coordinator is not among the recipients")
        assert detail.sections[0].charts[0].series.y == (0.11, 0.24)
        with pytest.raises(DataError, match="not among the recipients"):
            desk.client.check_factor(desk.run_id)
        with pytest.raises(DataError, match="not among the recipients"):
            desk.client.factor_file(desk.run_id, "csv")
        with pytest.raises(ConfigError, match="there is no run"):
            desk.client.factor("<b>")


def test_runs_stand_side_by_side_for_those_whom_they_concern(desk: Desk, tmp_path: Path) -> None:
    again = desk.consortium.agreement(alignment=UNIVERSE, purpose="another purpose")
    files = bundle_files(desk.consortium, tmp_path, again.run_id)
    key = bytes.fromhex(desk.consortium.identities[LABEL].public_key)
    BundleStore(desk.folder.parent).save(again.run_id, files, LABEL, key)
    wait_for_status(desk.client, desk.client.propose(again), "settled")
    found = desk.client.compare(CompareQuestion(run_ids=(desk.run_id, again.run_id)))
    assert [run.summary.run_id for run in found.runs] == [desk.run_id, again.run_id]
    assert [run.numbers["uplift"] for run in found.runs] == [0.07, 0.07]
    assert "turnover" in found.runs[1].numbers, "the battery of the bundle"
    (one,) = found.differences
    assert (one.n_periods, one.mean, one.t) == (2, 0.0, None), "alike in every period: nothing to test"
    assert one.likeness == pytest.approx(1.0)
    assert ("purpose", ("tests", "another purpose")) in [(row.name, row.values) for row in found.terms]
    reader = desk.ask("runs/compare", "reader", run_ids=[desk.run_id, again.run_id])
    assert reader["terms"] == []
    assert reader["differences"][0]["likeness"] is None
    with pytest.raises(AgreementError, match="takes no part"):
        desk.ask("runs/compare", "operator", "stranger", run_ids=[desk.run_id, again.run_id])
