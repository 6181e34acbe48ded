"""Configurations of a sealed network that a run tries: the list that everyone signs, and what it may be drawn from.

Every side of a sealed network computes with the rates, so all of them know each configuration before the run. The list
is therefore part of the agreement, and each entry is checked against the arithmetic before anyone signs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationError,
    model_serializer,
    model_validator,
)

from vfl.terms import SealedModel, Terms
from vfl.walk.search import Choice, SearchTerms

__all__ = [
    "DEFAULT_SEALED_SPACE",
    "MOST_TRIED",
    "AnyDraft",
    "AnySearch",
    "Configuration",
    "SealedSearchTerms",
    "SearchDraft",
]

MOST_TRIED = 64
"""Configurations of one run."""


class Configuration(Terms):
    """One configuration: what differs from [model]; nothing for the model as it is agreed."""

    width: int | None = None
    batch_rows: int | None = None
    warmup_steps: int | None = None
    steps: int | None = None
    linear_rate: float | None = None
    square_rate: float | None = None
    momentum: float | None = None
    alpha: float | None = None
    threshold: float | None = None
    start: float | None = None

    @model_serializer(mode="wrap")
    def _only_what_differs(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        body: dict[str, Any] = handler(self)
        return {name: value for name, value in body.items() if value is not None}

    @property
    def words(self) -> str:
        """What differs, in words."""
        return " and ".join(f"{name} {value:g}" for name, value in self.model_dump().items()) or "as agreed"

    def applied(self, model: SealedModel) -> SealedModel:
        """The model in this configuration. Raises ValueError, in one sentence, where it contradicts itself."""
        try:
            return SealedModel.model_validate(model.model_dump() | self.model_dump())
        except ValidationError as error:
            first = error.errors()[0]
            place = f"model.{first['loc'][0]}: " if first["loc"] else ""
            raise ValueError(place + first["msg"].removeprefix("Value error, ")) from None


class SealedSearchTerms(Terms):
    """A search of a sealed network. It chooses by periods before evaluation.first, and reports those from there on."""

    kind: Literal["sealed"] = Field(default="sealed", description="follows from model.kind")
    configurations: tuple[Configuration, ...] = Field(
        min_length=1, max_length=MOST_TRIED, description="what is trained and judged, one trial each"
    )

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and set(given) - {"kind", "configurations"}:
            raise ValueError(
                "a sealed run signs the very configurations that it tries: list them in search.configurations, as "
                '`entente run search` does, or set model.kind = "split" to search top models'
            )
        return given

    def models(self, model: SealedModel) -> tuple[SealedModel, ...]:
        """The model in each configuration. Raises ValueError where one contradicts itself or is another's twin."""
        found: list[SealedModel] = []
        for number, configuration in enumerate(self.configurations):
            try:
                applied = configuration.applied(model)
            except ValueError as error:
                raise ValueError(f"search.configurations, number {number + 1}: {error}") from None
            if applied in found:
                raise ValueError(
                    f"search.configurations, number {number + 1} is number {found.index(applied) + 1} once more: "
                    "leave it out"
                )
            found.append(applied)
        return tuple(found)


DEFAULT_SEALED_SPACE: Mapping[str, Choice] = {
    "width": Choice(values=(2, 4, 8)),
    "steps": Choice(values=(1, 2)),
    "linear_rate": Choice(values=(2.0**-7, 2.0**-6, 2.0**-5, 2.0**-4)),
    "square_rate": Choice(values=(2.0**-4, 2.0**-3, 2.0**-2)),
    "alpha": Choice(low=300.0, high=3000.0, log=True),
    "threshold": Choice(low=1.5, high=3.0),
}


class SearchDraft(Terms):
    """A search of a sealed network before it is proposed: a list of configurations, or what to draw them from."""

    kind: Literal["sealed"] = Field(default="sealed", description="follows from model.kind")
    trials: int = Field(
        default=4, ge=1, le=MOST_TRIED, description="configurations to draw, the agreed model among them"
    )
    seed: int = Field(default=0, ge=0, description="of the draw")
    same_cost: bool = Field(
        default=False,
        description="every trial costs about the same: its steps follow from the width that is drawn for it, so that "
        "width + 1 times steps stays as in [model]",
    )
    space: dict[str, Choice] = Field(
        default_factory=lambda: dict(DEFAULT_SEALED_SPACE), description="by key of [model]; rates are powers of two"
    )
    configurations: tuple[Configuration, ...] = Field(
        default=(), max_length=MOST_TRIED, description="in place of a draw: what each trial changes of [model]"
    )

    @model_validator(mode="after")
    def _known(self) -> SearchDraft:
        unknown = sorted(set(self.space) - set(Configuration.model_fields))
        if unknown:
            raise ValueError(
                f"search.space names {unknown}: of a sealed network only {', '.join(Configuration.model_fields)} can "
                'be searched; set model.kind = "split" to search a top model'
            )
        if self.same_cost and "width" not in self.space:
            raise ValueError("search.same_cost makes steps follow from the width: name width in search.space")
        words = [key for key, choice in self.space.items() if any(isinstance(value, str) for value in choice.values)]
        if words:
            raise ValueError(f"search.space.{words[0]}: values are numbers")
        return self


def _kind(value: Any) -> str:
    return str(value.get("kind", "split") if isinstance(value, Mapping) else getattr(value, "kind", "split"))


AnySearch = Annotated[
    Annotated[SearchTerms, Tag("split")] | Annotated[SealedSearchTerms, Tag("sealed")], Discriminator(_kind)
]
"""A run's search, by the kind of its model."""

AnyDraft = Annotated[Annotated[SearchTerms, Tag("split")] | Annotated[SearchDraft, Tag("sealed")], Discriminator(_kind)]
"""The same before it is proposed."""
