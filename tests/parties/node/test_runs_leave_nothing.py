"""Real runs, one after another (20 with ENTENTE_LONG=1): no thread, panel, share or key of a run is left anywhere."""

from __future__ import annotations

import gc
import os
import threading
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from parties.client import Client
from parties.demo.homes import DemoHomes, lay_out
from parties.node.feature import FeatureParty
from parties.node.label import LabelParty
from parties.node.openings import OpeningStore
from parties.node.phases import PartyRun
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import ConsortiumSettings
from tests.parties.demo_rig import let_bits, until
from tests.parties.node_rig import in_this_process
from tests.parties.planted_rig import planted
from vfl.arithmetic.he import Evaluator, KeyHolder
from vfl.factors.panel import FeaturePanel, LabelPanel

RUNS = 20 if os.environ.get("ENTENTE_LONG") else 6  # a run takes about six seconds
MEASURED = 3  # of how many the last ones' memory is traced, which doubles a run's time
OF_A_RUN = (PartyRun, FeatureParty, LabelParty, FeaturePanel, LabelPanel, KeyHolder, Evaluator)


@contextmanager
def consortium(folder: Path) -> Iterator[tuple[DemoHomes, ConsortiumSettings]]:
    settings = planted(folder, 32)
    settings = settings.model_copy(update={"recipients": ("fund",), "readers": {}})
    homes = lay_out((folder / "out").resolve(), settings, folder, folder, 7)
    let_bits(homes, [party.name for party in settings.party])
    with in_this_process(homes, [party.name for party in settings.party]):
        yield homes, settings


def run_objects() -> list[object]:
    gc.collect()
    return [one for one in gc.get_objects() if type(one) in OF_A_RUN]


def beside(known: list[object]) -> Counter[str]:
    """What runs left, by type, beside what other tests of this process still hold."""
    kept = {id(one) for one in known}
    return Counter(type(one).__name__ for one in run_objects() if id(one) not in kept)


@pytest.mark.system
@pytest.mark.timeout(900)
def test_runs_leave_neither_threads_nor_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = OpeningStore.before
    # each run would be refused for the openings of those before it, which is not what this is about
    monkeypatch.setattr(OpeningStore, "before", lambda *terms, **kinds: counted(*terms, **kinds) * 0)
    threads: list[set[str]] = []
    sizes: list[int] = []
    known = run_objects()
    with consortium(tmp_path) as (homes, settings), Client("", homes.admin) as client:
        try:
            for number in range(RUNS):
                if number == RUNS - MEASURED:
                    tracemalloc.start()
                made = agreement_of(settings, homes.roster, datetime.now(UTC), timedelta(minutes=30))
                run_id = client.propose(made.model_copy(update={"nonce": f"run {number}"}))
                until(lambda run_id=run_id: client.run(run_id).ended, "the run's end")  # type: ignore[misc]
                assert client.run(run_id).reason == ""
                name = f"run {run_id[:12]}"
                until(lambda name=name: name not in {t.name for t in threading.enumerate()}, "its threads' end")  # type: ignore[misc]
                assert beside(known) == {}, f"after run {number}"
                threads.append({t.name for t in threading.enumerate() if t.name != "exchange"})
                if tracemalloc.is_tracing():
                    sizes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    assert threads[-1] == threads[0]
    growth = (sizes[-1] - sizes[0]) / (MEASURED - 1)
    assert growth < 400_000, f"{growth:.0f} bytes stay of each run: its agreement and its events are about a tenth"
