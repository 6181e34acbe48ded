"""Start a party's node from its folder and keep it up: what ``entente party start`` runs."""

from __future__ import annotations

import signal
from pathlib import Path

from parties import __version__
from parties.line import CoordinatorLine
from parties.node.node import Node, NodeHome
from parties.transport.grpc import ExchangeServer
from parties.workers import open_workers

__all__ = ["serve"]


def serve(home: Path, *, until_run_ends: bool = False) -> int:
    """Serve until SIGTERM or SIGINT, or until one run has ended; returns the exit code.

    Raises :class:`EntenteError` for what the operator has to mend.
    """
    place = NodeHome(home)
    endpoint = ExchangeServer(place.identity, place.roster, place.settings.listen, settings=place.settings.transport)
    line = CoordinatorLine(place.identity.name, place.folder, version=__version__, introduction=place.introduction())

    def leave(*_: object) -> None:
        line.close()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    try:
        with open_workers(place.settings.compute) as workers, line:
            return Node(place, endpoint, line, workers).serve(until_run_ends=until_run_ends)
    finally:
        endpoint.close()
