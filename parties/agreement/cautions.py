"""Cautions: the terms of an agreement that lower the protection or the pay of the party that signs it.

A caution names its term. An operator who signs by hand reads it; a node that signs by itself needs the term in its
standing limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from parties.agreement.document import Agreement
from parties.agreement.every_term import AMOUNTS, amount_in_words
from parties.agreement.group_terms import group_cautions
from parties.agreement.product_terms import product_cautions
from parties.agreement.terms import AlignmentTerms, RewardTerms, SettlementTerms
from parties.agreement.who_learns import opens_alone, run_sizes
from parties.names import COORDINATOR
from vfl.models.disclosure import Caution
from vfl.models.opens import CAUTION_TERMS as MODEL_TERMS
from vfl.models.opens import cautions as model_cautions
from vfl.terms import AnchoredModel, OpeningTerms, ScreenModel

__all__ = ["CAUTION_TERMS", "Caution", "agreement_cautions", "weaker_than_before"]

_LONG_VALIDITY = timedelta(days=7)

_WORSE: dict[str, tuple[int, str]] = {
    "openings.limit_per_row": (1, "a row is opened more often"),
    "openings.largest_fraction": (1, "more linear forms of a row may be shown"),
    "openings.noise": (-1, "each number that opens tells more"),
    "model.embedding_width": (1, "each opening shows more numbers"),
    "model.terminals": (1, "more sums of terminals and products open"),
    "model.rows_per_column": (-1, "moments open over fewer rows"),
    "alignment.minimum_common": (-1, "the run goes on with fewer common entities"),
    "alignment.largest_change": (1, "a set may change by more between runs, which shows who came and went"),
    "alignment.smallest_change": (-1, "two runs may differ by fewer ids, which tells of each of them"),
    "alignment.size_bucket": (-1, "set sizes show more exactly"),
    "reward.pot": (-1, "there is less to earn"),
    "reward.risk_aversion": (1, "a contribution that is uncertain earns less"),
    "reward.uplift_level": (-1, "joining must be more certain to be worth something before anybody is paid"),
    "reward.settlement.clip": (1, "more of a stake can be lost"),
    "reward.settlement.live_periods": (-1, "rewards are final on less live data"),
    "reward.settlement.final_after_days": (1, "rewards are paid later"),
    "reward.settlement.dispute_deposit": (1, "a dispute risks more"),
    "reward.settlement.dispute_days": (-1, "a dispute is heard for a shorter time"),
    "reward.settlement.cooling_days": (1, "a stake leaves later"),
    "reward.settlement.approvals": (-1, "fewer people must approve a settlement"),
    "reward.licence.per_period": (-1, "use of the factor pays less each period"),
    "reward.licence.periods": (-1, "use of the factor pays for a shorter time"),
    "fees.rate_millionths": (1, "using the factor costs more"),
    "daily.scores": (1, "more later periods are scored, which nobody is asked about again"),
    "walk_forward.warmup": (-1, "predictions begin on less training"),
}
"""Terms of which more (1) or less (-1) is worse for a feature party, and in what way."""

CAUTION_TERMS = (
    MODEL_TERMS
    | set(_WORSE)
    | {
        "openings.single_party", "openings.attribution", "alignment.policy", "alignment.protocol", "placebo",
        "search.source_trials", "search.configurations",
        "continues", "recipients", "readers", "reward.settlement.approvers", "reward.settlement.stakes",
        "parties.legal_entity", "fees", "daily", "expires_at", "reward.rows", "reward.outputs", "parties.columns",
        "calendar.frequency", "groups.rule", "groups.threshold", "groups.absent", "groups.overlap",
        "groups.head", "model.products",
    }
)  # fmt: skip
"""Every term that a caution may name."""


def agreement_cautions(agreement: Agreement, me: str = "") -> tuple[Caution, ...]:
    """What ``me`` should look at twice before signing; without ``me`` what anybody should."""
    found = tuple(_cautions(agreement, me))
    assert {one.term for one in found} <= CAUTION_TERMS
    return found


def weaker_than_before(before: Agreement, after: Agreement) -> tuple[str, ...]:
    """What protects or pays less than in an earlier agreement, term by term."""
    lines = []
    for path, (direction, words) in _WORSE.items():
        was, now = _value(before, path), _value(after, path)
        if was is not None and now is not None and (now - was) * direction > 0:
            if path.rpartition(".")[2] in AMOUNTS:
                was, now = (amount_in_words(one.reward, value) for one, value in ((before, was), (after, now)))
            lines.append(f"{path} was {was} and is {now}: {words}")
    if before.reward.licence is not None and after.reward.licence is None:
        lines.append("reward.licence was agreed and is gone: use after the run's calendar pays nothing")
    return tuple(lines)


def _value(agreement: Agreement, path: str) -> Any:
    """The number at ``path``; None where these terms have none."""
    found: Any = agreement
    for name in path.split("."):
        if not isinstance(found, BaseModel) or name not in type(found).model_fields:
            return None
        found = getattr(found, name)
    return found


def _cautions(agreement: Agreement, me: str) -> Iterator[Caution]:
    yield from _than_usual(agreement)
    yield from model_cautions(agreement.model, run_sizes(agreement, me))
    yield from group_cautions(agreement, me)
    yield from product_cautions(agreement, me)
    yield from _rows(agreement)
    yield from _people(agreement, me)
    yield from _pay(agreement, me)
    if agreement.expires_at - agreement.proposed_at > _LONG_VALIDITY:
        days = (agreement.expires_at - agreement.proposed_at).days
        yield Caution("expires_at", f"a signature given now can begin the run for {days} days")


def _than_usual(agreement: Agreement) -> Iterator[Caution]:
    """Numbers that are weaker than the program's own defaults."""
    usual: dict[str, type[BaseModel]] = {
        "openings": OpeningTerms,
        "alignment": AlignmentTerms,
        "reward": RewardTerms,
        "reward.settlement": SettlementTerms,
    }
    for path, (direction, words) in _WORSE.items():
        room, _, name = path.rpartition(".")
        now = _value(agreement, path)
        if room not in usual or now is None:
            continue
        default = usual[room].model_fields[name].default
        if (now - default) * direction > 0:
            said, norm = (
                amount_in_words(agreement.reward, value) if name in AMOUNTS else value for value in (now, default)
            )
            yield Caution(path, f"{said}, where {norm} is usual: {words}")


