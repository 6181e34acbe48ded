"""What peers say is parsed or refused with one sentence, whatever the bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.control.parsing import parse
from parties.control.phase_reports import phase_report
from parties.control.phases import PHASES, PhaseName
from parties.control.reports import DoneBody, FailedBody, ProgressBody, RejectedBody, SignedBody
from parties.coordinator.events import PhaseDone, Rejected, event_from_json, event_to_json
from parties.errors import AgreementError
from vfl.terms import Terms

SHAPES: tuple[type[Terms], ...] = (SignedBody, RejectedBody, ProgressBody, DoneBody, FailedBody)
KEYS = st.sampled_from(
    [
        "phase",
        "attempt",
        "report",
        "why",
        "done",
        "total",
        "metrics",
        "points",
        "traffic",
        "detail",
        "period",
        "n_common",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(PHASES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=8), inner, max_size=6),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(shape=st.sampled_from(SHAPES), body=st.binary(max_size=60) | JSON.map(lambda j: json.dumps(j).encode()))
def test_every_body_parses_or_is_an_agreement_error(shape: type[Terms], body: bytes) -> None:
    try:
        parsed = parse(shape, body, "sat's report")
    except AgreementError as error:
        sentence = str(error)
    else:
        assert parse(shape, parsed.model_dump_json().encode(), "again") == parsed
        return
    assert sentence.startswith("sat's report: ")
    assert len(sentence) < 600


@settings(max_examples=80, deadline=None)
@given(
    phase=st.sampled_from(PHASES),
    report=st.fixed_dictionaries(
        {},
        optional={
            "n_common": st.integers() | JSON,
            "set_size": st.integers(0, 10),
            "rows": st.integers(),
            "seconds": st.floats(),
            "detail": st.dictionaries(st.text(max_size=5) | st.just("a"), st.integers() | st.floats() | st.text()),
            "points": st.lists(st.fixed_dictionaries({"period": st.text(max_size=3), "loss": st.floats()}), max_size=2),
        },
    ),
)
def test_a_report_that_is_accepted_can_be_logged(phase: PhaseName, report: dict[str, Any]) -> None:
    """Accepted means: it has a canonical JSON form, and comes back from the log as it went in."""
    try:
        checked = phase_report(phase, report, "sat")
    except AgreementError:
        return
    event = PhaseDone("a" * 64, datetime(2026, 1, 5, tzinfo=UTC), "sat", phase, 1, checked)
    body = json.loads(json.dumps(event_to_json(event)))
    assert event_from_json(body) == event
    assert rfc8785.dumps(body) == rfc8785.dumps(event_to_json(event))
    assert phase_report(phase, checked, "sat") == checked


@pytest.mark.parametrize(
    ("said", "kept"),
    [("two\nlines\x1b[31m", "two lines [31m"), ("\u202egnp.exe", " gnp.exe"), ("naïve 😀", "naïve 😀")],
)
def test_texts_of_peers_stay_on_their_line(said: str, kept: str) -> None:
    assert parse(RejectedBody, {"why": said}, "x").why == kept
    event = event_from_json(event_to_json(Rejected("a" * 64, datetime(2026, 1, 5, tzinfo=UTC), "sat", said)))
    assert isinstance(event, Rejected)
    assert event.why == kept
