"""One demo from start to end: homes, processes, a proposed run, its progress, and what it left."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from parties.agreement.document import Agreement
from parties.client import Client, LedgerView, RunView
from parties.data.consortium_files import SimulatedModel
from parties.data.named_files import absent
from parties.demo.homes import DemoHomes, claim, lay_out
from parties.demo.parity import FAR
from parties.demo.processes import Child, Processes
from parties.demo.screen_shown import screen_summary, show_screen
from parties.demo.summary import show_summary, summary_of, write_summary
from parties.errors import ConfigError, EntenteError, ParityError, PeerError, RunAborted
from parties.files.folder import files_below
from parties.names import ADMIN, COORDINATOR
from parties.node.screen_label import screen_folder
from parties.plurals import things
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import ConsortiumSettings, load_consortium
from parties.terminal.console import complain, pasted, say, screen
from parties.terminal.progress import ProgressLines, ProgressScreen, watcher
from vfl.factors.verify import verify_bundle
from vfl.terms import FederatedModel, ScreenModel

__all__ = ["DemoOptions", "again", "not_compared", "remedy", "run_demo", "start_coordinator", "start_parties"]

_START_SECONDS = 120.0
_POLL_SECONDS = 0.25
_VERDICT_SECONDS = 10.0
_FAREWELL_SECONDS = 10.0
_DYING_SECONDS = 3.0
_DIED = "the process of"
_FURTHER_WEEKS = 13
"""What the parties' files hold beyond the run's calendar, for a further run in the page or by hand."""


@dataclass(frozen=True)
class DemoOptions:
    """What ``entente demo`` was asked for. Without ``config`` and ``data`` a consortium is simulated."""

    config: Path | None = None
    data: Path | None = None
    out: Path = Path("demo-out")
    entities: int = 500
    periods: int = 104
    parties: int = 3
    seed: int = 7
    model: SimulatedModel = "sealed"
    check_parity: bool = True
    keep_running: bool = False


def run_demo(options: DemoOptions) -> None:
    """Run it. Returns only when all phases are finished; raises :class:`EntenteError` with one sentence otherwise."""
    began = time.monotonic()
    config, data = options.config, options.data
    settings = None if config is None else load_consortium(config)
    if settings is not None and config is not None and data is not None:
        _all_there(settings, config, data)
    with claim(options.out), _terminable():
        if settings is None or config is None or data is None:
            from parties.data.simulate import simulate

            made = simulate(
                options.out / "data",
                entities=options.entities,
                periods=options.periods,
                parties=options.parties,
                seed=options.seed,
                model=options.model,
                further=_FURTHER_WEEKS,
            )
            config, data = made.config, made.data
            settings = load_consortium(config)
        homes = lay_out(options.out.resolve(), settings, config.parent, data, options.seed)
        agreement = agreement_of(settings, homes.roster, datetime.now(UTC))
        homes.agreement.write_bytes(agreement.canonical())
        with Processes(homes.logs) as processes:
            unequalled = not_compared(agreement)
            compared = options.check_parity and not unequalled
            if options.check_parity and unequalled:
                say(unequalled)
            demo = _Demo(homes, agreement, processes, again=again(options))
            screened = isinstance(agreement.model, ScreenModel)
            far = (demo.run_screen if screened else demo.run)(check_parity=compared)
            say(
                f"All phases finished in {time.monotonic() - began:.0f} s. "
                f"Look at it: entente ui --out {pasted(options.out)}"
            )
            if options.keep_running:
                start_parties(homes, processes)
                _keep(homes)
        if far and screened:
            raise ParityError(f"the screen differs from the same sums in plain numbers: {far}")
        if far:
            raise ParityError(
                f"the run differs from the same run without encryption by more than {FAR:g} score standard deviations, "
                f"because of {far}"
            )


def not_compared(agreement: Agreement) -> str:
    """Why the demo makes no run in the clear that the scores are held against; "" where it does."""
    if agreement.alignment.hides_coverage:
        zeros = {name for group in agreement.groups if group.absent == "zeros" for name in group.members}
        served = f"members {', '.join(sorted(zeros))} serve zeros for rows that they do not cover"
        if all(party.name in zeros for party in agreement.features):
            return f"The {served}, and the demo has no run in the clear that does: none is made."
        but = f", and {served}" if zeros else ""
        return f"Rows that a party does not cover are drawn by its secret seed{but}: no run in the clear equals it."
    if isinstance(agreement.model, FederatedModel) and agreement.model.noise:
        return "Each member draws its part of the noise by a secret of its own: no run in the clear equals it."
    return ""


def _all_there(settings: ConsortiumSettings, config: Path, data: Path) -> None:
    """Raise :class:`ConfigError` for the first file or folder that is named and missing, before anything is made."""
    for party in settings.party:
        label = settings.label if party.role == "label" else None
        for missing in absent(party, label, config.parent, data):
            raise ConfigError(f"{config}: party {party.name}: {missing}")


def again(options: DemoOptions) -> str:
    """The command that runs this demo once more."""
    words = ["entente", "demo"]
    for option in fields(options):
        value, name = getattr(options, option.name), option.name.replace("_", "-")
        if value == option.default:
            continue
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            words += [f"--{name}", pasted(value)]
    return " ".join(words)


def remedy(lost: Child, command: str) -> str:
    """What to do after a process was killed: the demo ended with it, and a new one takes its place."""
    memory = "it may have had too little memory: make room; " if lost.process.returncode == -signal.SIGKILL else ""
    return f"{memory}its log is {lost.log}; run it again with {command}"


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind like an exit, so that every process is ended."""

    def leave(number: int, _: object) -> NoReturn:
        complain("stopped")
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _keep(homes: DemoHomes) -> None:
    address = homes.roster.member(COORDINATOR).address
    say(
        f"The coordinator stays up at {address} (credentials: {homes.admin}), and the parties' nodes with it, "
        "for further runs; stop it with Ctrl-C."
    )
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            signal.pause()


