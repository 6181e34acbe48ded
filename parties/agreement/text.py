"""The text of an agreement: what people read before they sign it, the same for operator, admin and auditor.

Sections of whole sentences, then every term; :mod:`parties.agreement.cautions` has what deserves a second look.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from parties.agreement.daily_terms import scoring_lines
from parties.agreement.document import Agreement
from parties.agreement.every_term import amount_in_words, every_term
from parties.agreement.group_terms import group_lines
from parties.agreement.terms import StaticTerms
from parties.agreement.who_learns import alignment_line, label_lines
from parties.ledger.entries import Unit
from parties.names import COORDINATOR
from parties.plurals import things
from vfl.models.classes.opens import in_words as classes_in_words
from vfl.models.opens import in_words
from vfl.terms import FederatedModel, ScreenModel
from vfl.walk.configurations import SealedSearchTerms

__all__ = ["Section", "agreement_lines", "agreement_text", "terms_section"]


_MEASURED = {
    "masked": "Contributions are measured by leaving parties out of opened sums.",
    "moments": "Contributions are measured by two numbers per coalition and period, each over the period's rows.",
    "retrain": "Contributions are measured by training each coalition of members anew.",
    "none": "Contributions are not measured in this run.",
}


@dataclass(frozen=True, slots=True)
class Section:
    """Sentences under a heading. Names, definitions and purposes in them are the parties' own words."""

    title: str
    lines: tuple[str, ...]


def agreement_text(agreement: Agreement) -> tuple[Section, ...]:
    """What is agreed, by subject: the run, what opens, the factor, the money, the validity."""
    made = (
        ("The run", _run(agreement)),
        ("What opens", _opens(agreement)),
        ("The factor", _factor(agreement)),
        ("Money", _money(agreement)),
        ("Validity", _validity(agreement)),
    )
    return tuple(Section(title, tuple(lines)) for title, lines in made)


def agreement_lines(agreement: Agreement) -> tuple[str, ...]:
    """The sentences of :func:`agreement_text`, without its headings."""
    return tuple(line for section in agreement_text(agreement) for line in section.lines)


def terms_section(agreement: Agreement) -> Section:
    """Every term as a line, for whoever signs in a terminal."""
    lines = (f"{'' if t.section == 'run' else t.section + ': '}{t.name}: {t.value}" for t in every_term(agreement))
    return Section("Every term", tuple(lines))


def _counted(number: int, what: str = "period") -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _run(agreement: Agreement) -> Iterator[str]:
    label, walk = agreement.label, agreement.walk_forward
    yield f"Consortium: {agreement.consortium}"
    yield f"Purpose: {agreement.purpose or 'none given'}"
    yield from _continuation(agreement)
    yield from _placebo(agreement)
    federated = isinstance(agreement.model, FederatedModel)
    if federated:
        yield (
            f"Lead: {label.party}, the label party, which reports what the run found and is in every coalition. Label "
            f"{label.name}: {label.definition or 'no definition'}; each member has it for its own entities."
        )
    else:
        yield f"Label party: {label.party}; label {label.name}: {label.definition or 'no definition'}"
    if label.residual:
        yield (
            f"The target is a residual: what {', '.join(label.residual)}, columns of {label.party}, leave of the label "
            "in each period. Training, evaluation and pay go by it."
        )
    if federated:
        columns = ", ".join(agreement.party(label.party).columns)
        yield f"Members: {', '.join(p.name for p in agreement.parties)}; columns that all have: {columns}"
    else:
        features = ", ".join(f"{p.name} ({things(len(p.columns), 'columns')})" for p in agreement.features)
        yield f"Feature parties: {features}"
    yield "Legal entities: " + "; ".join(f"{p.name} {p.legal_entity or 'names none'}" for p in agreement.parties)
    yield from _times(agreement) if agreement.static is None else _parts(agreement.static)
    yield _reported(agreement)
    yield from (in_words(agreement.model),) if agreement.scores is None else scoring_lines(agreement)
    if agreement.static is not None and agreement.static.classes is not None:
        yield classes_in_words(agreement.static.classes)
    if agreement.static is not None:
        yield "The test part is the one period that is predicted: nothing comes of what the model says of later ones."
    yield from _search(agreement)
    yield from (f"Texts of {party.name}: {party.text}." for party in agreement.parties if party.text)
    yield from (f"Encoder of {party.name}: {party.encoder}." for party in agreement.parties if party.encoder)
    yield from (f"Made columns of {party.name}: {party.expansion}." for party in agreement.parties if party.expansion)
    yield from (
        f"Further label {horizon.name}, {things(horizon.periods, 'periods')} ahead: "
        f"{horizon.definition or 'no definition'}; "
        f"{horizon.share:.0%} of the score. It costs no opening; training waits for the longest horizon."
        for horizon in walk.horizons
    )


