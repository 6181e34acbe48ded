"""Where the target comes from: ``[label]``, and the labels of further horizons."""

from __future__ import annotations

from pydantic import Field

from parties.errors import ConfigError
from vfl.agreed import Terms

__all__ = ["FurtherLabel", "LabelSettings"]


class FurtherLabel(Terms):
    """Where the label of one agreed further horizon comes from; it yields what [label]'s query yields."""

    query: str = Field(description="SQL file, relative to consortium.toml")
    lag_days: int | None = Field(default=None, ge=0)


class LabelSettings(Terms):
    """The label party's target. The query yields entity, period, label, and label_available_at
    or a lag; optionally in_universe (boolean)."""

    name: str
    definition: str
    query: str = Field(description="SQL file, relative to consortium.toml")
    lag_days: int | None = Field(default=None, ge=0)
    horizons: dict[str, FurtherLabel] = Field(default={}, description="by the names in walk_forward.horizons")
    residual: tuple[str, ...] = Field(
        default=(),
        description="own columns of the label party, by whose values at the cutoff runs neutralise the label; in terms "
        "that are proposed, a node's own file says nothing of it",
    )

    def at(self, horizon: str) -> LabelSettings:
        """The settings of one further horizon. Raises :class:`ConfigError` for one without a query."""
        found = self.horizons.get(horizon)
        if found is None:
            raise ConfigError(f"no query gives the label {horizon!r}: add [label.horizons.{horizon}] with its query")
        return self.model_copy(update={"query": found.query, "lag_days": found.lag_days, "horizons": {}})
