"""Commitments to rows: new ones only, salted, told once, and counted only where they came in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from parties.agreement.document import Agreement
from parties.audit.log import AuditLog
from parties.audit.merkle import Tree
from parties.coordinator.committed_rows import CommittedRows
from parties.errors import AgreementError, DataError, LedgerError
from parties.node.context import node_secret
from parties.node.row_commitments import commit_rows, leaf_of, row_bytes, told_times
from parties.settings.consortium import LabelSettings, PartySettings
from parties.settlement.closing import reward_split
from parties.settlement.committed_rows import RowsCommitted, check_flags, covered_periods
from parties.settlement.contribution import ContributionRecord
from parties.settlement.live_record import LiveRecord
from parties.settlement.pay_rule import claims_of
from tests.parties.contribution_records import recorded
from tests.parties.coordinator_rig import PERIODS, Consortium
from tests.parties.data.texts_rig import party as text_party

AT = datetime(2026, 1, 9, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> Any:
    """What committing needs of a node's home: a query over a file that grows."""
    (tmp_path / "rows.sql").write_text("SELECT * FROM read_csv('${data}/rows.csv', header = true)")
    party = PartySettings(name="sat", role="feature", query="rows.sql", columns=("cars",), lag_days=1)
    settings = SimpleNamespace(queries=".", data=".", party=party, label=None)
    return SimpleNamespace(folder=tmp_path, seed=b"\x05" * 32, settings=settings)


def write(home: Any, *rows: str) -> None:
    (home.folder / "rows.csv").write_text("\n".join(["entity,period,cars", *rows]) + "\n")


def test_a_party_of_labels_alone_commits_to_its_labels(home: Any) -> None:
    (home.folder / "label.sql").write_text("SELECT entity, period, cars AS label FROM read_csv('${data}/rows.csv')")
    home.settings.party = PartySettings(name="bank", role="label")
    home.settings.label = LabelSettings(name="r", definition="", query="label.sql", lag_days=1)
    write(home, "a,2026-01-02,1.5", "b,2026-01-02,2.5")
    with AuditLog("bank", f"sqlite:///{home.folder / 'audit.db'}") as audit:
        assert commit_rows(home, audit, AT).rows == 2


def test_of_texts_only_days_that_are_over_are_committed(home: Any) -> None:
    """A row of a window that is not over would be another one later."""
    (home.folder / "posts.sql").write_text("SELECT entity, period AS time, text FROM read_csv('${data}/posts.csv')")
    home.settings.party = text_party(home.folder, window_days=3, memory_days=10)

    def posted(*rows: str) -> None:
        (home.folder / "posts.csv").write_text("\n".join(["entity,period,text", *rows]) + "\n")

    with AuditLog("social", f"sqlite:///{home.folder / 'audit.db'}") as audit:
        posted("a,2026-01-02,good")
        first = commit_rows(home, audit, datetime(2026, 1, 4, tzinfo=UTC))
        posted("a,2026-01-02,good", "a,2026-01-04,bad")
        second = commit_rows(home, audit, datetime(2026, 1, 6, tzinfo=UTC))
        third = commit_rows(home, audit, datetime(2026, 2, 6, tzinfo=UTC))
        assert [one.rows for one in (first, second, third)] == [1, 2, 3]


def test_only_new_rows_are_committed_and_any_one_can_be_opened(home: Any) -> None:
    with AuditLog("sat", f"sqlite:///{home.folder / 'audit.db'}") as audit:
        write(home, "a,2026-01-02,1.5", "b,2026-01-02,2.5")
        first = commit_rows(home, audit, AT)
        write(home, "a,2026-01-02,1.5", "b,2026-01-02,2.5", "a,2026-01-09,3.0")
        second = commit_rows(home, audit, AT + timedelta(days=7))
        third = commit_rows(home, audit, AT + timedelta(days=8))
        assert [one.rows for one in (first, second, third)] == [2, 1, 0]
        row = row_bytes("rows.sql", "a", "2026-01-09T00:00:00.000000", "2026-01-10T23:59:59.999999", [3.0])
        assert Tree([leaf_of(row, node_secret(home.seed, "rows"))]).root.hex() == second.root
        assert Tree([leaf_of(row, b"\x00" * 32)]).root.hex() != second.root, "without the key no row can be guessed"
        logged = [entry.body["root"] for entry in audit.entries() if entry.kind == "rows"]
        assert logged == [first.root, second.root, third.root]
        write(home, "a,2026-01-02,9.9")
        assert commit_rows(home, audit, AT + timedelta(days=9)).rows == 1, "a row that was changed is a new one"
        write(home, "a,2026-01-02,many")
        with pytest.raises(DataError):
            commit_rows(home, audit, AT)
    assert told_times(home.folder) == (), "nothing counts before the coordinator has it"


