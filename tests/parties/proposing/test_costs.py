"""What a run would cost, counted from its terms, against what a party measures before it signs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.runs import agreement
from parties.agreement.bit_plan import bit_plan
from parties.agreement.document import Agreement
from parties.agreement.group_terms import expansion_plan, group_rounds
from parties.proposing.counted_costs import RunCost, run_cost, steps_of
from parties.proposing.federated_costs import rounds_seconds, sums_of
from parties.proposing.measured_costs import estimate
from parties.proposing.sealed_costs import SLOT_OPERAND_BYTES
from parties.proposing.width_and_passes import width_and_passes
from tests.parties.agreement.test_federated_terms import federated
from tests.parties.agreement.test_group_terms import signed
from tests.parties.agreement.test_tied_terms import tied
from vfl.arithmetic.he import PARAMETER_SETS
from vfl.expansion_terms import ExpansionShape
from vfl.models.sealed.coalitions import valued_coalitions
from vfl.terms import RidgeModel, SealedModel
from vfl.walk.cycles import cyclic


def changed(**terms: Any) -> Agreement:
    made = agreement(12)
    return Agreement.model_validate({**made.model_dump(), **terms})


@pytest.mark.parametrize(
    "terms",
    [
        {"model": {"embedding_width": 2, "epochs": 1, "batch_rows": 64}, "openings": {"limit_per_row": 7}},
        {"model": {"kind": "ridge"}, "openings": {"limit_per_row": 2, "contribution": "none"}},
    ],
)
def test_bytes_are_those_of_the_products_themselves(terms: dict[str, Any]) -> None:
    made = changed(**terms)
    counted = {cost.party: cost for cost in run_cost(made, 40).parties}
    for party in ("fund", "cards"):
        measured = estimate(made, party, 40)
        assert (counted[party].bytes_sent, counted[party].bytes_received) == (
            measured.bytes_sent,
            measured.bytes_received,
        )
    assert run_cost(made, 40).steps.all == measured.steps


def sealed(entities: int, **model: Any) -> RunCost:
    made = agreement(104)
    terms = made.model_dump(exclude={"parameter_set", "openings", "model"})
    model = {"kind": "sealed", "anchor": made.features[0].name, **model}
    return run_cost(Agreement.model_validate({**terms, "model": model, "openings": {"contribution": "none"}}), entities)


def test_a_sealed_runs_steps_are_those_of_its_schedule() -> None:
    made = agreement(104)
    terms = made.model_dump(exclude={"parameter_set", "openings", "model"})
    model = SealedModel(anchor=made.features[0].name, batch_rows=64, warmup_steps=3, steps=2)
    document = Agreement.model_validate({**terms, "model": model.model_dump(), "openings": {"contribution": "none"}})
    shape = (104, 12)
    known_from = np.repeat(np.arange(104)[:, None] + document.walk_forward.horizon, 12, axis=1)
    steps = list(cyclic(model, document.walk_forward, known_from, np.zeros(shape), np.ones(shape, dtype=bool)))
    counted = steps_of(document, 12)
    assert counted.train == sum(step.kind == "train" for step in steps)
    assert counted.predict == sum(step.kind == "predict" for step in steps)


def test_a_sealed_run_costs_more_with_more_rows_columns_and_steps() -> None:
    small = sealed(100)
    for more in (sealed(1000), sealed(100, width=8), sealed(100, steps=2)):
        assert more.seconds > small.seconds > 0
        assert all(b.bytes_sent > a.bytes_sent > 0 for a, b in zip(small.parties, more.parties, strict=True))
    sent, received = (sum(getattr(party, way) for party in small.parties) for way in ("bytes_sent", "bytes_received"))
    assert sent == received


def test_more_entities_passes_and_parties_cost_more() -> None:
    made = changed(openings={"limit_per_row": 7}, model={"embedding_width": 2, "epochs": 2})
    small, large = run_cost(made, 100), run_cost(made, 1000)
    assert large.seconds > small.seconds > 0
    assert all(b.bytes_sent > a.bytes_sent for a, b in zip(small.parties, large.parties, strict=True))
    fewer = changed(openings={"limit_per_row": 7}, model={"embedding_width": 2, "epochs": 1})
    assert steps_of(fewer, 100).train < steps_of(made, 100).train


@pytest.mark.parametrize(
    ("openings", "search"),
    [
        ({"largest_fraction": 0.6, "limit_per_row": 3}, None),
        ({"largest_fraction": 0.9, "limit_per_row": 3, "contribution": "none"}, None),
        ({"largest_fraction": 1.5, "limit_per_row": 6, "contribution": "none", "attribution": True}, 1),
    ],
)
def test_every_width_in_the_table_can_be_proposed_and_no_pass_more(
    openings: dict[str, Any], search: int | None
) -> None:
    made = agreement(24)
    terms: dict[str, Any] = {"openings": openings, "model": {"embedding_width": 1, "epochs": 1, "warmup_epochs": 9}}
    if search:
        space = {"source_learning_rate": {"low": 0.1, "high": 0.2}}
        terms["search"] = {"trials": 1, "source_trials": search, "space": space}
        terms["evaluation"] = {"first": made.calendar.periods[12]}
    made = Agreement.model_validate({**made.model_dump(), **terms})
    rooms = width_and_passes(made)
    assert [room.width for room in rooms] == list(range(1, len(rooms) + 1))
    assert [room.agreed for room in rooms] == [True] + [False] * (len(rooms) - 1)
    assert len(rooms) > 1
    for room in rooms:
        model = {"embedding_width": room.width, "epochs": room.passes, "warmup_epochs": 9}
        wide = {**terms, "model": model, "openings": openings | {"limit_per_row": room.limit}}
        tried = Agreement.model_validate({**made.model_dump(), **wide})
        assert tried.needed_openings + tried.search_openings <= tried.row_limit
        assert bit_plan(tried).bits == pytest.approx(room.bits)
        more = Agreement.model_construct(
            **{**dict(tried), "model": tried.model.model_copy(update={"epochs": 1 + room.passes})}
        )
        assert more.needed_openings + more.search_openings > more.row_limit
    beyond = rooms[-1].width + 1
    assert (
        int(openings["largest_fraction"] * made.counted_features / beyond) < made.needed_openings + made.search_openings
    )


def test_a_model_that_opens_no_sums_has_no_table_of_widths() -> None:
    assert (
        width_and_passes(changed(model={"kind": "ridge"}, openings={"limit_per_row": 2, "contribution": "none"})) == ()
    )


@pytest.mark.parametrize("kind", ["sealed", "ridge"])
def test_a_groups_rounds_are_counted_with_what_follows_them(kind: str) -> None:
    """Before anybody signs, where the terms are drafted and where a party measures; the fund has no part in them."""
    made = signed()
    if kind == "ridge":
        made = made.model_copy(update={"model": RidgeModel(), "parameter_set": next(iter(PARAMETER_SETS))})
    one, twice, none = (
        made.model_copy(update={"groups": groups})
        for groups in (made.groups, (made.groups[0].model_copy(update={"rounds": 20}),), ())
    )
    (once, more, before) = (run_cost(terms, 48) for terms in (one, twice, none))
    assert more.seconds - before.seconds == pytest.approx(2 * (once.seconds - before.seconds))
    assert once.seconds > before.seconds + 4 * 10, "ten rounds of four local epochs at four members: over a second each"
    added = {a.party: a.bytes_sent - b.bytes_sent for a, b in zip(once.parties, before.parties, strict=True)}
    numbers = group_rounds(made, made.groups[0]).numbers
    assert added.pop("fund") == 0
    assert all(10 * 8 * numbers < sent < 10 * 8 * numbers + 20_000 for sent in added.values())
    if kind == "sealed":
        measured = estimate(one, "south", 48, round_trip_seconds=1.0)
        assert measured.bytes_sent == {cost.party: cost for cost in once.parties}["south"].bytes_sent
        assert measured.waiting_seconds - measured.round_trips * measured.steps == 5 * 10


def test_what_coalitions_cost_is_counted_where_they_are_valued() -> None:
    made = signed()
    assert made.openings.contribution == "moments"
    alone = made.model_copy(update={"openings": made.openings.model_copy(update={"contribution": "none"})})
    valued, without = ({c.party: c for c in run_cost(one, 48).parties} for one in (made, alone))
    reported = len(made.periods) - made.reported_from
    masked = (
        8 * 3 * 48 * reported * sum("south" in names for names in valued_coalitions(["north", "south", "east", "west"]))
    )
    assert valued["south"].bytes_sent - without["south"].bytes_sent > masked > 0, (
        "an embedding a coalition, and answers"
    )
    assert valued["fund"].bytes_sent > without["fund"].bytes_sent + 15 * 5 * SLOT_OPERAND_BYTES, (
        "five slot products each"
    )
    assert run_cost(made, 48).seconds > run_cost(alone, 48).seconds


def test_a_groups_expansion_and_its_order_are_counted_beside_its_rounds() -> None:
    made = signed()
    group = made.groups[0]
    expand = ExpansionShape(fourier=12, bins=4, outputs=8, fit_periods=28)
    fitted, ordered = (
        made.model_copy(update={"groups": (group.model_copy(update=terms),)})
        for terms in ({"expand": expand}, {"overlap": "precedence"})
    )
    plan = expansion_plan(fitted, fitted.groups[0])
    assert plan is not None
    (alone, sums, order) = ({c.party: c for c in run_cost(one, 48).parties} for one in (made, fitted, ordered))
    for name in group.members:
        more = sums[name].bytes_sent - alone[name].bytes_sent
        numbers = 8 * (plan.moments + 2 * 3 * plan.counted)
        assert numbers < more < numbers + 2000, "counts to three others, moments to the coordinator"
    points = {name: order[name].bytes_sent - alone[name].bytes_sent for name in group.members}
    assert all(3 * 48 * 32 < sent < 3 * (48 * 32 + 200) for sent in points.values()), "a point a row of each pair"
    assert sums["fund"] == alone["fund"] == order["fund"]
    seconds = [rounds_seconds(one, 48) for one in (made, fitted, ordered)]
    assert min(seconds[1:]) > seconds[0]
    assert sums_of(fitted, "south") == sums_of(made, "south") + 2


def test_a_step_under_one_head_waits_longer() -> None:
    own, one = estimate(signed(), "south", 48), estimate(tied(), "south", 48)
    assert one.round_trips == own.round_trips + 2


def test_a_federated_run_is_not_told_as_free() -> None:
    """It has no private product: what a member computes are its rounds."""
    terms = federated()
    measured = estimate(terms, "a", 100, round_trip_seconds=0.1)
    assert measured.seconds == run_cost(terms, 100).seconds > 0
    assert measured.waiting_seconds == pytest.approx(0.1 * 5 * 12 * (1 + 4))
