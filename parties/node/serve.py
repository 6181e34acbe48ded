"""Start a party's node from its folder and keep it up: what ``entente party start`` runs."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from parties import __version__
from parties.data.named_files import absent
from parties.errors import EntenteError
from parties.members.roster import expiry_warnings
from parties.node.align import runs_begun
from parties.node.coordinator_line import CoordinatorLine
from parties.node.home import NodeHome
from parties.node.node import Node
from parties.node.notice_watch import node_notices
from parties.node.own_data import data_check
from parties.node.run_ends import runs_without_end
from parties.notices.notifier import Notifier, ways
from parties.process.health import HealthServer, Sample, process_samples
from parties.process.leaving import when_told_to_stop
from parties.process.supervision import start_task
from parties.process.workers import open_workers
from parties.transport.grpc import ExchangeServer
from parties.transport.relay import CoordinatorDoor

__all__ = ["serve"]

_LOG = logging.getLogger(__name__)
_SILENCE_SECONDS = 60.0


def _health(
    place: NodeHome, line: CoordinatorLine, node: Node, endpoint: ExchangeServer
) -> contextlib.AbstractContextManager[object]:
    """The health and metrics endpoint, where node.toml wants one."""
    if not place.settings.metrics:
        return contextlib.nullcontext()

    def samples() -> Iterator[Sample]:
        yield from process_samples(place.folder, place.settings.party.role, place.identity.name)
        silent = line.silent_seconds
        yield Sample("coordinator_silent_seconds", "How long ago the coordinator was heard of.", silent)
        yield Sample("runs_in_progress", "Runs under way at this node.", node.runs_in_progress)
        for name in endpoint.routes.relayed():
            yield Sample("peer_relayed", "A peer that is called through the coordinator now.", 1, {"peer": name})
        for name, member in place.roster.items():
            until = member.expires.timestamp()
            yield Sample("certificate_expires_timestamp_seconds", "When a certificate ends.", until, {"member": name})

    def healthy() -> str:
        silent = line.silent_seconds
        return f"the coordinator has been silent for {silent:.0f} s" if silent > _SILENCE_SECONDS else ""

    return HealthServer(place.settings.metrics, healthy, samples)


def serve(home: Path, *, until_run_ends: bool = False) -> int:
    """Serve until SIGTERM or SIGINT, or until one run has ended; returns the exit code.

    Raises :class:`EntenteError` for what the operator has to mend.
    """
    place = NodeHome(home)
    for warning in expiry_warnings(place.roster, datetime.now(UTC)):
        _LOG.warning("%s", warning)
    for missing in absent(
        place.settings.party,
        place.settings.label,
        place.folder / place.settings.queries,
        place.folder / place.settings.data,
    ):
        _LOG.warning("%s; until then this node refuses every run that needs it", missing)
    mine = place.roster.get(place.identity.name)
    if mine is not None and mine.legal_entity != place.settings.party.legal_entity:
        _LOG.warning(
            "node.toml says that this party belongs to %r, and its entry in the roster, which it signed, says %r: "
            "sign it anew with entente party rotate, or the others refuse every run",
            place.settings.party.legal_entity,
            mine.legal_entity,
        )
    endpoint = ExchangeServer(
        place.identity,
        place.roster,
        place.settings.listen,
        settings=place.settings.transport,
        door=CoordinatorDoor(place.identity, place.roster),
    )
    line = CoordinatorLine(
        place.identity.name,
        place.folder,
        version=__version__,
        introduction=place.introduction(),
        runs={*runs_begun(place.folder), *runs_without_end(place.folder)},
    )

    when_told_to_stop(line.close)
    _LOG.info(
        "node %s (%s party, Entente %s) listens on %s; %d members in its roster",
        place.identity.name,
        place.settings.party.role,
        __version__,
        endpoint.address,
        len(place.roster),
    )
    start_task(lambda: _check_data(place, line), "data check", lambda error: None)
    stopped = threading.Event()
    if told := ways(place.settings.notices, place.folder, place.settings.party.name):
        Notifier(lambda: node_notices(place), told, place.folder).start(stopped)
    try:
        with open_workers(place.settings.compute) as workers, line:
            node = Node(place, endpoint, line, workers)
            with _health(place, line, node, endpoint):
                return node.serve(until_run_ends=until_run_ends)
    finally:
        stopped.set()
        endpoint.close()
        _LOG.info("node %s has stopped", place.identity.name)


def _check_data(place: NodeHome, line: CoordinatorLine) -> None:
    """Try the party's queries as soon as the node is up, so that a fault is known before anybody proposes a run.

    The members are told whether the data can be used, and nothing else of them.
    """
    try:
        for told in data_check(place.settings, place.folder):
            _LOG.info("data: %s", told)
    except EntenteError as error:
        _LOG.warning("data: no run can use this party's data as they are: %s", error)
        line.data_checked(usable=False)
    else:
        line.data_checked(usable=True)
