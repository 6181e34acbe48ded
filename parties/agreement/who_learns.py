"""Who learns what from a run: what docs/threat-model.md says, for the terms of one agreement."""

from __future__ import annotations

from collections.abc import Iterator

from parties.agreement.daily_terms import daily_lines
from parties.agreement.document import Agreement
from parties.agreement.group_terms import absent_lines, groups_learn, order_lines
from parties.agreement.product_terms import product_lines
from parties.names import COORDINATOR
from vfl.models.classes.opens import sentence as of_classes
from vfl.models.disclosure import RunSizes
from vfl.models.opens import sentences
from vfl.models.sealed.opens import NUMBER_BITS, one_row
from vfl.terms import AnchoredModel, FederatedModel, ScreenModel, SealedModel
from vfl.tree_terms import TreesModel

__all__ = ["ALONE_OVER_A_LIST", "alignment_line", "label_lines", "opens_alone", "run_sizes", "who_learns"]

ALONE_OVER_A_LIST = (
    "over a public list or a union no single party's sums may open, since they show which rows a party does not cover: "
    'set openings.contribution = "none", take two feature parties or more, or choose a sealed model or '
    'alignment.policy = "psi"'
)


def opens_alone(agreement: Agreement) -> bool:
    """Whether sums of rows open that are of one feature party alone."""
    openings = agreement.openings
    masked = openings.contribution == "masked" and len(agreement.features) > 1
    return not isinstance(agreement.model, AnchoredModel) and (openings.single_party or masked)


def run_sizes(agreement: Agreement, reader: str = "") -> RunSizes:
    """The sizes on which it depends what opens, as ``reader`` has to judge them."""
    mine = [party for party in agreement.features if party.name == reader]
    return RunSizes(
        feature_parties=len(agreement.features),
        features=agreement.total_features,
        counted_features=agreement.counted_features,
        own_features=sum(len(party.columns) for party in mine),
        label_columns=len(agreement.party(agreement.label.party).columns),
        row_limit=agreement.row_limit,
        openings=agreement.openings,
    )


_SERVED = (
    "It sees which rows have labels, and when; no label, gradient, weight or feature of others: what it computes on is "
    "encrypted, and what it keeps are uniform shares."
)
_SCREENED = (
    "It sees how many terminals each party has; no label and no terminal of others: what it computes on is encrypted, "
    "and what it keeps are uniform shares. It is told of its own terminals in formulas that are named."
)
_AGGREGATED = (
    "It sees the agreement, and sizes, times and memory as the members report them; who takes part in each sum and who "
    "drops out. Where nodes cannot reach each other it carries their connection, encrypted between them, and sees "
    "sizes and times."
)
_MEMBER = (
    "It computes on its own rows alone, and keeps the model, which says of the others' rows what a model of so many "
    "weights says."
)
_PAID_BY = "It learns every feature party's contribution by period, signed by the label party: what all are paid by."


def alignment_line(agreement: Agreement) -> str:
    """What everybody learns of the others' entities."""
    return " ".join((_aligned(agreement), *order_lines(agreement)))


def _uncovered(agreement: Agreement) -> str:
    """What is told by a row that a party does not cover."""
    zeros = [group.name for group in agreement.groups if group.absent == "zeros"]
    but = f"; members of group {' and '.join(zeros)} serve zeros in its place, which scores can show" if zeros else ""
    return (
        "What opens does not set a row that a party does not cover apart from others: it is drawn anew in each "
        f"period{but}. So a label party that cheats and reads rows can tell by their changes which ones a party does "
        "not cover."
    )


def _aligned(agreement: Agreement) -> str:
    terms = agreement.alignment
    if agreement.scores is not None:
        return f"Rows are those of run {agreement.scores.of[:12]}: no lists are compared, and nobody learns any entity."
    if terms.policy == "own":
        return (
            "Rows are each member's own entities. No alignment is run and no lists are compared: nobody learns an "
            "entity of another, or whether two hold the same one, and the agreed columns stand for what alignment "
            "does elsewhere."
        )
    if terms.policy == "universe":
        named = f" ({terms.universe_version})" if terms.universe_version else ""
        return (
            f"Rows are a public list{named}: no party's list of entities is compared with another's. "
            f"{_uncovered(agreement)} Feature parties see which rows have labels."
        )
    if terms.policy == "union":
        return (
            "Rows are the union of all parties' entities under random names: a party knows its own rows, and cannot "
            f"tell which of them others hold too. {_uncovered(agreement)} Feature parties see which rows have labels, "
            f"so of their own entities they learn which {agreement.label.party} has labels for; of each other's, "
            f"nothing. Everybody learns each set's size, rounded up to a multiple of {terms.size_bucket}. Whoever "
            f"receives the factor reads the names of {agreement.label.party}'s entities."
        )
    size = f"size, rounded up to a multiple of {terms.size_bucket}" if terms.size_bucket else "size"
    if agreement.continues is None:
        return f"Every party learns which of its entities all parties hold, and every set's {size}.{_leads(agreement)}"
    gone = ", ".join(agreement.continues.without)
    if agreement.rows_kept:
        return f"Rows are those that all had in common, {gone} included: nobody learns any entity."
    return (
        f"Every party learns which of its entities all who stay hold, and every set's {size}; rows that are new in it "
        f"are ones that {gone} does not hold.{_leads(agreement)}"
    )


