"""The terms of a joint model that every party signs: shapes, arithmetic, schedule, openings.

These are plain validated records. The run agreement embeds them; protocols receive them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from vfl.agreed import Terms
from vfl.ensemble_terms import EnsembleModel
from vfl.federated_terms import FederatedModel
from vfl.fixed_point import LARGEST_OPERAND, FixedPoint
from vfl.screen_terms import ScreenModel
from vfl.sealed_terms import FASTEST, SealedModel
from vfl.tree_terms import TreesModel

__all__ = [
    "AnchoredModel",
    "EnsembleModel",
    "FederatedModel",
    "FASTEST",
    "LARGEST_OPERAND",
    "MOST_RANKED",
    "NOMINAL_DEVIATION",
    "ROWS_PER_COLUMN",
    "FixedPoint",
    "Horizon",
    "Model",
    "OpeningTerms",
    "RidgeModel",
    "ScreenModel",
    "SealedModel",
    "SplitModel",
    "Terms",
    "TreesModel",
    "WalkForward",
]

ROWS_PER_COLUMN = 5
"""Rows that a block of moments needs for each column of the feature parties, unless a ridge's terms say otherwise."""

NOMINAL_DEVIATION = 0.3
"""Standard deviation of a nominal embedding: of one under the initial weights, on whitened columns."""

MOST_RANKED = 2048
"""Rows of a batch up to which every pair is compared."""


