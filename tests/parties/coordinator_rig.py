"""A consortium on loopback for coordinator tests: real keys, a real server, nodes that answer by rote."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from parties.agreement.document import Agreement
from parties.agreement.signing import sign_agreement
from parties.calls.asking import Role
from parties.client import ADMIN, DESK, Client, RunView
from parties.control.commands import ApproveBody, Command, StartBody
from parties.control.reports import IntroductionBody
from parties.coordinator.desk.granting import grant_token
from parties.coordinator.service import Coordinator
from parties.coordinator.settings import CoordinatorSettings
from parties.errors import PeerError, RunAborted
from parties.members.keys import Identity, create_identity, create_tls_keys
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.node.coordinator_line import CoordinatorLine
from parties.settlement.contribution import ContributionRecord
from parties.settlement.signed_contribution import SignedContribution
from tests.parties.contribution_records import recorded

LABEL, FEATURES = "bank", ("sat", "card")
PARTIES = (LABEL, *FEATURES)
PERIODS = ("2020Q1", "2020Q2", "2020Q3")
UNTESTED: dict[str, Any] = {"risk_aversion": 0.0, "uplift_level": 1.0, "rows": "any"}
"""Terms under which a contribution is paid for as it is; test_pay_rule.py is about the others."""


class Consortium:
    """Homes with keys and rosters for a coordinator, an admin, a desk and three parties."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = (COORDINATOR, ADMIN, *PARTIES)
        self.identities: dict[str, Identity] = {
            name: create_identity(name, folder / name / "keys", hosts=["127.0.0.1"]) for name in names
        }
        self.desk_member = create_tls_keys(DESK, folder / DESK / "keys", "127.0.0.1:1")
        self.addresses = dict.fromkeys(names, "127.0.0.1:1")
        self.write_rosters("127.0.0.1:1")

    def home(self, name: str) -> Path:
        return self.folder / name

    def write_rosters(self, address: str) -> None:
        roster = Roster(
            {
                name: identity.member(
                    address if name == COORDINATOR else self.addresses[name], entity_of(name) if name in PARTIES else ""
                )
                for name, identity in self.identities.items()
            }
            | {DESK: self.desk_member}
        )
        for name in (*self.identities, DESK):
            roster.save(self.home(name) / "roster.json")

    @contextmanager
    def coordinator(self, **settings: Any) -> Iterator[Coordinator]:
        """A running coordinator that everybody's roster names."""
        terms = CoordinatorSettings(**{"listen": "127.0.0.1:0", "heartbeat_seconds": 0.2, **settings})
        with Coordinator(self.home(COORDINATOR), terms) as running:
            self.write_rosters(running.address)
            yield running

    def client(self) -> Client:
        return Client("", self.home(ADMIN))

    def desk(self) -> Client:
        """The web page's own client, with nobody signed in."""
        return Client("", self.home(DESK), name=DESK)

    def token(self, role: Role = "admin", name: str = "Ada", party: str = "", valid: float = 60.0) -> str:
        return grant_token(self.home(COORDINATOR), name=name, role=role, party=party, valid=timedelta(seconds=valid))

    def agreement(self, nonce: str = "1", **changes: Any) -> Agreement:
        now = datetime.now(UTC)
        ends = [now - timedelta(days=400 - 90 * i) for i in range(len(PERIODS))]
        terms: dict[str, Any] = {
            "consortium": "Test funds",
            "purpose": "tests",
            "proposed_at": now,
            "expires_at": now + timedelta(hours=1),
            "nonce": nonce,
            "coordinator_certificate_sha256": self.identities[COORDINATOR].certificate_sha256,
            "coordinator_address": "127.0.0.1:1",
            "parties": [self._party(name) for name in PARTIES],
            "label": {"name": "y", "definition": "next return", "party": LABEL},
            "calendar": {"frequency": "Q", "periods": PERIODS, "period_ends": ends, "cutoffs": ends},
            "alignment": {"policy": "universe", "universe_sha256": "00" * 32},
            "reward": {"pot": 10_001, "unit": "USD", "scale": 2, **UNTESTED},
            "recipients": FEATURES,
            "code_version": "0",
        }
        return Agreement.model_validate({**terms, **changes})

    def offer(self, name: str) -> dict[str, Any]:
        """What the party's node says that it brings."""
        columns = [f"{name}_{i}" for i in range(10)]
        label = {"label_name": "y", "label_definition": "next return"} if name == LABEL else {}
        role = "label" if name == LABEL else "feature"
        return {"role": role, "columns": columns, "units": {columns[0]: "USD m"}, **label}

    def _party(self, name: str) -> dict[str, Any]:
        identity = self.identities[name]
        return {
            "name": name,
            "role": "label" if name == LABEL else "feature",
            "legal_entity": entity_of(name),
            "address": "127.0.0.1:1",
            "identity_key": identity.public_key,
            "certificate_sha256": identity.certificate_sha256,
            "columns": [f"{name}_{i}" for i in range(10)],
        }