def start_coordinator(homes: DemoHomes, processes: Processes) -> Child:
    """Start the demo's coordinator and wait until it listens. Raises :class:`PeerError` with its own reason."""
    child = processes.start(COORDINATOR, "coordinator", "start", "--home", str(homes.coordinator))
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if child.ended() is not None:
            raise PeerError(_could_not_start(child), COORDINATOR)
        # an open port is not yet an answer
        with contextlib.suppress(PeerError), Client("", homes.admin, timeout=3.0) as client:
            client.coordinator()
            return child
        time.sleep(0.05)
    raise PeerError(f"the coordinator did not listen within {_START_SECONDS:.0f} s; see {child.log}", COORDINATOR)


def start_parties(homes: DemoHomes, processes: Processes) -> None:
    """Start the nodes of a demo's parties, which sign by themselves what stays within the demo's own terms."""
    for name in sorted(name for name in homes.roster if name not in (COORDINATOR, ADMIN)):
        processes.start(name, "party", "start", "--home", str(homes.party(name)))


def _could_not_start(child: Child) -> str:
    why = child.own_reason()
    return f"{child.name} could not start: {why}" if why else f"{child.name} {child.how_it_ended()}; see {child.log}"


class _Demo:
    """The processes of one demo and the run they carry out."""

    def __init__(self, homes: DemoHomes, agreement: Agreement, processes: Processes, *, again: str) -> None:
        self._homes = homes
        self._agreement = agreement
        self._processes = processes
        self._names = [party.name for party in agreement.parties]
        self._again = again
        self._watch: ProgressLines | ProgressScreen

    def run(self, *, check_parity: bool) -> str:
        """Start, propose, follow, compare, and leave the summary. Returns why the run is far from its twin, or ""."""
        homes, agreement = self._homes, self._agreement
        with watcher(screen()) as self._watch:
            view, ledger, started = self._settled()
            folder = self._factor(view)
            encrypted = " and with the run without encryption" if check_parity else ""
            twin = self._compare(folder, f"Comparing with each party alone{encrypted}", check_parity)
        summary = summary_of(agreement, view, ledger, twin, started=started, factor_dir=folder)
        write_summary(homes.summary, summary)
        show_summary(summary, agreement, view, twin)
        return "" if twin["within"] else str(twin["cause"])

    def run_screen(self, *, check_parity: bool) -> str:
        """The same for a screen, which makes no factor: why it differs from the sums in plain numbers, or ""."""
        homes, agreement = self._homes, self._agreement
        with watcher(screen()) as self._watch:
            view, ledger, started = self._settled()
            folder = screen_folder(homes.party(agreement.label.party), view.run_id)
            twin = self._compare(folder, "Comparing with the same sums in plain numbers" * check_parity, check_parity)
        summary = screen_summary(agreement, view, ledger, twin, started=started, folder=folder)
        write_summary(homes.summary, summary)
        show_screen(summary, agreement)
        return str(twin["cause"])

    def _settled(self) -> tuple[RunView, LedgerView, dict[str, Child]]:
        """Start everybody, propose and follow the run to its end: the run, its ledger, and the processes."""
        homes = self._homes
        self._watch.note(
            f"Starting the coordinator and {things(len(self._names), 'parties')}: {', '.join(self._names)}"
        )
        started = {COORDINATOR: start_coordinator(homes, self._processes)}
        for name in self._names:
            started[name] = self._processes.start(
                name, "party", "start", "--home", str(homes.party(name)), "--until-run-ends"
            )
        with Client("", homes.admin) as client:
            self._await_parties(client)
            view = self._carried_out(client)
            ledger = client.ledger(view.run_id)
        self._processes.wait(self._names, _FAREWELL_SECONDS)
        return view, ledger, started

    def _await_parties(self, client: Client) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            for child in self._processes.ended():
                raise PeerError(_could_not_start(child), child.name)
            missing = [party.name for party in client.parties() if party.health == "offline"]
            if not missing:
                return
            if time.monotonic() > deadline:
                raise PeerError(f"{', '.join(missing)} did not attach within {_START_SECONDS:.0f} s; see the logs")
            time.sleep(0.1)

    def _carried_out(self, client: Client) -> RunView:
        """Propose and follow to the end. Raises :class:`RunAborted` naming who could not go on, and why."""
        run_id = client.propose(self._agreement)
        self._watch.note(f"Proposed run {run_id[:12]}")
        try:
            view = self._followed(client, run_id)
        except KeyboardInterrupt:
            with contextlib.suppress(EntenteError):
                client.cancel(run_id, "the demo was stopped")
            self._processes.wait(self._names, _FAREWELL_SECONDS)
            raise
        except PeerError as error:
            lost = self._lost()
            if lost is None:
                raise
            raise RunAborted(
                f"{lost.name}'s process {lost.how_it_ended()}: {error}; {remedy(lost, self._again)}"
            ) from None
        if view.status != "settled":
            raise RunAborted(self._why(view))
        return view

    def _lost(self) -> Child | None:
        """A process that has ended, or is about to: its connections are gone before it is."""
        deadline = time.monotonic() + _DYING_SECONDS
        while not (ended := list(self._processes.ended())) and time.monotonic() < deadline:
            time.sleep(0.05)
        return ended[0] if ended else None

    def _followed(self, client: Client, run_id: str) -> RunView:
        """The run once it has ended. A process that died gets the others some time to notice by themselves."""
        verdict = 0.0
        while True:
            view = client.run(run_id)
            self._watch.show(view)
            if view.ended:
                return view
            dead = self._processes.ended()
            if dead and not verdict:
                self._watch.note(f"{dead[0].name}'s process {dead[0].how_it_ended()}; waiting for the others to notice")
                verdict = time.monotonic() + _VERDICT_SECONDS
            elif dead and time.monotonic() > verdict:
                client.cancel(run_id, f"{_DIED} {dead[0].name} {dead[0].how_it_ended()}")
            time.sleep(_POLL_SECONDS)

    def _why(self, view: RunView) -> str:
        """Who could not go on and its own reason, after every party has left by itself."""
        crashed = [child for child in self._processes.ended() if (child.process.returncode or 0) < 0]
        self._processes.wait(self._names, _FAREWELL_SECONDS)
        phase = next((phase.name for phase in view.phases if phase.status == "failed"), view.phase)
        if crashed:
            noticed = "" if _DIED in view.reason else f" ({view.reason})"
            died = f"{crashed[0].name}'s process {crashed[0].how_it_ended()}{noticed}"
            return f"the run ended in {phase}: {died}; {remedy(crashed[0], self._again)}"
        child = self._processes.children.get(view.culprit)
        own = child.own_reason() if child is not None else ""
        detail = f" ({view.culprit} says: {own})" if own and own not in view.reason else ""
        return f"the run ended in {phase}: {view.reason}{detail}"

    def _factor(self, view: RunView) -> Path:
        """The label party's bundle, checked as any reader would."""
        label = self._agreement.label.party
        assert view.factor is not None
        folder = self._homes.party(label) / "factors" / view.factor.factor_id / view.factor.version
        files = files_below(folder)
        key = bytes.fromhex(self._homes.roster.member(label).identity_key)
        report = verify_bundle(files, trusted={label: key})
        if not report.authentic:
            raise RunAborted(f"{folder}: the exported factor does not verify ({report.faults[0]})")
        return folder

    def _compare(self, folder: Path, note: str, check_parity: bool) -> dict[str, Any]:
        """What only all data in one place can tell, computed in another process."""
        if note:
            self._watch.note(note)
        homes = self._homes
        child = self._processes.start(
            "compare", "compare", str(homes.out), str(folder), *(["--parity"] if check_parity else [])
        )
        while child.ended() is None:
            time.sleep(_POLL_SECONDS)
        if child.process.returncode != 0:
            raise RunAborted(f"the comparison failed: {child.own_reason() or child.how_it_ended()}; see {child.log}")
        record: dict[str, Any] = json.loads((homes.out / "twin.json").read_bytes())
        return record