def _times(agreement: Agreement) -> Iterator[str]:
    """The calendar, and when a label is known."""
    calendar, walk = agreement.dated, agreement.walk_forward
    yield (
        f"It covers {_counted(len(calendar.periods))}, {calendar.periods[0]} to {calendar.periods[-1]}, frequency "
        f"{calendar.frequency}."
    )
    if isinstance(agreement.model, ScreenModel):
        yield (
            f"A label is known {_counted(walk.horizon)} after the decision (horizon). Formulas are chosen on the first "
            f"half of the periods and confirmed on the second, {_counted(max(walk.horizon, 1) - 1 + walk.embargo)} "
            "later."
        )
        return
    yield (
        f"A label is known {_counted(walk.horizon)} after the decision (horizon), {_counted(walk.embargo)} more are "
        f"held out (embargo); the first prediction waits for {_counted(walk.warmup)} whose labels are known (warm-up)."
    )


def _parts(terms: StaticTerms) -> Iterator[str]:
    """That there is no calendar, and what stands in its place."""
    yield "Data is static: it has no calendar, and one row an entity, which is in the training part or in the test."
    if terms.test_share is None:
        yield "The label party says of each row in which part it is, by a column of its own."
    else:
        yield f"A hash of the public seed {terms.seed} and its name puts {terms.test_share:.0%} of them into the test."
    kind = {"binary": "0 or 1", "regression": "numbers"}.get(terms.label, f"classes, 0 to {terms.models - 1}")
    each = "A score" if terms.classes is None else "A score of each class"
    yield (
        f"Labels are {kind}, fitted by squared error. No label of a test row enters training. {each} opens once of "
        "each test row, and of no training row, which the anchor refuses. It is exported on the label's scale, so "
        "whoever receives it can tell the mean and the deviation of the training rows' labels."
    )


def _reported(agreement: Agreement) -> str:
    first, last = agreement.evaluation.first, agreement.evaluation.last
    if isinstance(agreement.model, ScreenModel):
        told = (
            "The coordinator is told how many formulas stand each hurdle, and none of them."
            if agreement.evaluation.metrics_to_coordinator
            else "What it finds stays with the label party and the owners of its terminals."
        )
        return f"Judged from {first or 'the first period'} to {last or 'the last label'}. {told}"
    if isinstance(agreement.model, FederatedModel):
        told = "All members and the coordinator learn how good the model is."
    elif agreement.evaluation.metrics_to_coordinator:
        told = "The coordinator is told how good the factor is."
    else:
        told = "How good the factor is stays with the label party."
    if agreement.static is not None:
        return f"Reported on the test rows. {told}"
    return f"Reported from {first or 'the first prediction'} to {last or 'the last label'}. {told}"


