"""New runs at the desk: templates for the members as they are, drafts with their meaning and cost, and the proposal.

A draft is an agreement that nobody has seen: only :func:`doors`'s ``runs/propose`` puts one before the parties, whose
nodes decide by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from parties.agreement.arithmetic import check_arithmetic
from parties.agreement.document import Agreement
from parties.agreement.who_learns import who_learns
from parties.calls.drafts import (
    CostView,
    DraftQuestion,
    DraftView,
    LearnsView,
    LikeQuestion,
    OpeningUseView,
    PartyCostView,
    ProposedView,
    ProposeQuestion,
    TemplateView,
)
from parties.control.reports import IntroductionBody
from parties.coordinator.desk.agreement_views import caution_lines, section_views
from parties.coordinator.desk.doors import ADMINS, Caller, Door, Doors
from parties.coordinator.desk.templates import Before, templates
from parties.coordinator.desk.used_openings import opened_before, used_openings
from parties.coordinator.engine import Engine
from parties.coordinator.run_views import n_common
from parties.coordinator.screen_views import screen_plan
from parties.errors import AgreementError, ConfigError
from parties.members.roster import Roster
from parties.names import ADMIN, COORDINATOR
from parties.proposing.counted_costs import run_cost
from parties.proposing.drafting import TermsFault, agreement_of, coalition_of, offered_terms, terms_of
from parties.settings.consortium import ConsortiumSettings
from vfl.models.sealed.scales import SCORE_BITS
from vfl.terms import AnchoredModel, FederatedModel, RidgeModel, ScreenModel

__all__ = ["Drafts", "doors"]

_FEW_PERIODS = 12
_HIGH_T = 7.0
_LONG_SECONDS = 3600.0
_ENTRY = "entering the moments of training, which are sums over many rows"
"""What a ridge charges a row of training for."""


@dataclass(frozen=True)
class _Nothing:
    """What a member that has not introduced itself offers."""

    role: str = ""
    legal_entity: str = ""
    columns: tuple[str, ...] = ()
    label_name: str = ""
    label_definition: str = ""


@dataclass(frozen=True)
class _Node:
    """What an agreement says of a node beside what it offers."""

    address: str
    identity_key: str
    certificate_sha256: str
    text: str = ""
    encoder: str = ""
    expansion: str = ""


def doors(engine: Engine, roster: Roster) -> Doors:
    """The doors about runs that are still to be proposed: an admin's alone."""
    drafts = Drafts(engine, roster)
    return {
        "runs/templates": Door(lambda _, __: drafts.templates(), ADMINS),
        "runs/like": Door(lambda said, _: drafts.like(said), ADMINS, LikeQuestion),
        "runs/draft": Door(lambda said, _: drafts.draft(said), ADMINS, DraftQuestion),
        "runs/propose": Door(drafts.propose, ADMINS, ProposeQuestion, acts=True),
    }


