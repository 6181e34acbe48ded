"""Whether a run of these terms can be computed at all: encryption that takes its numbers, openings to train on."""

from __future__ import annotations

from parties.agreement.document import Agreement
from parties.agreement.product_terms import product_pairs
from parties.errors import AgreementError
from parties.plurals import things
from psi.flow import LocalProtocolError
from vfl.arithmetic.he import PARAMETER_SETS
from vfl.federated.privacy import spent
from vfl.models.sealed.scales import check_ranges
from vfl.models.trees.linear_start import linear_model
from vfl.terms import AnchoredModel, EnsembleModel, FederatedModel, ScreenModel, SealedModel
from vfl.tree_terms import TreesModel

__all__ = ["check_arithmetic", "check_openings", "warmup_fault"]


def _check_linear(agreement: Agreement, trees: TreesModel) -> None:
    """Raise :class:`AgreementError` where the linear model that trees begin at does not fit the ring."""
    linear, columns = linear_model(trees), sum(len(party.columns) for party in agreement.parties)
    try:
        check_ranges(linear, agreement.fixed_point, linear.batch_rows, columns)
    except LocalProtocolError:
        raise AgreementError(
            "the linear model that the trees begin at does not fit the ring with this fixed_point: lower "
            'fixed_point.feature_bits or model.label_clip, or set model.init_score = "zero"'
        ) from None


def _check_sealed(agreement: Agreement, model: SealedModel | TreesModel, where: str = "") -> None:
    """Raise :class:`AgreementError` where numbers of this model do not fit the prime ring."""
    if isinstance(model, TreesModel):
        if model.init_score == "linear":
            _check_linear(agreement, model)
        return  # every other number of a tree fits, whatever its terms
    columns = sum(len(party.columns) for party in agreement.parties)
    columns += sum(pair.count for pair in product_pairs(agreement))
    for number, one in enumerate((model, *agreement.configurations)):
        try:
            check_ranges(one, agreement.fixed_point, one.batch_rows, columns)
        except LocalProtocolError as error:
            listed = f"search.configurations, number {number}: " if number else ""
            raise AgreementError(f"{where}{listed}{error}") from None


def check_arithmetic(agreement: Agreement) -> None:
    """Raise :class:`AgreementError` unless there is such a parameter set and it takes the agreed ring."""
    model = agreement.model
    if isinstance(model, EnsembleModel):
        for name, part in model.members.items():
            _check_sealed(agreement, part, f"model.{name}: " if name == "linear" else "")
        return
    if isinstance(model, SealedModel | TreesModel):
        _check_sealed(agreement, model)
        return
    if isinstance(model, FederatedModel):
        return  # what could leave its ring was refused with the terms
    if isinstance(model, ScreenModel):
        return  # its sums fit whatever its terms, up to entities of a period that are known in alignment alone
    terms, bits = PARAMETER_SETS.get(agreement.parameter_set), agreement.fixed_point.ring_bits
    if terms is None:
        known = ", ".join(sorted(PARAMETER_SETS))
        raise AgreementError(f"parameter_set {agreement.parameter_set!r} is not one of {known}: propose one of these")
    if bits > terms.most_ring_bits:
        raise AgreementError(
            f"fixed_point.ring_bits = {bits} is above the {terms.most_ring_bits} that parameter_set {terms.name!r} "
            "takes: lower it, or choose a larger set"
        )


def check_openings(agreement: Agreement) -> None:
    """Raise :class:`AgreementError` where a row's openings leave none to train on; of a sealed model none is needed.

    So too where it cannot be told here what noise is worth, a federated model's or a group's.
    """
    trained = (agreement.model,) if isinstance(agreement.model, FederatedModel) else agreement.groups
    for rounds in trained:
        try:
            spent(rounds)
        except ValueError as error:
            raise AgreementError(f"nobody signs for noise whose epsilon it cannot be told: {error}") from None
    needed = 2 + agreement.reserved_openings
    if not isinstance(agreement.model, AnchoredModel) and agreement.schedule_limit < needed:
        raise AgreementError(
            f"{agreement.schedule_limit} openings of a row leave none to train on after one prediction and "
            f"{agreement.reserved_openings} for contributions and attribution: allow openings.limit_per_row = {needed} "
            "or more, or leave these out"
        )


def warmup_fault(agreement: Agreement) -> str:
    """Why no period could be predicted even if every label were known in time, or ""."""
    walk = agreement.walk_forward
    needed = walk.warmup + max(1, walk.longest + walk.embargo)
    walks = agreement.static is None and not isinstance(agreement.model, FederatedModel)
    if not walks or len(agreement.periods) >= needed:
        return ""
    return (
        f"nothing can be predicted: the calendar has {things(len(agreement.periods), 'periods')}, and the first "
        f"prediction needs {needed:,} (warmup {walk.warmup}, then horizon and embargo): lower walk_forward.warmup or "
        "lengthen the calendar"
    )
