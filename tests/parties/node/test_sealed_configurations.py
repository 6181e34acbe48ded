"""A sealed run's search: trials in the protocol against the clear, what they open, what cheats reach, after a crash."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from parties.agreement.arithmetic import check_arithmetic
from parties.agreement.cautions import agreement_cautions
from parties.agreement.document import Agreement
from parties.agreement.sealed_terms import sealed_members
from parties.agreement.terms import EvaluationTerms
from parties.agreement.text import agreement_lines
from parties.agreement.who_learns import who_learns
from parties.data.calendar import calendar_of
from parties.errors import AgreementError, ConfigError
from parties.node import sealed_feature
from parties.node.sealed_feature import SealedFeatureParty
from parties.node.sealed_label import SealedJoint
from parties.node.sealed_trials import LabelTrials, chosen_in_the_clear
from parties.node.validation import validate_run
from parties.proposing.continuing import continued_without
from parties.proposing.sealed_costs import sealed_cost, sealed_steps
from psi.flow import Flow, Message, RemoteProtocolError
from tests.faults.consortium import Crash, MemoryStore
from tests.faults.test_resume import cut
from tests.faults.test_sealed_products import Multiplied
from tests.faults.test_sealed_run import FEATURES, VALUED, Sealed
from tests.parties.agreement.test_sealed_terms import nodes
from tests.parties.node.test_warm_start import ENTITIES, PERIODS, panel
from vfl.models.sealed.coalitions import CoalitionNumbers, Moments, ValuedRows
from vfl.models.sealed.initial import sealed_draw
from vfl.models.sealed.label import SealedLabel
from vfl.models.sealed.messages import Scores, SealedStep
from vfl.models.sealed.opens import NUMBER_BITS
from vfl.models.sealed.trials import ConfigurationChosen, TrialBegins, judged_ics
from vfl.models.sealed.twin import float_twin
from vfl.terms import SealedModel
from vfl.walk.configurations import Configuration
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step

REPORTED = 5
LISTED = (Configuration(), Configuration(linear_rate=2.0**-8, square_rate=2.0**-8), Configuration(width=4, steps=2))


def terms(*listed: Configuration, limit: int = 3) -> Agreement:
    given = VALUED.model_dump(mode="json")
    given["openings"]["limit_per_row"] = limit
    search = {"configurations": [one.model_dump() for one in (listed or LISTED)]}
    return Agreement.model_validate(given | {"search": search, "evaluation": {"first": f"p{REPORTED}"}})


@dataclass
class Searching(Sealed):
    """The nodes of a sealed run with a store for each trial; every message is kept."""

    heard: list[tuple[str, str, Message]] = field(default_factory=list)

    def context(self, name: str) -> Any:
        held = super().context(name)
        held.trial_checkpoints = lambda trial: self.stores.setdefault(f"{name}/{trial}", MemoryStore())
        return held

    def attempt(self, relay: Any = None) -> TrainingResult:
        def hear(sender: str, receiver: str, message: Message) -> Message:
            sent = message if relay is None else relay(sender, receiver, message)
            self.heard.append((sender, receiver, sent))
            return sent

        return super().attempt(hear)

    def judge(self, number: int, ics: NDArray[np.float64]) -> None:
        """Let this trial have been judged so, before a restart."""
        self.context("l").trial_checkpoints(number).put("judged", {"ics": ics})

    @property
    def joint(self) -> SealedJoint:
        return self.labels[-1]

    def scored(self, model: SealedModel) -> NDArray[np.float64]:
        """Scores (T, n) of a configuration in the clear, from the weights that the run starts with."""
        members, parts = sealed_members(self.terms), []
        for owner in (*FEATURES, "l"):
            count = members.own if owner == "l" else members.features[owner]
            seeds = [
                self.secret(holder, f"sealed/{self.terms.initial_purpose}/{owner}")
                for holder in ("l", members.anchor if owner == "l" else owner)
            ]
            parts.append(sum(sealed_draw(seed, count, model, members.columns) for seed in seeds))
        sides, weight = [panel(self.values[name]) for name in FEATURES], np.concatenate(parts)
        return float_twin(sides, self.panel, model, self.terms.walk_forward, self.terms.fixed_point, weight)

    def to_label(self, kind: type[Message]) -> list[Any]:
        return [m for _, receiver, m in self.heard if receiver == "l" and isinstance(m, kind)]


@pytest.fixture(scope="module")
def whole() -> Searching:
    run = Searching(terms())
    run.attempt()
    return run


def test_trials_are_judged_as_in_the_clear_and_the_best_one_trains_the_run(whole: Searching) -> None:
    chosen = chosen_in_the_clear(whole.terms, whole.panel, whole.scored)
    assert whole.joint.chosen == chosen
    result = whole.joint.restore()
    assert result is not None
    scores = whole.scored(cast("SealedModel", chosen))
    assert np.isnan(result.scores[:REPORTED]).all()
    assert np.array_equal(np.isnan(scores[REPORTED:]), np.isnan(result.scores[REPORTED:]))
    assert np.nanmax(np.abs(scores - result.scores)[REPORTED:]) < 5e-3 * np.nanstd(scores)
    tried = whole.joint.tried
    assert [(one.stage, one.number, one.state) for one in tried] == [("configuration", k, "complete") for k in range(3)]
    assert [one.terms for one in tried] == list(whole.terms.configurations)
    for one in tried:
        made = whole.scored(cast("SealedModel", one.terms))
        for period in np.flatnonzero(np.isfinite(one.ics)):
            known = whole.panel.universe[period] & np.isfinite(whole.panel.label[period])
            ranks = np.argsort(np.argsort(whole.panel.label[period][known]))
            assert one.ics[period] == pytest.approx(np.corrcoef(ranks, made[period][known])[0, 1], abs=0.02)
        assert one.value == pytest.approx(np.nanmean(one.ics))
    assert len({round(one.value, 4) for one in tried}) == 3


@dataclass
class SearchingProducts(Multiplied, Searching):
    """The same with product columns."""


@pytest.mark.skipif("ENTENTE_LONG" not in os.environ, reason="takes long: set ENTENTE_LONG=1")
def test_a_trial_and_the_run_have_the_products_as_without_a_search() -> None:
    products = {"screen": "ab" * 32, "formulas": ["c#2 x a#0"]}
    given = terms(Configuration()).model_dump() | {"model": VALUED.model.model_dump() | {"products": products}}
    searching = SearchingProducts(Agreement.model_validate(given))
    found = searching.attempt().scores
    alone = Multiplied(Agreement.model_validate(given | {"search": None, "evaluation": {}})).attempt().scores
    assert np.nanmax(np.abs(found - alone)[REPORTED:]) < 5e-3 * np.nanstd(alone)
    [tried] = searching.joint.tried
    assert np.isfinite(tried.ics).any()
    for period in np.flatnonzero(np.isfinite(tried.ics)):
        known = searching.panel.universe[period] & np.isfinite(searching.panel.label[period])
        ranks = np.argsort(np.argsort(searching.panel.label[period][known]))
        assert tried.ics[period] == pytest.approx(np.corrcoef(ranks, alone[period][known])[0, 1], abs=0.02)


def test_of_a_trial_two_numbers_a_period_open_and_nothing_of_a_row(whole: Searching) -> None:
    judged = int(np.isfinite(whole.joint.tried[0].ics).sum())
    assert [m.count for m in whole.to_label(CoalitionNumbers)] == [2 * judged] * 3
    assert all(len(m.values) == 2 * judged * NUMBER_BITS // 8 for m in whole.to_label(CoalitionNumbers))
    for charge in whole.charges["b"]:
        assert charge.rows.min() >= REPORTED * ENTITIES
    begun = [type(message) for _, receiver, message in whole.heard if receiver == "b"]
    begun = [kind for kind in begun if kind in (TrialBegins, ConfigurationChosen)]
    assert begun == [TrialBegins] * 3 + [ConfigurationChosen]
    assert len(whole.to_label(Scores)) == PERIODS - REPORTED
    numbers = [charge.label for charge in whole.numbers]
    assert {label.rpartition("/")[0] for label in numbers} == {f"numbers/trial-{k}" for k in range(3)}
    counted = np.zeros(PERIODS * ENTITIES, dtype=np.int64)
    for charge in whole.numbers:
        counted[charge.rows] += 1
    assert counted.max() == 3 == whole.terms.row_limit
    assert not counted[REPORTED * ENTITIES :].any()


def test_after_training_restarted_nodes_know_what_was_chosen(whole: Searching) -> None:
    assert whole.joint.found is not None
    again = whole.label()
    result, first = again.restore(), whole.joint.restore()
    assert result is not None
    assert first is not None
    np.testing.assert_array_equal(result.scores, first.scores)
    assert again.found is not None
    assert again.found.chosen == whole.joint.found.chosen
    assert whole.party("a")._model() == whole.joint.chosen
    judged = whole.stores["l/1"].kept.pop("judged")
    assert whole.label().restore() is None
    whole.stores["l/1"].kept["judged"] = judged


def test_a_search_that_is_cut_goes_on_to_the_same_choice_and_opens_each_number_once(whole: Searching) -> None:
    kinds = [type(message) for _, _, message in whole.heard]
    opened = [place for place, kind in enumerate(kinds) if kind is CoalitionNumbers]
    run = Searching(terms())
    run.judge(2, whole.joint.tried[2].ics)
    # in the first trial's training, and then in the second's
    for after in (opened[0] // 2, (opened[1] - opened[0]) // 2):
        with pytest.raises(Crash):
            run.attempt(cut(after))
    result = run.attempt()
    assert run.attempts == 3
    assert run.joint.chosen == whole.joint.chosen
    for one, other in zip(run.joint.tried, whole.joint.tried, strict=True):
        np.testing.assert_allclose(one.ics, other.ics, atol=0.01)
    first = whole.joint.restore()
    assert first is not None
    assert np.nanmax(np.abs(result.scores - first.scores)) < 5e-3 * np.nanstd(first.scores)
    charged = [charge.label for charge in whole.numbers if not charge.label.startswith("numbers/trial-2/")]
    assert [charge.label for charge in run.numbers] == charged
    assert kinds.index(ConfigurationChosen) > opened[2]


def test_numbers_that_were_recorded_open_as_they_were() -> None:
    """Cut as they open, twice, and then when all is judged."""
    run, opened = Searching(terms(Configuration(), limit=1)), set[bytes]()
    for kind in (CoalitionNumbers, CoalitionNumbers, ConfigurationChosen):

        def stop(sender: str, receiver: str, message: Message, kind: type[Message] = kind) -> Message:
            if isinstance(message, CoalitionNumbers):
                opened.add(message.values)
            if isinstance(message, kind):
                raise Crash
            return message

        with pytest.raises(Crash):
            run.attempt(stop)
        charged = [charge.label for charge in run.numbers]
        assert len(charged) == len(set(charged)) > 0
    run.attempt()
    assert len(opened) == 1
    assert [charge.label for charge in run.numbers] == charged


def until(reached: Callable[[Message], bool]) -> Callable[[str, str, Message], Message]:
    """A relay that fails at such a message."""

    def relay(sender: str, receiver: str, message: Message) -> Message:
        if reached(message):
            raise Crash
        return message

    return relay


def greedy(patch: pytest.MonkeyPatch) -> None:
    """A label party that asks for scores where it should mark rows."""

    def mark(self: SealedLabel, step: Step) -> Flow[None]:
        yield from self.predict(step)

    patch.setattr(SealedLabel, "mark", mark)


def test_a_label_party_that_asks_for_scores_in_a_trial_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    greedy(monkeypatch)
    run = Searching(terms(Configuration(), limit=1))
    with pytest.raises(Exception, match="no party can go on: l waits"):
        run.attempt()
    assert not run.to_label(Scores)
    served = sealed_feature.serve_sealed

    def opens(*told: Any, **_: Any) -> Flow[None]:
        return served(*told)

    monkeypatch.setattr(sealed_feature, "serve_sealed", opens)
    weak = Searching(terms(Configuration(), limit=1))
    with pytest.raises(Crash):
        weak.attempt(until(lambda message: isinstance(message, CoalitionNumbers)))
    assert weak.to_label(Scores)


def test_a_trial_is_shown_no_row_of_a_reported_period(monkeypatch: pytest.MonkeyPatch) -> None:
    def later(sender: str, receiver: str, message: Message) -> Message:
        if isinstance(message, SealedStep) and message.train and message.step == 0:
            rows = np.frombuffer(message.rows, "<u4").copy()
            rows[0] = REPORTED * ENTITIES
            return replace(message, rows=rows.tobytes())
        return message

    with pytest.raises(RemoteProtocolError, match="l: announced rows that do not exist"):
        Searching(terms(Configuration(), limit=1)).attempt(later)
    monkeypatch.setattr(SealedFeatureParty, "_earlier_rows", lambda self: self.values)
    passed = until(lambda message: isinstance(message, SealedStep) and message.step == 1)
    with pytest.raises(Crash):
        Searching(terms(Configuration(), limit=1)).attempt(lambda s, r, m: passed(s, r, later(s, r, m)))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({TrialBegins: {"number": 1}}, "begins trial 1 after trial -1, of 1 that were agreed"),
        ({ConfigurationChosen: {"number": 1}}, "chose configuration 1 of 1 that were agreed"),
        ({ValuedRows: {"periods": (REPORTED - 1, REPORTED)}}, "announced rows to value that do not fit together"),
    ],
)
def test_what_was_not_agreed_is_refused_by_name(change: dict[type[Message], dict[str, Any]], fault: str) -> None:
    def tamper(sender: str, receiver: str, message: Message) -> Message:
        return replace(message, **change[type(message)]) if type(message) in change else message

    run = Searching(terms(Configuration(), limit=1))
    if ConfigurationChosen in change:
        run.judge(0, np.linspace(0, 1, PERIODS))
    with pytest.raises(RemoteProtocolError, match=fault):
        run.attempt(tamper)


def test_what_was_chosen_stays_chosen() -> None:
    run = Searching(terms(Configuration(), Configuration(width=4), limit=2))
    for number in range(2):
        run.judge(number, np.linspace(0, 1 + number, PERIODS))
    with pytest.raises(Crash):
        run.attempt(until(lambda message: isinstance(message, SealedStep)))
    assert [m.number for *_, m in run.heard if isinstance(m, ConfigurationChosen)] == [1, 1, 1]

    def tamper(sender: str, receiver: str, message: Message) -> Message:
        return replace(message, number=0) if isinstance(message, ConfigurationChosen) else message

    with pytest.raises(RemoteProtocolError, match="goes on with another configuration than the one it had chosen"):
        run.attempt(tamper)
    for name in [name for name in run.stores if name.startswith("l")]:
        run.stores[name].kept.clear()
    with pytest.raises(RemoteProtocolError, match="begins trial 0 after it has chosen"):
        run.attempt()


def test_a_search_without_a_period_to_choose_by_does_not_begin() -> None:
    run = Searching(terms(Configuration(), limit=1))
    run.panel = replace(run.panel, known_from=run.panel.known_from + PERIODS)
    with pytest.raises(ConfigError, match="no period can be predicted"):
        run.attempt()
    run = Searching(terms(Configuration(), limit=1))
    run.terms = run.terms.model_copy(update={"evaluation": EvaluationTerms(first="p1")})
    with pytest.raises(ConfigError, match="report from a later period"):
        run.attempt()


def test_garbage_is_a_failed_trial_and_the_choice_goes_past_it() -> None:
    everyone, none = frozenset("ab"), np.zeros(2)
    good = Moments((1, 2), {everyone: np.array([0.1, 0.2])}, {everyone: np.array([1.0, 4.0])})
    found = judged_ics(good, "ab")
    assert found is not None
    np.testing.assert_allclose(found, [0.1, 0.1])
    assert judged_ics(replace(good, variance={everyone: np.array([1.0, -4.0])}), "ab") is None
    assert judged_ics(replace(good, covariance={everyone: np.array([0.1, 2.5])}), "ab") is None
    still = judged_ics(replace(good, variance={everyone: none}), "ab")
    assert still is not None
    assert not still.any()
    run, first = Searching(terms()), np.full(PERIODS, np.nan)
    for number, value in enumerate((np.nan, 0.1, 0.2)):
        ics = first.copy()
        ics[3] = value
        run.judge(number, ics)
    assert run.label()._trials is not None
    choice = cast("LabelTrials", run.label()._trials).restored()
    assert choice is not None
    assert (choice.chosen, [one.state for one in choice.tried]) == (2, ["failed", "complete", "complete"])
    for number in range(3):
        run.judge(number, first)
    with pytest.raises(ConfigError, match="training diverged in every trial of the search"):
        cast("LabelTrials", run.label()._trials).restored()


def test_everyone_is_told_before_signing() -> None:
    signed = terms()
    assert Agreement.model_validate_json(signed.canonical()).run_id == signed.run_id
    said = " ".join(agreement_lines(signed))
    assert "Search: 3 configurations of this model" in said
    assert "1: as agreed; 2: linear_rate 0.00390625 and square_rate 0.00390625; 3: width 4 and steps 2" in said
    learned = who_learns(signed)
    assert "up to 30 in all" in " ".join(learned["l"])
    assert "No single score of these periods opens. A label party that cheats may" in " ".join(learned["l"])
    assert "b counts the rows, and refuses more than 3 such numbers of a row" in " ".join(learned["l"])
    assert "It learns which of the 3 configurations was chosen." in learned["a"]
    assert "search.configurations" in {caution.term for caution in agreement_cautions(signed)}


def test_those_who_go_on_without_a_party_have_room_for_its_trials_again() -> None:
    signed, now = terms(), datetime(2026, 2, 1, tzinfo=UTC)
    made = continued_without(signed, ["c"], nodes(signed), now, timedelta(days=1), began=True)
    assert made.configurations == signed.configurations
    assert (made.openings_left, made.row_limit) == (3, 6)


def test_trials_cost_what_they_train_and_value() -> None:
    signed = terms()
    plain = signed.model_copy(update={"search": None})
    searched, alone = (sealed_steps(one, ENTITIES) for one in (signed, plain))
    # three predicted periods lie before the reported one; two trials have 2 + 2 steps there, the third 2 + 2 * 2
    assert searched.predict - alone.predict == 3 * 3
    assert searched.train - alone.train == 4 + 4 + 6
    assert sealed_cost(signed, ENTITIES).sent_by("l") > 2 * sealed_cost(plain, ENTITIES).sent_by("l")


def test_the_exported_factors_trial_is_the_chosen_one_and_all_are_counted(whole: Searching) -> None:
    result = whole.joint.restore()
    assert result is not None
    calendar = calendar_of(whole.terms.calendar)
    findings, trials = validate_run(
        whole.terms, whole.terms.run_id, calendar, whole.panel, result, None, None,
        found=whole.joint.found, tried=whole.joint.tried,
    )  # fmt: skip
    assert len(trials) == 3
    assert findings.numbers["search"]["n_trials"].value == 3
    (selected,) = [trial for trial in trials if trial.selected]
    assert selected.periods == (f"p{REPORTED}",)
    assert selected.terms["model"] == whole.joint.chosen.model_dump(mode="json")
    for trial in trials:
        assert trial.terms["search"]["stage"] == "configuration"
        assert trial.selected or max(trial.periods) < f"p{REPORTED}"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"openings": {"limit_per_row": 2, "contribution": "none"}}, "a row enters the numbers of each trial once, 3"),
        ({"evaluation": {}}, "name that period"),
        ({"search": {"configurations": []}}, "at least 1 item"),
        ({"search": {"configurations": [{"momentum": 0.99}]}}, "number 1: model.square_rate = 0.25 with momentum"),
        ({"search": {"trials": 3}}, "list them in search.configurations"),
        (
            {"model": {"kind": "trees", "anchor": "b"}, "openings": {"contribution": "none"}, "search": {}},
            "trees have no search: drop",
        ),
    ],
)
def test_terms_that_do_not_fit_a_search_are_refused_with_a_remedy(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Agreement.model_validate(terms().model_dump(mode="json") | change)


def test_a_configuration_that_the_ring_has_no_room_for_is_named() -> None:
    check_arithmetic(terms())
    with pytest.raises(AgreementError, match=r"number 2: .* do not fit the ring together"):
        check_arithmetic(terms(Configuration(), Configuration(width=64, square_rate=1.0, momentum=0.0, threshold=99.0)))