class Drafts:
    """Drafts for the members of one consortium."""

    def __init__(self, engine: Engine, roster: Roster) -> None:
        self._engine = engine
        self._roster = roster

    def templates(self) -> list[TemplateView]:
        """Terms to begin with, as the members' offers allow."""
        offers = {name: said for name, said in self._offers().items() if isinstance(said, IntroductionBody)}
        latest = next(iter(self._engine.all_runs()), None)
        consortium = latest.facts.consortium if latest else ""
        return templates(offers, consortium, datetime.now(UTC).date(), self._before())

    def like(self, said: LikeQuestion) -> TemplateView:
        """The terms of a run that there was."""
        known = self._engine.known(said.run_id)
        return TemplateView(
            key=said.run_id,
            title=known.facts.purpose or known.facts.consortium,
            words=f"The terms of run {said.run_id[:12]}; columns are as the parties offer them now.",
            entities=n_common(known.state) or 500,
            terms=terms_of(known.agreement),
        )

    def _before(self) -> Before | None:
        """The latest run that settled with those who are members now, and has a calendar."""
        for known in self._engine.all_runs():
            here = all(name in self._roster for name in known.state.plan.parties)
            if known.state.status == "settled" and here and known.agreement.calendar is not None:
                return Before(known.state.run, terms_of(known.agreement)["calendar"], n_common(known.state))
        return None

    def draft(self, said: DraftQuestion) -> DraftView:
        """The agreement that the terms make, and what follows from it; or the first fault, and where it is."""
        try:
            settings = offered_terms(said.terms, self._offers())
            if said.coalition:
                settings = coalition_of(settings, only=said.coalition)
            agreement = self._agreement(settings, said)
        except TermsFault as fault:
            return DraftView(fault=fault.fault, field=fault.field)
        except (ConfigError, AgreementError) as error:
            field, _, text = str(error).partition(": ")
            if field == "calendar":
                return DraftView(fault=text, field=field)
            return DraftView(fault=str(error), field="group" if field.startswith("group ") else "")
        cost = run_cost(agreement, said.entities)
        predicted = _predicted(agreement)
        sealed = isinstance(agreement.model, AnchoredModel)
        runs = tuple(self._engine.all_runs())
        return DraftView(
            refusals=tuple(used_openings(agreement, runs)),
            warnings=tuple(self._warnings(agreement, predicted, cost.seconds)),
            run_id=agreement.run_id,
            agreement=agreement.model_dump(mode="json"),
            text=section_views(agreement),
            cautions=caution_lines(agreement),
            learns=tuple(_learns(agreement)),
            openings=tuple(_uses(agreement)),
            row_limit=agreement.row_limit,
            opened_before=opened_before(agreement, runs),
            exposed=0 if sealed else agreement.row_limit * agreement.model.embedding_width,
            score_bits=SCORE_BITS if sealed and not isinstance(agreement.model, ScreenModel | FederatedModel) else 0,
            opened_rows=0 if isinstance(agreement.model, ScreenModel | FederatedModel) else predicted * said.entities,
            features=agreement.counted_features,
            screen=screen_plan(agreement),
            cost=CostView(
                rows=cost.steps.rows,
                steps=cost.steps.all,
                seconds=cost.seconds,
                predicted_periods=predicted,
                parties=tuple(PartyCostView(**vars(party)) for party in cost.parties),
            ),
        )

    def propose(self, said: ProposeQuestion, caller: Caller) -> ProposedView:
        """Put the agreement of a draft before its parties."""
        return ProposedView(run_id=self._engine.propose(said.agreement, caller.signature))

    def _offers(self) -> Mapping[str, IntroductionBody | _Nothing]:
        """What each member's node says it brings; of one that has said nothing, that it brings nothing."""
        members = [name for name in self._roster if name not in (COORDINATOR, ADMIN)]
        return {name: line.introduction or _Nothing() for name, line in self._engine.attachments(members).items()}

    def _nodes(self) -> Mapping[str, _Node]:
        """Where each node is, by the roster, and what columns it makes of others, as it says itself."""
        made = {
            name: {what: getattr(said, what, "") for what in ("text", "encoder", "expansion")}
            for name, said in self._offers().items()
        }
        return {
            name: _Node(one.address, one.identity_key, one.certificate_sha256, **made.get(name, {}))
            for name, one in ((name, self._roster[name]) for name in self._roster if name != ADMIN)
        }

    def _agreement(self, settings: ConsortiumSettings, said: DraftQuestion) -> Agreement:
        """Raises :class:`TermsFault` also for what a run would only find out once it is under way."""
        now, validity = datetime.now(UTC), timedelta(hours=said.valid_hours)
        agreement = agreement_of(settings, self._nodes(), now, validity, "+".join(said.coalition))
        try:
            check_arithmetic(agreement)
        except AgreementError as error:
            raise TermsFault("parameter_set", str(error)) from None
        reserved = agreement.needed_openings - agreement.predicted_openings
        if not isinstance(agreement.model, AnchoredModel) and agreement.row_limit < 2 + reserved:
            raise TermsFault(
                "openings.limit_per_row",
                f"{agreement.row_limit} openings of a row leave none to train on after one prediction and {reserved} "
                f"for contributions and attribution: allow {2 + reserved} or more, or leave these out",
            )
        for name in ("first", "last"):
            period = getattr(agreement.evaluation, name)
            if period and period not in agreement.periods:
                first, last = agreement.periods[0], agreement.periods[-1]
                raise TermsFault(f"evaluation.{name}", f"{period!r} is none of the periods {first} to {last}")
        if _predicted(agreement) < 1:
            raise TermsFault(
                "walk_forward.warmup",
                f"nothing can be predicted: the calendar has {len(agreement.periods)} periods, and the first "
                f"prediction waits for {agreement.walk_forward.warmup} whose labels are known: lower it, or begin "
                "the calendar earlier",
            )
        return agreement

    def _warnings(self, agreement: Agreement, predicted: int, seconds: float) -> Iterator[str]:
        """What is allowed, and worth a second look."""
        busy: dict[str, str] = {}
        lines = self._engine.attachments(party.name for party in agreement.parties)
        away = [name for name, line in lines.items() if not line.attached]
        for known in self._engine.all_runs():
            if not known.state.ended:
                busy.update(dict.fromkeys(known.state.plan.parties, known.state.run[:12]))
        if not agreement.purpose:
            what = "screen" if isinstance(agreement.model, ScreenModel) else "factor"
            yield f"No purpose is given: say what the {what} is for, which every party signs."
        for name in away:
            yield f"{name} is not connected: it can sign once its node is back."
        for party in agreement.parties:
            if party.name in busy:
                yield f"{party.name} is in run {busy[party.name]}, which has not ended."
        yield from _of_kind(agreement, predicted)
        yield from caution_lines(agreement)
        if agreement.calendar and agreement.calendar.period_ends[-1] > agreement.proposed_at:
            yield "The calendar ends in the future: the last periods have no labels yet."
        if seconds > _LONG_SECONDS:
            fewer = "steps" if isinstance(agreement.model, AnchoredModel) else "passes"
            told = f"fewer {fewer}, wider batches or a ridge are"
            if isinstance(agreement.model, ScreenModel):
                told = "fewer terminals or a shorter calendar is"
            yield f"It may take more than an hour on one core: {told} quicker."


