"""What a node's own earlier runs say about an agreement: the run it goes on from, and weights that were used before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.errors import AgreementError
from parties.node.align import earlier_rows
from parties.proposing.continuing import check_continuation, check_weights

__all__ = ["check_begun", "check_earlier", "proposed_before"]


def proposed_before(folder: Path, run_id: str) -> Agreement | None:
    """What was proposed to the node in ``folder`` as this run; None when nothing was."""
    try:
        return Agreement.model_validate_json((folder / "runs" / run_id / "agreement.json").read_bytes())
    except (OSError, ValidationError):
        return None


def check_begun(agreement: Agreement, folder: Path, begun: Iterable[str]) -> None:
    """Raise :class:`AgreementError` where a run that has begun here and this one would show a party by a difference."""
    for run_id in begun:
        earlier = proposed_before(folder, run_id)
        if earlier is not None and earlier.run_id != agreement.run_id:
            check_weights(agreement, earlier)


def check_earlier(
    agreement: Agreement, folder: Path, me: str, secret: Callable[[str], bytes], begun: Iterable[str]
) -> None:
    """Raise :class:`AgreementError` where the agreement does not fit this node's earlier runs.

    secret: the node's own, by purpose. begun: ids of the runs in which this node served its features.
    """
    check_begun(agreement, folder, begun)
    terms = agreement.continues
    if terms is None:
        return
    check_continuation(agreement, proposed_before(folder, terms.run_id))
    if agreement.rows_kept and earlier_rows(folder, secret, me, terms.run_id) is None:
        raise AgreementError(
            f"this node has no rows of run {terms.run_id[:12]}: the run ended before they were found, or they are "
            "gone; go on with --rows fresh"
        )
