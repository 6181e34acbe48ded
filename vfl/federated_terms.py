"""The terms of federated training that every member signs; the other kinds of model are in :mod:`vfl.terms`."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from vfl.agreed import Terms

__all__ = ["FederatedModel", "FederatedRounds"]

RING_BITS = 63
"""Of the ring in which updates are added up."""


class FederatedRounds(Terms):
    """How members with the same columns train one set of weights: rounds at home, and secure sums of what changed."""

    section: ClassVar[str] = "model"
    """Where these terms stand, for whoever has to change one."""

    rounds: int = Field(default=12, ge=1, le=1000, description="averagings of each training")
    local_epochs: int = Field(default=2, ge=1, le=100, description="passes over its own rows that a member makes each")
    batch_rows: int = Field(default=256, ge=8, le=65_536)
    learning_rate: float = Field(default=0.01, gt=0, le=1, description="of Adam, begun anew in every round")
    weight_decay: float = Field(default=1e-3, ge=0, le=1)
    proximal: float = Field(
        default=0.0, ge=0, le=100, description="mu of FedProx: how hard local weights are drawn to the common ones"
    )
    personal_head: bool = Field(
        default=False, description="the last layer stays at each member and is its own: for members whose data differ"
    )
    sampled: float = Field(default=1.0, gt=0, le=1, description="share of the members that train in each round")
    weights: Literal["rows", "equal"] = Field(default="rows", description="how members count in the average")
    most_rows: int = Field(default=2**20, ge=1, le=2**24, description="a member's weight by rows is at most this")
    rule: Literal["sum", "median", "trimmed"] = Field(
        default="sum",
        description="sum: by secure aggregation, the coordinator sees sums alone; median, trimmed: coordinate by "
        "coordinate, against poisoned updates, for which the coordinator sees every member's update",
    )
    trimmed: int = Field(default=1, ge=1, le=100, description="members left out at either end, where rule is trimmed")
    threshold: int = Field(
        default=0, ge=0, le=1000, description="fewest members of whom a sum opens; 0 in a draft: two thirds, and one"
    )
    clip: float = Field(default=10.0, gt=0, le=1000, description="largest norm of an update")
    noise: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="Gaussian noise in every opened sum, in clips; 0: none, and no differential privacy",
    )
    delta: float = Field(default=1e-5, gt=0, lt=0.1, description="of the differential privacy of a member")
    fraction_bits: int = Field(default=24, ge=8, le=32, description="of a number in the sum")
    seed: int = Field(default=0, ge=0, le=2**53 - 1)

    @model_validator(mode="after")
    def _rounds_consistent(self) -> Self:
        where = self.section
        if self.noise and self.weights != "equal":
            raise ValueError(
                f"{where}.noise hides whether a member took part, and its weight by rows would show it: set "
                f'{where}.weights = "equal"'
            )
        if self.rule != "sum" and (self.noise or self.weights != "equal"):
            raise ValueError(
                f'{where}.rule = "{self.rule}" counts members, not rows, and adds no noise: set {where}.weights = '
                f'"equal" and {where}.noise = 0'
            )
        return self

    def agreed_for(self, members: int) -> Self:
        """These terms with a threshold for so many members. Raises ValueError for one that protects nobody."""
        taking, where = self.taking_part(members), self.section
        threshold = self.threshold or 2 * taking // 3 + 1
        if not taking / 2 < threshold <= taking:
            raise ValueError(
                f"{where}.threshold = {threshold} of {taking} members in a round: it must be more than half, or an "
                f"aggregator could have both seeds of a member; set it to {2 * taking // 3 + 1}"
            )
        if threshold < 2:
            raise ValueError("a sum of one member is its own update: federated training needs two members in a round")
        if self.rule == "trimmed" and 2 * self.trimmed >= threshold:
            raise ValueError(
                f"{where}.trimmed = {self.trimmed} at either end leaves nothing of {threshold} members: lower it"
            )
        self.check_room(members)
        return self.model_copy(update={"threshold": threshold})

    def taking_part(self, members: int) -> int:
        """Members that train in a round."""
        return max(min(members, 2), math.ceil(self.sampled * members))

    def check_room(self, members: int) -> None:
        """Raise ValueError where a sum of so many members could leave the ring."""
        largest = self.most_rows if self.weights == "rows" else 1
        # noise beyond 8 deviations is not drawn in the lifetime of anything
        reach = members * (largest * self.clip + 8 * self.noise * self.clip)
        bits = math.ceil(math.log2(max(reach, largest * members))) + self.fraction_bits + 1
        if bits >= RING_BITS:
            over, where = bits - RING_BITS + 1, self.section
            raise ValueError(
                f"a sum of {members} updates needs {bits} bits, and the ring has {RING_BITS}: lower "
                f"{where}.fraction_bits to {self.fraction_bits - over}, or {where}.clip or {where}.most_rows"
            )


class FederatedModel(FederatedRounds):
    """One network for members with the same columns and different entities, by federated averaging."""

    kind: Literal["federated"] = "federated"
    hidden: int = Field(default=16, ge=0, le=1024, description="tanh units of the network; 0: a linear model")

    @model_validator(mode="after")
    def _consistent(self) -> FederatedModel:
        if self.personal_head and not self.hidden:
            raise ValueError(
                "model.personal_head keeps the last layer at home, and a linear model has no other: set model.hidden "
                "to 1 or more, or model.personal_head = false"
            )
        return self

    @property
    def anchor(self) -> str:
        """Nobody: members train at home, and no row is shared out."""
        return ""

    @property
    def opened_scores(self) -> int:
        """Scores of a row that open: none, each member scores its own entities and keeps the scores."""
        return 0

    @property
    def embedding_width(self) -> int:
        return 1

    @property
    def epochs(self) -> int:
        """Passes that open anything of a row."""
        return 0

    @property
    def warmup_epochs(self) -> int:
        return 0

    def numbers(self, columns: int) -> int:
        """Weights that members have in common, of a network over so many columns."""
        if not self.hidden:
            return columns + 1
        return (columns + 1) * self.hidden + (0 if self.personal_head else self.hidden + 1)
