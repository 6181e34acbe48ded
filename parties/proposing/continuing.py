"""Going on without a party that is gone for good: the agreement that the others sign, and what they check in it.

Kept is what tells nobody anything new and needs nothing of the party that left: the rows that all had in common, and
the count of openings. Its source weights are lost, and the others' were trained beside them, so training begins anew,
from weights that have nothing to do with the earlier ones: the label party would else read the missing party's own
sums as the difference of what opened with it and without it.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import ValidationError

from parties import __version__
from parties.agreement.document import Agreement
from parties.agreement.sameness import CONTINUED, differing
from parties.agreement.sealed_terms import chosen_anchor
from parties.agreement.terms import PartyTerms
from parties.errors import AgreementError, ConfigError
from parties.names import COORDINATOR
from parties.proposing.anchors import unfit_anchors
from parties.proposing.drafting import Node
from parties.settings.faults import reason
from vfl.terms import SealedModel

__all__ = ["STANDS", "check_continuation", "check_weights", "continued_without", "may_be_opened"]

Rows = Literal["kept", "fresh"]

STANDS = (
    "valued or settled: what it pays stands, the missing party's part included. If only delivery waits, wait too, or "
    "cancel it first, which pays nobody"
)
"""Why nobody goes on from a run, after "run X is"."""


def may_be_opened(earlier: Agreement, began: bool) -> int:
    """Openings of one row that a run under these terms, and those before it, may have made; ``began``: its training."""
    before = earlier.continues.opened if earlier.continues is not None else 0
    return earlier.row_limit if began else before


def continued_without(
    earlier: Agreement,
    without: Collection[str],
    nodes: Mapping[str, Node],
    now: datetime,
    validity: timedelta,
    *,
    began: bool,
    rows: Rows = "kept",
    limit_per_row: int | None = None,
    largest_fraction: float | None = None,
    epochs: int | None = None,
    single_party: bool = False,
) -> Agreement:
    """The terms on which the others go on: those of ``earlier``, less what belongs to ``without``.

    began: whether training had, so that rows may have been opened. ``limit_per_row`` defaults to what may have been
    opened and what the run still needs. Raises :class:`ConfigError` saying what stands in the way, and the remedy.
    """
    gone = set(without)
    staying = _staying(earlier, gone, nodes)
    features = [party for party in staying if party.role == "feature"]
    opened = may_be_opened(earlier, began)
    body = earlier.model_dump(mode="json")
    openings, model = dict(body["openings"]), dict(body["model"])
    openings["single_party"] = (single_party or earlier.openings.single_party) and len(features) == 1
    if largest_fraction is not None:
        openings["largest_fraction"] = largest_fraction
    if epochs is not None:
        model["epochs"] = epochs
    if model.get("anchor") in gone:
        unfit = unfit_anchors(earlier.groups, earlier.model, valued=openings["contribution"] != "none")
        fit = [party for party in staying if party.name not in unfit]
        model["anchor"] = chosen_anchor(fit or staying, {party.name: len(party.columns) for party in staying})
    coalitions = 2 ** (len(features) - 1) - 1 if openings["contribution"] == "masked" else 0
    needed = 1 + model.get("epochs", earlier.model.epochs) + coalitions + int(openings["attribution"])
    needed = max(needed, len(earlier.configurations))
    openings["limit_per_row"] = opened + needed if limit_per_row is None else limit_per_row
    changes: dict[str, Any] = {
        "purpose": earlier.purpose,
        "proposed_at": now,
        "expires_at": now + validity,
        "nonce": secrets.token_hex(16),
        "coordinator_certificate_sha256": nodes[COORDINATOR].certificate_sha256,
        "coordinator_address": nodes[COORDINATOR].address,
        "parties": [_renewed(party.model_dump(mode="json"), nodes[party.name]) for party in staying],
        "openings": openings,
        "model": model,
        "reward": _reward(body["reward"], gone),
        "fees": _fees(earlier, gone),
        "recipients": [name for name in earlier.recipients if name not in gone],
        "code_version": __version__,
        "continues": {
            "run_id": earlier.run_id,
            "without": sorted(gone),
            "rows": "fresh" if earlier.alignment.hides_coverage else rows,
            "opened": opened,
        },
    }
    try:
        return Agreement.model_validate(body | changes)
    except ValidationError as error:
        raise ConfigError(
            f"the others cannot go on under these terms: {reason(error)} (--limit-per-row, "
            f"--largest-fraction and --epochs change them; {opened} openings of a row count as used)"
        ) from None


def _staying(earlier: Agreement, gone: set[str], nodes: Mapping[str, Node]) -> list[PartyTerms]:
    """The parties that go on. Raises :class:`ConfigError` where they cannot."""
    names = [party.name for party in earlier.parties]
    strangers = sorted(gone - set(names))
    if strangers or not gone:
        raise ConfigError(
            f"{', '.join(strangers) or 'nobody'} took no part in that run: choose from {', '.join(names)}"
        )
    if earlier.label.party in gone:
        raise ConfigError(
            f"{earlier.label.party!r} holds the labels and the network above the source layer: without it nothing is "
            "left to go on with; propose a run with another label party"
        )
    _check_apart(earlier, gone)
    staying = [party for party in earlier.parties if party.name not in gone]
    if all(party.role != "feature" for party in staying):
        raise ConfigError("no feature party would be left: the label party alone needs no run")
    lost = sorted({COORDINATOR, *(party.name for party in staying)} - set(nodes))
    if lost:
        raise ConfigError(f"{', '.join(lost)} is no member any more: name it with --without too")
    return staying


def _check_apart(earlier: Agreement, gone: set[str]) -> None:
    """Raise :class:`ConfigError` where the terms bind a party that is gone to one that stays."""
    away = ", ".join(sorted(gone))
    for group in earlier.groups:
        if gone.intersection(group.members):
            raise ConfigError(
                f"members of group {group.name!r} train one encoder together: propose a run of its own without {away}"
            )
    products = earlier.model.products if isinstance(earlier.model, SealedModel) else None
    if products and any(gone.intersection(one.owners) for one in products.named):
        raise ConfigError(
            f"product columns of that run have halves at {away}: propose a run of its own without these formulas"
        )


def _renewed(party: dict[str, Any], node: Node) -> dict[str, Any]:
    """The party as it is known now: certificates and addresses change, keys do not."""
    if party["identity_key"] != node.identity_key:
        raise ConfigError(f"{party['name']!r} has another identity key than in that run: propose a run of its own")
    return party | {"address": node.address, "certificate_sha256": node.certificate_sha256}


def _reward(reward: dict[str, Any], gone: Collection[str]) -> dict[str, Any]:
    rules = reward.get("settlement")
    if rules is None:
        return reward
    stakes = {name: stake for name, stake in rules["stakes"].items() if name not in gone}
    return reward | {"settlement": rules | {"stakes": stakes}}


def _fees(earlier: Agreement, gone: Collection[str]) -> dict[str, Any] | None:
    """Fees go on while three parties are left, the key holder among them."""
    fees = earlier.fees
    if fees is None or fees.key_holder in gone or len(earlier.parties) - len(gone) < 3:
        return None
    return fees.model_dump(mode="json")


def check_continuation(agreement: Agreement, earlier: Agreement | None) -> None:
    """Raise :class:`AgreementError` unless the agreement goes on from ``earlier`` as it says. None: it is not known."""
    terms = agreement.continues
    assert terms is not None
    run = f"run {terms.run_id[:12]}"
    if earlier is None or earlier.run_id != terms.run_id:
        raise AgreementError(f"the agreement goes on from {run}, which is not known here: propose a run of its own")
    stayed = {party.name: party for party in earlier.parties if party.name not in terms.without}
    if {*stayed, *terms.without} != {party.name for party in earlier.parties} or set(stayed) != {
        party.name for party in agreement.parties
    }:
        raise AgreementError(f"the agreement's parties are not those of {run} without {', '.join(terms.without)}")
    for party in agreement.parties:
        before = stayed[party.name]
        if (party.role, party.identity_key, party.columns) != (before.role, before.identity_key, before.columns):
            raise AgreementError(f"{party.name!r} has another role, key or columns than in {run}: propose a run anew")
    if faults := differing(agreement, earlier, CONTINUED):
        raise AgreementError(f"the agreement differs from {run} in {faults[0]}, which going on does not change")
    if terms.opened < (earlier.continues.opened if earlier.continues is not None else 0):
        raise AgreementError(f"the agreement counts fewer openings than {run} began with: propose it again")


def check_weights(agreement: Agreement, earlier: Agreement) -> None:
    """Raise :class:`AgreementError` where two runs would show a party by the difference of their first sums.

    That is so when they start from the same weights, and some party is in only one of them, or with other columns in
    each, without having agreed there that its own sums open (masked contributions).
    """
    if agreement.model.kind != "split" or agreement.initial_purpose != earlier.initial_purpose:
        return
    for one, other in ((agreement, earlier), (earlier, agreement)):
        brought = {_brought(party) for party in other.features}
        alone = {party.name for party in one.features if _brought(party) not in brought}
        if alone and one.openings.contribution != "masked":
            raise AgreementError(
                f"the run would start from the weights of run {earlier.run_id[:12]}, which had other parties or "
                f"columns: the label party would read the sums of {', '.join(sorted(alone))} as a difference; set "
                "another model.seed"
            )


def _brought(party: PartyTerms) -> tuple[str, tuple[str, ...], str, str, str]:
    """What a party's sums are made of."""
    return party.name, party.columns, party.text, party.encoder, party.expansion
