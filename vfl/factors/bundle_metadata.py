"""What a reader must know of what a run exports: ``metadata.json``, of a factor and of scores of static data."""

from __future__ import annotations

from datetime import UTC
from typing import Literal

from pydantic import AwareDatetime, Field

from vfl.terms import Terms

__all__ = ["CSV", "SCORES", "BundleMetadata", "FactorMetadata", "StaticMetadata", "Supersedes"]

SCORES = "scores.parquet"
CSV = "scores.csv"
"""The tables of a bundle of static data."""


class Supersedes(Terms):
    """What a later version takes the place of, and why. The earlier one stays as it is."""

    version: str
    sha256: str = Field(description="of the earlier version's SHA256SUMS")
    why: str
    run_id: str = Field(default="", description="the run that gave cause, such as a placebo")


class BundleMetadata(Terms):
    """Of any bundle: which one it is, of what run, of whose data, and what opened for it."""

    schema_version: Literal[1] = 1
    factor_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    sign: Literal["higher score, higher expected label", "higher score, lower expected label"] = (
        "higher score, higher expected label"
    )
    unit: str = Field(default="model output; comparable within a period only", description="unit of score")
    universe: str
    identifier_scheme: str
    label_name: str
    label_definition: str
    n_trials: int = Field(ge=1, description="all configurations tried by all parties for this factor")
    run_id: str
    parties: tuple[str, ...] = Field(description="pseudonyms")
    alignment_policy: str
    intersection_size_band: str
    he_parameters: dict[str, int | str | tuple[int, ...]]
    openings_limit: int = Field(ge=0, description="openings per row that the agreement allows")
    openings_used: int = Field(ge=0, description="most openings any row has had in this run")
    git_sha: str
    lockfile_sha256: str
    seed: int
    input_commitments: dict[str, str] = Field(default_factory=dict, description="party -> commitment to its inputs")
    terms: str = Field(default="", description="what the recipients may do with the factor")
    proposed_at: AwareDatetime | None = Field(
        default=None, description="when the run was proposed, as all parties signed it; nothing says when this was made"
    )

    @property
    def proposed(self) -> dict[str, str]:
        """The line of a report's head, where the time is known."""
        at = self.proposed_at
        return {} if at is None else {"proposed": f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC, as all parties signed it"}


class FactorMetadata(BundleMetadata):
    """Of a factor. What follows from the data (ranges, lags, counts) is added at export."""

    calendar: str = Field(description="name and time zone of the decision calendar")
    frequency: str
    horizon: int = Field(ge=0, description="periods until a label is known")
    purge: int = Field(ge=0, description="periods between training rows and the prediction, label horizon included")
    embargo: int = Field(ge=0, description="extra periods held out")
    outputs: dict[str, str] = Field(default_factory=dict, description="what each of f0, f1, ... predicts")
    neutralised_against: tuple[str, ...] = ()
    supersedes: Supersedes | None = Field(default=None, description="None: the first version of this run's factor")


class StaticMetadata(BundleMetadata):
    """Of the scores of static data."""

    kind: Literal["static"] = "static"
    label_kind: Literal["binary", "regression", "classes"]
    parts: str = Field(description="how rows fell into training and test")