def _leads(agreement: Agreement) -> str:
    """What oblivious transfer tells beside that."""
    if agreement.alignment.protocol != "ot":
        return ""
    label, members = agreement.label.party, [party.name for party in agreement.features]
    together = (
        f" Together with some of the others {label} can learn which of its entities all the rest hold."
        if len(members) > 1
        else ""
    )
    return f" {label} finds them first, and its node knows them also where they are too few for the run.{together}"


def label_lines(agreement: Agreement) -> tuple[str, ...]:
    """What the label party learns of the feature parties' data."""
    return tuple(_label_lines(agreement))


def _label_lines(agreement: Agreement) -> Iterator[str]:
    static, model = agreement.static, agreement.model
    if static is not None and static.classes is not None and isinstance(model, SealedModel | TreesModel):
        yield of_classes(model, static.classes, agreement.row_limit)
    yield from sentences(agreement.model, run_sizes(agreement))
    if agreement.configurations:
        yield _tried(agreement)
    yield from product_lines(agreement)
    yield from daily_lines(agreement)
    if agreement.openings.attribution:
        yield (
            "For attribution it also learns one number per feature party and period, which explains the factor; "
            "one that cheats reads one linear form of a period's rows instead, charged as an opening of each row."
        )
    if agreement.openings.single_party:
        yield "WARNING: with one feature party, its own embedding is opened (single-party opening)."


def _tried(agreement: Agreement) -> str:
    """What opens of a sealed network's trials."""
    assert isinstance(agreement.model, SealedModel)
    tried, periods = len(agreement.configurations), agreement.reported_from
    return (
        f"For its search two numbers of {NUMBER_BITS} bits open to the label party for each configuration and each of "
        f"the {periods} periods before {agreement.evaluation.first} that is predicted and known, up to "
        f"{2 * tried * periods} in all: the covariance of the configuration's scores with the label over the period's "
        f"rows, and the variance of these scores. No single score of these periods opens. {one_row()} "
        f"{agreement.model.anchor} counts the rows, and refuses more than {agreement.row_limit} "
        "such numbers of a row over all runs."
    )


def who_learns(agreement: Agreement) -> dict[str, tuple[str, ...]]:
    """What each learns from the run, by name, the coordinator last."""
    if isinstance(agreement.model, FederatedModel):
        return _members_learn(agreement, agreement.model)
    common, screened = alignment_line(agreement), isinstance(agreement.model, ScreenModel)
    takes = "It receives the factor: a score for each entity and period, and its validation."
    learns: dict[str, tuple[str, ...]] = {}
    for party in agreement.parties:
        got = (takes,) if party.name in agreement.recipients and not screened else ()
        if party.role == "label":
            shown = absent_lines(agreement)
            learns[party.name] = (common, *label_lines(agreement), *shown, *(() if screened else (takes,)))
        else:
            rows = _SCREENED if screened else _SERVED
            paid = (_PAID_BY,) if agreement.openings.contribution != "none" else ()
            tried = (
                (f"It learns which of the {len(agreement.configurations)} configurations was chosen.",)
                if len(agreement.configurations) > 1
                else ()
            )
            learns[party.name] = (common, rows, *groups_learn(agreement, party.name), *tried, *paid, *got)
    coordinator = [
        "It sees the agreement, and sizes, times, memory and openings as the parties report them. Where nodes cannot "
        "reach each other it carries their connection, encrypted between them, and sees sizes and times.",
    ]
    if agreement.alignment.matched and not agreement.rows_kept:
        filled = ", padding included," if agreement.alignment.size_bucket else ""
        coordinator.append(
            f"It matches blinded entity ids: it learns how many each party has{filled} and how many are common."
        )
    coordinator += groups_learn(agreement, COORDINATOR)
    if agreement.evaluation.metrics_to_coordinator and screened:
        coordinator.append(
            "The label party tells it how many formulas were tried and how many stand each hurdle, terminals and "
            "products apart, and how many periods each half has: no formula, and no statistic of one."
        )
    elif agreement.evaluation.metrics_to_coordinator:
        losses = (
            "what each tree takes off the error of training"
            if agreement.model.kind in ("trees", "ensemble")
            else "losses"
        )
        coordinator.append(f"The label party tells it {losses} and rank ICs.")
    if agreement.openings.contribution != "none":
        coordinator.append("The label party tells it each feature party's contribution, which it pays by.")
    if COORDINATOR in agreement.recipients and not screened:
        coordinator.append(takes)
    learns |= dict.fromkeys(agreement.readers, (f"It runs no node. {takes}",))
    learns[COORDINATOR] = tuple(coordinator)
    return learns


def _members_learn(agreement: Agreement, model: FederatedModel) -> dict[str, tuple[str, ...]]:
    """What each learns of a federated run: of the members one as much as the other."""
    opened = label_lines(agreement)
    every = (alignment_line(agreement), *opened, _MEMBER)
    paid = (_PAID_BY,) if agreement.openings.contribution != "none" else ()
    learns = {p.name: (*every, *(paid if p.role == "feature" else ())) for p in agreement.parties}
    pays = ("The lead tells it each member's contribution, which it pays by.",) if paid else ()
    seen = () if model.rule == "sum" else ("It sees every member's update, from which rows can be read.",)
    sums = "It opens every sum that the members do, and rank ICs by period; no label, no score and no entity."
    learns[COORDINATOR] = (_AGGREGATED, sums, *seen, *pays)
    return learns
