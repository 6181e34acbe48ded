"""What signing an agreement means, in sentences: for the operator who signs, and for the admin who drafts it."""

from __future__ import annotations

from parties.agreement.document import Agreement
from parties.agreement.terms import RewardTerms
from parties.ledger.entries import Unit
from parties.names import COORDINATOR
from vfl.terms import RidgeModel

__all__ = ["summary_lines", "who_learns"]


def summary_lines(agreement: Agreement) -> tuple[str, ...]:
    """What signing means, in sentences an operator reads before approving."""
    features = ", ".join(f"{p.name} ({len(p.columns)} columns)" for p in agreement.features)
    return (
        f"Purpose: {agreement.purpose or 'none given'}",
        *_continuation_lines(agreement),
        *_placebo_lines(agreement),
        f"Label party: {agreement.label.party}; label: {agreement.label.definition}",
        f"Feature parties: {features}",
        _alignment_line(agreement),
        *_label_lines(agreement),
        *_search_lines(agreement),
        *(f"Encoder of {party.name}: {party.encoder}." for party in agreement.parties if party.encoder),
        *(f"Made columns of {party.name}: {party.expansion}." for party in agreement.parties if party.expansion),
        *(
            f"Further label {horizon.name}, {horizon.periods} periods ahead: {horizon.definition or 'no definition'}; "
            f"{horizon.share:.0%} of the score. It costs no opening; training waits for the longest horizon."
            for horizon in agreement.walk_forward.horizons
        ),
        f"The factor goes to: {', '.join(agreement.recipients) or 'nobody'}",
        *(
            f"It is also sealed for {name}, who runs no node, under the key {key}: compare the key with its owner."
            for name, key in agreement.readers.items()
        ),
        *_money_lines(agreement),
        f"Expires: {agreement.expires_at:%Y-%m-%d %H:%M} UTC. Run id: {agreement.run_id}",
    )


def _placebo_lines(agreement: Agreement) -> list[str]:
    """What sets a placebo run apart from the run it tests."""
    terms = agreement.placebo
    if terms is None:
        return []
    passes = max(1 + agreement.model.epochs, min(agreement.model.warmup_epochs, terms.row_limit))
    return [
        f"PLACEBO of run {terms.of[:12]}: the same training once more, with the label party's entities permuted by the "
        f"public seed {terms.seed}. It opens a row up to {passes} more times, counted with those of that run, and its "
        "result becomes part of a new version of that run's factor.",
    ]


def _search_lines(agreement: Agreement) -> list[str]:
    """What a search tries, what it opens, and how far the budget goes."""
    terms = agreement.search
    if terms is None:
        return []
    each, first = 1 + agreement.model.epochs, agreement.evaluation.first
    lines = [
        f"Search: {terms.trials} top models over {', '.join(terms.top_space) or 'nothing'}, on sums that are opened "
        f"anyway, so without further openings. They are chosen by periods before {first}; only periods from it on are "
        "exported, evaluated and paid. Every trial is recorded in trials.parquet and counted."
    ]
    if terms.source_trials:
        lines.append(
            f"Before that the source layer is trained {terms.source_trials} times over "
            f"{', '.join(terms.source_space)}: up to {each} openings of each row before {first} each time, "
            f"{terms.source_trials * each} in all, within the {agreement.row_limit} above."
        )
    lines.append(
        f"The opening budget has room for {agreement.possible_source_trials} trials of the source layer beside the "
        f"run itself, which needs {agreement.needed_openings} openings of a row."
    )
    return lines


def _alignment_line(agreement: Agreement) -> str:
    if agreement.alignment.policy == "universe":
        return "Rows are a public list: nobody learns anyone's coverage."
    if agreement.continues is None:
        return "Every party learns which of its entities all parties hold, and every set's size."
    gone = ", ".join(agreement.continues.without)
    if agreement.rows_kept:
        return f"Rows are those that all had in common, {gone} included: nobody learns any entity."
    return (
        "Every party learns which of its entities all who stay hold, and every set's size; rows that are new in it are "
        f"ones that {gone} does not hold."
    )


def _continuation_lines(agreement: Agreement) -> list[str]:
    """What becomes of the run that this one goes on from."""
    terms = agreement.continues
    if terms is None:
        return []
    return [
        f"Goes on from run {terms.run_id[:12]} without {', '.join(terms.without)}: once all who stay have signed, that "
        "run ends and pays nobody. Training begins anew, from new weights.",
        f"Openings of that run count: up to {terms.opened} of each row's {agreement.row_limit}.",
    ]


