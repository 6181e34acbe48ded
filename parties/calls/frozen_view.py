"""What every document that a coordinator shows is: frozen, and read by older and newer programs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["View"]


class View(BaseModel):
    """A frozen record. Unknown keys of a newer coordinator are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")
