"""A client without a coordinator: four runs in four states, a ledger, and names that try to be markup."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from parties.calls.asking import Question
from parties.client import (
    BalanceView,
    BytesView,
    ContributionView,
    CoordinatorView,
    DeskCalls,
    EntenteError,
    EvaluationView,
    EventView,
    FactorView,
    FileView,
    LedgerView,
    OpeningsView,
    PartyView,
    PhaseView,
    PostingView,
    ProgressView,
    RelayView,
    Role,
    RunSummary,
    RunView,
    SeriesPoint,
    SignatureView,
    ViewerView,
)
from parties.errors import ConfigError
from tests.ui import sample_contributions, sample_desk, sample_factors, sample_money, sample_runs, sample_trust

__all__ = ["ABORTED", "HOSTILE", "PAUSED", "RUNNING", "SETTLED", "SampleClient", "bundle", "sealed_run", "settled_run"]

SETTLED, RUNNING, PAUSED, ABORTED = ("a1" * 32, "b2" * 32, "c3" * 32, "d4" * 32)
HOSTILE = "<img src=x onerror=alert(1)> **bold** :red[red] $x^2$ [link](http://x)"
T0 = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
PARTIES = ("harbor", "orbit", "chatter", "till")
PHASES = ("approve", "align", "train", "evaluate", "value", "export", "settle")
SECONDS = (1.2, 3.4, 71.0, 0.8, 9.7, 0.6, 0.1)
MESSAGES = {
    "product.operand": ("ciphertext", 41_200_000),
    "product.answer": ("ciphertext", 187_000_000),
    "source.sum": ("masked sum", 2_310_000),
    "source.batch": ("public metadata", 410_000),
    "psi.list": ("blinded id", 96_000),
    "psi.commitment": ("commitment", 640),
    "factor.bundle": ("agreed result", 1_240_000),
}


def series(n: int) -> tuple[SeriesPoint, ...]:
    """Weekly points: smooth, deterministic, the joint factor mostly above the own model."""
    points = []
    for i in range(n):
        wave = 0.05 * math.sin(1.7 * i) + 0.03 * math.cos(0.6 * i)
        known = i >= 8
        points.append(
            SeriesPoint(
                period=f"2024-W{i + 1:02d}" if i < 52 else f"2025-W{i - 51:02d}",
                at=T0 + timedelta(seconds=i),
                ic_joint=0.11 + wave if known else None,
                ic_own=0.05 + 0.8 * wave * math.cos(i) if known else None,
                loss=0.99 - 0.05 * (1 - math.exp(-i / 20)) + 0.003 * math.sin(2.1 * i) if i >= 4 else None,
                openings=min(4, 1 + i // 20),
            )
        )
    return tuple(points)


def bundle(*, spoil: bool = False) -> bytes:
    """A zip archive like a factor's; with ``spoil`` one file differs from SHA256SUMS."""
    files = {"factor.parquet": b"PAR1 score", "metadata.json": b"{}", "adapters/alphalens.csv": b"date,asset,factor\n"}
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    if spoil:
        files["metadata.json"] = b"{ }"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in {**files, "SHA256SUMS": sums.encode()}.items():
            archive.writestr(f"{SETTLED[:12]}/1/{name}", data)
    return out.getvalue()


