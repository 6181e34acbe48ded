"""Real processes on a bad network: slow, lossy, cut for a moment, for long, for good. One factor, or one named end."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from parties.demo.homes import DemoHomes, free_addresses
from parties.ledger.store import LedgerStore
from parties.names import COORDINATOR
from tests.faults.living import LABEL, PARTIES, WHOLE_PERIODS, Living, Whole, living, opened
from tests.faults.network import Namespaces, Proxies, Weather, namespaces_permitted
from tests.parties.cli.test_operator_guide import private_texts
from tests.parties.demo_rig import until

pytestmark = pytest.mark.system

EVERYBODY = (COORDINATOR, *PARTIES)
FEATURES = ("satellite", "social")
SILENCE = 12


def impatient(homes: DemoHomes) -> None:
    """Let nodes wait for each other as long as the agreement says."""
    for name in PARTIES:
        with (homes.party(name) / "node.toml").open("a") as file:
            file.write(f"\n[transport]\nsilence_seconds = {SILENCE}\n")


@contextmanager
def networked(folder: Path, net: Namespaces | Proxies) -> Iterator[Living]:
    def prepare(homes: DemoHomes) -> None:
        impatient(homes)
        net.prepare(homes)

    with net, living(folder, prepare, net.start, periods=WHOLE_PERIODS, silence=SILENCE) as alive:
        yield alive


def ends_as(alive: Living, whole: Whole) -> None:
    """The same factor, every opening as planned and charged once, books that balance, logs that tell no value."""
    alive.settled()
    assert len(alive.scores()) == whole.scored
    assert alive.from_twin() <= 1e-3
    for party in FEATURES:
        assert opened(alive, party) == whole.openings[party]
    balanced(alive)


def balanced(alive: Living) -> None:
    with LedgerStore(alive.homes.coordinator / "ledger.db") as ledger:
        report = ledger.check()
    assert report.ok
    assert report.balanced


def logs_tell_nothing(alive: Living, data: Path) -> None:
    values = private_texts(data)
    assert len(values) > 100
    for log in alive.homes.logs.glob("*.log"):
        text = log.read_text(errors="replace")
        assert not [value for value in values if value in text], log.name
        assert "PRIVATE KEY" not in text


def best(weather: Weather) -> Namespaces | Proxies:
    """Namespaces where this machine permits them, TCP relays elsewhere or where they are asked for."""
    asked = os.environ.get("ENTENTE_NETWORK") == "relays"
    return Proxies(EVERYBODY, weather) if asked or namespaces_permitted() else Namespaces(EVERYBODY, weather)


def test_namespaces_are_tried_where_they_are_permitted() -> None:
    why = namespaces_permitted()
    if why:
        pytest.skip(f"{why}; the other tests here use TCP relays instead")


def test_200_ms_and_5_percent_loss_and_a_second_of_silence(tmp_path: Path, whole: Whole) -> None:
    weather = Weather(delay=0.1, loss=0.05)
    with networked(tmp_path / "run", best(weather)) as alive:
        until(alive.at_step("satellite", 3), "step 3")
        weather.cut_off(LABEL, PARTIES)
        time.sleep(1.0)
        weather.mend()
        ends_as(alive, whole)
        logs_tell_nothing(alive, tmp_path / "run" / "data")


def test_a_link_cut_for_long_and_one_cut_for_good(tmp_path: Path, whole: Whole) -> None:
    weather = Weather()
    with networked(tmp_path / "run", best(weather)) as alive:
        until(alive.at_step("satellite", 2), "step 2")
        weather.cut_off("satellite", EVERYBODY)
        until(lambda: alive.view().status == "paused", "the pause")
        assert alive.view().waiting_for == ("satellite",)
        weather.mend()
        until(alive.at_step("satellite", 6), "step 6")
        weather.cut_off("satellite", [LABEL])  # for good; each still reaches the coordinator
        ends_as(alive, whole)
        pairs = {(one.sender, one.receiver) for one in alive.view().relayed}
        assert {(LABEL, "satellite"), ("satellite", LABEL)} <= pairs
        logs_tell_nothing(alive, tmp_path / "run" / "data")


def out_of_reach(homes: DemoHomes) -> None:
    """Every node listens where nobody looks for it."""
    for name, address in zip(PARTIES, free_addresses(len(PARTIES)), strict=True):
        file = homes.party(name) / "node.toml"
        file.write_text(re.sub(r'^listen = ".*"$', f'listen = "{address}"', file.read_text(), count=1, flags=re.M))


def test_parties_that_never_reach_each_other_are_relayed_and_survive_the_coordinators_end(
    tmp_path: Path, whole: Whole
) -> None:
    with living(tmp_path, out_of_reach, periods=WHOLE_PERIODS) as alive:
        until(alive.at_step("satellite", 4), "step 4")
        assert (COORDINATOR, "social") in {(one.sender, one.receiver) for one in alive.view().relayed}
        alive.kill(COORDINATOR)  # every connection goes with it
        alive.start(COORDINATOR)
        ends_as(alive, whole)
        pairs = {(one.sender, one.receiver) for one in alive.view().relayed}
        assert {(LABEL, "social"), ("social", LABEL), ("social", "satellite")} <= pairs
        log = (alive.homes.logs / f"{LABEL}.log").read_text()
        assert "relay: social cannot be reached at 127.0.0.1:" in log
        assert "its messages travel through the coordinator, encrypted end to end" in log


LONG = {
    "a link": lambda weather: weather.cut_off("satellite", ["social"]),
    "a party": lambda weather: weather.cut_off("satellite", EVERYBODY),
    "the coordinator": lambda weather: weather.cut_off(COORDINATOR, PARTIES),
    "everything": lambda weather: [weather.cut_off(name, EVERYBODY) for name in PARTIES],
}


@pytest.mark.skipif(not os.environ.get("ENTENTE_LONG"), reason="takes minutes: set ENTENTE_LONG=1")
@pytest.mark.parametrize("what", LONG)
def test_a_minute_without(tmp_path: Path, whole: Whole, what: str) -> None:
    weather = Weather()
    with networked(tmp_path / "run", best(weather)) as alive:
        until(alive.at_step("satellite", 3), "step 3")
        LONG[what](weather)
        time.sleep(60)
        weather.mend()
        ends_as(alive, whole)


@pytest.mark.skipif(not os.environ.get("ENTENTE_LONG"), reason="takes minutes: set ENTENTE_LONG=1")
@pytest.mark.parametrize(("delay", "loss"), [(0.2, 0.0), (0.2, 0.05), (0.02, 0.15)])
def test_worse_weather(tmp_path: Path, whole: Whole, delay: float, loss: float) -> None:
    with networked(tmp_path / "run", best(Weather(delay, loss))) as alive:
        ends_as(alive, whole)


@pytest.mark.skipif(not os.environ.get("ENTENTE_LONG"), reason="takes minutes: set ENTENTE_LONG=1")
def test_a_party_that_is_gone_for_good_is_named_and_the_run_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    weather = Weather()
    with networked(tmp_path / "run", Proxies(EVERYBODY, weather)) as alive:
        until(alive.at_step("social", 3), "step 3")
        weather.cut_off("social", EVERYBODY)
        until(lambda: alive.view().status == "paused", "the pause")
        view = alive.view()
        assert view.waiting_for == ("social",)
        with alive.client() as client:
            client.cancel(alive.agreement.run_id, "social is gone")
        view = alive.view()
        assert view.status == "aborted"
        assert "social is gone" in view.reason
        for name in ("fund", "satellite"):
            log = alive.homes.logs / f"{name}.log"
            until(lambda log=log: "has ended:" in log.read_text(errors="replace"), f"the end at {name}")
            assert len(re.findall("has ended:", log.read_text(errors="replace"))) == 1
        balanced(alive)
        logs_tell_nothing(alive, tmp_path / "run" / "data")
