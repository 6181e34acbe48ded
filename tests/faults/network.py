"""A network between real processes that a test slows, thins out and cuts.

:class:`Namespaces` puts each process into a network namespace of its own. Their only way out is a TUN device, and what
netem would do to packets (delay, loss, nothing at all) is done here to what the devices carry, because kernels
without the netem module are common and TUN is everywhere. TCP sees a real network: lost packets are sent again, a link
that is cut answers nothing.

:class:`Proxies` is for machines that permit no namespaces: between every two processes stands a TCP relay of ours. A
loss is a pause there, as long as TCP's retransmission would take, and a cut link swallows what is sent.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import itertools
import os
import random
import re
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from parties.client import ADMIN
from parties.demo.homes import DemoHomes, free_addresses
from parties.members.keys import load_identity
from parties.members.roster import Member, Roster
from parties.names import COORDINATOR

_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFMTU = 0x8914, 0x8916, 0x891C, 0x8922
_UP = 0x1 | 0x40
_MTU = 32_000
_PORT = 7400
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass
class Weather:
    """What befalls packets between two members: seconds of delay each way, share lost, and whether all are."""

    delay: float = 0.0
    loss: float = 0.0
    seed: int = 3
    cut: set[frozenset[str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def lost(self) -> bool:
        return self.random.random() < self.loss

    def is_cut(self, one: str, other: str) -> bool:
        return frozenset((one, other)) in self.cut

    def cut_off(self, name: str, others: Iterable[str]) -> None:
        """Nothing passes between ``name`` and ``others`` from now on."""
        self.cut |= {frozenset((name, other)) for other in others}

    def mend(self) -> None:
        self.cut = set()


def namespaces_permitted() -> str:
    """Why this machine permits no namespaces with TUN devices to us, or ""."""
    found: list[str] = []

    def attempt() -> None:
        try:
            _unshare()
            os.close(_tun("probe", "10.0.0.1"))
        except OSError as error:
            found.append(f"no network namespaces here: {error.strerror}")

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return found[0] if found else ""


class Namespaces:
    """Everybody but the coordinator in a namespace of its own; the coordinator, and the test, stay outside."""

    def __init__(self, names: Iterable[str], weather: Weather) -> None:
        self.weather = weather
        subnet = f"10.{random.SystemRandom().randrange(64, 250)}.{os.getpid() % 250}"
        self.hosts = {name: f"{subnet}.{number}" for number, name in enumerate(names, 1)}
        self._by_address = {socket.inet_aton(host): name for name, host in self.hosts.items()}
        self._namespaces: dict[str, int] = {}
        self._devices: dict[str, int] = {}
        self._stopped, self._wake = os.pipe()
        self._router = threading.Thread(target=self._route, daemon=True)

    def __enter__(self) -> Self:
        try:
            for name, host in self.hosts.items():
                self._in_new_thread(lambda name=name, host=host: self._furnish(name, host))
        except BaseException:
            self._release()
            raise
        self._router.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._wake, b"x")
        self._router.join()
        self._release()

    def prepare(self, homes: DemoHomes) -> None:
        """Put the addresses of this network into the homes."""
        addresses = {name: f"{host}:{_PORT}" for name, host in self.hosts.items()}
        _relocate(homes, addresses, lambda _: addresses)

    def start(self, name: str, start: Callable[[], Any]) -> None:
        """Start ``name``'s process where it belongs: a child is in the namespace of the thread that starts it."""

        def inside() -> None:
            if name in self._namespaces:
                _checked(_LIBC.setns(self._namespaces[name], _CLONE_NEWNET))
            start()

        self._in_new_thread(inside)

    @staticmethod
    def _in_new_thread(task: Callable[[], None]) -> None:
        raised: list[BaseException] = []

        def work() -> None:
            try:
                task()
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if raised:
            raise raised[0]

    def _furnish(self, name: str, host: str) -> None:
        if name != COORDINATOR:
            _unshare()
            self._namespaces[name] = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            _raise_device("lo")
        self._devices[name] = _tun(f"ent{os.getpid()}"[:12] if name == COORDINATOR else "ent", host)

    def _route(self) -> None:
        """Move packets, as the weather says, in the order in which they are due."""
        queue: list[tuple[float, int, str, bytes]] = []
        numbers = itertools.count()
        names = {device: name for name, device in self._devices.items()}
        while True:
            wait = max(0.0, queue[0][0] - time.monotonic()) if queue else None
            ready, _, _ = select.select([*names, self._stopped], [], [], wait)
            if self._stopped in ready:
                return
            now = time.monotonic()
            for device in ready:
                packet = os.read(device, 70_000)
                to = self._by_address.get(packet[16:20]) if packet[0] >> 4 == 4 else None
                if to is not None and not self.weather.lost():
                    heapq.heappush(queue, (now + self.weather.delay, next(numbers), to, packet))
            while queue and queue[0][0] <= time.monotonic():
                _, _, to, packet = heapq.heappop(queue)
                sender = self._by_address.get(packet[12:16], "")
                if not self.weather.is_cut(sender, to):
                    with suppress(OSError):
                        os.write(self._devices[to], packet)

    def _release(self) -> None:
        for descriptor in (*self._devices.values(), *self._namespaces.values(), self._stopped, self._wake):
            os.close(descriptor)


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _unshare() -> None:
    """Give the calling thread a network namespace of its own."""
    _checked(_LIBC.unshare(_CLONE_NEWNET))