class SplitModel(Terms):
    """The split network: sealed source layer of width h, then a top model at the label party."""

    kind: Literal["split"] = "split"
    embedding_width: int = Field(default=2, ge=1, le=64)
    top: Literal["linear", "mlp", "residual"] = Field(
        default="residual", description="the top model: a line, a tanh layer, or a line and a tanh layer's correction"
    )
    hidden: int = Field(default=16, ge=0, le=1024, description="units of the top model's small tanh layer")
    members: int = Field(default=4, ge=1, le=64, description="top models on the same openings; the score is their mean")
    epochs: int = Field(default=1, ge=1, le=50, description="passes over each period's rows once its labels resolved")
    warmup_epochs: int = Field(
        default=1, ge=1, description="passes over rows resolved before the first prediction, as openings allow"
    )
    batch_rows: int = Field(default=256, ge=1, le=8192)
    smallest_batch: int = Field(default=0, ge=0, le=4096, description="fewest rows of a step; 0: five a column")
    top_steps: int = Field(default=1, ge=1, le=50, description="top-model steps per opened batch")
    source_learning_rate: float = Field(default=0.2, gt=0)
    source_decay: float = Field(default=0.02, ge=0, description="rate at step s is rate / (1 + decay * s)")
    top_learning_rate: float = Field(default=0.003, gt=0)
    top_decay: float = Field(default=0.01, ge=0, description="as source_decay, for the top model")
    weight_decay: float = Field(default=1e-3, ge=0)
    ic_weight: float = Field(default=0.5, ge=0, le=1, description="share of the per-date IC loss beside MSE")
    loss: Literal["regression", "mse", "ic", "rank_ic", "logistic", "softmax"] = Field(
        default="regression",
        description="regression: MSE and Pearson IC, shared out by ic_weight; mse or ic: one of them alone; rank_ic: "
        "as regression with the IC of soft ranks; logistic: whether a label is above its period's mean (static data: "
        "labels 0 and 1); softmax: labels 0 to classes - 1, static data only",
    )
    rank_temperature: float = Field(
        default=0.25, gt=0, le=10, description="of the rank_ic loss: how soft its ranks are, in deviations of the score"
    )
    classes: int = Field(default=2, ge=2, le=1000, description="classes of the softmax loss")
    seed: int = Field(default=0, ge=0)
    warm_start: Literal["none", "ridge"] = Field(
        default="none",
        description="ridge: moments of the warm-up rows open once, and the first embedding column starts along the "
        "joint ridge (docs/protocols/ridge.md)",
    )
    warm_start_alpha: float = Field(default=300.0, gt=0, description="penalty of the warm start's ridge")

    @model_validator(mode="after")
    def _consistent(self) -> SplitModel:
        if self.warm_start == "ridge" and self.loss in ("logistic", "softmax"):
            raise ValueError('model.warm_start = "ridge" needs a regression: set it to "none", or choose another loss')
        if self.top == "mlp" and not self.hidden:
            raise ValueError('model.top = "mlp" needs model.hidden of 1 or more: raise it, or choose "linear"')
        if self.loss == "rank_ic" and self.batch_rows > MOST_RANKED:
            raise ValueError(f'model.loss = "rank_ic" compares every pair of a batch: batch_rows <= {MOST_RANKED}')
        if self.batch_rows < 2 * self.smallest_batch:
            raise ValueError(f"raise model.batch_rows to {2 * self.smallest_batch}, twice model.smallest_batch")
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_agreed(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Terms that do without what came later keep the hash they had before it."""
        body: dict[str, Any] = handler(self)
        unused = ["warm_start", "warm_start_alpha"] if self.warm_start == "none" else []
        unused += ["rank_temperature"] if self.loss != "rank_ic" else []
        unused += ["top"] if self.top == "residual" else []
        unused += ["smallest_batch"] if not self.smallest_batch else []
        for name in unused:
            body.pop(name, None)
        return body

    def smallest_block(self, features: int, label_columns: int) -> int:
        """Fewest rows whose moments a warm start may open, as :meth:`RidgeModel.smallest_block`."""
        return ROWS_PER_COLUMN * (features + label_columns)

    @property
    def correlation_share(self) -> float:
        """Share of the per-date correlation in the loss, beside the squared error."""
        return {"mse": 0.0, "ic": 1.0}.get(self.loss, self.ic_weight)

    @property
    def outputs(self) -> int:
        """Scores of a row: one, or one for each class of the softmax loss."""
        return self.classes if self.loss == "softmax" else 1


class RidgeModel(Terms):
    """Joint ridge regression from secure cross-moments: no per-row opening but the final score.

    It has the shape of a split model of width 1 that passes once over each row: one entry into the moments.
    """

    kind: Literal["ridge"] = "ridge"
    alpha: float = Field(default=300.0, ge=0, description="penalty beside the sum of squared errors, as scikit-learn's")
    rows_per_column: int = Field(
        default=ROWS_PER_COLUMN,
        ge=2,
        description="rows a block of moments needs for each column of all parties, the label among them",
    )

    @property
    def embedding_width(self) -> int:
        return 1

    @property
    def epochs(self) -> int:
        return 1

    @property
    def warmup_epochs(self) -> int:
        return 1

    @property
    def seed(self) -> int:
        """Nothing here is random."""
        return 0

    def smallest_block(self, features: int, label_columns: int) -> int:
        """Fewest rows whose moments may be opened, for ``features`` columns of all feature parties.

        label_columns: the label party's own and its label. It knows them, so each is an equation of the rows of every
        other column: of as many rows as it has columns these can be solved for.
        """
        return self.rows_per_column * (features + label_columns)


def _kind(value: Any) -> str:
    return str(value.get("kind", "split") if isinstance(value, dict) else getattr(value, "kind", "split"))


Model = Annotated[
    Annotated[SealedModel, Tag("sealed")]
    | Annotated[SplitModel, Tag("split")]
    | Annotated[RidgeModel, Tag("ridge")]
    | Annotated[TreesModel, Tag("trees")]
    | Annotated[EnsembleModel, Tag("ensemble")]
    | Annotated[ScreenModel, Tag("screen")]
    | Annotated[FederatedModel, Tag("federated")],
    Discriminator(_kind),
]
"""A run's model; without ``kind`` it is the split network."""

AnchoredModel = SealedModel | TreesModel | EnsembleModel | ScreenModel | FederatedModel
"""Of which no row opens but its score: computed on shares to the end, of which an anchor holds one half, and of a
screen's each pair of parties its own; of a federated model, trained at each member's home, not even a score opens."""


class Horizon(Terms):
    """A further label of the same rows, known ``periods`` after the decision."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")
    definition: str = ""
    periods: int = Field(ge=0, description="periods until this label is known")
    share: float = Field(default=0.0, ge=0, lt=1, description="of this horizon's output in the exported score")


class WalkForward(Terms):
    """Prequential schedule over the agreed calendar; all in periods."""

    horizon: int = Field(default=1, ge=0, description="periods until a label is known")
    embargo: int = Field(default=0, ge=0, description="extra periods held out after the longest horizon")
    warmup: int = Field(default=4, ge=1, description="resolved periods needed before the first prediction")
    horizons: tuple[Horizon, ...] = Field(
        default=(), description="further labels beside [label], each an output of the one top model"
    )

    @model_validator(mode="after")
    def _shared_out(self) -> WalkForward:
        names = [horizon.name for horizon in self.horizons]
        if len(set(names)) != len(names):
            raise ValueError("walk_forward.horizons: two horizons share a name")
        if sum(horizon.share for horizon in self.horizons) >= 1:
            raise ValueError("walk_forward.horizons: the shares must leave some of the score to the first label")
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_agreed(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Terms with one horizon keep the hash they had before there could be more."""
        body: dict[str, Any] = handler(self)
        if not self.horizons:
            body.pop("horizons", None)
        return body

    @property
    def longest(self) -> int:
        """Periods until all labels of a row are known: what training is purged by."""
        return max((self.horizon, *(horizon.periods for horizon in self.horizons)))

    @property
    def shares(self) -> tuple[float, ...]:
        """Of each output in the exported score, the first label's first; they add up to 1."""
        further = tuple(horizon.share for horizon in self.horizons)
        return (1.0 - sum(further), *further)


class OpeningTerms(Terms):
    """How often a row's embedding sum may be opened; each feature node counts and enforces it."""

    limit_per_row: int = Field(
        default=4,
        ge=1,
        description="openings of a row over all runs; of a sealed model scores, and likewise numbers it enters",
    )
    largest_fraction: float = Field(
        default=0.6,
        gt=0,
        description="limit_per_row * embedding_width may not exceed this share of all features; not for a sealed model",
    )
    noise: float = Field(
        default=0.1,
        ge=0.05,
        le=1,
        description="Gaussian noise of each party in every number of a row that opens, in standard deviations of a "
        "nominal embedding",
    )
    contribution: Literal["masked", "moments", "retrain", "none"] = Field(
        default="masked",
        description="moments: a sealed model's, from two numbers per coalition and period; retrain: a federated "
        "model's, which every coalition trains anew",
    )
    attribution: bool = Field(
        default=False, description="sealed attribution: one number per feature party and period, one opening per row"
    )
    single_party: bool = Field(
        default=False, description="signed consent to open a single party's sums (one feature party)"
    )

    @property
    def deviation(self) -> float:
        """Standard deviation of a party's noise in an opened number, absolute."""
        return self.noise * NOMINAL_DEVIATION