def test_the_coordinator_remembers_when_it_was_told(tmp_path: Path) -> None:
    said = RowsCommitted(root="ab" * 32, through=datetime.now(UTC) - timedelta(minutes=1))
    with AuditLog("coordinator", f"sqlite:///{tmp_path / 'audit.db'}") as audit:
        rows = CommittedRows(audit)
        assert rows.take("sat", said)
        assert not rows.take("sat", said), "the same again counts from the first time"
        with pytest.raises(AgreementError, match="check its clock"):
            rows.take("sat", RowsCommitted(root="ab" * 32, through=datetime.now(UTC) + timedelta(days=1)))
        ((through, at),) = rows.told("sat")
        assert through == said.through
        again = CommittedRows(audit).told("sat")
        assert [one[0] for one in again] == [through]
        assert abs(again[0][1] - at) < timedelta(seconds=2)
        assert rows.told("card") == ()


@pytest.fixture(scope="module")
def agreement(tmp_path_factory: pytest.TempPathFactory) -> Agreement:
    consortium = Consortium(tmp_path_factory.mktemp("homes"))
    reward = {"pot": 10_000, "risk_aversion": 0, "uplift_level": 1}
    return consortium.agreement(reward=reward)


def test_a_period_counts_when_its_rows_were_told_within_the_agreed_hours(agreement: Agreement) -> None:
    first, second, third = agreement.calendar.cutoffs
    hours = timedelta(hours=1)
    in_time = (first + hours, first + 2 * hours)
    early = (second - hours, second - hours)
    late = (third + hours, third + 25 * hours)
    assert covered_periods(agreement, [in_time, early, late], PERIODS) == (True, False, False)
    assert covered_periods(agreement, [(third, third)], ("other", PERIODS[2])) == (False, True)


def test_what_the_coordinator_did_not_witness_is_refused_and_what_was_not_committed_is_not_paid(
    agreement: Agreement,
) -> None:
    told = [(cutoff, cutoff + timedelta(hours=1)) for cutoff in agreement.calendar.cutoffs]
    record = recorded(PERIODS, {"sat": 0.03, "card": 0.01}) | {"committed": {"sat": [True] * 3, "card": [False] * 3}}
    said = ContributionRecord.model_validate(record)
    check_flags(agreement, said, "sat", told)
    check_flags(agreement, said, "card", ())
    with pytest.raises(LedgerError, match="counts 2020Q3 of 'sat', whose rows were not committed within 24 hours"):
        check_flags(agreement, said, "sat", told[:2])
    assert reward_split(agreement, said).shares == {"sat": 10_000, "card": 0}
    some = ContributionRecord.model_validate(
        record | {"committed": {"sat": [True, False, False], "card": [True, True, True]}}
    )
    phi = said.parties["sat"].phi_by_period[0]
    assert phi is not None
    shares = reward_split(agreement, some).shares
    assert shares["sat"] / shares["card"] == pytest.approx(max(phi / 3, 0) / 0.01, rel=1e-3)
    nobody = ContributionRecord.model_validate(record | {"committed": {}})
    assert reward_split(agreement, nobody).rolled_over == 10_000


def test_live_periods_are_paid_where_their_rows_were_committed_and_the_coordinator_saw_it(agreement: Agreement) -> None:
    key = Ed25519PrivateKey.generate()
    body = agreement.model_dump(mode="json")
    body["parties"][0]["identity_key"] = key.public_key().public_bytes_raw().hex()
    agreed = Agreement.model_validate(body)
    names = ("live-1", "live-2", "live-3")
    cutoffs = tuple(agreed.calendar.cutoffs[-1] + timedelta(days=90 * number) for number in (1, 2, 3))
    flags = {"sat": [True] * 3, "card": [False] * 3}
    said = ContributionRecord.model_validate(recorded(names, {"sat": 0.03, "card": 0.01}) | {"committed": flags})
    record = LiveRecord(run_id=agreed.run_id, periods=names, contribution=said, cutoffs=cutoffs).signed(key)
    record.verify(agreed.run_id, agreed, 3)
    claims = claims_of(agreed, said, live=True)
    assert (claims["sat"].contribution, claims["card"].contribution) == (pytest.approx(0.03), 0.0)
    live = dict(zip(names, cutoffs, strict=True))
    told = [(cutoff, cutoff + timedelta(hours=2)) for cutoff in cutoffs]
    check_flags(agreed, said, "sat", told, live)
    with pytest.raises(LedgerError, match="counts live-3 of 'sat'"):
        check_flags(agreed, said, "sat", told[:2], live)
    with pytest.raises(LedgerError, match="counts live-1 of 'sat'"):
        check_flags(agreed, said, "sat", told)  # without cutoffs nothing is covered
    with pytest.raises(LedgerError, match="cutoffs must rise"):
        record.model_copy(update={"cutoffs": cutoffs[::-1]}).verify(agreed.run_id, agreed, 3)
    with pytest.raises(LedgerError, match="does not carry the signature"):
        later = tuple(cutoff + timedelta(days=1) for cutoff in cutoffs)
        record.model_copy(update={"cutoffs": later}).verify(agreed.run_id, agreed, 3)
