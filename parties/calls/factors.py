"""Finished factors: the list, one factor with its validation battery, its check, and its files by format."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Protocol

from pydantic import Field, StringConstraints

from parties.calls.asking import Asking, Question
from parties.calls.views import DailyView, FileView, StaticView, View

__all__ = [
    "FORMS",
    "ChartView",
    "FactorCard",
    "FactorCheck",
    "FactorDetail",
    "FactorFileQuestion",
    "FactorOrder",
    "FactorPage",
    "FactorQuestion",
    "FactorsCalls",
    "FactorsQuestion",
    "FaultView",
    "FactorForm",
    "LiveView",
    "LoggedView",
    "NumberView",
    "SectionView",
    "SeriesView",
    "SignerView",
    "WarnView",
]

FactorForm = Literal["zip", "report", "csv", "alphalens", "qlib", "numerai", "zipline"]
FORMS: tuple[FactorForm, ...] = ("zip", "report", "csv", "alphalens", "qlib", "numerai", "zipline")
FactorOrder = Literal["newest", "name", "rank_ic", "uplift", "t"]

_Search = Annotated[str, StringConstraints(max_length=200)]


class FactorsQuestion(Question):
    """A page of factors. ``search`` looks in name, version, purpose, consortium, recipients and run id.

    ``favourites``: the caller's own alone.
    """

    search: _Search = ""
    factor_id: _Search = ""
    sort: FactorOrder = "newest"
    favourites: bool = False
    limit: Annotated[int, Field(ge=1, le=200)] = 12
    offset: Annotated[int, Field(ge=0)] = 0


class FactorQuestion(Question):
    """One factor, by the run that made it."""

    run_id: str


class FactorFileQuestion(FactorQuestion):
    """A file to take away. ``id_column`` counts for Numerai Signals alone."""

    form: FactorForm
    id_column: Annotated[str, StringConstraints(max_length=40)] = "numerai_ticker"


class FactorCard(View):
    """A factor in a few lines. Numbers are the run's report's, None where the agreement keeps them private.

    ``static``: what static data has in place of ICs. ``spark``: running sum of the rank ICs over at most 120 periods.
    ``warnings``: names, where the bundle is here.
    """

    run_id: str
    factor_id: str
    version: str = ""
    consortium: str = ""
    purpose: str = ""
    created_at: datetime | None = None
    available: bool = False
    recipients: tuple[str, ...] = ()
    parties: tuple[str, ...] = ()
    label_party: str = ""
    rows: int = 0
    bytes: int = 0
    sha256: str = ""
    n_periods: int = 0
    ic_joint: float | None = None
    ic_own: float | None = None
    t_joint: float | None = None
    uplift: float | None = None
    t_uplift: float | None = None
    static: StaticView | None = None
    spark: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()


class FactorPage(View):
    """Cards of one page; ``total`` is how many fit the question."""

    total: int
    offset: int = 0
    cards: tuple[FactorCard, ...] = ()


class NumberView(View):
    """One number of the battery; None where it is undefined. ``n`` is the sample it rests on."""

    name: str
    value: float | None
    definition: str
    unit: str
    n: int


class SeriesView(View):
    """Values over periods, lags, quantiles or amounts, with a band where one is known."""

    x: tuple[str, ...]
    y: tuple[float | None, ...]
    definition: str
    unit: str
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()


class ChartView(View):
    """A series with its title; ``kind`` says how it is drawn."""

    key: str
    title: str
    kind: Literal["line", "bar", "band", "area"]
    series: SeriesView


class SectionView(View):
    """One part of the battery."""

    key: str
    title: str
    numbers: tuple[NumberView, ...] = ()
    charts: tuple[ChartView, ...] = ()


class WarnView(View):
    name: str
    text: str


class LiveView(View):
    """What the label party attested of periods after the run's calendar, for a final settlement."""

    periods: tuple[str, ...]
    n_periods: int = 0
    v_everyone: float | None = None
    v_nobody: float | None = None
    made_at: datetime
    phi: dict[str, float] = Field(default_factory=dict)


class FactorDetail(View):
    """Everything about one factor. ``withheld`` says why there are no files or no battery, or is empty.

    ``facts`` are what the bundle's metadata say, in the order to read them. ``left_out``: check to reason.
    """

    card: FactorCard
    withheld: str = ""
    may_download: bool = False
    facts: dict[str, str] = Field(default_factory=dict)
    last_date: str = ""
    sections: tuple[SectionView, ...] = ()
    left_out: dict[str, str] = Field(default_factory=dict)
    warnings: tuple[WarnView, ...] = ()
    files: tuple[FileView, ...] = ()
    forms: dict[FactorForm, str] = Field(default_factory=dict)
    live: tuple[LiveView, ...] = ()
    daily: DailyView | None = None


class FaultView(View):
    """One thing that is wrong with a bundle: the file, and the first fact that differs."""

    file: str
    fact: str


class SignerView(View):
    signer: str
    key: str
    trusted: bool


class LoggedView(View):
    """Proof that the signer's audit log had the bundle; ``fault`` says what is wrong with it, or is empty."""

    signer: str
    index: int
    size: int
    at: str
    fault: str = ""


class FactorCheck(View):
    """What verifying the files found. ``sound``: every file is as signed by a key that the agreement names."""

    sound: bool
    files: int = 0
    faults: tuple[FaultView, ...] = ()
    signers: tuple[SignerView, ...] = ()
    logged: tuple[LoggedView, ...] = ()
    checked_at: datetime


class FactorsCalls(Asking, Protocol):
    """Calls about finished factors."""

    def factor_page(self, question: FactorsQuestion) -> FactorPage:
        """Finished factors that fit the question, one page of them."""
        return self.ask("factors/page", question, FactorPage)

    def factor(self, run_id: str) -> FactorDetail:
        """The factor that a run made, with its battery where the coordinator holds the bundle."""
        return self.ask("factors/one", FactorQuestion(run_id=run_id), FactorDetail)

    def check_factor(self, run_id: str) -> FactorCheck:
        """Verify the coordinator's copy of the bundle now: hashes, signatures, and proofs that it was logged."""
        return self.ask("factors/check", FactorQuestion(run_id=run_id), FactorCheck)

    def factor_file(self, run_id: str, form: FactorForm, id_column: str = "numerai_ticker") -> bytes:
        """The factor as one file. Raises :class:`DataError` where the factor has no such file."""
        return self.fetch("factors/file", FactorFileQuestion(run_id=run_id, form=form, id_column=id_column))
