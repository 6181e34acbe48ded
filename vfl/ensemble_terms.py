"""The terms of an ensemble that every party signs; the other kinds of model are in :mod:`vfl.terms`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from vfl.agreed import Terms
from vfl.sealed_terms import SealedModel
from vfl.tree_terms import TreesModel

__all__ = ["MEMBERS", "EnsembleModel", "Member", "Weights", "weights_in_words"]

Member = Literal["linear", "network", "trees"]
MEMBERS: tuple[Member, ...] = ("linear", "network", "trees")
"""What an ensemble may be made of, in the order in which it is trained."""


def _weighed(given: dict[Member, float]) -> dict[Member, float]:
    if not all(0 < weight <= 1e6 for weight in given.values()) or not given:
        raise ValueError(
            "weights are numbers above 0 by member, such as { network = 1, trees = 3 }: leave out the rest"
        )
    return given


Weights = Annotated[dict[Member, float], AfterValidator(_weighed)]
"""Of members in an average, as whoever writes them likes to scale them; a member that is not named has none."""


def weights_in_words(weights: dict[Member, float]) -> str:
    """Such as ``25% network and 75% trees``."""
    total = sum(weights.values())
    return " and ".join(f"{weights[name] / total:.0%} {name}" for name in MEMBERS if name in weights)


class EnsembleModel(Terms):
    """Sealed models on the same rows, each trained by itself; a score averages their ranks."""

    kind: Literal["ensemble"] = "ensemble"
    linear: SealedModel = Field(
        default=SealedModel(),
        description="the line, where model.weights name it: a sealed network of no squared column",
    )
    network: SealedModel = SealedModel()
    boosted: TreesModel = TreesModel()
    trees_share: tuple[float, ...] = Field(
        default=(0.5,),
        min_length=1,
        max_length=21,
        description="of the trees' rank in a score, the rest is the network's. Of several, the one whose rank IC over "
        "the periods before evaluation.first is best is taken, and periods from it on are reported",
    )
    weights: tuple[Weights, ...] = Field(
        default=(),
        max_length=21,
        description="in place of trees_share, such as [{ linear = 1 }, { trees = 1 }, { network = 1, trees = 1 }]: "
        "what averages are tried, of which members; one that nobody names is not trained",
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
        for name, part in (("linear", self.linear), ("network", self.network), ("boosted", self.boosted)):
            for key in ("anchor", "seed"):
                if getattr(part, key):
                    raise ValueError(f"both parts have one {key}: name it as model.{key}, not as model.{name}.{key}")
        return self

    @model_validator(mode="after")
    def _weights_or_shares(self) -> EnsembleModel:
        if self.linear.width != SealedModel().width:
            raise ValueError("a line has no squared columns: leave model.linear.width out")
        if not self.weights:
            return self
        if self.trees_share != (0.5,):
            raise ValueError("model.weights stand in place of model.trees_share: leave one of them out")
        if len(self.names) < 2:
            raise ValueError(f"model.weights name {self.names[0]} alone, which is no ensemble: name another member too")
        if len(set(self.averages)) < len(self.averages):
            raise ValueError("two of model.weights are the same average: leave one out")
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_agreed(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Terms without weights keep the hash they had before there were any."""
        body: dict[str, Any] = handler(self)
        if not self.weights:
            body.pop("weights", None)
        if "linear" not in self.names:
            body.pop("linear", None)
        return body

    @property
    def names(self) -> tuple[Member, ...]:
        """The members, in the order in which they are trained."""
        if not self.weights:
            return ("network", "trees")
        return tuple(name for name in MEMBERS if any(name in one for one in self.weights))

    @property
    def averages(self) -> tuple[tuple[float, ...], ...]:
        """The weights (members,) of each average that is tried, adding up to 1."""
        if not self.weights:
            return tuple((1 - share, share) for share in self.trees_share)
        totals = [sum(one.values()) for one in self.weights]
        return tuple(
            tuple(one.get(name, 0.0) / total for name in self.names)
            for one, total in zip(self.weights, totals, strict=True)
        )

    def only(self, number: int) -> EnsembleModel:
        """The same with one of the averages alone; its members are as they were."""
        if not self.weights:
            return self.model_copy(update={"trees_share": (self.trees_share[number],)})
        return self.model_copy(update={"weights": (self.weights[number],)})

    def told(self, number: int) -> str:
        """One of the averages, in words."""
        shares = dict(zip(self.names, self.averages[number], strict=True))
        return weights_in_words({name: share for name, share in shares.items() if share})

    @property
    def members(self) -> dict[Member, SealedModel | TreesModel]:
        """The models as they are trained, in order."""
        said = {"anchor": self.anchor, "seed": self.seed}
        made: dict[Member, SealedModel | TreesModel] = {
            "linear": self.linear.model_copy(update=said | {"width": 0}),  # no run of its own has so few
            "network": self.network.model_copy(update=said),
            "trees": self.boosted.model_copy(update=said),
        }
        return {name: made[name] for name in self.names}

    @property
    def chosen_by_periods(self) -> bool:
        """Whether earlier periods choose the average."""
        return len(self.averages) > 1

    @property
    def opened_scores(self) -> int:
        """Scores of a predicted row that open: one of each member, since ranks are taken of scores that are open."""
        return len(self.names)

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
