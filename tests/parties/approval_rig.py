"""A real coordinator with a run that came to its settlement, and real nodes of its parties over real lines."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

from parties.agreement.signing import sign_agreement
from parties.node.coordinator_line import CoordinatorLine
from parties.node.home import NodeHome
from parties.node.node import Node
from parties.settings.toml_text import to_toml
from tests.parties.coordinator_rig import LABEL, PARTIES
from tests.parties.settlement_rig import SettledHome

__all__ = ["RealNode", "settle_homes"]


def settle_homes(settled: SettledHome, **settings: Any) -> None:
    """Make a node's folder of each party: its settings, its copy of the agreement, and that it signed it."""
    for name in PARTIES:
        folder = settled.consortium.home(name)
        role = "label" if name == LABEL else "feature"
        columns = [f"{name}_{i}" for i in range(10)]
        record: dict[str, Any] = {
            "listen": "127.0.0.1:0", "data": ".", **settings,
            "party": {"name": name, "role": role, "query": "q.sql", "columns": columns},
        }  # fmt: skip
        if role == "label":
            record["label"] = {"name": "y", "query": "y.sql", "definition": "next return"}
        (folder / "node.toml").write_text(to_toml(record))
        run = folder / "runs" / settled.run_id
        run.mkdir(parents=True, exist_ok=True)
        (run / "agreement.json").write_text(settled.document)
        (run / "contribution.json").write_text(settled.signed.model_dump_json())
        place = NodeHome(folder)
        with place.audit() as audit:
            signature = sign_agreement(place.identity.key, settled.agreement)
            audit.append("approval", settled.run_id, {"signature": signature})


class RealNode:
    """A party's node in this process, from its folder; leaving the block stops it as SIGTERM does."""

    def __init__(self, folder: Path) -> None:
        self.place = NodeHome(folder)
        self.line = CoordinatorLine(
            self.place.identity.name, folder, patience=5.0, introduction=self.place.introduction()
        )
        self.node = Node(self.place, cast(Any, None), self.line)
        self._thread = threading.Thread(target=self.node.serve, daemon=True)

    def __enter__(self) -> RealNode:
        self.line.start()
        self._thread.start()
        assert self.line.wait_attached(20)
        return self

    def __exit__(self, *_: object) -> None:
        self.line.close()
        self._thread.join(20)