def _label_lines(agreement: Agreement) -> list[str]:
    """What the label party learns of the feature parties' data."""
    exposed = agreement.row_limit * agreement.model.embedding_width
    lines = [
        f"The label party learns, for each opened row, the sum of {len(agreement.features)} embeddings of width "
        f"{agreement.model.embedding_width}, at most {agreement.row_limit} times: {exposed} linear forms of "
        f"{agreement.counted_features} features ({exposed / max(agreement.counted_features, 1):.0%}).",
    ]
    if isinstance(agreement.model, RidgeModel):
        least = agreement.model.smallest_block(agreement.total_features)
        lines.append(
            "The label party also learns second moments of all feature columns and the label, summed over blocks of at "
            f"least {least} rows, each party's columns in a basis only that party knows; one that cheats reads up to "
            f"{len(agreement.party(agreement.label.party).columns) + 1} linear forms over rows per block instead."
        )
    elif agreement.model.warm_start == "ridge":
        least = agreement.model.smallest_block(agreement.total_features)
        lines.append(
            "For a warm start the label party also learns second moments of all feature columns and the label, "
            f"summed over the warm-up rows, at least {least}, each party's columns in a basis only that party knows; "
            f"one that cheats reads up to {len(agreement.party(agreement.label.party).columns) + 1} linear forms over "
            "these rows instead, each time training begins anew. It is charged as an opening of each of these rows."
        )
    if agreement.openings.contribution == "masked":
        lines.append("For contribution it also learns the sums of every coalition, so each party's own embedding.")
    if agreement.openings.attribution:
        lines.append(
            "For attribution it also learns one number per feature party and period, which explains the factor; "
            "one that cheats reads one linear form of a period's rows instead, charged as an opening of each row."
        )
    if agreement.openings.single_party:
        lines.append("WARNING: with one feature party, its own embedding is opened (single-party opening).")
    return lines


def who_learns(agreement: Agreement) -> dict[str, tuple[str, ...]]:
    """What each learns from the run, by name, the coordinator last; what docs/threat-model.md says, for these terms."""
    common = _alignment_line(agreement)
    takes = "It receives the factor: a score for each entity and period, and its validation."
    learns: dict[str, tuple[str, ...]] = {}
    for party in agreement.parties:
        got = (takes,) if party.name in agreement.recipients else ()
        if party.role == "label":
            learns[party.name] = (common, *_label_lines(agreement), takes)
        else:
            rows = (
                "It sees which rows have labels, and when; no label, gradient, weight or feature of others: what it "
                "computes on is encrypted, and what it keeps are uniform shares."
            )
            learns[party.name] = (common, rows, *got)
    coordinator = [
        "It sees the agreement, and sizes, times, memory and openings as the parties report them. Where nodes cannot "
        "reach each other it carries their connection, encrypted between them, and sees sizes and times.",
    ]
    if agreement.alignment.policy == "psi" and not agreement.rows_kept:
        coordinator.append("It matches blinded entity ids: it learns how many each party has and how many are common.")
    if agreement.evaluation.metrics_to_coordinator:
        coordinator.append("The label party tells it losses and rank ICs.")
    if agreement.openings.contribution == "masked":
        coordinator.append("The label party tells it each feature party's contribution, which it pays by.")
    if COORDINATOR in agreement.recipients:
        coordinator.append(takes)
    learns |= dict.fromkeys(agreement.readers, (f"It runs no node. {takes}",))
    learns[COORDINATOR] = tuple(coordinator)
    return learns


def _uplift_line(terms: RewardTerms) -> str:
    if terms.uplift_level >= 1:
        return "WARNING: noise is paid as well: no test says that joining is worth anything (reward.uplift_level is 1)."
    return (
        f"Nobody is paid, and the pot rolls over, unless joining is better than staying alone at the one-sided level "
        f"{terms.uplift_level:.0%}."
    )


def _money_lines(agreement: Agreement) -> list[str]:
    """What the reward terms bind the parties to."""
    terms, rules = agreement.reward, agreement.reward.settlement
    unit = Unit(terms.unit, terms.scale)
    pot = f"{unit.format(terms.pot)} {terms.unit}"
    lines = [f"Reward pot: {pot}, by contribution less {terms.risk_aversion:g} standard errors", _uplift_line(terms)]
    if rules is None:
        return lines
    stakes = ", ".join(f"{party} {unit.format(stake)}" for party, stake in rules.stakes.items())
    if stakes:
        lines.append(
            f"At stake: {stakes} {terms.unit}. Up to {rules.clip:.0%} of it is won or lost on live data; lost stake "
            + ("pays later rewards." if rules.forfeits == "pot" else "is the consortium's income.")
        )
    people = ", ".join(rules.approvers) or "members of the roster"
    lines.append(
        f"Rewards are final after {rules.live_periods} live periods, at least {rules.final_after_days} days after the "
        f"close; {rules.approvals} people must approve ({people}). A dispute "
        f"puts {unit.format(rules.dispute_deposit)} at risk; stake asked back leaves after {rules.cooling_days} days."
    )
    return lines
