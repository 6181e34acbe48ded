"""What the coordinator shows: typed, read-only documents for the CLI, the UI and scripts.

Amounts are integers in minor units with their ``scale`` (decimal digits) and ``unit``. Times are UTC. Names,
reasons and purposes come from peers: whoever displays them must escape them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field, computed_field

from parties.calls.frozen_view import View
from parties.calls.run_parts import DailyView, FederatedView, RunStatus, ScreenView

__all__ = [
    "BalanceView",
    "BytesView",
    "ContributionView",
    "CoordinatorView",
    "DailyView",
    "EvaluationView",
    "EventView",
    "FactorView",
    "FederatedView",
    "FileView",
    "LedgerView",
    "OpeningsView",
    "PartyView",
    "PauseView",
    "PhaseView",
    "PostingView",
    "ProgressView",
    "RelayView",
    "RunSummary",
    "RunView",
    "ScreenView",
    "SeriesPoint",
    "SignatureView",
    "StaticView",
    "TextSection",
    "View",
]

PhaseStatus = Literal["waiting", "running", "done", "skipped", "failed"]


class TextSection(View):
    """Sentences of an agreement's text under a heading."""

    title: str
    lines: tuple[str, ...] = ()


class CoordinatorView(View):
    """The coordinator itself."""

    name: str
    version: str
    started_at: datetime
    runs: int
    runs_in_progress: int
    parties_online: int


class PartyView(View):
    """A member of the consortium and the state of its line."""

    name: str
    role: Literal["label", "feature", ""] = ""
    legal_entity: str = ""
    address: str = ""
    health: Literal["online", "silent", "offline"] = "offline"
    last_seen: datetime | None = None
    silent_for: float | None = None
    version: str = ""
    running: str = ""
    certificate_sha256: str = ""
    certificate_expires: datetime | None = None
    identity_key: str = ""
    columns: tuple[str, ...] = ()
    text: str = ""
    encoder: str = ""
    expansion: str = ""
    units: dict[str, str] = Field(default_factory=dict)
    label_name: str = ""
    label_definition: str = ""


class ProgressView(View):
    """How far one party is in a phase, as it last said."""

    party: str
    phase: str
    done: int
    total: int
    unit: str = "rows"
    per_second: float | None = None
    eta_seconds: float | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    at: datetime

    @property
    def fraction(self) -> float:
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0


