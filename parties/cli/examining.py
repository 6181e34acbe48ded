"""Is this home fit to run? Each check is one line: what was looked at, the verdict, and the remedy."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from parties import __version__
from parties.cli.own_packages import recorded
from parties.coordinator.settings import load_coordinator_settings
from parties.data.named_files import absent
from parties.errors import EntenteError, PeerError
from parties.members.keys import Identity, load_identity
from parties.members.roster import (
    EXPIRY_WARNING,
    Roster,
    certificate_fingerprint,
    expiry_warnings,
    parse_certificate,
)
from parties.names import COORDINATOR
from parties.node.settings import load_node_settings
from parties.plurals import things
from parties.transport.pinned import fetch_certificate, shown_at
from parties.transport.reach import round_trip
from parties.transport.to_coordinator import Connection
from parties.wire.gen import coordinator_pb2 as wire

__all__ = ["Check", "examine"]

_LIBRARIES = ("cryptography", "duckdb", "grpcio", "numpy", "pandas", "rbcl", "tenseal", "torch")
_CALLED = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # what listens on all interfaces, from here
_LEAST_DISK = 2 * 2**30
_SKEW_SECONDS, _LARGEST_SKEW_SECONDS = 5.0, 120.0


Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One finding. ``fail`` must be mended before a run, ``warn`` soon."""

    what: str
    verdict: Verdict
    detail: str


def examine(home: Path) -> tuple[Check, ...]:
    """Look at the node or coordinator in ``home``. Nothing is changed, and no run is touched."""
    is_node = (home / "node.toml").exists()
    found = [*_versions(), *_packages(), *_guarded("settings", lambda: _settings(home, is_node=is_node))]
    found += [*_permissions(home), *_guarded("disk", lambda: _disk(home))]
    name = COORDINATOR
    try:
        if is_node:
            name = load_node_settings(home / "node.toml").party.name
        identity = load_identity(name, home / "keys")
        roster = Roster.load(home / "roster.json")
    except EntenteError as error:
        if any(str(error) == one.detail for one in found):  # what the settings' line says already
            return (*found, Check("keys and roster", "warn", "not tried: the settings have to be mended first"))
        return (*found, Check("keys and roster", "fail", str(error)))
    found += _certificates(identity, roster)
    found += _guarded("port", lambda: _port(home, identity, roster, is_node=is_node))
    if is_node:
        found += _guarded("data", lambda: _data(home))
        found += _guarded("coordinator", lambda: _coordinator(home, identity, roster))
        found += _guarded("peers", lambda: _peers(home, name, roster))
    return tuple(found)


def _guarded(what: str, look: Callable[[], Iterator[Check]]) -> list[Check]:
    """A check's findings; an error of ours is a finding too."""
    try:
        return list(look())
    except (EntenteError, OSError) as error:
        return [Check(what, "fail", str(error))]


