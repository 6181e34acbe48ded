"""A small consortium of real processes that a test kills and starts again as it likes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.client import Client, EventView, RunView
from parties.data.consortium_files import SimulatedModel
from parties.data.simulate import simulate
from parties.demo.compare import Pooled
from parties.demo.homes import DemoHomes, lay_out
from parties.demo.processes import Processes
from parties.demo.run import start_coordinator
from parties.errors import PeerError
from parties.names import COORDINATOR
from parties.node.openings import OpeningStore
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import ConsortiumSettings, load_consortium
from tests.parties.demo_rig import let_bits, until
from tests.parties.node_rig import in_this_process
from vfl.protocols.row_bits import BACKWARD
from vfl.terms import Model

Prepare = Callable[[DemoHomes], None]
Terms = Callable[[ConsortiumSettings], ConsortiumSettings]
Place = Callable[[str, Callable[[], None]], None]

LABEL = "fund"
PARTIES = ("fund", "satellite", "social")
WHOLE_PERIODS = 12
"""Of every run that is compared with one that nothing happened to: 16 training steps."""


@dataclass
class Living:
    """Homes, processes and the one run of a test."""

    homes: DemoHomes
    agreement: Agreement
    processes: Processes
    place: Place

    def start(self, name: str) -> None:
        self.place(name, lambda: self._start(name))

    def _start(self, name: str) -> None:
        if name == COORDINATOR:
            start_coordinator(self.homes, self.processes)
        else:
            self.processes.start(name, "party", "start", "--home", str(self.homes.party(name)))

    def kill(self, name: str) -> None:
        child = self.processes.children[name]
        child.signal(signal.SIGKILL)
        child.process.wait()
        child.close()

    def client(self) -> Client:
        return Client("", self.homes.admin)

    def view(self) -> RunView:
        with self.client() as client:
            return client.run(self.agreement.run_id)

    def ended(self) -> bool:
        """Whether the label party was told that the run is over; the coordinator may be down."""
        log = (self.homes.logs / f"{LABEL}.log").read_text(errors="replace")
        return "has ended:" in log or "is settled" in log

    def checkpoints(self, name: str) -> Path:
        return self.homes.party(name) / "runs" / self.agreement.run_id / "checkpoints"

    def at_step(self, name: str, step: int) -> Callable[[], bool]:
        """Whether the party has the record of this step or of a later one."""

        def check() -> bool:
            folder = self.checkpoints(name)
            return (
                folder.is_dir() and max((p.name for p in folder.glob("step-*[0-9]")), default="") >= f"step-{step:08}"
            )

        return check

    def begun(self, name: str, phase: str) -> Callable[[], bool]:
        log = self.homes.logs / f"{name}.log"
        return lambda: f"{phase} begins" in log.read_text(errors="replace")

    def records(self, name: str) -> dict[str, bytes]:
        """What the party keeps of the run, byte for byte."""
        return {path.name: path.read_bytes() for path in sorted(self.checkpoints(name).iterdir())}

    def events(self) -> list[EventView]:
        with self.client() as client:
            return client.events(self.agreement.run_id)

    def everyone_attached(self) -> bool:
        with self.client() as client:
            return _attached(client)

    def scores(self) -> NDArray[np.float64]:
        """The label party's factor, sorted by date and instrument."""
        [path] = self.homes.party(LABEL).glob("factors/*/*/factor.parquet")
        return pd.read_parquet(path)["score"].sort_index().to_numpy()

    def periods_scored(self) -> int:
        """Of how many periods the label party's factor has scores."""
        [path] = self.homes.party(LABEL).glob("factors/*/*/factor.parquet")
        return int(pd.read_parquet(path).index.get_level_values(0).nunique())

    def from_twin(self) -> float:
        """Largest difference to the same run in plain numbers with the same noise, in score standard deviations."""
        self.homes.agreement.write_bytes(self.agreement.canonical())
        pooled = Pooled.load(self.homes.out)
        [path] = self.homes.party(LABEL).glob("factors/*/*/factor.parquet")
        rounded = pooled.parity(pooled.scores(path.parent)).rounded
        assert rounded is not None
        return rounded

    def settled(self) -> RunView:
        """Wait for the end, which must be the good one."""
        deadline = time.monotonic() + 180
        while not (view := self.view()).ended:
            assert time.monotonic() < deadline, f"still {view.status} in {view.phase}, waiting for {view.waiting_for}"
            time.sleep(0.2)
        assert view.status == "settled", view.reason
        return view