def _opens(agreement: Agreement) -> Iterator[str]:
    yield alignment_line(agreement)
    if agreement.alignment.policy == "psi" and agreement.scores is None:
        least, found = agreement.alignment.minimum_common, agreement.alignment.protocol == "ot"
        shown = f"no row is shown but to the node of {agreement.label.party}" if found else "no row is shown"
        yield f"With fewer than {things(least, 'common entities')} the run stops and {shown}."
    elif agreement.alignment.policy == "union" and agreement.scores is None:
        least = agreement.alignment.minimum_common
        yield f"A party with fewer than {things(least, 'entities')} takes no part; how many are common stops nothing."
    elif agreement.alignment.policy == "own":
        yield f"A member with fewer than {things(agreement.alignment.minimum_common, 'entities')} takes no part."
    yield from group_lines(agreement)
    yield from label_lines(agreement)
    yield _measured(agreement)


def _measured(agreement: Agreement) -> str:
    """How contributions are; a coalition of members that serve zeros may have few rows of a period, or one."""
    way = agreement.openings.contribution
    if way == "moments" and any(group.absent == "zeros" for group in agreement.groups):
        return (
            "Contributions are measured by two numbers per coalition and period, which are of as few rows as its "
            "members serve there."
        )
    return _MEASURED[way]


def _factor(agreement: Agreement) -> Iterator[str]:
    if isinstance(agreement.model, ScreenModel):
        yield f"There is none: the report of the screen stays with {agreement.label.party}."
        return
    if isinstance(agreement.model, FederatedModel):
        yield (
            "Each member makes a factor of its own entities at home, under the one common model, and signs it itself: "
            "nobody receives another's scores, the coordinator neither."
        )
        return
    yield f"The factor goes to: {', '.join(agreement.recipients) or 'nobody'}"
    if agreement.label.party not in agreement.recipients:
        yield f"The label party {agreement.label.party} makes the scores and has them in any case."
    if COORDINATOR in agreement.recipients:
        yield "The coordinator holds a copy."
    for name, key in agreement.readers.items():
        yield f"It is also sealed for {name}, who runs no node, under the key {key}: compare the key with its owner."


def _placebo(agreement: Agreement) -> Iterator[str]:
    """What sets a placebo run apart from the run it tests."""
    terms = agreement.placebo
    if terms is None:
        return
    passes = max(agreement.predicted_openings, min(agreement.model.warmup_epochs, terms.row_limit))
    yield (
        f"PLACEBO of run {terms.of[:12]}: the same training once more, with the label party's entities permuted by the "
        f"public seed {terms.seed}. It opens a row up to {passes} more times, counted with those of that run, and its "
        "result becomes part of a new version of that run's factor."
    )


def _search(agreement: Agreement) -> Iterator[str]:
    """What a search tries, what it opens, and how far the budget goes."""
    yield from _configurations(agreement)
    terms = agreement.split_search
    if terms is None:
        return
    each, first = 1 + agreement.model.epochs, agreement.evaluation.first
    yield (
        f"Search: {terms.trials} top models over {', '.join(terms.top_space) or 'nothing'}, on sums that are opened "
        f"anyway, so without further openings. They are chosen by periods before {first}; only periods from it on are "
        "exported, evaluated and paid. Every trial is recorded in trials.parquet and counted."
    )
    if terms.source_trials:
        yield (
            f"Before that the source layer is trained {terms.source_trials} times over "
            f"{', '.join(terms.source_space)}: up to {things(each, 'openings')} of each row before {first} each time, "
            f"{terms.source_trials * each} in all, within the {agreement.row_limit} below."
        )
    yield (
        f"The opening budget has room for {things(agreement.possible_source_trials, 'trials')} of the source "
        "layer beside the "
        f"run itself, which needs {things(agreement.needed_openings, 'openings')} of a row."
    )


