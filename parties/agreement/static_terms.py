"""Terms of a run on data without a calendar: its two parts, what follows from them, what such a run cannot have.

Such a run is a walk of two periods. The first has the training rows, the second the test rows, and what is true of
every walk holds: the second is predicted once, by a model that has seen labels of the first alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vfl.terms import SealedModel, TreesModel, WalkForward

if TYPE_CHECKING:
    from parties.agreement.document import Agreement

__all__ = ["PARTS", "TEST", "TRAINING", "check_static", "with_static_defaults"]

TRAINING = "training"
TEST = "test"
PARTS = (TRAINING, TEST)
"""The periods of a run without a calendar."""

_WALK = WalkForward(horizon=1, embargo=0, warmup=1)


def with_static_defaults(given: Any) -> Any:
    """Raw terms with what follows from ``static`` where they say nothing of it: the walk, the window, the rows paid."""
    if not isinstance(given, Mapping) or not given.get("static"):
        return given
    filled = {"walk_forward": _WALK.model_dump()} | dict(given)
    for name, follows in (("evaluation", {"first": TEST, "last": TEST}), ("reward", {"rows": "any"})):
        said = given.get(name, {})
        if isinstance(said, Mapping):
            filled[name] = follows | dict(said)
    return filled


def check_static(agreement: Agreement) -> None:
    """Raise ValueError for what needs periods in a run that has none."""
    reward, evaluation = agreement.reward, agreement.evaluation
    if not isinstance(agreement.model, SealedModel | TreesModel):
        raise ValueError(
            f"data without a calendar is not trained by model.kind = {agreement.model.kind!r}: set model.kind = "
            '"sealed" or model.kind = "trees"'
        )
    if agreement.walk_forward != _WALK:
        raise ValueError("walk_forward counts periods, and data without a calendar has none: leave the table out")
    if (evaluation.first, evaluation.last) != (TEST, TEST):
        raise ValueError("evaluation.first and evaluation.last name periods, and static data has none: leave them out")
    missing = {
        "a search chooses by earlier periods: drop [search]": agreement.search,
        "a placebo tests what lasts from period to period: there is none to test": agreement.placebo,
        "fees are due each period: drop [fees]": agreement.fees,
        "a licence pays for periods of use: drop reward.licence": reward.licence,
        "reward.settlement finalises rewards on live periods: drop it, rewards stay pending": reward.settlement,
    }
    for why, terms in missing.items():
        if terms is not None:
            raise ValueError(f"data without a calendar has no periods, and {why}")
    _check_classes(agreement)
    if reward.rows != "any":
        raise ValueError(
            'reward.rows = "committed" pays for rows committed by a cutoff, and static data has none: leave it out'
        )
    if any(party.encoder for party in agreement.parties):
        raise ValueError("an encoder reads a history, and static data has one row an entity: drop party.encoder")
    if any(party.text for party in agreement.parties):
        raise ValueError("texts have a time, and static data has none: drop party.text, or name a [calendar]")
    unsure = reward.risk_aversion or reward.uplift_level < 1
    if reward.pot and unsure and agreement.openings.contribution != "none":
        raise ValueError(
            "of one set of test rows a contribution has no standard error, so that none would be paid: set "
            "reward.risk_aversion = 0 and reward.uplift_level = 1, or reward.pot = 0"
        )


def _check_classes(agreement: Agreement) -> None:
    """Raise ValueError for what a model for each class lacks."""
    assert agreement.static is not None
    if agreement.static.classes is None:
        return
    if agreement.openings.contribution != "none":
        raise ValueError(
            "several classes are several models, and a contribution is valued of one: set openings.contribution = "
            '"none", and value the parties by runs of coalitions, or in a run of one class against the rest, '
            'static.label = "binary"'
        )
    missing = agreement.opened_scores - agreement.openings_left
    if missing > 0:
        raise ValueError(
            f"a score of each of {agreement.static.classes} classes opens of every test row, and "
            f"{agreement.openings_left} are left of openings.limit_per_row: raise it to "
            f"{agreement.openings.limit_per_row + missing} or more"
        )