class PhaseView(View):
    """One phase of a run's timeline, from its first attempt's beginning to its last one's end."""

    name: str
    status: PhaseStatus
    attempt: int = 1
    started_at: datetime | None = None
    ended_at: datetime | None = None
    participants: tuple[str, ...] = ()
    finished: tuple[str, ...] = ()
    progress: tuple[ProgressView, ...] = ()

    @property
    def seconds(self) -> float | None:
        """How long it took with all attempts, and waits between them; ``None`` while it has not ended."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at) / timedelta(seconds=1)


class SeriesPoint(View):
    """One period of the run's series. What is not known is ``None``.

    ``ic_joint`` and ``ic_own`` are out-of-sample rank ICs (Spearman) of the joint factor and of the label party's own
    model; ``pearson_joint`` the Pearson IC; ``loss`` the mean training loss; ``gain`` what the latest of its trees took
    off the mean squared residual, in label variances; ``openings`` the most of one row so far.
    """

    period: str
    at: datetime | None = None
    ic_joint: float | None = None
    ic_own: float | None = None
    pearson_joint: float | None = None
    loss: float | None = None
    gain: float | None = None
    openings: int | None = None


class OpeningsView(View):
    """Openings of the most opened row at one feature party, against the agreed limit."""

    party: str
    limit: int
    max_used: int


class BytesView(View):
    """Bytes and messages of one type that one party has sent in a run."""

    party: str
    message: str
    payload: str
    bytes: int
    messages: int = 0


class RelayView(View):
    """Bytes of one party's connections to another, or the coordinator's own, that led through the coordinator.

    They are encrypted between the two; TLS included.
    """

    sender: str
    receiver: str
    bytes: int


class StaticView(View):
    """Measures on the test rows of static data, by model (joint, own) and name."""

    label: str
    rows: int
    measures: dict[str, dict[str, float | None]] = Field(default_factory=dict)


class EvaluationView(View):
    """Rank IC, out of sample. ``t`` values are Newey-West; ``uplift`` is the mean of IC(joint) - IC(own).

    ``static``: what static data has instead; None where there are periods.
    """

    ic_joint: float | None = None
    ic_own: float | None = None
    n_periods: int = 0
    t_joint: float | None = None
    t_own: float | None = None
    uplift: float | None = None
    t_uplift: float | None = None
    static: StaticView | None = None
    detail: dict[str, float | int | str] = Field(default_factory=dict)


class ContributionView(View):
    """What a feature party added (Shapley value in rank IC), and what it earns for it.

    ``plain`` is its value without the label party's own features, ``attribution`` its part of the covariance of score
    and label: both explain, neither is paid.
    """

    party: str
    shapley: float
    standard_error: float | None = None
    plain: float | None = None
    attribution: float | None = None
    share: float = 0.0
    reward: int = 0


class SignatureView(View):
    party: str
    signature: str
    signed_at: datetime


class FileView(View):
    """One file of a factor bundle; ``path`` is relative to the bundle."""

    path: str
    bytes: int
    sha256: str = ""


class FactorView(View):
    """A finished factor. ``available`` is false when this coordinator was not among its recipients."""

    run_id: str
    factor_id: str
    version: str = ""
    consortium: str = ""
    created_at: datetime | None = None
    available: bool = False
    sha256: str = ""
    bytes: int = 0
    rows: int = 0
    recipients: tuple[str, ...] = ()
    files: tuple[FileView, ...] = ()
    ic_joint: float | None = None
    ic_own: float | None = None
    series: tuple[SeriesPoint, ...] = ()
    metadata: dict[str, Any] = Field(default_factory=dict)


class PauseView(View):
    """A pause that was not taken back."""

    by: str
    why: str = ""
    at: datetime


class RunSummary(View):
    """A run in one line. ``pauses``: by whom it is held; ``stopping`` until it has come to its boundary."""

    run_id: str
    consortium: str
    purpose: str
    status: RunStatus
    phase: str = ""
    waiting_for: tuple[str, ...] = ()
    pauses: tuple[PauseView, ...] = ()
    stopping: bool = False
    reason: str = ""
    culprit: str = ""
    proposed_at: datetime
    ended_at: datetime | None = None
    parties: tuple[str, ...] = ()
    label_party: str = ""
    progress: float = 0.0
    n_common: int | None = None
    ic_joint: float | None = None
    ic_own: float | None = None
    t_joint: float | None = None
    pot: int = 0
    unit: str = ""
    scale: int = 0

    @property
    def ended(self) -> bool:
        return self.status in ("settled", "aborted")


class RunView(RunSummary):
    """Everything about one run.

    ``score_bits``: of a sealed network's scores, which alone open of its rows; 0 where sums open. ``anchor`` is that
    network's. ``scored_rows``: of a session that scores later periods of another run, once it has.
    """

    phases: tuple[PhaseView, ...] = ()
    series: tuple[SeriesPoint, ...] = ()
    openings: tuple[OpeningsView, ...] = ()
    score_bits: int = 0
    anchor: str = ""
    bytes_by_message: tuple[BytesView, ...] = ()
    relayed: tuple[RelayView, ...] = ()
    peak_rss_mb: dict[str, float] = Field(default_factory=dict)
    evaluation: EvaluationView | None = None
    contribution_way: str = ""
    contributions: tuple[ContributionView, ...] = ()
    agreement: dict[str, Any] = Field(default_factory=dict)
    signatures: tuple[SignatureView, ...] = ()
    factor: FactorView | None = None
    transactions: tuple[str, ...] = ()
    daily: DailyView | None = None
    screen: ScreenView | None = None
    federated: FederatedView | None = None
    groups: tuple[FederatedView, ...] = ()
    scored_rows: int | None = None


class EventView(View):
    """One entry of the event log."""

    sequence: int
    run_id: str
    at: datetime
    kind: str
    text: str
    body: dict[str, Any] = Field(default_factory=dict)
    hash: str = ""


class _Money(View):
    unit: str
    scale: int

    def _amount(self, minor: int) -> Decimal:
        return Decimal(minor).scaleb(-self.scale)


class BalanceView(_Money):
    """An account's balance: ``posted`` is final, ``pending`` still awaits its resolution. Minor units."""

    account: str
    posted: int
    pending: int = 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> int:
        return self.posted + self.pending

    @property
    def amount(self) -> Decimal:
        """Posted balance in whole units."""
        return self._amount(self.posted)


class PostingView(_Money):
    """One line of a transaction. Positive is a debit, negative a credit."""

    transaction: str
    at: datetime
    account: str
    minor: int
    state: Literal["pending", "posted", "voided"]
    memo: str = ""
    run_id: str = ""

    @property
    def amount(self) -> Decimal:
        return self._amount(self.minor)


class LedgerView(View):
    """Balances, one page of the journal (newest transaction first), and whether everything adds up.

    ``offset`` counts transactions. ``finding`` is the first thing found wrong, or "".
    """

    balances: tuple[BalanceView, ...] = ()
    postings: tuple[PostingView, ...] = ()
    total_transactions: int = 0
    total_postings: int = 0
    offset: int = 0
    balanced: bool = True
    finding: str = ""