def _of_kind(agreement: Agreement, predicted: int) -> Iterator[str]:
    """What this kind of model may come to."""
    plan = screen_plan(agreement)
    if plan is not None:
        if plan.lone_t > _HIGH_T:
            yield (
                f"With {plan.halves} periods in each half a formula that stands alone needs |t| of {plan.lone_t:.1f}: "
                "a longer calendar or fewer terminals find more."
            )
        return
    if predicted < _FEW_PERIODS and agreement.static is None:
        yield f"Only {predicted} periods are predicted: a rank IC over so few says little."
    passes = min(agreement.model.epochs, _left_to_train(agreement))
    if passes < agreement.model.epochs:
        yield f"The openings leave {passes} of the {agreement.model.epochs} passes over each row."


def _left_to_train(agreement: Agreement) -> int:
    """Openings of a predicted row that its predictions and the contributions leave."""
    return agreement.row_limit - 1 - (agreement.needed_openings - agreement.predicted_openings)


def _predicted(agreement: Agreement) -> int:
    """How many periods are predicted, if every label is known as soon as the horizon has passed; a screen takes all."""
    walk = agreement.walk_forward
    if isinstance(agreement.model, FederatedModel):
        return len(agreement.periods) - agreement.reported_from
    if isinstance(agreement.model, ScreenModel):
        return len(agreement.periods)
    return max(0, len(agreement.periods) - walk.warmup - max(1, walk.longest + walk.embargo) + 1)


def _learns(agreement: Agreement) -> Iterator[LearnsView]:
    roles = {party.name: f"{party.role} party" for party in agreement.parties}
    for who, what in who_learns(agreement).items():
        yield LearnsView(who=who, role=roles.get(who, ""), what=what)


def _uses(agreement: Agreement) -> Iterator[OpeningUseView]:
    terms, parties = agreement.openings, len(agreement.features)
    passes = min(agreement.model.epochs, _left_to_train(agreement))
    if isinstance(agreement.model, ScreenModel):
        yield OpeningUseView(what="the screen: label vectors", most=1)
        return
    if isinstance(agreement.model, FederatedModel):
        return  # nothing of a row opens
    if isinstance(agreement.model, AnchoredModel):
        yield OpeningUseView(what="the prediction", most=agreement.opened_scores)
        return
    yield OpeningUseView(what="the prediction", most=1)
    yield OpeningUseView(what=_ENTRY if isinstance(agreement.model, RidgeModel) else "training", most=passes)
    if terms.contribution == "masked" and parties > 1:
        yield OpeningUseView(what="contributions: every coalition", most=2 ** (parties - 1) - 1)
    if terms.attribution:
        yield OpeningUseView(what="attribution", most=1)