def _rows(agreement: Agreement) -> Iterator[Caution]:
    """What the run shows of rows beside the model itself."""
    openings, terms = agreement.openings, agreement.continues
    if openings.single_party:
        yield Caution("openings.single_party", "a single feature party's own sums open to the label party")
    if openings.attribution:
        yield Caution("openings.attribution", "one number per feature party and period opens")
    if agreement.alignment.hides_coverage and opens_alone(agreement):
        yield Caution(
            "alignment.policy",
            "sums of a single party tell the label party which rows that party does not cover, which this policy hides",
        )
    if agreement.alignment.protocol == "ot" and not agreement.rows_kept:
        yield Caution(
            "alignment.protocol",
            f"{agreement.label.party}'s node finds the common entities, and knows them also where they are too few for "
            "the run",
        )
    if agreement.placebo is not None:
        yield Caution("placebo", "a placebo opens rows once more, and pays nobody")
    if agreement.split_search is not None and agreement.split_search.source_trials:
        yield Caution("search.source_trials", "trials of the source layer open rows before the run itself does")
    if len(agreement.configurations) > 1:
        yield Caution(
            "search.configurations", "each opens two numbers per earlier period, and the choice is told to everyone"
        )
    if terms is not None:
        yield Caution("continues", "the run it goes on from ends and pays nobody; what opened there counts here")


def _people(agreement: Agreement, me: str) -> Iterator[Caution]:
    """Who gets what, and who decides."""
    made = not isinstance(agreement.model, ScreenModel)
    if made and me and me not in agreement.recipients and me != agreement.label.party:
        yield Caution("recipients", f"{me} does not receive the factor")
    if made and COORDINATOR in agreement.recipients:
        yield Caution("recipients", "the coordinator receives the factor")
    for name in agreement.readers:
        yield Caution("readers", f"the factor is also sealed for {name}, who runs no node: compare the key")
    rules = agreement.reward.settlement
    if rules is not None and rules.approvers and me and me not in rules.approvers:
        yield Caution("reward.settlement.approvers", f"{me} is not among those who approve a settlement")


def _pay(agreement: Agreement, me: str) -> Iterator[Caution]:
    """What is paid to whom, and what is at risk."""
    terms, rules = agreement.reward, agreement.reward.settlement
    if not terms.pot and agreement.placebo is None and not isinstance(agreement.model, ScreenModel):
        yield Caution("reward.pot", "the pot is empty: contributions pay nothing")
    if terms.uplift_level >= 1:
        yield Caution("reward.uplift_level", "noise is paid as well: no test says that joining is worth anything")
    if terms.outputs == "allowed":
        yield Caution("reward.outputs", "what was mined once may be brought back as own data, and moves what is paid")
    if terms.rows == "any":
        yield Caution("reward.rows", "rows brought after the fact are paid as well: backdated data can take the pot")
    if agreement.openings.contribution == "none" and terms.pot:
        yield Caution("openings.contribution", "contributions are not measured, so the pot is not shared out")
    if agreement.kin:
        own = ", ".join(sorted(agreement.kin))
        words = f"{own}: the label party's own legal entity, so it earns nothing"
        if isinstance(agreement.model, AnchoredModel):
            words += "; if it cheats together with the label party, they see what an anchor and the label party would"
        yield Caution("parties.legal_entity", words)
    entities: dict[str, list[str]] = {}
    for name, entity in agreement.legal_entities.items():
        if name not in agreement.kin:
            entities.setdefault(entity, []).append(name)
    for names in entities.values():
        if len(names) > 1:
            yield Caution("parties.legal_entity", f"{', '.join(names)} are one legal entity and share one reward")
    for name, stake in (rules.stakes if rules is not None else {}).items():
        if me in ("", name):
            amount = amount_in_words(terms, stake)
            yield Caution("reward.settlement.stakes", f"{name} stakes {amount} and can lose of it")
    if agreement.daily is not None:
        words = f"up to {agreement.daily.scores} later periods are scored until {agreement.daily.expires}, unasked"
        yield Caution("daily", words)
    if agreement.fees is not None:
        yield Caution("fees", "using the factor costs a fee each period")
