"""From terms in a file to signatures: what a party offers, who may decide, when, and what a run would cost."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from parties.agreement.document import Agreement
from parties.data.simulate import simulate
from parties.errors import AgreementError, ConfigError
from parties.members.keys import create_identity
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.node.decisions import decide, decisions, verdict, waiting_for
from parties.node.settings import NodeSettings, StandingLimits
from parties.proposing.drafting import agreement_of, load_proposal
from parties.proposing.measured_costs import estimate
from parties.settings.consortium import ConsortiumSettings, load_consortium

NOW = datetime(2026, 1, 30, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Offered:
    role: str
    columns: tuple[str, ...]
    legal_entity: str = ""
    label_name: str = ""
    label_definition: str = ""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("sim"), entities=40, periods=16, parties=2, seed=1, model="split").config


@pytest.fixture(scope="module")
def settings(made: Path) -> ConsortiumSettings:
    return load_consortium(made)


def offers(settings: ConsortiumSettings) -> dict[str, Offered]:
    return {
        p.name: Offered(p.role, p.output_columns, f"{p.name} Ltd", *(("r", "return") if p.role == "label" else ()))
        for p in settings.party
    }


@pytest.fixture(scope="module")
def nodes(settings: ConsortiumSettings, tmp_path_factory: pytest.TempPathFactory) -> Roster:
    folder = tmp_path_factory.mktemp("keys")
    names = [COORDINATOR, *(p.name for p in settings.party)]
    return Roster({name: create_identity(name, folder / name).member("127.0.0.1:1") for name in names})


@pytest.fixture(scope="module")
def agreement(settings: ConsortiumSettings, nodes: Roster) -> Agreement:
    return agreement_of(settings, nodes, NOW, timedelta(hours=3))


def test_the_agreement_lasts_as_long_as_it_was_asked_to(agreement: Agreement) -> None:
    assert agreement.expires_at == NOW + timedelta(hours=3)


def test_a_consortium_file_is_proposed_with_what_the_nodes_offer(made: Path, settings: ConsortiumSettings) -> None:
    proposed = load_proposal(made, offers(settings))
    assert [p.output_columns for p in proposed.party] == [p.output_columns for p in settings.party]
    assert {p.legal_entity for p in proposed.party} == {f"{p.name} Ltd" for p in settings.party}
    assert (proposed.label.name, proposed.model) == (settings.label.name, settings.model)


def test_terms_without_queries_need_only_names(tmp_path: Path, settings: ConsortiumSettings) -> None:
    path = tmp_path / "terms.toml"
    names = [p.name for p in settings.party]
    calendar = '[calendar]\nfrequency = "W-FRI"\nfirst = 2024-01-01\nlast = 2024-06-30\n'
    path.write_text(f'name = "T"\nparties = {names}\n'.replace("'", '"') + calendar)
    proposed = load_proposal(path, offers(settings))
    assert [p.name for p in proposed.party] == names
    assert (proposed.label.name, proposed.label.definition) == ("r", "return")


def test_a_proposal_that_differs_from_the_offers_is_refused(made: Path, settings: ConsortiumSettings) -> None:
    known = offers(settings)
    feature = next(p for p in settings.party if p.role == "feature")
    cases = {
        "no member": {n: o for n, o in known.items() if n != feature.name},
        "has not said what it brings": known | {feature.name: Offered("", ())},
        "offers other columns than the file: only the node has zz. Name those": known
        | {feature.name: Offered("feature", (*feature.output_columns, "zz"))},
        "takes part as label party": known | {feature.name: Offered("label", feature.output_columns)},
    }
    for reason, wrong in cases.items():
        with pytest.raises(ConfigError, match=reason):
            load_proposal(made, wrong)


def with_columns(settings: ConsortiumSettings, count: int, **terms: object) -> ConsortiumSettings:
    """The same consortium with ``count`` columns of its feature parties."""
    names = iter(f"c{i}" for i in range(count))
    features = [p for p in settings.party if p.role == "feature"]
    sizes = {p.name: count // len(features) + (i < count % len(features)) for i, p in enumerate(features)}
    parties = [
        p.model_dump() | {"columns": [next(names) for _ in range(sizes[p.name])], "missing_indicators": ()}
        if p.role == "feature"
        else p.model_dump()
        for p in settings.party
    ]
    model = {"batch_rows": 8192, "embedding_width": 1}
    return ConsortiumSettings.model_validate(
        settings.model_dump(exclude_unset=True) | {"party": parties, "model": model} | terms
    )


@pytest.mark.parametrize(("columns", "bits"), [(64, 23), (65, 22), (128, 22), (129, 21), (1000, 19)])
def test_many_columns_choose_their_bits(settings: ConsortiumSettings, nodes: Roster, columns: int, bits: int) -> None:
    """The defaults hold 64 columns; above, a run was refused until somebody had found the bits that fit."""
    made = agreement_of(with_columns(settings, columns), nodes, NOW)
    assert (made.total_features, made.fixed_point.gradient_bits) == (columns, bits)
    assert made.fixed_point.headroom_bits(columns) >= 1


def test_bits_that_were_set_are_refused_with_those_that_fit(settings: ConsortiumSettings, nodes: Roster) -> None:
    with pytest.raises(ConfigError, match="100 columns leave no room") as refused:
        agreement_of(with_columns(settings, 100, fixed_point={"gradient_bits": 23}), nodes, NOW)
    found = re.search(r"set fixed_point\.gradient_bits = (\d+)", str(refused.value))
    assert found is not None
    agreement_of(with_columns(settings, 100, fixed_point={"gradient_bits": int(found[1])}), nodes, NOW)
    small = {"ring_bits": 36}
    with pytest.raises(ConfigError, match="need a ring of 45 bits") as refused:
        agreement_of(with_columns(settings, 100, fixed_point=small), nodes, NOW)
    agreement_of(with_columns(settings, 100, fixed_point={"ring_bits": 45}), nodes, NOW)
    lower = re.search(r"lower fixed_point\.feature_bits by (\d+)", str(refused.value))
    assert lower is not None
    agreement_of(with_columns(settings, 100, fixed_point=small | {"feature_bits": 12 - int(lower[1])}), nodes, NOW)


def node(settings: ConsortiumSettings, **changes: object) -> NodeSettings:
    party = next(p for p in settings.party if p.role == "feature")
    return NodeSettings.model_validate(
        {"listen": "127.0.0.1:1", "data": "data", "party": party.model_dump(exclude_unset=True), **changes}
    )


def test_four_eyes_take_two_different_people(tmp_path: Path, settings: ConsortiumSettings) -> None:
    terms = node(settings, approvers=["ann", "bob", "cat"], approvals_needed=2)
    assert decide(tmp_path, terms, "approve", by="ann")[1] is None
    assert waiting_for(tmp_path, terms) == 1
    with pytest.raises(AgreementError, match="ann has decided"):
        decide(tmp_path, terms, "approve", by="ann")
    with pytest.raises(AgreementError, match="dan is not among"):
        decide(tmp_path, terms, "approve", by="dan")
    with pytest.raises(ConfigError, match="no name for an approver"):
        decide(tmp_path, terms, "approve", by="../bob")
    (tmp_path / "decisions" / "dan.json").write_text(
        '{"decision": "approve", "by": "dan", "at": "2026-01-01T00:00:00Z", "why": ""}'
    )
    (tmp_path / "decisions" / "bob.json").write_text(
        '{"decision": "approve", "by": "ann", "at": "2026-01-01T00:00:00Z", "why": ""}'
    )
    assert verdict(tmp_path, terms) is None, "neither a stranger's file nor one under another name counts"
    (tmp_path / "decisions" / "bob.json").unlink()
    _, outcome = decide(tmp_path, terms, "approve", by="cat")
    assert outcome is not None
    assert (outcome.approved, outcome.by) == (True, ("ann", "cat"))


def test_one_rejection_is_enough(tmp_path: Path, settings: ConsortiumSettings) -> None:
    terms = node(settings, approvers=["ann", "bob"], approvals_needed=2)
    decide(tmp_path, terms, "approve", by="ann")
    _, outcome = decide(tmp_path, terms, "reject", by="bob", why="too wide")
    assert outcome is not None
    assert (outcome.approved, outcome.why) == (False, "too wide")
    assert [made.decision for made in decisions(tmp_path)] == ["approve", "reject"]


def test_four_eyes_that_cannot_be_are_refused(settings: ConsortiumSettings) -> None:
    with pytest.raises(ValueError, match="at least approvals_needed"):
        node(settings, approvers=["ann", "ann"], approvals_needed=2)
    with pytest.raises(ValueError, match='needs approve = "ask"'):
        node(settings, approvals_needed=2, approve="automatic")


@pytest.mark.parametrize(
    ("hours", "at", "expected"),
    [
        ("", 3, True),
        ("08:00-18:00", 7, False),
        ("08:00-18:00", 8, True),
        ("08:00-18:00", 18, False),
        ("18:00-06:00", 23, True),
        ("18:00-06:00", 5, True),
        ("18:00-06:00", 6, False),
        ("18:00-06:00", 12, False),
    ],
)
def test_hours_are_of_the_day_in_utc(hours: str, at: int, expected: bool) -> None:
    assert StandingLimits(hours=hours).open_at(datetime(2026, 1, 1, at, tzinfo=UTC)) is expected


def test_hours_that_are_none_are_refused() -> None:
    for text in ("8-18", "25:00-06:00", "18:00", "all day"):
        with pytest.raises(ValueError, match="give hours"):
            StandingLimits(hours=text)


def test_the_preflight_counts_what_the_agreement_allows(agreement: Agreement) -> None:
    feature, label = agreement.features[0].name, agreement.label.party
    small, large = estimate(agreement, feature, 40), estimate(agreement, feature, 4000)
    periods = len(agreement.calendar.periods)
    assert (small.rows, large.rows) == (periods * 40, periods * 4000)
    assert small.openings == agreement.row_limit
    assert small.bytes_sent > small.rows * agreement.model.embedding_width * 8
    assert small.steps <= large.steps
    assert large.bytes_sent > small.bytes_sent
    assert large.memory_mb > small.memory_mb
    whole = estimate(agreement, label, 40, round_trip_seconds=0.1)
    # what the label party sends is what the feature parties receive; their products are of nearly one shape
    assert whole.bytes_sent == pytest.approx(len(agreement.features) * small.bytes_received, rel=0.3)
    assert whole.waiting_seconds == pytest.approx(0.3 * whole.steps)
    assert small.waiting_seconds == 0
