"""A coordinator whose one finished run has a real, signed and logged factor bundle in the coordinator's keeping."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from parties.audit.bundles import log_export
from parties.audit.log import AuditLog
from parties.calls.asking import Role
from parties.client import Client
from parties.control.commands import Command
from parties.coordinator.bundles import BundleStore
from parties.coordinator.desk.all_doors import all_doors
from parties.coordinator.desk.context import DeskContext
from parties.coordinator.desk.doors import Caller, Door, Doors, pass_through
from parties.names import COORDINATOR
from tests.parties.coordinator_rig import LABEL, REPORTS, Consortium, FakeNode, wait_for_status
from vfl.factors.export import Signer, export_bundle
from vfl.factors.verify import MANIFEST

__all__ = ["Desk", "opened"]

UNIVERSE = {"policy": "universe", "universe_sha256": "ab" * 32}


@dataclass
class Desk:
    """A running coordinator's doors, its admin's client, and the run. ``folder``: where the bundle is kept."""

    consortium: Consortium
    doors: Doors
    client: Client
    run_id: str

    @property
    def folder(self) -> Path:
        return self.consortium.home(COORDINATOR) / "factors" / self.run_id

    def ask(self, what: str, role: Role, party: str = "", **arguments: Any) -> Any:
        """What a door says to somebody of that role: JSON, or bytes where it hands out a file."""
        answer = pass_through(self.doors, what, arguments, Caller(role, role, party))
        return json.loads(answer) if answer[:1] in (b"{", b"[") else answer


def bundle_files(consortium: Consortium, folder: Path, run_id: str) -> dict[str, bytes]:
    """A bundle that the label party has signed and logged."""
    from tests.parties.cli.test_factors import bundle_of

    identity = consortium.identities[LABEL]
    raw = identity.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    files = export_bundle(bundle_of(), Signer(LABEL, raw, identity.key.sign))
    with AuditLog(LABEL, f"sqlite:///{folder / 'bank-audit.db'}", identity.key.sign) as log:
        return log_export(log, run_id, files, "demo-joint", "0")


@contextmanager
def opened(folder: Path, *, held: bool = True, **changes: Any) -> Iterator[Desk]:
    """The desk once the run is settled. ``held``: the coordinator is a recipient and has the bundle."""
    consortium = Consortium(folder)
    reports: dict[str, Any] = {}

    def export(node: FakeNode, command: Command) -> bool:
        if command.kind != "start" or command.body.phase != "export":
            return False
        node.line.done(command.run_id, "export", command.body.attempt, REPORTS["export"](node.name) | reports)
        return True

    doors: dict[str, Door] = {}

    def made(house: DeskContext) -> Doors:
        doors.update(all_doors(house))
        return doors

    with ExitStack() as stack:
        stack.enter_context(mock.patch("parties.coordinator.service.all_doors", made))
        stack.enter_context(consortium.coordinator())
        agreement = consortium.agreement(alignment=UNIVERSE, **changes)
        if held:
            files = bundle_files(consortium, folder, agreement.run_id)
            key = bytes.fromhex(consortium.identities[LABEL].public_key)
            BundleStore(consortium.home(COORDINATOR) / "factors").save(agreement.run_id, files, LABEL, key)
            reports |= {"sha256": hashlib.sha256(files[MANIFEST]).hexdigest(), "factor_id": "demo-joint"}
        for name in consortium.identities:
            if name not in (COORDINATOR, "admin"):
                stack.enter_context(FakeNode(consortium, name, export))
        client = stack.enter_context(consortium.client())
        run_id = client.propose(agreement)
        wait_for_status(client, run_id, "settled")
        yield Desk(consortium, doors, client, run_id)
