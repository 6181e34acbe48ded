"""The folders of a demo: a home with keys for the coordinator, the admin, the desk and each party."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from parties.client import ADMIN
from parties.coordinator.desk.enrol import enrol_desk
from parties.coordinator.settings import CoordinatorSettings
from parties.errors import ConfigError, StorageError
from parties.members.keys import Identity, create_identity
from parties.members.roster import Member, Roster
from parties.names import COORDINATOR
from parties.node.settings import ACCEPTABLE, NodeSettings, StandingLimits
from parties.settings.consortium import ConsortiumSettings, PartySettings
from parties.settings.toml_text import to_toml
from parties.terminal.console import pasted

__all__ = ["DemoHomes", "claim", "free_addresses", "lay_out"]

_MARKER = ".entente-demo"
_FIRST_PORT, _PORTS = 20_000, 12_000
_LOOPBACK = "127.0.0.1"
_UNIVERSE = "universe.csv"


@dataclass(frozen=True)
class DemoHomes:
    """Where a demo keeps what. ``roster`` is the admin's, of everyone."""

    out: Path
    roster: Roster

    @property
    def coordinator(self) -> Path:
        return self.out / "coordinator"

    @property
    def admin(self) -> Path:
        return self.out / "admin"

    @property
    def desk(self) -> Path:
        return self.out / "desk"

    @property
    def logs(self) -> Path:
        return self.out / "logs"

    def party(self, name: str) -> Path:
        return self.out / "parties" / name

    @property
    def agreement(self) -> Path:
        return self.out / "agreement.json"

    @property
    def summary(self) -> Path:
        return self.out / "summary.json"

    @classmethod
    def load(cls, out: Path) -> DemoHomes:
        """A demo that was laid out before."""
        if not (out / _MARKER).is_file():
            raise ConfigError(f"{out}: no demo was run here; run entente demo --out {pasted(out)} first")
        return cls(out, Roster.load(out / "admin" / "roster.json"))


def claim(out: Path) -> BinaryIO:
    """Make ``out`` an empty folder of ours; the open file holds it until it is closed.

    An earlier demo there is replaced, anything else is left alone. Raises :class:`ConfigError` for what is not
    ours or in use, :class:`StorageError` where the disk refuses.
    """
    marker = out / _MARKER
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file; choose another folder with --out")
    if out.is_dir() and not marker.is_file() and any(out.iterdir()):
        raise ConfigError(f"{out}: is not empty and no demo made it; choose another folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        holder = marker.open("ab")
        try:
            fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder.close()
            raise ConfigError(f"{out}: another demo is running here; stop it, or choose another --out") from None
        for path in out.iterdir():
            if path.name == _MARKER:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    except OSError as error:
        raise StorageError(f"{out}: cannot be written ({error.strerror}); choose another folder with --out") from None
    return holder


def lay_out(out: Path, settings: ConsortiumSettings, queries: Path, data: Path, seed: int) -> DemoHomes:
    """Write every home below ``out``. ``queries`` is the folder of consortium.toml, ``data`` stands for ``${data}``.

    Keys are new each time; a node's secret seed follows from ``seed`` and its name, so that a demo can be repeated.
    """
    names = [COORDINATOR, *(party.name for party in settings.party)]
    addresses = dict(zip(names, free_addresses(len(names)), strict=True))
    try:
        (out / "logs").mkdir(parents=True)
        identities = {name: create_identity(name, _home(out, name) / "keys") for name in (*names, ADMIN)}
        entities = {party.name: party.legal_entity for party in settings.party}
        members = {name: identities[name].member(addresses[name], entities.get(name, "")) for name in names}
        # nobody ever calls the admin, so its port is none
        everyone = members | {ADMIN: identities[ADMIN].member(f"{_LOOPBACK}:0")}
        for name, identity in identities.items():
            known: Mapping[str, Member] = everyone if name in (COORDINATOR, ADMIN) else members
            Roster(known).save(_home(out, name) / "roster.json")
            _write_settings(_home(out, name), identity, settings, addresses, queries.resolve(), data.resolve())
            if name not in (COORDINATOR, ADMIN):
                _write_seed(_home(out, name) / "keys" / "seed", name, seed)
        homes = DemoHomes(out, Roster(everyone))
        enrol_desk(homes.coordinator, homes.desk)
    except OSError as error:
        raise StorageError(f"{out}: cannot be written ({error.strerror}); choose another folder with --out") from None
    return homes


def _home(out: Path, name: str) -> Path:
    return out / name if name in (COORDINATOR, ADMIN) else out / "parties" / name


def _write_settings(
    home: Path,
    identity: Identity,
    settings: ConsortiumSettings,
    addresses: Mapping[str, str],
    queries: Path,
    data: Path,
) -> None:
    if identity.name == ADMIN:
        return
    if identity.name == COORDINATOR:
        terms = CoordinatorSettings(name=settings.name, listen=addresses[COORDINATOR])
        (home / "coordinator.toml").write_text(to_toml(terms.model_dump(mode="json", exclude_unset=True)))
        return
    party = next(party for party in settings.party if party.name == identity.name)
    node = _node_settings(party, settings, addresses[party.name], queries, data)
    (home / "node.toml").write_text(to_toml(node.model_dump(mode="json", exclude_unset=True)), encoding="utf-8")


def _node_settings(
    party: PartySettings, settings: ConsortiumSettings, address: str, queries: Path, data: Path
) -> NodeSettings:
    """A node that signs by itself whatever stays within the very terms of this consortium."""
    limits = StandingLimits(
        openings_per_row=settings.openings.limit_per_row,
        largest_fraction=settings.openings.largest_fraction,
        forms_per_row=settings.openings.limit_per_row * settings.model.embedding_width,
        readers=dict(settings.readers),
        accepts=tuple(sorted(ACCEPTABLE)),
        counterparties=tuple(other.name for other in settings.party if other.name != party.name),
    )
    node = NodeSettings(
        listen=address,
        data=str(data),
        queries=str(queries),
        approve="automatic",
        party=party,
        label=settings.label if party.role == "label" else None,
        limits=limits,
    )
    if settings.alignment.policy == "universe":
        node = node.model_copy(update={"universe": str(_listed(queries, data))})
    # static data has no cutoffs for commitments to rows to go by
    return node if settings.static is None else node.model_copy(update={"commit_minutes": 0})


def _listed(queries: Path, data: Path) -> Path:
    """The public list that all nodes of a demo have."""
    for folder in (queries, data):
        if (folder / _UNIVERSE).is_file():
            return folder / _UNIVERSE
    raise ConfigError(
        f'alignment.policy = "universe" needs a public list: put {_UNIVERSE}, a CSV with a column entity, beside '
        "consortium.toml or into the folder given with --data"
    )


def _write_seed(path: Path, name: str, seed: int) -> None:
    secret = HKDF(SHA256(), 32, salt=None, info=f"entente/demo/{name}".encode()).derive(str(seed).encode())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret)


def free_addresses(count: int) -> list[str]:
    """``count`` different loopback addresses that nobody listens on now.

    Below the range that outgoing connections take their ports from, so that none of them is taken before it is used.
    """
    found: list[str] = []
    held: list[socket.socket] = []
    try:
        while len(found) < count:
            one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            held.append(one)
            try:
                one.bind((_LOOPBACK, _FIRST_PORT + secrets.randbelow(_PORTS)))
            except OSError:
                continue
            found.append(f"{_LOOPBACK}:{one.getsockname()[1]}")
        return found
    finally:
        for one in held:
            one.close()
