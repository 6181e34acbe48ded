"""Files people write: ``consortium.toml`` (a run's terms and who brings what) and its parts.

One file describes a whole consortium for ``entente demo`` and ``entente simulate``; a party's node
reads the one ``[[party]]`` table that is its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, ValidationError, model_validator

from parties.agreement.daily_terms import DailyTerms
from parties.agreement.group_terms import GroupTerms, with_group_encoders
from parties.agreement.sealed_terms import with_kind_defaults
from parties.agreement.static_terms import with_static_defaults
from parties.agreement.terms import AlignmentTerms, EvaluationTerms, FeeUseTerms, RewardTerms, StaticTerms
from parties.errors import ConfigError
from parties.files.toml import read_toml
from parties.names import NO_PARTIES, LegalEntity, PartyName
from parties.settings.faults import first_fault
from parties.settings.labels import LabelSettings
from parties.settings.run_day import RunDay
from parties.settings.stores import PostgresSettings, S3Settings
from parties.settings.terminals import TerminalSettings
from parties.settings.text import TextSettings
from vfl.encoder_terms import EncoderSettings
from vfl.expansion_terms import ExpansionSettings
from vfl.terms import FixedPoint, Model, OpeningTerms, SplitModel, Terms, WalkForward
from vfl.walk.configurations import AnyDraft

__all__ = [
    "CalendarSettings",
    "ColumnRules",
    "ConsortiumSettings",
    "EncoderSettings",
    "ExpansionSettings",
    "LabelSettings",
    "PartySettings",
    "TransportSettings",
    "load_consortium",
]


class CalendarSettings(Terms):
    """Decision periods from ``first`` to ``last``; the cutoff is the period's end plus a lag."""

    frequency: str = Field(
        description="Q, M, W-FRI, D, B (Monday to Friday), an exchange's code such as XNYS, or a pandas period alias"
    )
    first: RunDay
    last: RunDay
    decision_lag_days: int = Field(
        default=0, ge=0, description="days after a period's end at which features are cut off"
    )


class ColumnRules(Terms):
    """What a column must be, beyond a number. A value outside stops the run with the column's name."""

    unit: str = Field(default="", max_length=60, description="of the raw values, such as USD m; others may read it")
    minimum: float | None = None
    maximum: float | None = None
    required: bool = Field(default=False, description="no value may be missing")

    @model_validator(mode="after")
    def _ordered(self) -> ColumnRules:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError("minimum is above maximum")
        return self


_PROFILE = "(text|ticker|isin|figi|cusip|sedol|lei|cik|fips|name)"


