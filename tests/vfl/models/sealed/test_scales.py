"""What does not fit the ring is refused before a run, with numbers that do."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from psi.flow import LocalProtocolError
from vfl.models.sealed.scales import Bounds, Update, check_ranges
from vfl.protocols.truncation import LARGEST
from vfl.terms import FixedPoint, SealedModel

FIXED = FixedPoint()


def numbers_in(sentence: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"model\.(\w+) to ([\d.e+-]*\d)", sentence)}


def refusal(terms: SealedModel, rows: int) -> str:
    try:
        check_ranges(terms, FIXED, rows, 50)
    except LocalProtocolError as refused:
        return str(refused)
    return ""


def test_the_defaults_fit_for_every_batch_and_a_thousand_columns() -> None:
    for rows in (1, 511, 4096, 8192):
        bounds = check_ranges(SealedModel(), FIXED, rows, 1000)
        assert bounds.largest <= LARGEST


@given(
    width=st.integers(1, 64),
    limit=st.floats(1, 1024),
    linear=st.integers(0, 16),
    square=st.integers(1, 16),
    rows=st.integers(8, 65536),
)
def test_what_is_refused_names_numbers_that_fit(width: int, limit: float, linear: int, square: int, rows: int) -> None:
    terms = SealedModel(width=width, embedding_limit=limit, linear_rate=2.0**-linear, square_rate=2.0**-square)
    said = refusal(terms, rows)
    found = numbers_in(said)
    smaller = int(found.pop("batch_rows", rows))
    assert not refusal(terms.model_copy(update=found), smaller), said


def test_rates_that_are_no_power_of_two_are_refused_with_the_nearest() -> None:
    with pytest.raises(ValidationError, match=r"such as 0\.25: on shares it is a shift"):
        SealedModel(square_rate=0.3)


@given(rows=st.integers(1, 65536), known=st.integers(1, 10**7), columns=st.integers(1, 2000))
def test_an_update_is_the_terms_to_its_rounding(rows: int, known: int, columns: int) -> None:
    """Momentum to 2**-19, the rates exactly, decays to 2**-19 of a weight."""
    terms = SealedModel()
    made = Update.of(terms, FIXED, rows, known, columns)
    one = 1 << made.shift
    part = rows / (1 << (rows - 1).bit_length())
    assert abs(made.momentum / one - terms.momentum) <= 2.0**-19
    assert abs(made.decays[0] / one - part * terms.linear_rate * min(8.0, terms.alpha / known)) <= 2.0**-19
    assert [factor > 0 for factor in made.factors] == [True, True, True, False, False]
    assert all(abs(factor) & (abs(factor) - 1) == 0 for factor in made.factors)


def test_bounds_grow_with_what_they_count_on() -> None:
    small, large = (Bounds.of(SealedModel(embedding_limit=limit), FIXED, 4096, 32) for limit in (4, 16))
    assert small.forward < large.forward
    assert small.residual < large.residual
    assert small.update < large.update


def test_rates_that_cannot_settle_are_refused_with_one_that_does() -> None:
    with pytest.raises(ValidationError, match=r"effective rate of 4, .* set square_rate to 0\.5 or lower"):
        SealedModel(square_rate=1.0, momentum=0.75)
    assert SealedModel(square_rate=0.5, momentum=0.75).score_fraction == 14
    assert SealedModel(score_limit=16).score_fraction == 12
