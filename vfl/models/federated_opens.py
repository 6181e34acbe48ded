"""What federated training opens, in words: for terms before signing, and for audit reports."""

from __future__ import annotations

import math
from collections.abc import Iterator

from vfl.federated.privacy import spent
from vfl.federated_terms import RING_BITS, FederatedModel, FederatedRounds
from vfl.models.disclosure import Caution, RunSizes

__all__ = [
    "CAUTION_TERMS",
    "VALUE_BITS",
    "cautions",
    "in_words",
    "privacy_sentence",
    "rounds_sentences",
    "sentences",
    "trainings",
]

CAUTION_TERMS = frozenset(("model.rule", "model.threshold"))
"""The terms that :func:`cautions` may name."""

VALUE_BITS = 24
"""Fractional bits of a rank IC that opens."""

_RULES = {
    "sum": "by secure sums, of which nobody sees a part",
    "median": "by the median of each weight, for which the coordinator sees every update",
    "trimmed": "by a trimmed mean of each weight, for which the coordinator sees every update",
}


def in_words(model: FederatedModel) -> str:
    """The model in a sentence or two."""
    shape = f"a network of {model.hidden} tanh units" if model.hidden else "a linear model"
    own = ", whose last layer stays at home and is each member's own" if model.personal_head else ""
    drawn = "" if model.sampled == 1 else f" by {model.sampled:.0%} of the members"
    return (
        f"Federated model: {shape}{own} over the columns that all members have. It is trained once, on labels known "
        f"before the first reported period, in {model.rounds} rounds of {model.local_epochs} passes at home{drawn}, "
        f"averaged {_RULES[model.rule]}."
    )


def trainings(model: FederatedModel, members: int) -> int:
    """Trainings that a valuation needs: one for each coalition of the lead with others that may train."""
    least = max(model.threshold - 1, 2)
    return sum(math.comb(members - 1, size) for size in range(least, members))


def rounds_sentences(model: FederatedRounds, members: int, numbers: int) -> Iterator[str]:
    """What the rounds of one training open to whom."""
    rows = " and the sum of their rows" if model.weights == "rows" else ""
    yield (
        f"In each of {model.rounds} rounds one sum opens to the coordinator and to all {members} members: of "
        f"{numbers} weights' changes{rows}, {numbers + 1} numbers of {RING_BITS} bits, over {model.threshold} members "
        "or more. Who takes part and who drops out is known to all. No row and no label opens."
    )
    if model.rule == "sum":
        yield (
            "No member's own update opens. The coordinator and members who collude learn the sum of all others' "
            "updates; all members of a round but one, with or without it, learn that one's update, from which rows "
            "can be read. Nothing proves that a member clips its update: one that cheats moves a round's average by "
            f"up to twice the clip, {2 * model.clip:g}, and may choose where to; a longer average is refused."
        )
    else:
        yield (
            "WARNING: the coordinator sees every member's update in every round, from which rows can be read. It clips "
            "each itself, and so one poisoned update stays within what honest ones allow."
        )


def sentences(model: FederatedModel, sizes: RunSizes) -> Iterator[str]:
    """What opens to whom of the members' data."""
    members, numbers = sizes.feature_parties + 1, model.numbers(sizes.label_columns)
    yield from rounds_sentences(model, members, numbers)
    yield (
        "First weights are drawn from the run's id and model.seed, other ones for each training, so that the "
        "difference of two trainings' first sums is no member's update. Whoever is in one run with a member and in "
        "another without it still learns what it changed of the result."
    )
    yield (
        "Of the trained model, and of the models that members train alone, one rank IC a reported period opens to all: "
        f"the mean over all members weighed by their rows, and the sum of the rows, of {VALUE_BITS} fractional bits. "
        "Where one member alone has rows in a period, the value is its own. A member that is in one of these sums and "
        "not in the next has shown how many rows it has in each period, and the rank ICs of the model that it trained "
        "alone."
    )
    counted = trainings(model, members) if sizes.openings.contribution == "retrain" else 0
    if counted:
        what = "coalition trains" if counted == 1 else "coalitions train"
        yield (
            f"For contributions {counted} {what} anew, each with its own first weights: as many sums of the same kind "
            "each, over all members of the coalition, and one rank IC a period of each."
        )
    yield (
        "Of a score no bit leaves a member: each scores its own entities at home, and keeps a signed bundle of these "
        "scores."
    )
    yield f"{privacy_sentence(model, 1 + counted)}{' Rank ICs open without noise.' if model.noise else ''}"


def privacy_sentence(model: FederatedRounds, counted: int = 1) -> str:
    """Whether a member's part is hidden by noise, over so many trainings."""
    if not model.noise:
        return "No noise is added: sums are exact to their rounding, and nothing is differentially private."
    try:
        epsilon = f"epsilon {spent(model, counted):.3g} at delta {model.delta:g}"
    except ValueError as error:
        epsilon = f"an epsilon that cannot be told here ({error})"
    return (
        f"Noise of {model.noise:g} clips in every opened sum hides whether a member took part, with all its rows: "
        f"{epsilon} over all {model.rounds * counted} rounds. A training that is begun anew spends its rounds again."
    )


def cautions(model: FederatedModel, sizes: RunSizes) -> Iterator[Caution]:
    """What is allowed and shows or risks more than it has to."""
    if model.rule != "sum":
        yield Caution("model.rule", "the coordinator sees every member's update, from which rows can be read")
    usual = 2 * model.taking_part(sizes.feature_parties + 1) // 3 + 1
    if model.threshold < usual:
        yield Caution(
            "model.threshold",
            f"sums open over {model.threshold} members, where {usual} are usual: fewer who collude learn the rest",
        )