def _configurations(agreement: Agreement) -> Iterator[str]:
    """What a search of a sealed network tries, and what becomes of it."""
    if not isinstance(agreement.search, SealedSearchTerms):
        return
    first, listed = agreement.evaluation.first, agreement.search.configurations
    told = "; ".join(f"{number}: {one.words}" for number, one in enumerate(listed, start=1))
    yield (
        f"Search: {_counted(len(listed), 'configuration')} of this model, trained one after the other on the rows "
        f"before {first} alone ({told}). The best by those periods then trains the run's own model, and only periods "
        f"from {first} on are predicted, exported, evaluated and paid. Every trial is recorded in trials.parquet and "
        "counted."
    )


def _continuation(agreement: Agreement) -> Iterator[str]:
    """What becomes of the run that this one goes on from."""
    terms = agreement.continues
    if terms is None:
        return
    yield (
        f"Goes on from run {terms.run_id[:12]} without {', '.join(terms.without)}: once all who stay have signed, that "
        "run ends and pays nobody. Training begins anew, from new weights."
    )
    yield f"Openings of that run count: up to {terms.opened} of each row's {agreement.row_limit}."


def _money(agreement: Agreement) -> Iterator[str]:
    """What the reward and fee terms bind the parties to."""
    terms, rules, fees = agreement.reward, agreement.reward.settlement, agreement.fees
    if isinstance(agreement.model, ScreenModel) and rules is None:
        yield "A screen pays nothing: it has no pot, and values nobody."
        return
    pot, plural = amount_in_words(terms, terms.pot), "" if terms.risk_aversion == 1 else "s"
    yield f"Reward pot: {pot}, by contribution less {terms.risk_aversion:g} standard error{plural}"
    if terms.uplift_level < 1:
        yield (
            "Nobody is paid, and the pot rolls over, unless joining is better than staying alone at the one-sided "
            f"level {terms.uplift_level:g}."
        )
    yield (
        "What earlier runs of this consortium put out may not come back as a party's own column: each node refuses it."
        if terms.outputs == "refused"
        else "What earlier runs of this consortium put out may come back as a party's own column."
    )
    if terms.rows == "committed":
        yield (
            f"A party is paid only for periods whose rows it had committed to within "
            f"{things(terms.rows_within_hours, 'hours')} "
            "of their cutoff."
        )
    else:
        yield "Rows are paid for whenever they were brought, after the fact too."
    if terms.licence is not None:
        yield (
            f"Use of the factor pays {amount_in_words(terms, terms.licence.per_period)} a period for "
            f"{_counted(terms.licence.periods, 'period')} after the calendar, shared as the final settlement is; what "
            "nobody earned rolls over."
        )
    if fees is not None:
        yield (
            f"Usage fees: {fees.rate_millionths} millionths of the assets that use the factor, each period; each fee "
            f"stays secret and {fees.key_holder} opens their total."
        )
    if rules is None:
        return
    unit = Unit(terms.unit, terms.scale)
    stakes = ", ".join(f"{party} {unit.format(stake)}" for party, stake in rules.stakes.items())
    if stakes:
        yield (
            f"At stake: {stakes} {terms.unit}. Up to {rules.clip:.0%} of it is won or lost on live data; lost stake "
            + ("pays later rewards." if rules.forfeits == "pot" else "is the consortium's income.")
        )
    people = ", ".join(rules.approvers) or "members of the roster"
    yield (
        f"Rewards are final after {_counted(rules.live_periods, 'live period')}, at least "
        f"{_counted(rules.final_after_days, 'day')} after the close; {rules.approvals} people must approve ({people})."
    )
    yield (
        f"A dispute, within {_counted(rules.dispute_days, 'day')} of the close, puts "
        f"{amount_in_words(terms, rules.dispute_deposit)} at risk; stake asked back leaves after "
        f"{_counted(rules.cooling_days, 'day')}."
    )


def _validity(agreement: Agreement) -> Iterator[str]:
    yield (
        f"Proposed: {agreement.proposed_at:%Y-%m-%d %H:%M} UTC. Expires: {agreement.expires_at:%Y-%m-%d %H:%M} UTC. "
        f"Entente {agreement.code_version}."
    )
    yield f"Run id: {agreement.run_id}"
