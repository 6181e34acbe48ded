"""Nodes and a coordinator as their commands make them, in the test's own process: no start-up is paid for each."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from parties.coordinator.service import Coordinator
from parties.demo.homes import DemoHomes
from parties.node.coordinator_line import CoordinatorLine
from parties.node.home import NodeHome
from parties.node.node import Node
from parties.transport.grpc import ExchangeServer

__all__ = ["LivingNode", "in_this_process"]


class LivingNode:
    """A party's node in this process, as ``entente party start`` makes it."""

    def __init__(self, folder: Path) -> None:
        place = NodeHome(folder)
        self._endpoint = ExchangeServer(place.identity, place.roster, place.settings.listen)
        self._line = CoordinatorLine(place.identity.name, folder, introduction=place.introduction())
        self._node = Node(place, self._endpoint, self._line)
        self._thread = threading.Thread(target=self._node.serve)

    def __enter__(self) -> LivingNode:
        self._line.start()
        self._thread.start()
        assert self._line.wait_attached(20)
        return self

    def __exit__(self, *_: object) -> None:
        lived, busy = self._thread.is_alive(), self._node.runs_in_progress
        self._line.close()
        self._thread.join(20)
        self._endpoint.close()
        assert lived, "the node has ended"
        assert busy == 0


@contextmanager
def in_this_process(homes: DemoHomes, parties: Iterable[str]) -> Iterator[None]:
    """The consortium of these homes at work, every party attached."""
    with ExitStack() as stack:
        stack.enter_context(Coordinator(homes.coordinator))
        for name in parties:
            stack.enter_context(LivingNode(homes.party(name)))
        yield