class PartySettings(Terms):
    """One party's data. The query yields entity, period (the observation's date), available_at
    (or a lag), and the columns; ``${data}`` in SQL stands for the data folder. A label party that brings labels alone
    has neither query nor columns, nor has a party whose columns are all made of texts."""

    name: PartyName
    role: Literal["label", "feature"]
    legal_entity: LegalEntity = Field(
        default="", description="to whom the party belongs: parties of one entity share one reward"
    )
    query: str = Field(default="", description="SQL file, relative to consortium.toml; with columns or not at all")
    columns: tuple[str, ...] = Field(default=(), description="of the query; may be none where there is text or a label")
    lag_days: int | None = Field(
        default=None, ge=0, description="days from period to availability, when the data does not say"
    )
    identifier: str = Field(
        default="text",
        pattern=rf"^{_PROFILE}(\|{_PROFILE})*$",
        description="what entity holds: text, ticker, isin, figi, cusip, sedol, lei, cik, fips or name, each with its "
        "own spelling and check digit; several joined by | for a composite key",
    )
    duplicates: Literal["error", "latest", "aggregate"] = Field(
        default="error",
        description="rows of one entity, period and time of availability, and two spellings of one entity: refused, "
        "the last of them, or the mean of their values",
    )
    aliases: str = Field(
        default="", description="CSV with columns alias, entity, for a time from, until; applied before alignment"
    )
    alias_query: str = Field(default="", description="SQL file that yields alias, entity instead of a CSV")
    largest_age_days: int | None = Field(default=None, ge=1, description="older observations count as missing")
    winsorise: float = Field(default=0.01, ge=0, lt=0.5, description="share cut at each tail per period")
    missing_indicators: tuple[str, ...] = Field(default=(), description="columns that get a 0/1 companion NAME_missing")
    whiten: bool = True
    column_schema: dict[str, ColumnRules] = Field(
        default={}, validation_alias=AliasChoices("schema", "column_schema"), description="rules by column"
    )
    label_query: str = Field(
        default="",
        description="SQL file of this member's own labels, as that of [label] is, for runs of model.kind = federated; "
        "the label party's is [label]'s",
    )
    label_lag_days: int | None = Field(default=None, ge=0, description="of label_query, as lag_days of [label]")
    postgres: PostgresSettings | None = None
    s3: S3Settings | None = None
    text: TextSettings | None = None
    encoder: EncoderSettings | None = None
    expand: ExpansionSettings | None = None
    terminals: TerminalSettings = TerminalSettings()

    @model_validator(mode="after")
    def _encodable(self) -> PartySettings:
        if self.encoder is not None:
            unknown = set(self.encoder.columns) - set(self.own_columns)
            if unknown:
                raise ValueError(f"encoder.columns name unknown columns {sorted(unknown)}")
            taken = set(self.own_columns) & set(self.encoder.output_columns)
            if taken:
                raise ValueError(f"columns {sorted(taken)} have names that the encoder's own columns need")
        return self

    @model_validator(mode="after")
    def _expandable(self) -> PartySettings:
        if self.expand is not None:
            unknown = set(self.expand.columns) - set(self.own_columns)
            if unknown:
                raise ValueError(f"expand.columns name unknown columns {sorted(unknown)}")
            taken = set(self.own_columns) & set(self.expand.output_columns(self.own_columns))
            if taken:
                raise ValueError(f"columns {sorted(taken)} have names that the expansion's own columns need")
        return self

    @model_validator(mode="after")
    def _columns(self) -> PartySettings:
        if len(set(self.own_columns)) != len(self.own_columns):
            raise ValueError("columns must be named, once each, and text_... only where no text makes them")
        if not (self.columns and self.query):
            self._without_columns()
        unknown = set(self.terminals.columns) - set(self.own_columns)
        if unknown:
            raise ValueError(f"terminals.columns name unknown columns {sorted(unknown)}")
        unknown = set(self.missing_indicators) - set(self.own_columns)
        if unknown:
            raise ValueError(f"missing_indicators name unknown columns {sorted(unknown)}")
        unknown = set(self.column_schema) - set(self.columns)
        if unknown:
            raise ValueError(f"schema names unknown columns {sorted(unknown)}")
        return self

    def _without_columns(self) -> None:
        """Raise ValueError unless all columns are made of texts, or this is a label party that brings labels alone."""
        if self.role == "feature" and self.text is None:
            raise ValueError("a feature party needs a query, and columns, named once each, or a table [party.text]")
        if self.columns or self.query:
            raise ValueError(
                "query and columns go together: name both, or neither for a party of labels alone or texts"
            )
        if self.text is not None:
            return
        if self.encoder is not None or self.expand is not None:
            raise ValueError("encoder and expand make columns of a party's own, and it names none: leave them out")

    def own_labels(self, name: str, definition: str) -> LabelSettings | None:
        """A feature party's labels of its own entities, for federated runs; None where it has none."""
        if not self.label_query:
            return None
        return LabelSettings(name=name, definition=definition, query=self.label_query, lag_days=self.label_lag_days)

    @property
    def own_columns(self) -> tuple[str, ...]:
        """The query's columns, and those made of texts."""
        return self.columns + (self.text.output_columns if self.text is not None else ())

    @property
    def asked(self) -> str:
        """The SQL file that says which entities there are: the query's, or that of the texts; empty without either."""
        return self.query or (self.text.query if self.text is not None else "")

    @property
    def output_columns(self) -> tuple[str, ...]:
        """Columns the model sees, those of an encoder, an expansion, kept terminals and missing indicators included."""
        made = self.encoder.output_columns if self.encoder is not None else ()
        made += self.expand.output_columns(self.own_columns) if self.expand is not None else ()
        made += self.terminals.output_columns
        return self.own_columns + made + tuple(f"{c}_missing" for c in self.missing_indicators)

    @property
    def text_declared(self) -> str:
        """What an agreement says of this party's columns of texts; empty without any."""
        return self.text.declared() if self.text is not None else ""

    @property
    def encoder_declared(self) -> str:
        """What an agreement says of this party's encoder; empty without one."""
        return self.encoder.declared(self.own_columns) if self.encoder is not None else ""

    @property
    def expansion_declared(self) -> str:
        """What an agreement says of this party's local expansion and kept terminals; empty without any."""
        made = (self.expand.declared(self.own_columns),) if self.expand is not None else ()
        return "; ".join((*made, *self.terminals.declared))


