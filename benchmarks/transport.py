"""Speed of the channels: ``python -m benchmarks.transport``.

Two processes on this machine talk over loopback with mutual TLS, as two nodes do; the memory transport runs beside
them in two threads. ``call per message`` is the alternative that the long-lived stream was chosen over: the
same frames, a gRPC client-streaming call for each message, over the same connection.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from parties.coordinator.relaying import relay_handler
from parties.members.keys import create_identity, load_identity
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.settings.consortium import TransportSettings
from parties.transport.channel import Channel, Frame
from parties.transport.chunks import wire_frames
from parties.transport.grpc import ExchangeServer, authenticated_peer, connect
from parties.transport.memory import MemoryNetwork
from parties.transport.relay import CoordinatorDoor
from parties.transport.switchboard import Switchboard
from parties.wire.codec import encode
from parties.wire.gen import exchange_pb2 as wire
from psi.flow import Message, Payload, Recv, Role, message

__all__ = ["main"]

RUN, SESSION = "0" * 64, "bench-1"
ROLES = {"label": Role.LABEL, "cards": Role.FEATURE}
SERVICE = "entente.benchmark.PerCall"
SILENCE = 60.0


@message("bench.blob", sender=Role.PARTY, receiver=Role.PARTY, payload=Payload.SHARE, reveals="zeros", source="none")
class Blob(Message):
    """``answer``: how many bytes to send back, or -1 for none, or -2 to stop."""

    answer: int
    body: bytes


def echo(channel: Channel) -> None:
    """Answer as each message asks until one asks to stop."""
    while True:
        _, got = channel.receive([Recv("label", Blob)], SILENCE)
        assert isinstance(got, Blob)
        if got.answer == -2:
            return
        if got.answer >= 0:
            channel.send("label", Blob(-1, bytes(got.answer)))


def ping(channel: Channel, size: int) -> None:
    channel.send("cards", Blob(size, bytes(size)))
    channel.receive([Recv("cards", Blob)], SILENCE)


def push(channel: Channel, size: int, count: int) -> None:
    """``count`` messages one way; returns when the last has been answered."""
    body = bytes(size)
    for number in range(count):
        channel.send("cards", Blob(0 if number == count - 1 else -1, body))
    channel.receive([Recv("cards", Blob)], SILENCE)


def seconds_of(task: Callable[[], Any], times: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(times):
        task()
    return time.perf_counter() - start


def measure(channel: Channel) -> list[tuple[str, str]]:
    """Rows of (what, figure)."""
    for _ in range(200):
        ping(channel, 20)
    trips = sorted(seconds_of(lambda: ping(channel, 20)) for _ in range(3000))
    rows = [
        ("round trip, 20 bytes, median", f"{statistics.median(trips) * 1e3:.3f} ms"),
        ("round trip, 20 bytes, 99 %", f"{trips[int(len(trips) * 0.99)] * 1e3:.3f} ms"),
    ]
    took = seconds_of(lambda: push(channel, 20, 20_000))
    rows.append(("one way, 20 bytes", f"{took / 20_000 * 1e3:.3f} ms each, {20_000 / took:,.0f}/s"))
    for mebibytes, count in ((1, 300), (8, 60)):
        size = mebibytes * 2**20
        took = seconds_of(partial(push, channel, size, count))
        figure = f"{took / count * 1e3:.2f} ms each, {size * count / took / 1e6:,.0f} MB/s"
        rows.append((f"one way, {mebibytes} MiB", figure))
        took = seconds_of(partial(ping, channel, size), 20) / 20
        rows.append((f"round trip, {mebibytes} MiB both ways", f"{took * 1e3:.2f} ms"))
    return rows


def per_call(line: grpc.Channel) -> list[tuple[str, str]]:
    """The same frames, a call for each message."""
    send = line.stream_unary(
        f"/{SERVICE}/Deliver",
        request_serializer=wire.Frame.SerializeToString,
        response_deserializer=wire.Receipt.FromString,
    )
    rows = []
    for name, size, count in (("20 bytes", 20, 2000), ("1 MiB", 2**20, 100), ("8 MiB", 2**23, 20)):
        kind, body = encode(Blob(0, bytes(size)))
        frame = Frame(RUN, SESSION, "label", 0, kind, body)
        took = seconds_of(partial(lambda one: send(wire_frames(one)), frame), count) / count
        rows.append((f"call per message, {name}, acknowledged", f"{took * 1e3:.3f} ms"))
    return rows


def take_call(frames: Iterator[wire.Frame], context: grpc.ServicerContext, roster: Roster) -> wire.Receipt:
    authenticated_peer(context, roster)
    b"".join([frame.data for frame in frames])
    return wire.Receipt(next=1)


def server(folder: Path, name: str) -> ExchangeServer:
    roster, identity = Roster.load(folder / "roster.json"), load_identity(name, folder / name)
    handler = grpc.stream_unary_rpc_method_handler(
        lambda frames, context: take_call(frames, context, roster),
        request_deserializer=wire.Frame.FromString,
        response_serializer=wire.Receipt.SerializeToString,
    )
    services = [grpc.method_handlers_generic_handler(SERVICE, {"Deliver": handler})]
    if name == COORDINATOR:
        services.append(relay_handler(Switchboard(lambda caller, to: ""), roster))
    relayed = COORDINATOR in roster and name != COORDINATOR
    door = CoordinatorDoor(identity, roster) if relayed else None
    settings = TransportSettings(relay="always" if relayed else "never")
    return ExchangeServer(identity, roster, roster[name].address, services=services, door=door, settings=settings)


def over_grpc(folder: Path, *, relayed: bool = False) -> list[tuple[str, str]]:
    names = [*ROLES, COORDINATOR] if relayed else list(ROLES)
    identities = {name: create_identity(name, folder / name) for name in names}
    ports = {}
    for name, identity in identities.items():
        with ExchangeServer(identity, Roster({name: identity.member("127.0.0.1:0")}), "127.0.0.1:0") as probe:
            ports[name] = probe.address
    roster = Roster({name: identity.member(ports[name]) for name, identity in identities.items()})
    roster.save(folder / "roster.json")
    program = [sys.executable, "-m", "benchmarks.transport"]
    between = [subprocess.Popen([*program, "--relay", str(folder)])] if relayed else []
    other = subprocess.Popen([*program, "--echo", str(folder)])
    try:
        with server(folder, "label") as own, own.open(RUN, SESSION, ROLES, list(Payload)) as channel:
            rows = measure(channel)
            if not relayed:
                with connect(identities["label"], roster, "cards") as line:
                    rows += per_call(line)
            channel.send("cards", Blob(-2, b""))
    finally:
        other.wait(SILENCE)
        for process in between:
            process.terminate()
            process.wait(SILENCE)
    return rows


def over_memory() -> list[tuple[str, str]]:
    network = MemoryNetwork()
    channels = {name: network.node(name).open(RUN, SESSION, ROLES, list(Payload)) for name in ROLES}
    other = threading.Thread(target=echo, args=(channels["cards"],))
    other.start()
    rows = measure(channels["label"])
    channels["label"].send("cards", Blob(-2, b""))
    other.join()
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Speed of the channels on this machine.")
    parser.add_argument("--echo", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--relay", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    folder = asked.echo
    if asked.relay:
        with server(asked.relay, COORDINATOR):
            threading.Event().wait()
    if folder:
        with server(folder, "cards") as own, own.open(RUN, SESSION, ROLES, list(Payload)) as channel:
            echo(channel)
        return
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as other:
        ways: dict[str, Callable[[], list[tuple[str, str]]]] = {
            "gRPC, mutual TLS, two processes": lambda: over_grpc(Path(made)),
            "the same, led through a coordinator's process": lambda: over_grpc(Path(other), relayed=True),
            "memory": over_memory,
        }
        for title, rows in ways.items():
            print(title)
            for what, figure in rows():
                print(f"  {what:44} {figure}")


if __name__ == "__main__":
    main()
