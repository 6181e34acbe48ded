"""What the coordinator takes of a valuation: contributions that the label party signed, the same that all keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parties.agreement.document import Agreement
from parties.coordinator.committed_rows import CommittedRows
from parties.coordinator.run import RunState
from parties.errors import AgreementError, LedgerError
from parties.settlement.committed_rows import check_flags
from parties.settlement.contribution import ContributionRecord
from parties.settlement.pay_rule import check_record
from parties.settlement.signed_contribution import SignedContribution, contribution_digest

__all__ = ["check_contribution"]


def check_contribution(
    agreement: Agreement, state: RunState, party: str, report: Mapping[str, Any], rows: CommittedRows
) -> None:
    """Refuse a report on value that is unsigned, contradicts itself or differs from others'.

    Raises :class:`AgreementError` naming who and what.
    """
    label, others = state.plan.label, dict(state.span.reports or {})
    if party == label:
        record = ContributionRecord.model_validate(report["contribution"])
        said = report.get("contribution_signature") or ""
        if not said:
            raise AgreementError(f"{party}'s contributions are not signed: its node needs this version")
        SignedContribution(run_id=state.run, record=record, signature=said).verify(state.run, agreement)
        try:
            check_record(agreement, record, whole=True)
            for name in record.parties:
                check_flags(agreement, record, name, rows.told(name))
        except LedgerError as error:
            raise AgreementError(str(error)) from None
    digests = {name: _digest(one) for name, one in (others | {party: report}).items()}
    known = {name: digest for name, digest in digests.items() if digest}
    if label in known:
        for name, digest in known.items():
            if digest != known[label]:
                raise AgreementError(
                    f"{name} keeps other contributions than {label} reports: {label} has signed two records of one run"
                )


def _digest(report: Mapping[str, Any]) -> str:
    if report.get("contribution") is not None:
        return contribution_digest(ContributionRecord.model_validate(report["contribution"]))
    return str(report.get("contribution_sha256") or "")