def _versions() -> Iterator[Check]:
    fits = sys.version_info >= (3, 11)
    yield Check("Entente", "ok", f"{__version__}, Python {platform.python_version()}, {platform.machine()}")
    if not fits:
        yield Check("Python", "fail", "Entente needs Python 3.11 or later")
    missing, present = [], []
    for library in _LIBRARIES:
        try:
            present.append(f"{library} {importlib.metadata.version(library)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(library)
    yield Check(
        "libraries", "fail" if missing else "ok", f"missing: {', '.join(missing)}" if missing else ", ".join(present)
    )


def _packages() -> Iterator[Check]:
    as_installed, told = recorded()
    yield Check("packages", "ok" if as_installed else "fail", told)


def _settings(home: Path, *, is_node: bool) -> Iterator[Check]:
    if not is_node:
        settings = load_coordinator_settings(home)
        yield Check("coordinator.toml", "ok", f"{settings.name}, listens on {settings.listen}")
        return
    node = load_node_settings(home / "node.toml")
    missing = absent(node.party, node.label, home / node.queries, home / node.data)
    if missing:
        yield Check("node.toml", "fail", "; ".join(missing))
    else:
        yield Check("node.toml", "ok", f"{node.party.name}, {node.party.role} party, approve: {node.approve}")


def _data(home: Path) -> Iterator[Check]:
    from parties.node.own_data import data_check

    yield Check("data", "ok", "; ".join(data_check(load_node_settings(home / "node.toml"), home)))


def _permissions(home: Path) -> Iterator[Check]:
    wide = [
        str(path)
        for path in [home / "keys", *(home / "keys").glob("*.key*"), *(home / "keys").glob("seed")]
        if path.exists() and path.stat().st_mode & 0o077
    ]
    if wide:
        yield Check("permissions", "fail", f"other users can read {', '.join(wide)}: run chmod go-rwx on it")
    else:
        yield Check("permissions", "ok", "keys are for their owner only")
    plain = [path.name for path in (home / "keys").glob("*.key") if b"ENCRYPTED" not in path.read_bytes()]
    if plain:
        yield Check("encryption at rest", "warn", f"{', '.join(sorted(plain))} open without a passphrase")
    elif (home / "keys").is_dir():
        yield Check("encryption at rest", "ok", "private keys are encrypted")


def _disk(home: Path) -> Iterator[Check]:
    free = shutil.disk_usage(home).free
    enough = free >= _LEAST_DISK
    yield Check("disk", "ok" if enough else "warn", f"{free / 2**30:.1f} GiB free" + ("" if enough else ": make room"))
    probe = home / ".doctor"
    probe.touch()
    probe.unlink()


def _certificates(identity: Identity, roster: Roster) -> Iterator[Check]:
    now, until = datetime.now(UTC), identity.expires
    verdict: Verdict = "fail" if until < now else "warn" if until - now < EXPIRY_WARNING else "ok"
    remedy = "" if verdict == "ok" else ": run entente party rotate, and start the node again"
    if verdict == "fail":
        remedy = ": nobody accepts it; have this member revoked and invited again, and join from a new folder"
    yield Check("own certificate", verdict, f"until {until:%Y-%m-%d}{remedy}")
    mine = roster.get(identity.name)
    if mine is not None and mine.certificate_sha256 != identity.certificate_sha256:
        yield Check("roster", "fail", "names another certificate for this node than its own: join or rotate again")
    for told in expiry_warnings({name: member for name, member in roster.items() if name != identity.name}, now):
        yield Check("roster", "warn", told)
    yield Check("roster", "ok", f"{things(len(roster), 'members')}: {', '.join(sorted(roster))}")


def _port(home: Path, identity: Identity, roster: Roster, *, is_node: bool) -> Iterator[Check]:
    """Who listens where this one would: itself, nobody, or another, beside whom it could not start."""
    listen = load_node_settings(home / "node.toml").listen if is_node else load_coordinator_settings(home).listen
    host, _, port = listen.rpartition(":")
    if port == "0":
        yield Check("port", "ok", "a free one is taken at each start")
        return
    called = f"{_CALLED.get(host, host)}:{port}"
    if round_trip(called, timeout=2.0) is None:
        yield Check("port", "ok", f"nobody listens on {listen} yet")
        return
    try:
        shown = shown_at(called, timeout=5.0).decode()
    except PeerError:
        shown = ""
    there = shown and certificate_fingerprint(parse_certificate(shown.encode()))
    if there == identity.certificate_sha256:
        yield Check("port", "ok", f"this one runs, and listens on {listen}")
        return
    if shown and identity.member(listen).model_copy(update={"certificate": shown}).self_certified(identity.name):
        yield Check("port", "fail", f"this one runs on {listen} with an earlier certificate: start it again")
        return
    owner = next((name for name, member in roster.items() if member.certificate_sha256 == there), "")
    who = "the coordinator" if owner == COORDINATOR else f"the node of {owner!r}" if owner else "another program"
    remedy = "stop that one"
    if is_node:
        remedy += ", or have this member revoked and invited again, and join from a new folder with another --listen"
    yield Check("port", "fail", f"{who} listens on {listen} already: {remedy}")


def _coordinator(home: Path, identity: Identity, roster: Roster) -> Iterator[Check]:
    member = roster.member(COORDINATOR)
    fetch_certificate(member.address, member.certificate_sha256, timeout=5.0)
    line = Connection.between(identity, member)
    try:
        before = datetime.now(UTC)
        answer = line.call("Hello", wire.Document(), wire.Document, timeout=5.0)
        after = datetime.now(UTC)
    finally:
        line.close()
    told = json.loads(answer.json)
    yield Check("coordinator", "ok", f"{member.address} shows the rostered certificate and takes ours")
    if told["version"] == __version__:
        yield Check("version", "ok", f"the coordinator has {__version__} too")
    else:
        yield Check("version", "fail", f"the coordinator has {told['version']}, and here is {__version__}: use one")
    yield _relay(load_node_settings(home / "node.toml").transport.relay, offered=bool(told.get("relays")))
    now = datetime.fromisoformat(told["now"])
    skew = max((before - now).total_seconds(), (now - after).total_seconds(), 0.0)
    remedy = "" if skew < _SKEW_SECONDS else ": set it by NTP"
    verdict: Verdict = "warn" if remedy else "ok"
    if skew > _LARGEST_SKEW_SECONDS:
        verdict = "fail"
    yield Check("clock", verdict, f"{skew:.1f} s from the coordinator's{remedy}")


def _relay(wanted: str, *, offered: bool) -> Check:
    """Which way connections to peers may take."""
    ways = {
        "never": "directly only",
        "when_unreachable": "directly, or through the coordinator where a peer cannot be reached",
        "always": "through the coordinator",
    }
    if offered or wanted == "never":
        return Check("relay", "ok", f'transport.relay = "{wanted}": peers are called {ways[wanted]}')
    detail = f'transport.relay = "{wanted}", but this coordinator does not relay'
    return Check("relay", "fail" if wanted == "always" else "warn", detail)


def _peers(home: Path, me: str, roster: Roster) -> Iterator[Check]:
    relay = load_node_settings(home / "node.toml").transport.relay
    if relay == "always":
        return
    for name, member in sorted(roster.items()):
        if name in (me, COORDINATOR):
            continue
        took = round_trip(member.address, timeout=2.0)
        if took is None:
            instead = ", or be reached through the coordinator" if relay == "when_unreachable" else ""
            yield Check("peer", "warn", f"{name} does not answer at {member.address}: it may not run yet{instead}")
        else:
            yield Check("peer", "ok", f"{name} answers at {member.address} in {1000 * took:.1f} ms")