def settled_run() -> RunView:
    phases, at = [], T0
    for name, seconds in zip(PHASES, SECONDS, strict=True):
        end = at + timedelta(seconds=seconds)
        phases.append(
            PhaseView(name=name, status="done", started_at=at, ended_at=end, participants=PARTIES, finished=PARTIES)
        )
        at = end
    contributions = (("orbit", 0.031, 0.006, 0.55), ("chatter", 0.019, 0.005, 0.36), ("till", 0.005, 0.004, 0.09))
    return RunView(
        run_id=SETTLED, consortium="Harbour consortium", purpose="Weekly factor, large caps", status="settled",
        proposed_at=T0, ended_at=at, parties=PARTIES, label_party="harbor", progress=1.0, n_common=463,
        ic_joint=0.1104, ic_own=0.0553, t_joint=14.21,
        pot=250_000, unit="USD", scale=2, phases=tuple(phases), series=series(104),
        openings=tuple(OpeningsView(party=p, limit=6, max_used=6 - (p == "till")) for p in PARTIES[1:]),
        bytes_by_message=tuple(
            BytesView(party=p, message=m, payload=kind, bytes=size // (2 + i), messages=120 + i)
            for m, (kind, size) in MESSAGES.items() for i, p in enumerate(PARTIES)
        ),
        relayed=(RelayView(sender="orbit", receiver="harbor", bytes=48_000_000),),
        peak_rss_mb={p: 410.0 + 17 * i for i, p in enumerate(PARTIES)},
        evaluation=EvaluationView(
            ic_joint=0.1104, ic_own=0.0553, n_periods=96, t_joint=14.21, t_own=6.9, uplift=0.0551, t_uplift=7.3
        ),
        contribution_way="masked",
        contributions=tuple(
            ContributionView(party=p, shapley=phi, standard_error=se, share=share, reward=round(250_000 * share))
            for p, phi, se, share in contributions
        ),
        agreement={"consortium": "Harbour consortium", "walk_forward": {"horizon": 1}},
        signatures=tuple(SignatureView(party=p, signature="ab" * 64, signed_at=T0) for p in PARTIES),
        factor=factor(),
    )  # fmt: skip


def sealed_run(run: RunView) -> RunView:
    """The same run with a sealed network: no loss, scores that its anchor counts."""
    return run.model_copy(
        update={
            "score_bits": 17,
            "anchor": "orbit",
            "series": tuple(point.model_copy(update={"loss": None}) for point in run.series),
            "openings": tuple(OpeningsView(party=p, limit=4, max_used=int(p == "orbit")) for p in PARTIES[1:]),
            "agreement": {**run.agreement, "calendar": {"periods": [point.period for point in series(104)]}},
        }
    )


def factor() -> FactorView:
    """The factor of the settled run, as the coordinator lists it."""
    with zipfile.ZipFile(io.BytesIO(bundle())) as archive:
        contents = {info.filename.split("/", 2)[2]: archive.read(info) for info in archive.infolist()}
    files = tuple(
        FileView(path=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()) for name, data in contents.items()
    )
    manifest = hashlib.sha256(contents["SHA256SUMS"]).hexdigest()
    return FactorView(
        run_id=SETTLED, factor_id="weekly-large-caps", version="1", created_at=T0, available=True, sha256=manifest,
        bytes=len(bundle()), rows=44_448, recipients=("harbor", "coordinator"), files=files,
    )  # fmt: skip


def training_run() -> RunView:
    done = tuple(
        PhaseView(name=n, status="done", started_at=T0, ended_at=T0 + timedelta(seconds=s), finished=PARTIES)
        for n, s in zip(PHASES[:2], SECONDS[:2], strict=True)
    )
    states = tuple(
        ProgressView(
            party=p, phase="train", done=41_300 - 150 * i, total=96_000, per_second=6210.4, eta_seconds=8.8, at=T0
        )
        for i, p in enumerate(PARTIES)
    )
    train = PhaseView(
        name="train", status="running", started_at=T0 + timedelta(seconds=5), participants=PARTIES, progress=states
    )
    waiting = tuple(PhaseView(name=n, status="waiting") for n in PHASES[3:])
    points = tuple(p.model_copy(update={"ic_joint": None, "ic_own": None}) for p in series(45))
    return RunView(
        run_id=RUNNING, consortium="Harbour consortium", purpose=HOSTILE, status="aligned", phase="train",
        proposed_at=T0, parties=PARTIES, label_party="harbor", progress=0.43, n_common=463,
        phases=(*done, train, *waiting),
        series=points, openings=tuple(OpeningsView(party=p, limit=6, max_used=3) for p in PARTIES[1:]),
        unit="USD", scale=2,
    )  # fmt: skip


def aborted_run() -> RunView:
    failed = PhaseView(name="approve", status="failed", started_at=T0, ended_at=T0 + timedelta(seconds=31))
    return RunView(
        run_id=ABORTED, consortium="Harbour consortium", purpose="Daily factor", status="aborted", culprit="till",
        reason="till: has been silent for 30 s; start its node and propose the run again", proposed_at=T0,
        ended_at=T0 + timedelta(seconds=31), parties=PARTIES, label_party="harbor", phases=(failed,),
    )  # fmt: skip


def paused_run() -> RunView:
    waits = {"run_id": PAUSED, "status": "paused", "waiting_for": ("till",), "ended_at": None, "reason": ""}
    return aborted_run().model_copy(update=waits)


VIEWER = ViewerView(name="admin", role="admin")


class SampleClient(DeskCalls):
    """Answers from memory. ``error`` makes every call fail; ``doors`` answers for the desk, from the question."""

    def __init__(self, *_: object) -> None:
        self.views = {run.run_id: run for run in (training_run(), paused_run(), settled_run(), aborted_run())}
        self.error: EntenteError | None = None
        self.archive = bundle()
        self.balanced = True
        self.asked: list[str] = []
        self.role: Role = "admin"
        self.proposed: list[str] = []
        self.money = sample_money.Money(HOSTILE, PARTIES)
        self.membership = sample_money.Members(HOSTILE, PARTIES)
        self.ordered: list[tuple[str, ...]] = []
        desk = sample_desk.doors()
        favourites = desk["desk/favourites"]
        self.doors: dict[str, Callable[[Any], Any]] = {
            "viewer": lambda _: ViewerView(name=self.role, role=self.role),
            **desk,
            **sample_runs.doors(self.views, favourites),
            **sample_runs.drafts(PARTIES, self.proposed),
            **sample_factors.doors(favourites),
            **sample_contributions.doors(),
            **sample_trust.doors(),
            **sample_money.doors(self.money, self.membership),
        }

    def within(self, _: str) -> SampleClient:
        return self

    def _answer(self, what: str) -> None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error

    def ask(self, what: str, question: Question, shape: Any) -> Any:
        self._answer(what)
        return self.doors[what](question)

    def fetch(self, what: str, question: Question) -> bytes:
        self._answer(what)
        found = self.doors[what](question)
        assert isinstance(found, bytes)
        return found

    def coordinator(self) -> CoordinatorView:
        self._answer("coordinator")
        return CoordinatorView(
            name="coordinator", version="0.1.0", started_at=T0, runs=4, runs_in_progress=2, parties_online=3
        )

    def parties(self) -> list[PartyView]:
        self._answer("parties")
        offers = sample_runs.members(PARTIES)
        return [
            PartyView(
                name=name, role="feature" if i else "label", legal_entity=f"{name.title()} Capital LLC",
                health="offline" if name == "till" else "online", last_seen=T0, version="0.1.0",
                columns=offers[name].columns, units=offers[name].units,
            )
            for i, name in enumerate(PARTIES)
        ]  # fmt: skip

    def runs(self, *, limit: int = 100, offset: int = 0) -> list[RunSummary]:
        self._answer("runs")
        return list(self.views.values())[offset : offset + limit]

    def run(self, run_id: str) -> RunView:
        self._answer(f"run {run_id}")
        if run_id not in self.views:
            raise ConfigError(f"there is no run {run_id[:12]}: name one from the list of runs")
        return self.views[run_id]

    def events(self, run_id: str = "", *, after: int = 0, limit: int = 500) -> list[EventView]:
        self._answer("events")
        return [EventView(sequence=1, run_id=run_id, at=T0, kind="proposed", text=HOSTILE)]

    def ledger(self, run_id: str = "", *, limit: int = 100, offset: int = 0) -> LedgerView:
        self._answer("ledger")
        if not self.views:
            return LedgerView()
        rewards = {"orbit": 137_500, "chatter": 90_000, "till": 22_500}
        lines = [("Expenses:Reward", 250_000), *((f"Liabilities:Party:{p}:Pending", -r) for p, r in rewards.items())]
        postings = tuple(
            PostingView(
                transaction="settle/a1a1a1a1a1a1", at=T0, account=account, minor=minor, state="pending",
                memo="Reward of the run, pending", run_id=SETTLED, unit="USD", scale=2,
            )
            for account, minor in lines
        )  # fmt: skip
        balances = tuple(
            BalanceView(account=account, posted=0, pending=abs(minor), unit="USD", scale=2) for account, minor in lines
        )
        return LedgerView(
            balances=balances, postings=postings[offset : offset + limit], total_postings=len(postings), offset=offset,
            balanced=self.balanced, finding="" if self.balanced else "entry 7 does not follow from entry 6",
        )  # fmt: skip

    def download_factor(self, run_id: str) -> bytes:
        self._answer(f"download {run_id}")
        return self.archive

    def propose(self, agreement: object) -> str:
        raise ConfigError("a sample takes no proposals")

    def cancel(self, run_id: str, why: str) -> None:
        self._answer("cancel")
        self.ordered.append(("cancel", run_id, why))

    def pause(self, run_id: str, why: str) -> None:
        self._answer("pause")
        self.ordered.append(("pause", run_id, why))

    def resume(self, run_id: str) -> None:
        self._answer("resume")
        self.ordered.append(("resume", run_id))
