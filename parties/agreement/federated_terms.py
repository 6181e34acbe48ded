"""Terms of a federated run: members with the same columns, each with rows and labels of entities of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parties.names import COORDINATOR
from psi.flow import Payload
from vfl.federated_terms import FederatedRounds
from vfl.terms import FederatedModel, Model

if TYPE_CHECKING:
    from parties.agreement.document import Agreement
    from parties.agreement.terms import PartyTerms
    from vfl.federated.rounds import Rounds
    from vfl.federated.valuation import Plan

__all__ = [
    "FEDERATED_PAYLOADS",
    "FEWEST_MEMBERS",
    "check_federated",
    "check_no_members",
    "check_same_columns",
    "check_threshold",
    "federated_rounds",
    "payloads_of",
    "reported_periods",
    "valuation_plan",
    "with_federated_defaults",
]

FEWEST_MEMBERS = 3
"""Of two each would read the other's update off the sum."""
FEDERATED_PAYLOADS = (Payload.SHARE, Payload.MASKED, Payload.COMMITMENT, Payload.PUBLIC, Payload.RESULT)
"""The classes of messages that a federated run allows: it encrypts nothing of a row, and blinds no id."""
_MOST_VALUED = 8
_TOLD = 5


def with_federated_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Raw terms with the defaults of a federated model where they say nothing: own entities, retrained coalitions."""
    filled = dict(given)
    for name, default in (("alignment", {"policy": "own"}), ("openings", {"contribution": "retrain"})):
        said = given.get(name, {})
        if isinstance(said, Mapping):
            filled[name] = default | dict(said)
    return filled


def federated_rounds(agreement: Agreement) -> Rounds:
    """The training that all members take part in. Its sums come first in its session."""
    from vfl.federated.rounds import Rounds

    model = agreement.model
    assert isinstance(model, FederatedModel)
    names = tuple(party.name for party in agreement.parties)
    columns = len(agreement.party(agreement.label.party).columns)
    return Rounds(model, names, COORDINATOR, agreement.run_id, model.numbers(columns))


def reported_periods(agreement: Agreement) -> slice:
    """Which periods the model is judged on."""
    last = agreement.evaluation.last
    return slice(agreement.reported_from, agreement.periods.index(last) + 1 if last else len(agreement.periods))


def valuation_plan(agreement: Agreement, without: Collection[str] = ()) -> Plan:
    """The trainings of coalitions of those who are still in, each of whose sums takes all of its members."""
    from vfl.federated.valuation import Plan

    rounds, window = federated_rounds(agreement), reported_periods(agreement)
    members = tuple(name for name in rounds.members if name not in without)
    return Plan(replace(rounds, members=members), agreement.label.party, window.stop - window.start, whole=True)


def check_no_members(agreement: Agreement) -> None:
    """Raise ValueError where another kind of model has what a federated one alone can have."""
    if isinstance(agreement.model, FederatedModel):
        return
    if agreement.alignment.policy == "own":
        raise ValueError(
            'alignment.policy = "own" leaves each party its own entities, which only model.kind = "federated" can '
            'train on: set it to "psi", "universe" or "union"'
        )
    if agreement.openings.contribution == "retrain":
        raise ValueError(
            'openings.contribution = "retrain" values coalitions of a federated model: set it to another way or to '
            '"none", or model.kind = "federated"'
        )


def payloads_of(model: Model) -> tuple[Payload, ...]:
    """The classes of messages that a run of this kind allows."""
    return FEDERATED_PAYLOADS if isinstance(model, FederatedModel) else tuple(Payload)


def check_federated(agreement: Agreement, model: FederatedModel) -> None:
    """Raise ValueError for what contradicts, or does not exist for, a federated model."""
    members, openings = len(agreement.parties), agreement.openings
    if members < FEWEST_MEMBERS:
        raise ValueError(
            f"a federated model needs {FEWEST_MEMBERS} members: of two each would read the other's update off the sum"
        )
    lead = agreement.party(agreement.label.party)
    if not lead.columns:
        raise ValueError(f"{lead.name} names no columns: every member of a federated model has the same, name them")
    check_same_columns((lead, *agreement.parties), "every member of a federated model")
    for party in agreement.parties:
        if party.encoder or party.expansion:
            raise ValueError(
                f"{party.name} makes columns of its own (encoder, expand or terminals), which are fitted at home and "
                "mean something else at each member: leave them out of a federated run"
            )
    if agreement.alignment.policy != "own":
        raise ValueError(
            "the members of a federated model keep their own entities, and no lists are compared: set "
            'alignment.policy = "own"'
        )
    _check_missing(agreement)
    _check_periods(agreement)
    if set(agreement.recipients) != {party.name for party in agreement.parties}:
        raise ValueError(
            "each member of a federated model scores its own entities and keeps the scores, which never leave it: "
            "leave recipients out, or name all members and nobody else"
        )
    check_threshold(model, members)
    if openings.contribution not in ("retrain", "none"):
        raise ValueError(
            'coalitions of a federated model train anew: set openings.contribution = "retrain" or "none", or choose '
            "another model.kind"
        )
    if openings.contribution == "retrain":
        _check_valued(agreement)


def check_threshold(rounds: FederatedRounds, members: int) -> None:
    """Raise ValueError for a threshold that is not in what is signed, or under which a sum shows an update."""
    where, agreed = rounds.section, rounds.agreed_for(members)
    if rounds.threshold != agreed.threshold:
        raise ValueError(f"{where}.threshold must be named in what is signed: set it to {agreed.threshold}")
    if rounds.threshold < FEWEST_MEMBERS:
        raise ValueError(
            f"{where}.threshold = {rounds.threshold}: of a sum of two each reads the other's update; set it to "
            f"{max(FEWEST_MEMBERS, agreed.threshold)} or more"
        )


def check_same_columns(parties: Sequence[PartyTerms], who: str, *, ordered: bool = False) -> None:
    """Raise ValueError where a party's columns are not, by name, those of the first one."""
    first = parties[0]
    for party in parties:
        differing = sorted(set(party.columns) ^ set(first.columns))
        if not differing and ordered and party.columns != first.columns:
            differing = ["their order"]
        if differing:
            told = ", ".join(differing[:_TOLD]) + (f" and {len(differing) - _TOLD} more" if differing[_TOLD:] else "")
            raise ValueError(
                f"{who} has the same columns, and {party.name} and {first.name} differ in {told}: give both the same "
                "columns, under the same names"
            )


