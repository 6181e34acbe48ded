"""Drafts at the desk: terms become an agreement with its meaning and cost, or one sentence at one field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from parties.agreement.document import Agreement
from parties.calls.drafts import DraftQuestion, DraftView
from parties.client import Client
from parties.coordinator.desk import drafts
from parties.coordinator.desk.doors import Caller, pass_through
from parties.coordinator.desk.drafts import doors
from parties.errors import AgreementError, ConfigError
from parties.proposing.drafting import offered_terms, terms_of
from tests.parties.coordinator_rig import LABEL, PARTIES, Consortium, FakeNode, wait_for_status, wait_until


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Consortium, Any, Client]]:
    """A coordinator whose parties have said what they bring."""
    consortium = Consortium(tmp_path_factory.mktemp("office"))
    with ExitStack() as stack:
        coordinator = stack.enter_context(consortium.coordinator())
        for name in PARTIES:
            stack.enter_context(FakeNode(consortium, name, introduction=consortium.offer(name)))
        client = stack.enter_context(consortium.client())
        wait_until(lambda: all(view.columns for view in client.parties()), "introductions")
        yield consortium, coordinator, client


def drafted(client: Client, **changes: Any) -> DraftView:
    """The draft of a template with some terms changed: ``model__epochs=3`` is epochs in [model]."""
    kind = changes.pop("kind", "split")
    terms = next(template.terms for template in client.run_templates() if template.key == kind)
    about = {name: changes.pop(name) for name in ("coalition", "entities", "valid_hours") if name in changes}
    for path, value in changes.items():
        table = terms
        *tables, last = path.split("__")
        for name in tables:
            table = table.setdefault(name, {})
        table[last] = value
    return client.run_draft(DraftQuestion(terms=terms, **about))


def test_every_template_makes_an_agreement_as_it_is(office: tuple[Consortium, Any, Client]) -> None:
    client = office[2]
    for template in client.run_templates():
        draft = client.run_draft(DraftQuestion(terms=template.terms))
        assert not draft.fault, (template.key, draft.fault)
        made = Agreement.model_validate(draft.agreement)
        assert made.run_id == draft.run_id
        assert [party.name for party in made.parties if party.role == "label"] == [LABEL]
        assert made.party("sat").columns == tuple(office[0].offer("sat")["columns"])
        assert sum(use.most for use in draft.openings) <= draft.row_limit
        assert draft.cost is not None
        assert draft.cost.seconds > 0
        assert {cost.party for cost in draft.cost.parties} == set(PARTIES)
        assert [who.who for who in draft.learns][-1] == "coordinator"


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"model__embedding_width": 0}, "model.embedding_width", "greater than or equal to 1"),
        ({"model__embedding_width": 60}, "openings.limit_per_row", "linear forms"),
        ({"model__colour": "red"}, "model.colour", "no such key"),
        ({"openings__limit_per_row": 2}, "openings.limit_per_row", "leave none to train on"),
        ({"calendar__frequency": "fortnightly"}, "calendar", "unknown frequency"),
        ({"calendar__last": "2001-01-01"}, "calendar", "is before first"),
        ({"calendar__last": "someday"}, "calendar.last", "must be a day, such as 2024-01-05, and is 'someday'"),
        ({"walk_forward__warmup": 500}, "walk_forward.warmup", "nothing can be predicted"),
        ({"evaluation__first": "2020Q1"}, "evaluation.first", "none of the periods"),
        ({"parties": ["bank", "moon"]}, "parties", "'moon' is no member"),
        ({"parties": ["bank", "sat"]}, "openings.single_party", "embedding is opened alone"),
        ({"parties": ["sat", "card"]}, "", "exactly one"),
        ({"recipients": ["moon"]}, "", "take no part"),
        ({"parameter_set": "bfv-1"}, "parameter_set", "not one of"),
        ({"label": "y"}, "label", "name and its definition"),
        ({"name": 7}, "name", "must be text, in quotes, and is 7"),
        ({"coalition": ("moon",)}, "", "is no feature party"),
    ],
)
def test_a_fault_is_one_sentence_at_its_field(
    office: tuple[Consortium, Any, Client], changes: dict[str, Any], field: str, words: str
) -> None:
    draft = drafted(office[2], **changes)
    assert words in draft.fault
    assert draft.field == field
    assert not draft.agreement
    assert "\n" not in draft.fault


def test_a_sealed_draft_opens_scores_alone_and_names_its_anchor(office: tuple[Consortium, Any, Client]) -> None:
    client = office[2]
    assert client.run_templates()[0].key == "sealed"
    draft = drafted(client, kind="sealed", entities=200)
    assert not draft.fault
    made = Agreement.model_validate(draft.agreement)
    assert made.model.kind == "sealed"
    assert made.model.anchor in {party.name for party in made.features}
    assert draft.score_bits == 17
    assert draft.exposed == 0
    assert draft.cost is not None
    assert draft.opened_rows == 200 * draft.cost.predicted_periods
    label = next(who.what for who in draft.learns if who.who == LABEL)
    assert any(f"The label party and {made.model.anchor} together" in line for line in label)
    assert drafted(client, kind="sealed", openings__limit_per_row=1).fault == ""


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"model__anchor": "moon"}, "model.anchor", "must be a feature party"),
        ({"model__anchor": LABEL}, "model.anchor", "must be a feature party"),
        ({"model__square_rate": 0.3}, "model.square_rate", "power of two"),
        ({"model__epochs": 3}, "model", "has no model.epochs"),
        ({"openings__attribution": True}, "openings.attribution", "needs opened sums"),
        ({"openings__contribution": "masked"}, "openings.contribution", "opens single parties' sums"),
        ({"model__width": 0}, "model.width", "greater than or equal to 1"),
    ],
)
def test_a_sealed_fault_is_one_sentence_at_its_field(
    office: tuple[Consortium, Any, Client], changes: dict[str, Any], field: str, words: str
) -> None:
    draft = drafted(office[2], kind="sealed", **changes)
    assert words in draft.fault
    assert draft.field == field


def test_a_coalition_is_a_retrain_run_that_pays_nothing(office: tuple[Consortium, Any, Client]) -> None:
    draft = drafted(office[2], coalition=("sat",), openings__single_party=True, openings__limit_per_row=2)
    assert not draft.fault
    made = Agreement.model_validate(draft.agreement)
    assert [party.name for party in made.features] == ["sat"]
    assert (made.reward.pot, made.openings.contribution) == (0, "none")
    assert made.nonce.startswith("sat:")


def test_warnings_name_what_deserves_a_second_look(office: tuple[Consortium, Any, Client]) -> None:
    quiet = drafted(office[2], purpose="x", openings__contribution="none", openings__limit_per_row=4)
    assert quiet.warnings == (
        "recipients: the coordinator receives the factor",
        "openings.contribution: contributions are not measured, so the pot is not shared out",
    )
    loud = drafted(office[2], reward__pot=0, calendar__last="2099-12-31", entities=100_000)
    assert not loud.fault
    said = " ".join(loud.warnings)
    for words in ("No purpose", "pot is empty", "in the future", "own embedding", "more than an hour"):
        assert words in said, said


def test_what_earlier_runs_left_no_room_for_is_no_mere_warning(
    office: tuple[Consortium, Any, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafts, "used_openings", lambda agreement, runs: iter([f"{agreement.row_limit} {list(runs)}"]))
    monkeypatch.setattr(drafts, "opened_before", lambda agreement, runs: 3)
    draft = drafted(office[2], purpose="x", openings__contribution="none", openings__limit_per_row=4)
    assert not draft.fault
    assert len(draft.refusals) == 1
    assert draft.refusals[0].startswith("4 [")
    assert (draft.opened_before, draft.row_limit) == (3, 4)
    assert draft.refusals[0] not in draft.warnings


def test_a_draft_is_proposed_as_it_was_shown_and_like_it_again(office: tuple[Consortium, Any, Client]) -> None:
    _, _, client = office
    draft = drafted(
        client,
        purpose="Shown",
        alignment={"policy": "universe", "universe_sha256": "ab" * 32},
        openings={"contribution": "none"},
        recipients=[LABEL],
        entities=40,
    )
    run_id = client.propose_draft(draft)
    assert run_id == draft.run_id
    wait_for_status(client, run_id, "settled")
    again = client.run_like(run_id)
    assert again.title == "Shown"
    second = client.run_draft(DraftQuestion(terms=again.terms))
    before, after = (
        {k: v for k, v in one.agreement.items() if k not in ("nonce", "proposed_at", "expires_at")}
        for one in (draft, second)
    )
    assert before == after


def test_terms_of_a_run_are_its_terms_whatever_they_are(office: tuple[Consortium, Any, Client]) -> None:
    consortium = office[0]
    model = {"kind": "ridge", "alpha": 7.0}
    made = consortium.agreement(model=model, reward={"pot": 5, "settlement": {"stakes": {"sat": 10}}})
    views = {view.name: view for view in office[2].parties()}
    terms = json.loads(json.dumps(terms_of(made)))
    settings = offered_terms(terms, views)
    assert (settings.model, settings.reward, settings.openings) == (made.model, made.reward, made.openings)
    assert settings.name == made.consortium


def test_only_an_admin_drafts_and_proposes(office: tuple[Consortium, Any, Client]) -> None:
    opened = doors(office[1].desk.engine, office[1].desk.roster)
    for role in ("operator", "auditor", "reader"):
        for what in ("runs/templates", "runs/draft", "runs/propose", "runs/like"):
            with pytest.raises(AgreementError, match="takes admin"):
                pass_through(opened, what, {}, Caller("someone", role, "sat"))
    assert opened["runs/propose"].acts
    with pytest.raises(ConfigError, match="entities"):
        pass_through(opened, "runs/draft", {"terms": {}, "entities": 0}, Caller("admin", "admin"))
