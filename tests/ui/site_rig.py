"""The whole site for a browser: a real coordinator, real nodes and the web page's own server, each a process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ui
from parties.calls.asking import Role
from parties.client import Client, RunView
from parties.coordinator.desk.granting import grant_token
from parties.data.consortium_files import SimulatedModel
from parties.data.simulate import simulate
from parties.demo.homes import DemoHomes, lay_out
from parties.demo.processes import Processes
from parties.demo.run import start_coordinator
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import ConsortiumSettings, load_consortium
from parties.settings.toml_text import to_toml
from tests.parties.coordinator_rig import UNTESTED, free_port

__all__ = ["PATIENCE", "House", "house", "served"]

PATIENCE = 90.0
_UI = Path(next(iter(ui.__path__)))


@dataclass
class House:
    """A consortium with its nodes up. ``client`` is its admin's own."""

    homes: DemoHomes
    settings: ConsortiumSettings
    client: Client
    processes: Processes

    def propose(self, purpose: str, **changes: Any) -> str:
        """Put a run of this purpose before the parties, with other terms where they are named."""
        written = self.settings.model_dump(by_alias=True)
        terms = ConsortiumSettings.model_validate(written | {"purpose": purpose, **changes})
        return self.client.propose(agreement_of(terms, self.homes.roster, datetime.now(UTC)))

    def ended(self, run_id: str) -> RunView:
        """The run once it has ended."""
        end = time.monotonic() + PATIENCE
        while not (view := self.client.run(run_id)).ended:
            assert time.monotonic() < end, f"run {run_id[:12]} did not end: {view.status} {view.waiting_for}"
            time.sleep(0.1)
        return view

    def secrets(self, file: Path, issuer: str, client: str, secret: str) -> tuple[Path, int]:
        """Streamlit's secrets for that issuer, and the port that they name."""
        port = free_port()
        terms = {
            "redirect_uri": f"http://127.0.0.1:{port}/oauth2callback",
            "cookie_secret": "a long and random text of this test",
            "client_id": client,
            "client_secret": secret,
            "server_metadata_url": f"{issuer}/.well-known/openid-configuration",
            "expose_tokens": "id",
        }
        file.write_text(to_toml({"auth": terms}), encoding="utf-8")
        return file, port

    def token(self, role: Role, name: str, party: str = "") -> str:
        """A token to sign in with."""
        return grant_token(self.homes.coordinator, name=name, role=role, party=party, valid=timedelta(minutes=10))


@contextmanager
def house(
    out: Path,
    *,
    entities: int = 60,
    periods: int = 24,
    parties: int = 2,
    model: SimulatedModel = "split",
    desk: str = "",
) -> Iterator[House]:
    """A small simulated consortium below ``out``, whose nodes sign what stays within its terms.

    ``desk`` is added to coordinator.toml.
    """
    made = simulate(out / "data", entities=entities, periods=periods, parties=parties, seed=7, model=model)
    settings = load_consortium(made.config)
    # so few periods show no uplift at any usual level
    untested = settings.reward.model_copy(update=UNTESTED)
    settings = settings.model_copy(update={"reward": untested})
    homes = lay_out(out, settings, made.config.parent, made.data, 7)
    with (homes.coordinator / "coordinator.toml").open("a", encoding="utf-8") as file:
        file.write(desk)
    with Processes(homes.logs) as processes:
        start_coordinator(homes, processes)
        for party in settings.party:
            processes.start(party.name, "party", "start", "--home", str(homes.party(party.name)))
        with Client("", homes.admin) as client:
            end = time.monotonic() + PATIENCE
            while any(not party.columns or party.health != "online" for party in client.parties()):
                assert time.monotonic() < end, "the parties did not attach"
                time.sleep(0.1)
            yield House(homes, settings, client, processes)


@contextmanager
def served(desk: Path, *, secrets: Path | None = None, port: int = 0) -> Iterator[str]:
    """The web page over the desk's folder, as ``entente ui`` serves it: its address."""
    port = port or free_port()
    log = desk / "page.log"
    command = [sys.executable, "-P", "-m", "streamlit", "run", str(_UI / "website.py"), f"--server.port={port}"]
    command += ["--server.address=127.0.0.1", "--server.headless=true", "--logger.hideWelcomeMessage=true"]
    command += [f"--secrets.files={secrets}"] if secrets else []
    root = str(_UI.parent)
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    places = {"ENTENTE_COORDINATOR": "", "ENTENTE_DESK": str(desk), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    with log.open("wb") as output:
        page = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | places, cwd=_UI)
    try:
        end = time.monotonic() + PATIENCE
        while True:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2),
            ):
                break
            assert page.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        page.terminate()
        page.wait(timeout=20)