def _check_missing(agreement: Agreement) -> None:
    missing = {
        "search": agreement.search,
        "placebo": agreement.placebo,
        "fees": agreement.fees,
        "readers": agreement.readers or None,
        "walk_forward.horizons": agreement.walk_forward.horizons or None,
        "openings.attribution": agreement.openings.attribution or None,
        "label.residual": agreement.label.residual or None,
        "daily": agreement.daily,
        "continues": agreement.continues,
    }
    for what, terms in missing.items():
        if terms is not None:
            raise ValueError(f"a federated run has no {what}: leave it out")


def _check_periods(agreement: Agreement) -> None:
    """The model is trained on periods whose labels are known before the first reported one."""
    walk, periods = agreement.walk_forward, agreement.periods
    earliest = walk.warmup + max(1, walk.horizon + walk.embargo) - 1
    if agreement.evaluation.first not in periods[earliest:]:
        fit = f"the earliest is {periods[earliest]}" if earliest < len(periods) else "this calendar has none: extend it"
        raise ValueError(
            "a federated model is trained once, on labels known before evaluation.first, and reported from it on: name "
            f"a period with walk_forward.warmup = {walk.warmup} known periods before it; {fit}"
        )
    last = agreement.evaluation.last
    if last and last not in periods[agreement.reported_from :]:
        raise ValueError(f"evaluation.last = {last!r} is no period from evaluation.first on: name one, or leave it out")


def _check_valued(agreement: Agreement) -> None:
    """Every coalition's training is one that may be."""
    if len(agreement.parties) > _MOST_VALUED:
        raise ValueError(
            f'every coalition trains anew, too many above {_MOST_VALUED} members: set openings.contribution = "none"'
        )
    try:
        plan = valuation_plan(agreement)
        for place in range(len(plan.coalitions)):
            plan.training(place)
    except ValueError as error:
        raise ValueError(f'openings.contribution = "retrain": {error}') from None