def _tun(name: str, host: str) -> int:
    """A TUN device in the calling thread's namespace, up, with ``host``/24."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    try:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22s", name.encode(), _IFF_TUN | _IFF_NO_PI, b""))
        _raise_device(name, host)
    except OSError:
        os.close(device)
        raise
    return device


def _raise_device(name: str, host: str = "") -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        if host:
            for request, address in ((_SIOCSIFADDR, host), (_SIOCSIFNETMASK, "255.255.255.0")):
                told = struct.pack("16sHH4s8x", name.encode(), socket.AF_INET, 0, socket.inet_aton(address))
                fcntl.ioctl(control, request, told)
            fcntl.ioctl(control, _SIOCSIFMTU, struct.pack("16si12x", name.encode(), _MTU))
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), _UP))


class Proxies:
    """A TCP relay before every process, one for each that calls it."""

    def __init__(self, names: Iterable[str], weather: Weather) -> None:
        self.weather = weather
        self._names = tuple(names)
        self._relays: dict[tuple[str, str], _Proxy] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for relay in self._relays.values():
            relay.close()

    def prepare(self, homes: DemoHomes) -> None:
        places = dict(zip(self._names, free_addresses(len(self._names)), strict=True))
        for caller, to in itertools.permutations(self._names, 2):
            self._relays[caller, to] = _Proxy(caller, to, places[to], self.weather)

        def seen_by(name: str) -> dict[str, str]:
            if name == ADMIN:
                return places
            return {to: places[to] if to == name else self._relays[name, to].address for to in self._names}

        _relocate(homes, places, seen_by)

    def start(self, name: str, start: Callable[[], Any]) -> None:
        start()


class _Proxy:
    """Listens for ``caller``, who means ``to``."""

    def __init__(self, caller: str, to: str, target: str, weather: Weather) -> None:
        self._pair = caller, to
        self._target = target
        self._weather = weather
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        host, _, port = self._target.rpartition(":")
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection((host, int(port)))
            except OSError:
                near.close()
                continue
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        """Pieces in order, each after its delay; a lost one holds up those behind it."""
        weather, waiting, change = self._weather, deque[tuple[float, bytes]](), threading.Condition()

        def deliver() -> None:
            while True:
                with change:
                    while not waiting:
                        change.wait()
                    due, data = waiting.popleft()
                while (left := due - time.monotonic()) > 0 or weather.is_cut(*self._pair):
                    time.sleep(min(max(left, 0.01), 0.05))
                if not data:
                    _shut(source, sink)
                    return
                with suppress(OSError):
                    sink.sendall(data)

        threading.Thread(target=deliver, daemon=True).start()
        due = 0.0
        while True:
            try:
                data = source.recv(_MTU)
            except OSError:
                data = b""
            stall = 2 * weather.delay + 0.2 if weather.lost() else 0.0
            due = max(due, time.monotonic() + weather.delay + stall)
            with change:
                waiting.append((due, data))
                change.notify()
            if not data:
                return

    def close(self) -> None:
        _shut(*self._open)


def _shut(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


def _relocate(homes: DemoHomes, listen: Mapping[str, str], seen_by: Callable[[str], Mapping[str, str]]) -> None:
    """Let everyone listen at ``listen``, and find the others where ``seen_by`` says that it sees them."""
    folders = {name: homes.coordinator if name == COORDINATOR else homes.party(name) for name in listen}
    identities = {name: load_identity(name, folder / "keys") for name, folder in folders.items()}
    for name, folder in {**folders, ADMIN: homes.admin}.items():
        seen = seen_by(name)
        known = Roster.load(folder / "roster.json")
        moved = {to: identities[to].member(seen[to], known[to].legal_entity) for to in identities}
        members: dict[str, Member] = {**known, **moved}
        Roster(members).save(folder / "roster.json")
        if name == ADMIN:
            continue
        file = folder / ("coordinator.toml" if name == COORDINATOR else "node.toml")
        text = re.sub(r'^listen = ".*"$', f'listen = "{listen[name]}"', file.read_text(), count=1, flags=re.M)
        if name != COORDINATOR and seen != listen:
            text = "follow_roster = false\n" + text
        Path(file).write_text(text)


__all__ = ["Namespaces", "Proxies", "Weather", "namespaces_permitted"]