class TransportSettings(Terms):
    """Limits and patience of a node's channels; sizes in bytes, times in seconds."""

    largest_message: int = Field(default=256 * 2**20, ge=1, le=2**32 - 1)
    unread: int = Field(default=512 * 2**20, ge=1, description="arrived and not yet read, per peer and session")
    unsent: int = Field(default=256 * 2**20, ge=1, description="queued and not yet taken, per peer and session")
    contact_seconds: float = Field(default=60.0, gt=0, description="how long a peer may take to answer the first time")
    reconnect_seconds: float = Field(default=5.0, gt=0, description="how long a lost connection may take to return")
    silence_seconds: float = Field(default=120.0, gt=0, description="how long one message may keep us waiting")
    relay: Literal["never", "when_unreachable", "always"] = Field(
        default="when_unreachable",
        description="whether connections to peers lead through the coordinator, which cannot read them",
    )


class ConsortiumSettings(Terms):
    """The whole of ``consortium.toml``."""

    name: str
    purpose: str = ""
    calendar: CalendarSettings | None = None
    static: StaticTerms | None = Field(default=None, description="in place of [calendar]: one row an entity")
    label: LabelSettings
    alignment: AlignmentTerms = AlignmentTerms()
    fixed_point: FixedPoint = FixedPoint()
    parameter_set: str = "bfv-8192"
    model: Model = SplitModel()
    walk_forward: WalkForward = WalkForward()
    openings: OpeningTerms = OpeningTerms()
    evaluation: EvaluationTerms = EvaluationTerms()
    reward: RewardTerms = RewardTerms()
    fees: FeeUseTerms | None = None
    daily: DailyTerms | None = None
    search: AnyDraft | None = None
    recipients: tuple[PartyName, ...] = ()
    readers: dict[PartyName, str] = Field(
        default={}, description="recipients without a node: what entente factors key printed, by name"
    )
    group: tuple[GroupTerms, ...] = Field(
        default=(),
        description="members with the same columns that train one encoder together, for runs between parties",
    )
    party: tuple[PartySettings, ...]

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_kind(cls, given: Any) -> Any:
        return with_static_defaults(with_kind_defaults(with_group_encoders(given)))

    @model_validator(mode="after")
    def _one_label_party(self) -> ConsortiumSettings:
        labels = [p.name for p in self.party if p.role == "label"]
        if len(labels) != 1:
            raise ValueError(f'exactly one [[party]] needs role = "label", found {len(labels)}')
        kept = next((p.name for p in self.party if p.name in NO_PARTIES), "")
        if kept:
            raise ValueError(f"no party can be called {kept!r}, which the coordinator needs itself: give another name")
        if (self.calendar is None) == (self.static is None):
            raise ValueError("name [calendar] or [static]: the periods of the data, or that it is one row an entity")
        return self

    def labels_of(self, party: PartySettings) -> LabelSettings | None:
        """Where a party's labels come from; None where it has none."""
        return self.label if party.role == "label" else party.own_labels(self.label.name, self.label.definition)


def load_consortium(path: Path) -> ConsortiumSettings:
    """Read and check a ``consortium.toml``; every fault is one :class:`ConfigError` sentence."""
    raw = read_toml(path, "name an existing consortium.toml")
    try:
        return ConsortiumSettings.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_fault(error, raw)}") from None