def entity_of(name: str) -> str:
    """To whom a party belongs, as it signs it itself; the text tries to be markup."""
    return f"{name} <b>Fund</b> Ltd"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


REPORTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "align": lambda name: {"n_common": 40, "set_size": 50, "seconds": 0.1},
    "train": lambda name: {
        "traffic": {"matmul.product": {"payload": "uniform share", "bytes": 1000, "messages": 4}},
        "peak_rss_mb": 250.5,
        **({} if name == LABEL else {"openings": {"limit": 6, "max_used": 4}}),
    },
    "evaluate": lambda name: {
        "evaluation": {"ic_joint": 0.12, "ic_own": 0.05, "n_periods": 2, "t_joint": 2.5, "uplift": 0.07},
        "points": [{"period": "2020Q2", "ic_joint": 0.11, "ic_own": 0.04}, {"period": "2020Q3", "ic_joint": 0.13}],
    },
    "value": lambda name: {
        "traffic": {"matmul.product": {"payload": "uniform share", "bytes": 500, "messages": 1}},
        **({"contribution": contribution(sat=0.03, card=0.01)} if name == LABEL else {}),
    },
    "export": lambda name: {
        "factor_id": "joint-1", "version": "1", "sha256": "ab" * 32, "bytes": 1234, "rows": 80,
    },
}  # fmt: skip


def contribution(**phi: float) -> dict[str, Any]:
    return recorded(PERIODS, phi)


def answer_to(phase: str, identity: Identity, run_id: str, periods: Sequence[str] = PERIODS) -> dict[str, Any]:
    """A party's report on a phase; the label party's contributions are signed, as its node signs them."""
    return signed_report(REPORTS[phase](identity.name), identity, run_id, periods)


def signed_report(
    report: dict[str, Any], identity: Identity, run_id: str, periods: Sequence[str] = PERIODS
) -> dict[str, Any]:
    """The report with its contributions signed, over the periods of the run."""
    if "contribution" in report:
        record = ContributionRecord.model_validate(report["contribution"])
        if not set(record.periods) <= set(periods):
            report["contribution"] = recorded(periods, {name: said.phi for name, said in record.parties.items()})
            record = ContributionRecord.model_validate(report["contribution"])
        report["contribution_signature"] = SignedContribution.made(identity.key, run_id, record).signature
    return report


class FakeNode:
    """A node over a real line that only answers. ``on(node, command)`` takes a command over by returning True."""

    def __init__(
        self,
        consortium: Consortium,
        name: str,
        on: Callable[[FakeNode, Command], bool] = lambda node, command: False,
        *,
        introduction: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.identity = consortium.identities[name]
        self.heard: list[Command] = []
        self.periods: Sequence[str] = PERIODS
        self._on = on
        self._home = consortium.home(name)
        self._introduction = None if introduction is None else IntroductionBody.model_validate(introduction)
        self.line: CoordinatorLine
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> FakeNode:
        self.line = CoordinatorLine(self.name, self._home, introduction=self._introduction)
        self.line.start()
        self._thread.start()
        assert self.line.wait_attached(20)
        return self

    def __exit__(self, *_: object) -> None:
        self.line.close()
        self._thread.join(20)

    def _run(self) -> None:
        for command in self.line.commands():
            self.heard.append(command)
            with contextlib.suppress(RunAborted, PeerError):  # the line may be closed under an answer
                if not self._on(self, command):
                    self.answer(command)

    def answer(self, command: Command) -> None:
        if isinstance(command.body, ApproveBody):
            agreement = Agreement.model_validate(command.body.agreement)
            assert agreement.run_id == command.run_id
            self.periods = agreement.periods
            self.line.signed(command.run_id, sign_agreement(self.identity.key, agreement))
        elif isinstance(command.body, StartBody):
            phase, attempt = command.body.phase, command.body.attempt
            report = answer_to(phase, self.identity, command.run_id, self.periods)
            self.line.done(command.run_id, phase, attempt, report)

    def told(self, kind: str) -> list[Command]:
        return [command for command in self.heard if command.kind == kind]


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Poll; fail naming ``what`` if it never holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.02)


def wait_for_status(client: Client, run_id: str, *statuses: str) -> RunView:
    wait_until(lambda: client.run(run_id).status in statuses, f"status {statuses}")
    return client.run(run_id)


@dataclass(frozen=True)
class HostileCommand:
    """A command of a coordinator that does not keep to the models: its kind and bytes are whatever a test says."""

    kind: str
    body: bytes
    run_id: str = ""

    def encoded(self) -> bytes:
        return self.body
