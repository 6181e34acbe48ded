"""What opens in a run of several classes, said in words: a score of each class, of a model of its own."""

from __future__ import annotations

from vfl.models.sealed.scales import SCORE_BITS
from vfl.terms import SealedModel
from vfl.tree_terms import TreesModel

__all__ = ["class_bits", "in_words", "sentence"]


def class_bits(classes: int) -> int:
    """Bits of a test row that open: of a score of each class."""
    return classes * SCORE_BITS


def in_words(classes: int) -> str:
    """How the model that the terms describe becomes one of several classes."""
    return (
        f"{classes} of these models are trained, one after the other on the same rows: each fits 1 for the rows of one "
        "class and 0 for the rest. A row's class is the one whose estimate is the largest."
    )


def sentence(model: SealedModel | TreesModel, classes: int, limit: int) -> str:
    """What that means for what opens."""
    more = " What trees open of their candidates opens of each class's trees, whose candidates are drawn anew." * (
        model.kind == "trees"
    )
    return (
        f"A score of each of the {classes} classes opens to the label party of every test row, {SCORE_BITS} bits each "
        f"and {class_bits(classes)} together; {model.anchor} counts all of them, so a run uses {classes} of the "
        f"{limit} scores of a row. What follows is said of one class.{more}"
    )
