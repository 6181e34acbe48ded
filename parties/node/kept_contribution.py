"""The signed contributions a node keeps of a run: verified when they arrive, and all that it judges settlements by."""

from __future__ import annotations

from pathlib import Path

from parties.agreement.document import Agreement
from parties.errors import AgreementError, LedgerError, StorageError
from parties.node.context import RunContext
from parties.settlement.contribution import ContributionRecord
from parties.settlement.dossier_store import write_durably
from parties.settlement.pay_rule import check_record
from parties.settlement.signed_contribution import SignedContribution, contribution_digest
from vfl.arithmetic.received import MalformedError

__all__ = ["keep_contribution", "kept_contribution"]

_FILE = "contribution.json"


def keep_contribution(context: RunContext, document: bytes) -> SignedContribution:
    """Verify the document and keep it, durably, with an entry in the audit log.

    Raises MalformedError saying what is wrong with it.
    """
    try:
        signed = SignedContribution.read(document)
        signed.verify(context.run_id, context.agreement)
        check_record(context.agreement, signed.record, whole=True)
    except (AgreementError, LedgerError) as error:
        raise MalformedError(str(error)) from None
    digest = contribution_digest(signed.record)
    context.audit.append("contribution", context.run_id, {"sha256": digest, "signature": signed.signature})
    write_durably(context.run_folder / _FILE, document.decode())
    return signed


def kept_contribution(folder: Path, run_id: str, agreement: Agreement) -> ContributionRecord | None:
    """The record in the node's ``folder``; None where it was sent none.

    Raises :class:`StorageError` for a damaged one.
    """
    path = folder / "runs" / run_id / _FILE
    try:
        signed = SignedContribution.read(path.read_bytes())
        signed.verify(run_id, agreement)
    except FileNotFoundError:
        return None
    except (OSError, AgreementError):
        raise StorageError(f"{path}: damaged; restore it from a backup") from None
    return signed.record
