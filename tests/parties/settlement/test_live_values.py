"""Live contributions from a later run: cut to the later periods, attested at the label party's node, never mixed up."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parties.agreement.document import Agreement
from parties.agreement.signing import sign_agreement
from parties.cli import run as entente
from parties.errors import LedgerError
from parties.node.home import NodeHome
from parties.settlement.contribution import ContributionRecord
from parties.settlement.live_record import LiveRecord
from parties.settlement.live_values import live_values
from parties.settlement.pay_rule import claims_of
from parties.settlement.signed_contribution import SignedContribution
from tests.parties.approval_rig import settle_homes
from tests.parties.contribution_records import record_of
from tests.parties.coordinator_rig import LABEL, PERIODS
from tests.parties.settlement_rig import RULES, SettledHome

LATER = ("live-1", "live-2", "live-3")
PHI = {
    "sat": np.array([0.9, 0.9, 0.9, 0.02, 0.04, np.nan]),
    "card": np.array([0.9, 0.9, 0.9, 0.01, 0.03, np.nan]),
}


def longer(agreement: Agreement, **changes: Any) -> Agreement:
    """The same terms over a calendar of three more periods."""
    calendar = agreement.dated
    ends = (*calendar.cutoffs, *(calendar.cutoffs[-1] + timedelta(days=90 * n) for n in (1, 2, 3)))
    terms = {"frequency": "Q", "periods": (*PERIODS, *LATER), "period_ends": ends, "cutoffs": ends}
    return Agreement.model_validate(agreement.model_dump() | {"nonce": "later", "calendar": terms} | changes)


def valued() -> ContributionRecord:
    return ContributionRecord.model_validate(record_of((*PERIODS, *LATER), PHI) | {"uplift_by_period": [0.1] * 6})


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> SettledHome:
    made = SettledHome(tmp_path_factory.mktemp("home"), RULES, rows="any")
    settle_homes(made)
    return made


def test_only_later_periods_that_resolved_count_and_pay_by_themselves(settled: SettledHome) -> None:
    agreement, later = settled.agreement, longer(settled.agreement)
    live = live_values(settled.run_id, agreement, later.run_id, later, valued())
    assert live.periods == LATER[:2], "the third has not resolved"
    assert live.cutoffs == later.dated.cutoffs[3:5]
    assert live.contribution.parties["sat"].phi == pytest.approx(0.03)
    assert live.contribution.uplift_by_period == (0.1, 0.1)
    assert claims_of(agreement, live.contribution, live=True)["card"].contribution == pytest.approx(0.02)
    live.signed(settled.consortium.identities[LABEL].key).verify(settled.run_id, agreement, 2)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"label": {"name": "y", "definition": "other", "party": LABEL}}, "label"),
        ({"walk_forward": {"horizon": 2}}, "horizon"),
        ({"parties": None}, "columns"),
    ],
)
def test_a_run_of_something_else_says_what_differs(settled: SettledHome, changes: dict[str, Any], what: str) -> None:
    agreement = settled.agreement
    if "parties" in changes:
        parties = agreement.model_dump()["parties"]
        parties[1]["columns"] = parties[1]["columns"][:-1]
        changes = {"parties": parties}
    later = longer(agreement, **changes)
    with pytest.raises(LedgerError, match=what):
        live_values(settled.run_id, agreement, later.run_id, later, valued())


def test_the_label_partys_operator_attests_with_one_command(
    settled: SettledHome, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = settled.consortium.home(LABEL)
    command = ["settle", "live", settled.run_id[:8], "--home", str(folder)]
    assert entente([*command, "--yes"]) != 0
    assert "no later run was valued here" in capsys.readouterr().err
    later = longer(settled.agreement)
    run = folder / "runs" / later.run_id
    run.mkdir()
    (run / "agreement.json").write_bytes(later.canonical())
    place = NodeHome(folder)
    signed = SignedContribution.made(place.identity.key, later.run_id, valued())
    (run / "contribution.json").write_text(signed.model_dump_json())
    with place.audit() as audit:
        audit.append("approval", later.run_id, {"signature": sign_agreement(place.identity.key, later)})
    assert entente([*command, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "+0.0300" in said
    assert "more must resolve" not in said
    written = folder / "settlements" / "live" / f"{settled.run_id}.json"
    assert not written.exists()
    assert entente([*command, "--yes"]) == 0
    record = LiveRecord.model_validate(json.loads(written.read_text()))
    record.verify(settled.run_id, settled.agreement, 2)


def test_another_partys_node_is_told_that_it_cannot(settled: SettledHome, capsys: pytest.CaptureFixture[str]) -> None:
    place: Path = settled.consortium.home("sat")
    assert entente(["settle", "live", settled.run_id[:8], "--home", str(place)]) != 0
    assert "signed as their label party" in capsys.readouterr().err
