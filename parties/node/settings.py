"""``node.toml``: what one party's operator writes about its own node."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from parties.agreement.cautions import CAUTION_TERMS
from parties.errors import ConfigError
from parties.files.toml import read_toml
from parties.names import PartyName
from parties.notices.settings import NoticeSettings
from parties.process.workers import ComputeSettings
from parties.settings.consortium import LabelSettings, PartySettings, TransportSettings
from parties.settings.faults import first_fault
from vfl.terms import ROWS_PER_COLUMN, Terms

__all__ = ["ACCEPTABLE", "BOUNDED", "NodeSettings", "StandingLimits", "load_node_settings"]


BOUNDED = frozenset(("openings.limit_per_row", "openings.largest_fraction", "model.embedding_width", "readers"))
"""Terms for which there is a limit of their own."""
ACCEPTABLE = CAUTION_TERMS - BOUNDED
"""Terms that a node may accept whatever they are."""


class StandingLimits(Terms):
    """What no agreement can exceed, whoever signs it."""

    openings_per_row: int = Field(default=8, ge=1)
    forms_per_row: int | None = Field(
        default=None, ge=1, description="numbers that may open of a row, all openings together; empty: not limited"
    )
    accepts: tuple[str, ...] = Field(
        default=(),
        description="terms of an agreement that lower protection or pay and that this node signs without a person, as "
        "run review names them, such as openings.contribution",
    )
    largest_fraction: float = Field(default=0.6, gt=0, description="linear forms shown of a row / all features")
    bits_per_row: float = Field(
        default=0.0,
        ge=0,
        description="bits that models which open rows may tell of one row's content, over all runs; 0: "
        "largest_fraction of what this party measures on its own columns",
    )
    contribution: Literal["masked", "none"] = Field(
        default="masked", description="none: no coalition of rows opens, which shows this party's own embeddings"
    )
    discrete: Literal["refuse", "accept"] = Field(
        default="refuse",
        description="columns of fewer than 4 bits, missing indicators too, in models that open rows; accept: under "
        "openings.noise of 0.2 or more, turned together with this party's other columns",
    )
    smallest_batch: int = Field(
        default=0,
        ge=0,
        description="fewest rows of a training step of a model that opens rows; 0: five for each own column",
    )
    alignments: int = Field(
        default=12,
        ge=1,
        description="times in 30 days that a counterparty whose set is new or has changed is aligned with; each shows "
        "it more of which entities this party holds",
    )
    overlap_epsilon: float = Field(
        default=3.0,
        ge=0,
        le=100,
        description="epsilon of the overlap estimates that this node signs with one counterparty in 365 days, together",
    )
    columns_never: tuple[str, ...] = Field(default=(), description="columns that may enter no run")
    counterparties: tuple[PartyName, ...] = Field(default=(), description="allowed parties; empty: all in the roster")
    anchors: tuple[PartyName, ...] = Field(
        default=(),
        description="feature parties accepted as anchor of a sealed run, or as the other owner of a product; "
        "empty: any",
    )
    readers: dict[PartyName, str] = Field(
        default={},
        description="readers without a node by name, with the key that this operator has checked; empty: as agreed",
    )
    hours: str = Field(
        default="", description="UTC, such as 18:00-06:00: when this node signs and begins runs; empty: always"
    )

    @field_validator("accepts")
    @classmethod
    def _known_terms(cls, terms: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(terms) - ACCEPTABLE)
        if unknown:
            raise ValueError(f"accepts names {unknown}: it takes {', '.join(sorted(ACCEPTABLE))}")
        return terms

    @field_validator("hours")
    @classmethod
    def _hours(cls, text: str) -> str:
        if text and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d", text):
            raise ValueError("give hours as 18:00-06:00, in UTC")
        return text

    def batch_floor(self, columns: int) -> int:
        """Fewest rows of a training step for a party that brings ``columns``."""
        return self.smallest_batch or ROWS_PER_COLUMN * columns

    def open_at(self, now: datetime) -> bool:
        """Whether the hours allow this node to sign and begin a run at ``now`` (aware)."""
        if not self.hours:
            return True
        start, end = (time.fromisoformat(part) for part in self.hours.split("-"))
        at = now.astimezone(UTC).time()
        return start <= at < end if start < end else at >= start or at < end


class NodeSettings(Terms):
    """The whole of ``node.toml``. Paths are relative to the file's folder."""

    listen: str = Field(description="host:port that peers reach this node at")
    data: str = Field(description="folder that ${data} stands for in SQL")
    queries: str = Field(default=".", description="folder of the SQL files and alias tables")
    universe: str = Field(default="", description="CSV with a column entity, for agreements with a public universe")
    sectors: str = Field(default="", description="CSV with columns entity and sector, for overlap estimates by sector")
    approve: Literal["ask", "automatic"] = Field(
        default="ask",
        description="automatic signs what the limits name and leaves the rest to the operator; ask leaves all to them",
    )
    follow_roster: bool = Field(
        default=True,
        description="take in whom the coordinator introduces; false: roster.json is changed by hand",
    )
    settlements: Literal["ask", "within_agreement"] = Field(
        default="ask",
        description="within_agreement approves settlements whose amounts this node computes again; ask waits",
    )
    commit_minutes: int = Field(
        default=60,
        ge=0,
        le=10080,
        description="how often to commit to new rows; 0: only by entente party commit",
    )
    approvers: tuple[str, ...] = Field(
        default=(),
        description="the people who may approve runs; empty: whoever can write to this folder",
    )
    approvals_needed: int = Field(default=1, ge=1, le=9, description="how many people must approve; 2 is four eyes")
    party: PartySettings
    label: LabelSettings | None = None
    limits: StandingLimits = StandingLimits()
    publish_limits: bool = Field(
        default=False, description="let the members see openings_per_row, largest_fraction and hours"
    )
    metrics: str = Field(
        default="", description="port, on loopback, or HOST:PORT of /health and /metrics (Prometheus text); empty: none"
    )
    notices: NoticeSettings = NoticeSettings()
    transport: TransportSettings = TransportSettings()
    compute: ComputeSettings = ComputeSettings()
    state: str = Field(default="", description="SQLAlchemy URL of the node's state; default state.db in its folder")
    record: str = Field(default="", description="file that records every byte sent and received; for audits and tests")

    @model_validator(mode="after")
    def _label_where_it_belongs(self) -> NodeSettings:
        if self.label is None and self.party.role == "label":
            raise ValueError("the label party needs a [label] table: name, definition and query of what is predicted")
        if self.label is not None and self.party.role != "label":
            raise ValueError("a [label] table belongs to the label party and to no other: take it out")
        if self.approvers and len(set(self.approvers)) < self.approvals_needed:
            raise ValueError("approvers must name at least approvals_needed different people")
        if self.approve == "automatic" and self.approvals_needed > 1:
            raise ValueError('approvals_needed above 1 needs approve = "ask"')
        if self.settlements == "within_agreement" and self.approvals_needed > 1:
            raise ValueError('approvals_needed above 1 needs settlements = "ask"')
        return self


def load_node_settings(path: Path) -> NodeSettings:
    """Read and check ``node.toml``; every fault is one :class:`ConfigError` sentence."""
    raw = read_toml(path, "name a node's folder that holds node.toml")
    try:
        return NodeSettings.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_fault(error, raw)}") from None
