"""Daily use of a finished sealed run: what its agreement allows afterwards, and what a scoring session is of."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, StringConstraints, field_validator, model_serializer

from vfl.models.sealed.opens import one_bit, opened_bits
from vfl.terms import SealedModel, Terms

if TYPE_CHECKING:
    from parties.agreement.document import Agreement

__all__ = ["DailyTerms", "ScoringTerms", "check_daily", "daily_lines", "scored_periods", "scoring_lines"]

_MOST_SCORES = 2600
_SEALED_ONLY = 'daily use is of model.kind = "sealed" over a calendar: leave [daily] out, or set that kind'


class DailyTerms(Terms):
    """After the run every party keeps its share of the last weights, and new periods are scored with them."""

    scores: int = Field(
        ge=1, le=_MOST_SCORES, description="periods after the run's calendar that may be scored, each of them once"
    )
    expires: date = Field(description="the day from which every party's share of the weights is erased, UTC")
    retrain: Literal["advice", "never"] = Field(
        default="advice", description="advice: entente run score says when monitoring advises to train anew, and how"
    )
    schedule: Literal["command", "due"] = Field(
        default="command",
        description="due: the coordinator proposes each period once its cutoff has passed, and again an hour later "
        "while a party's data is late; command: whoever calls entente run score does",
    )

    @field_validator("expires", mode="before")
    @classmethod
    def _a_day(cls, value: Any) -> Any:
        if value in (None, ""):
            raise ValueError("name the day from which every party's share of the weights is erased, such as 2027-12-31")
        return value

    @model_serializer(mode="wrap")
    def _only_what_is_agreed(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Terms without a schedule are what they were before there was one."""
        body: dict[str, Any] = handler(self)
        if body.get("schedule") == "command":
            body.pop("schedule")
        return body


class ScoringTerms(Terms):
    """This run trains nothing: it scores new periods under the weights that another run's parties kept."""

    of: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(description="run id of the trained run")
    first: str = Field(min_length=1, max_length=40, description="the first period that is scored; the calendar's last")


def check_daily(agreement: Agreement) -> None:
    """Raise ValueError for terms of daily use, or of a scoring session, that contradict the others."""
    daily, scores = agreement.daily, agreement.scores
    if daily is None and scores is None:
        return
    if not isinstance(agreement.model, SealedModel) or agreement.calendar is None:
        raise ValueError(_SEALED_ONLY)
    if agreement.placebo is not None:
        raise ValueError("a placebo is no factor to use: leave [daily] out")
    if daily is not None and scores is not None:
        raise ValueError("a run that scores new periods keeps no weights of its own: leave [daily] out")
    if daily is not None and daily.expires <= agreement.proposed_at.date():
        raise ValueError(f"daily.expires = {daily.expires} is not after the day of the proposal: name a later day")
    if scores is None:
        return
    if scores.first not in agreement.periods[1:]:
        raise ValueError(f"scores.first = {scores.first!r} is no period after the trained run's: name a new one")
    if agreement.search is not None or agreement.continues is not None or agreement.openings.contribution != "none":
        raise ValueError("a run that scores new periods searches, values and goes on from nothing: leave these out")
    if agreement.openings.limit_per_row != 1 or agreement.reward.pot:
        raise ValueError("a run that scores new periods opens one score of a row, and has no pot")


def scored_periods(agreement: Agreement) -> tuple[str, ...]:
    """The periods that a scoring session scores; none of another run."""
    if agreement.scores is None:
        return ()
    return agreement.periods[agreement.periods.index(agreement.scores.first) :]


def daily_lines(agreement: Agreement) -> Iterator[str]:
    """What daily use opens, and when it ends."""
    daily = agreement.daily
    if daily is None:
        return
    bits, model = opened_bits(1), agreement.model
    anchor = model.anchor if isinstance(model, SealedModel) else ""
    yield (
        f"Daily use: after the run every party keeps its share of the last weights, encrypted under its own node's "
        f"key, until {daily.expires} (UTC), when it is erased. Up to {daily.scores} later periods may be scored, each "
        f"once: of each row its score alone opens to {agreement.label.party}, {bits} bits a row and period. {anchor} "
        "counts every one and refuses more. Nothing trains, and no entity is added. Nodes sign these sessions without "
        "asking anybody again."
    )
    whole = opened_bits(daily.scores)
    yield (
        f"A cheating {agreement.label.party} gets these {bits} bits a row and period and one of each prediction, but "
        f"may choose what they say. Of values that hardly change from period to period that is up to {whole} bits. "
        f"{one_bit(anchor)}"
    )
    if daily.schedule == "due":
        yield "The coordinator proposes each of these periods by itself as soon as its cutoff has passed."
    if daily.retrain == "advice":
        yield "When monitoring advises to train anew, entente run score names the command that proposes the new run."


def scoring_lines(agreement: Agreement) -> Iterator[str]:
    """What a scoring session is, in place of the sentence about training."""
    scores, periods = agreement.scores, scored_periods(agreement)
    assert scores is not None
    told = periods[0] if len(periods) == 1 else f"{len(periods)} periods, {periods[0]} to {periods[-1]}"
    yield (
        f"Scores {told} under the weights that the parties kept of run {scores.of[:12]}, as its daily terms allow. "
        f"Nothing trains. Of each row of these periods one score opens, {opened_bits(1)} bits; of other rows nothing."
    )
