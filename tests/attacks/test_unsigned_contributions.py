"""Contributions nobody signed: a coordinator that invents them, a label party that tells each something else."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from parties.control.phase_reports import phase_report
from parties.coordinator.closed_runs import find_run
from parties.coordinator.contribution_intake import check_contribution
from parties.errors import AgreementError, LedgerError
from parties.ledger.lifecycle import close_transaction
from parties.ledger.rewards import close_run
from parties.members.roster import Roster
from parties.node.kept_contribution import keep_contribution, kept_contribution
from parties.node.settlement_judgement import Judgement, judge
from parties.settlement.closing import rules_of
from parties.settlement.contribution import ContributionRecord
from parties.settlement.dossier import Dossier, Intended
from parties.settlement.pay_rule import claims_of
from parties.settlement.requests import Asked, Facts
from parties.settlement.signed_contribution import SignedContribution, contribution_digest
from psi.flow import RemoteProtocolError, run_local
from tests.parties.coordinator_rig import LABEL, contribution
from tests.parties.settlement_rig import RULES, SettledHome
from vfl.protocols.contribution_record import ContributionTold, hear_contributions


class _Nothing:
    """A coordinator that has witnessed no commitment."""

    def told(self, party: str) -> tuple[()]:
        return ()


NOTHING: Any = _Nothing()
INVENTED = ContributionRecord.model_validate(contribution(sat=0.0, card=0.5))


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> SettledHome:
    return SettledHome(tmp_path_factory.mktemp("settled"), RULES | {"at_close": "approved"})


def asked(settled: SettledHome, record: ContributionRecord) -> Asked:
    """A close on these contributions, every number of it computed as the rules say."""
    agreement, at = settled.agreement, datetime.now(UTC).replace(microsecond=0)
    close = close_run(agreement.reward.pot, 0, rules_of(agreement), claims_of(agreement, record, RULES["stakes"]))
    entry = close_transaction(
        settled.run_id,
        {party: award.amount for party, award in close.awards.items()},
        at,
        pot=agreement.reward.pot,
        pledges={party: award.pledge for party, award in close.awards.items()},
        evidence=contribution_digest(record),
    )
    basis = {"contribution": contribution_digest(record)}
    dossier = Dossier(
        kind="close", run_id=settled.run_id, proposer="admin", made_at=at, reasons=("as computed",),
        transactions=(Intended.of(entry),), basis=basis,
    )  # fmt: skip
    return Asked(dossier=dossier, facts=Facts(contribution=record))


def judged(settled: SettledHome, record: ContributionRecord, kept: ContributionRecord | None) -> Judgement:
    roster = Roster.load(settled.consortium.home("sat") / "roster.json")
    key = settled.consortium.identities["sat"].public_key
    return judge(asked(settled, record), settled.agreement, roster, "sat", key, kept)


def test_a_coordinator_that_invents_contributions_is_believed_where_nothing_signed_is_kept(
    settled: SettledHome,
) -> None:
    """Attack 09 a: the node computed the split from what it had just been told, and signed it by itself."""
    signed = settled.signed.record
    assert judged(settled, INVENTED, kept=INVENTED).confirmed, "with its word for the signed record it passes"
    with pytest.raises(LedgerError, match="tells other contributions than the label party signed and sent here"):
        judged(settled, INVENTED, kept=signed)
    assert judged(settled, signed, kept=signed).confirmed
    nothing = judged(settled, INVENTED, kept=None)
    assert not nothing.confirmed, "no policy signs what this node cannot compute"
    assert "no signed contributions" in nothing.notes[0]


BY_HAND: dict[str, Any] = {
    "method": "masked", "definition": "", "v_everyone": 0.12, "v_nobody": 0.10, "n_periods": 3, "parties": {
        "sat": {"phi": 0.0, "standard_error": 0.001, "phi_by_period": [0.05, 0.05, 0.05]},
        "card": {"phi": 0.5, "standard_error": 0.0, "phi_by_period": [0.0, 0.0, 0.0]},
    },
}  # fmt: skip


def intake(settled: SettledHome, record: dict[str, Any], *, sign: bool = True, party: str = LABEL) -> None:
    state = _state(settled)
    said = {"contribution": record}
    if sign:
        key = settled.consortium.identities[party].key
        parsed = ContributionRecord.model_validate(record)
        said["contribution_signature"] = SignedContribution.made(key, settled.run_id, parsed).signature  # type: ignore[assignment]
    check_contribution(settled.agreement, state, LABEL, phase_report("value", said, LABEL), NOTHING)


def _state(settled: SettledHome) -> Any:
    from types import SimpleNamespace

    run = find_run(settled.home, "")
    return SimpleNamespace(run=run.run_id, plan=SimpleNamespace(label=LABEL), span=SimpleNamespace(reports={}))


def test_a_report_that_contradicts_itself_or_is_unsigned_is_not_taken(settled: SettledHome) -> None:
    """Attack 09 b: v(all) - v(nobody) was 0.02, the phis summed to 0.5 and contradicted their own periods."""
    phase_report("value", {"contribution": BY_HAND}, LABEL)  # its form alone is fine
    good = contribution(sat=0.03, card=0.01)
    intake(settled, good)
    with pytest.raises(AgreementError, match="names no periods"):
        intake(settled, BY_HAND)
    with pytest.raises(AgreementError, match=r"says phi 0\.000000 of 'sat', and the mean of its periods is 0.05"):
        intake(settled, BY_HAND | {"periods": list(good["periods"])})
    with pytest.raises(AgreementError, match="are not signed"):
        intake(settled, good, sign=False)
    with pytest.raises(AgreementError, match="do not carry the signature of 'bank'"):
        intake(settled, good, party="sat")


def test_two_records_of_one_run_are_found_out(settled: SettledHome) -> None:
    state = _state(settled)
    key = settled.consortium.identities[LABEL].key
    told = ContributionRecord.model_validate(contribution(sat=0.03, card=0.01))
    signature = SignedContribution.made(key, settled.run_id, told).signature
    report = phase_report(
        "value", {"contribution": told.model_dump(mode="json"), "contribution_signature": signature}, LABEL
    )
    state.span.reports = {"sat": {"contribution_sha256": contribution_digest(INVENTED)}}
    with pytest.raises(AgreementError, match="sat keeps other contributions than bank reports"):
        check_contribution(settled.agreement, state, LABEL, report, NOTHING)
    state.span.reports = {LABEL: report}
    with pytest.raises(AgreementError, match="sat keeps other contributions than bank reports"):
        check_contribution(
            settled.agreement, state, "sat", {"contribution_sha256": contribution_digest(INVENTED)}, NOTHING
        )
    check_contribution(settled.agreement, state, "sat", {"contribution_sha256": contribution_digest(told)}, NOTHING)


def _keep(node: Any, document: bytes) -> None:
    keep_contribution(node, document)


class Node:
    """What keeping needs of a run context."""

    def __init__(self, settled: SettledHome, folder: Path) -> None:
        self.agreement, self.run_id = settled.agreement, settled.run_id
        self.run_folder = folder / "runs" / settled.run_id
        self.audit = self

    def append(self, kind: str, run: str, body: Any) -> int:
        return 0


def test_a_feature_party_keeps_only_what_its_label_party_signed(settled: SettledHome, tmp_path: Path) -> None:
    node: Any = Node(settled, tmp_path)
    key, other = settled.consortium.identities[LABEL].key, settled.consortium.identities["card"].key
    good = ContributionRecord.model_validate(contribution(sat=0.03, card=0.01))
    forged = SignedContribution.made(other, settled.run_id, good)
    elsewhere = SignedContribution.made(key, "ab" * 32, good)
    changed = SignedContribution.made(key, settled.run_id, good).model_copy(update={"record": INVENTED})
    by_hand = SignedContribution.made(key, settled.run_id, ContributionRecord.model_validate(BY_HAND))
    for wrong in (forged, elsewhere, changed, by_hand):
        document = wrong.model_dump_json().encode()

        def label(document: bytes = document) -> Any:
            from psi.flow import Send

            yield Send("sat", ContributionTold(document))

        with pytest.raises(RemoteProtocolError, match="sent contributions that cannot be taken") as caught:
            run_local({LABEL: label(), "sat": hear_contributions(LABEL, partial(_keep, node))})
        assert caught.value.peer == LABEL
        assert kept_contribution(tmp_path, settled.run_id, settled.agreement) is None
    keep_contribution(node, SignedContribution.made(key, settled.run_id, good).model_dump_json().encode())
    assert kept_contribution(tmp_path, settled.run_id, settled.agreement) == good
