"""The permuted placebo as an agreed run: another run's terms again, for strangers' rows, and what nodes hold it to.

It is proposed, signed, opened and counted as any run. Feature parties serve their rows as ever; the label party gives
them its entities in the order of an agreed permutation. So what is opened is charged to the same rows and periods.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.agreement.sameness import TESTED, differing
from parties.agreement.terms import PlaceboTerms, RewardTerms
from parties.errors import AgreementError, ConfigError
from parties.names import COORDINATOR
from parties.proposing.drafting import Node
from parties.settings.faults import reason
from vfl.terms import AnchoredModel

__all__ = ["check_placebo", "placebo_of"]


def placebo_of(
    tested: Agreement,
    nodes: Mapping[str, Node],
    now: datetime,
    validity: timedelta,
    *,
    seed: int | None = None,
    limit_per_row: int | None = None,
) -> Agreement:
    """The agreement of a placebo run of the run that ``tested`` is of. Addresses and certificates are today's.

    The opening limit leaves room for both runs, or is ``limit_per_row``; a node with lower standing limits refuses it.
    Raises :class:`ConfigError` where the terms do not hold together.
    """
    if tested.placebo is not None:
        raise ConfigError("this run is a placebo itself: name the run that it tests")
    if tested.search is not None:
        raise ConfigError(
            "this run searched for its model, which a placebo would have to repeat: its validation has the placebo on "
            "what it opened, and a run of the chosen model without a search can be tested"
        )
    limit = limit_per_row or _room(tested)
    fraction = tested.openings.largest_fraction
    if not isinstance(tested.model, AnchoredModel):
        exposed = limit * tested.model.embedding_width
        fraction = max(fraction, math.ceil(1000 * exposed / tested.counted_features) / 1000)
    missing = sorted({p.name for p in tested.parties} - set(nodes))
    if missing:
        raise ConfigError(f"{missing[0]!r} is no member of this consortium any more: the run cannot be repeated")
    body: dict[str, Any] = tested.model_dump(mode="json") | {
        "purpose": f"permuted placebo of run {tested.run_id[:12]}",
        "proposed_at": now,
        "expires_at": now + validity,
        "nonce": f"placebo:{secrets.token_hex(16)}",
        "coordinator_address": nodes[COORDINATOR].address,
        "coordinator_certificate_sha256": nodes[COORDINATOR].certificate_sha256,
        "openings": tested.openings.model_dump(mode="json")
        | {"limit_per_row": limit, "largest_fraction": fraction, "contribution": "none", "attribution": False},
        "reward": RewardTerms(unit=tested.reward.unit, scale=tested.reward.scale).model_dump(mode="json"),
        "fees": None,
        "continues": None,
        "daily": None,
        "placebo": PlaceboTerms(
            of=tested.run_id,
            seed=secrets.randbelow(2**53) if seed is None else seed,
            row_limit=tested.schedule_limit,
            reserved=tested.reserved_openings,
        ).model_dump(mode="json"),
    }
    for party in body["parties"]:
        node = nodes[party["name"]]
        party |= {"address": node.address, "certificate_sha256": node.certificate_sha256}
    try:
        return Agreement.model_validate(body)
    except ValidationError as error:
        raise ConfigError(f"the placebo's terms do not hold together: {reason(error)}") from None


def _room(tested: Agreement) -> int:
    """Openings of a row that the run, what it went on from, and its placebo need together."""
    passes = min(tested.model.warmup_epochs, tested.schedule_limit)
    predicted = tested.needed_openings + tested.predicted_openings
    before = tested.row_limit - tested.openings_left
    return max(tested.openings.limit_per_row, before + 2 * passes, before + predicted)


def check_placebo(agreement: Agreement, runs: Path) -> None:
    """Raise :class:`AgreementError` unless a placebo's terms are those of the run it tests, which this node signed.

    ``runs`` is the folder that holds the agreements of this node's runs. Agreements without a placebo pass.
    """
    terms = agreement.placebo
    if terms is None:
        return
    try:
        tested = Agreement.model_validate_json((runs / terms.of / "agreement.json").read_bytes())
    except (OSError, ValueError):
        raise AgreementError(
            f"this node has no record of run {terms.of[:12]}, whose placebo is proposed: it takes part in placebos of "
            "its own runs only"
        ) from None
    if tested.run_id != terms.of or tested.placebo is not None:
        raise AgreementError(f"run {terms.of[:12]} cannot be tested by a placebo: name the run that made the factor")
    faults = differing(agreement, tested, TESTED)
    if [(p.name, p.role, p.columns) for p in agreement.parties] != [
        (p.name, p.role, p.columns) for p in tested.parties
    ]:
        faults.append("parties")
    if not set(agreement.recipients) <= {*tested.recipients}:
        faults.append("recipients")
    if (terms.row_limit, terms.reserved) != (tested.schedule_limit, tested.reserved_openings):
        faults.append("the schedule's openings")
    if agreement.continues is not None:
        faults.append("what it goes on from")
    if faults:
        raise AgreementError(
            f"the placebo differs from run {terms.of[:12]}, which it is to test, in {', '.join(faults)}: propose it "
            "with entente run propose --placebo"
        )
