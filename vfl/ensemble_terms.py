"""The terms of an ensemble that every party signs; the other kinds of model are in :mod:`vfl.terms`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from vfl.agreed import Terms
from vfl.sealed_terms import SealedModel
from vfl.tree_terms import TreesModel

__all__ = ["EnsembleModel"]


class EnsembleModel(Terms):
    """The sealed network and sealed trees on the same rows, each trained by itself; a score averages their ranks."""

    kind: Literal["ensemble"] = "ensemble"
    network: SealedModel = SealedModel()
    boosted: TreesModel = TreesModel()
    trees_share: tuple[float, ...] = Field(
        default=(0.5,),
        min_length=1,
        max_length=21,
        description="of the trees' rank in a score, the rest is the network's. Of several, the one whose rank IC over "
        "the periods before evaluation.first is best is taken, and periods from it on are reported",
    )
    anchor: str = Field(
        default="",
        max_length=64,
        description="the feature party that holds the other half of all shares; empty in a draft: chosen for it",
    )
    seed: int = Field(default=0, ge=0)

    @field_validator("trees_share")
    @classmethod
    def _shares(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 <= share <= 1 for share in value) or len(set(value)) < len(value):
            raise ValueError("shares are distinct numbers from 0 to 1, such as [0.25, 0.5, 0.75]")
        return value

    @model_validator(mode="after")
    def _said_once(self) -> EnsembleModel:
        for name, part in (("network", self.network), ("boosted", self.boosted)):
            for key in ("anchor", "seed"):
                if getattr(part, key):
                    raise ValueError(f"both parts have one {key}: name it as model.{key}, not as model.{name}.{key}")
        return self

    @property
    def parts(self) -> tuple[SealedModel, TreesModel]:
        """The two models as they are trained."""
        said = {"anchor": self.anchor, "seed": self.seed}
        return self.network.model_copy(update=said), self.boosted.model_copy(update=said)

    @property
    def chosen_by_periods(self) -> bool:
        """Whether earlier periods choose the trees' share."""
        return len(self.trees_share) > 1

    @property
    def opened_scores(self) -> int:
        """Scores of a predicted row that open: one of each part, since ranks are taken of scores that are open."""
        return 2

    @property
    def epochs(self) -> int:
        """Openings of a row that training needs: none."""
        return 0

    @property
    def warmup_epochs(self) -> int:
        """Openings of a row that training before the first prediction needs: none."""
        return 0

    @property
    def embedding_width(self) -> int:
        """Numbers of a row that open at a time: a score."""
        return 1
