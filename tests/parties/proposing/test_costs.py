"""What a run would cost, counted from its terms, against what a party measures before it signs."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.runs import agreement
from parties.agreement.document import Agreement
from parties.proposing.counted_costs import run_cost, steps_of
from parties.proposing.measured_costs import estimate


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


def test_more_entities_passes_and_parties_cost_more() -> None:
    made = changed(openings={"limit_per_row": 7}, model={"embedding_width": 2})
    small, large = run_cost(made, 100), run_cost(made, 1000)
    assert large.seconds > small.seconds > 0
    assert all(b.bytes_sent > a.bytes_sent for a, b in zip(small.parties, large.parties, strict=True))
    fewer = changed(openings={"limit_per_row": 7}, model={"embedding_width": 2, "epochs": 1})
    assert steps_of(fewer, 100).train < steps_of(made, 100).train