def opened(alive: Living, party: str) -> dict[str, int]:
    """Openings by what they opened: a training step's rows, or a coalition; how often each was charged."""
    store = OpeningStore(f"sqlite:///{alive.homes.party(party) / 'state.db'}")
    counts: dict[str, int] = {}
    for charge in store.history(alive.agreement.run_id):
        if BACKWARD in charge.label:
            continue
        kind, _, rest = charge.label.partition("/")
        name = rest.split("/")[0] if kind == "value" else str(int(rest.rpartition("/")[2]))
        counts[f"{kind.split('-')[0]}/{name}"] = counts.get(f"{kind.split('-')[0]}/{name}", 0) + 1
    store.close()
    return counts


@contextmanager
def living(
    folder: Path,
    prepare: Prepare = lambda homes: None,
    place: Place = lambda name, start: start(),
    *,
    features: int = 2,
    periods: int = 24,
    silence: int = 60,
    room: Mapping[str, float] | None = None,
    model: Model | None = None,
    terms: Terms = lambda settings: settings,
) -> Iterator[Living]:
    """A run that has just been proposed.

    ``prepare`` may change the homes before anything starts; ``place`` starts each process, where it belongs; ``room``:
    what the nodes' standing limits allow beyond the run's own terms; ``model``: in place of the split network;
    ``terms``: what else is agreed in place of what the simulation asks for.
    """
    homes, agreement = _laid_out(folder, features, periods, room, model, terms)
    agreement = agreement.model_copy(update={"silence_seconds": silence})
    prepare(homes)
    with Processes(homes.logs) as processes:
        alive = Living(homes, agreement, processes, place)
        for name in (COORDINATOR, *(party.name for party in agreement.parties)):
            alive.start(name)
        with alive.client() as client:
            until(lambda: _attached(client), "every party")
            client.propose(agreement)
        yield alive


@dataclass(frozen=True)
class Whole:
    """What a run that nobody disturbs ends in."""

    scored: int
    openings: dict[str, dict[str, int]]


def undisturbed(folder: Path, *, periods: int) -> Whole:
    """The run of :func:`living` as it ends where nothing happens to it, in this process."""
    homes, agreement = _laid_out(folder, 2, periods)
    with in_this_process(homes, PARTIES), Client("", homes.admin) as client:
        client.propose(agreement)
        until(lambda: client.run(agreement.run_id).ended, "the run's end")
        view = client.run(agreement.run_id)
    assert view.status == "settled", view.reason
    assert view.relayed == (), "the direct way is the default"
    alive = Living(homes, agreement, Processes(homes.logs), lambda name, start: None)
    return Whole(len(alive.scores()), {party: opened(alive, party) for party in PARTIES[1:]})


def _laid_out(
    folder: Path,
    features: int,
    periods: int,
    room: Mapping[str, float] | None = None,
    model: Model | None = None,
    terms: Terms = lambda settings: settings,
) -> tuple[DemoHomes, Agreement]:
    """Homes of a simulated consortium, and the run that is proposed to it."""
    kind: SimulatedModel = "sealed" if model is not None and model.kind == "sealed" else "split"
    made = simulate(folder / "data", entities=60, periods=periods, parties=features, seed=11, model=kind)
    settings = load_consortium(made.config)
    if model is not None:
        settings = settings.model_copy(update={"model": model})
    settings = terms(settings)
    allowed = settings.model_copy(update={"openings": settings.openings.model_copy(update=dict(room or {}))})
    homes = lay_out(folder.resolve(), allowed, made.config.parent, made.data, 11)
    if room:
        let_bits(homes, [party.name for party in settings.party])
    return homes, agreement_of(settings, homes.roster, datetime.now(UTC))


def _attached(client: Client) -> bool:
    try:
        return all(party.health != "offline" for party in client.parties())
    except PeerError:
        return False  # it listens before it has read its log
