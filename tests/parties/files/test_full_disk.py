"""A full disk at any command that writes: exit code 7, one line, nothing half made, and a second try that works."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from parties.cli import run
from parties.data.simulate import simulate
from parties.demo.homes import DemoHomes, lay_out
from parties.node.settings import load_node_settings
from parties.private_files import write_new, write_whole
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import load_consortium
from tests.parties.settlement_rig import RULES, SettledHome
from tests.vfl.bundles import made_up, signer
from vfl.factors.export import export_bundle

FREE = (0, 1, 4, 16, 64, 256)
"""Free pages of 4096 bytes at which a command is tried, until it works."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small file system of its own."""
    small = tmp_path_factory.mktemp("small")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", small], capture_output=True)
    if made.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        yield small
    finally:
        subprocess.run(["umount", "-l", small], check=True)


@pytest.fixture(scope="module")
def homes(disk: Path, tmp_path_factory: pytest.TempPathFactory) -> DemoHomes:
    """Homes of a coordinator and three parties on the small disk; their data is elsewhere."""
    made = simulate(tmp_path_factory.mktemp("sim") / "data", entities=40, periods=12, parties=2, seed=3, model="split")
    return lay_out(disk / "demo", load_consortium(made.config), made.config.parent, made.data, 3)


@pytest.fixture(scope="module")
def books(disk: Path) -> SettledHome:
    return SettledHome(disk / "books", RULES | {"live_periods": 0})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("factors") / "demo-joint" / "1"
    for name, content in export_bundle(made_up(), signer()).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    factor = pd.read_parquet(folder / "factor.parquet").reset_index()
    factor["label"] = np.arange(len(factor)) % 7 / 7.0
    factor["score"] = np.arange(len(factor)) % 5 / 5.0
    factor[["datetime", "instrument", "label"]].to_csv(folder.parent / "labels.csv", index=False)
    factor[["datetime", "instrument", "score"]].to_csv(folder.parent / "own.csv", index=False)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below the folder; what SQLite keeps beside a database goes with it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm")) and path.suffix != ".db"
    }


@contextlib.contextmanager
def full(disk: Path, pages: int) -> Iterator[None]:
    """The disk with this many free pages."""
    filler, page = disk / "filler", b"x" * 4096
    try:
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(page * 64)
        with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(page)
        with filler.open("r+b") as file:
            file.truncate(max(0, (filler.stat().st_size // 4096 - pages) * 4096))
        yield
    finally:
        filler.unlink(missing_ok=True)


class Places(NamedTuple):
    """Where things are: the small disk, homes and books on it, a bundle elsewhere."""

    disk: Path
    homes: DemoHomes
    books: Path
    bundle: Path


@pytest.fixture
def places(disk: Path, homes: DemoHomes, books: SettledHome, bundle: Path) -> Places:
    return Places(disk, homes, books.home, bundle)


def waiting_run(places: Places) -> str:
    """A run that the party social was asked to sign; its id."""
    sim = places.homes.party("social")
    settings = load_consortium(Path(load_node_settings(sim / "node.toml").queries) / "consortium.toml")
    made = agreement_of(settings, places.homes.roster, datetime.now(UTC), timedelta(hours=1))
    folder = sim / "runs" / made.run_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "agreement.json").write_bytes(made.canonical())
    return made.run_id


def labels_beside(places: Places) -> Path:
    return places.bundle.parent / "labels.csv"


CASES: dict[str, Callable[[Places], list[object]]] = {
    "simulate": lambda p: ["--out", p.disk / "sim", "--entities", 30, "--periods", 10, "--parties", 1],
    "coordinator init": lambda p: [
        "--home", p.disk / "hub", "--name", "x", "--listen", "127.0.0.1:7477", "--plain-keys",
    ],
    "invite": lambda p: ["newcomer", "--home", p.homes.coordinator, "--file", p.disk / "token"],
    "party commit": lambda p: ["--home", p.homes.party("satellite")],
    "ui token": lambda p: ["--home", p.homes.coordinator, "--name", "ann", "--role", "admin"],
    "ui enrol": lambda p: ["--home", p.homes.coordinator, "--to", p.disk / "desk"],
    "run approve": lambda p: [waiting_run(p), "--home", p.homes.party("social"), "--yes", "--as", "ann"],
    "fees key": lambda p: ["--home", p.homes.party("social")],
    "entities check": lambda p: [
        "--home", p.homes.party("social"), "--reference", p.bundle.parent / "labels.csv", "--column", "instrument",
        "--write", p.disk / "aliases.csv",
    ],
    "ledger open": lambda p: ["--party", "moon", "--unit", "USD", "--home", p.books],
    "ledger head": lambda p: ["--home", p.books, "--out", p.disk / "head.json"],
    "ledger backup": lambda p: ["--home", p.books, "--out", p.disk / "backup"],
    "ledger statement": lambda p: ["sat", "--home", p.books, "--out", p.disk / "sat.pdf"],
    "ledger export": lambda p: ["--format", "csv", "--home", p.books, "--out", p.disk / "journal.csv"],
    "factors key": lambda p: ["--out", p.disk / "reader.key", "--name", "quant", "--plain-keys"],
    "factors export": lambda p: [p.bundle, "--format", "qlib", "--out", p.disk / "factor.parquet"],
    "factors uplift": lambda p: [
        p.bundle, "--own", p.bundle.parent / "own.csv", "--labels", labels_beside(p), "--out", p.disk / "uplift.json",
    ],
    "factors validate": lambda p: [p.bundle, "--labels", labels_beside(p), "--out", p.disk / "checked"],
}  # fmt: skip

CHANGED = {"demo/coordinator/invitations.json"}
"""What a try that fails may change for good: an invitation whose token nobody has is replaced by the next."""


@pytest.mark.parametrize("name", CASES)
def test_a_full_disk_leaves_nothing_half_made(name: str, places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*name.split(), *(str(part) for part in CASES[name](places))]
    before = {path: content for path, content in contents(places.disk).items() if path not in CHANGED}
    failed = 0
    for pages in FREE:
        with full(places.disk, pages):
            capsys.readouterr()
            code = run(arguments)
            said = capsys.readouterr().err
        if not code:
            break
        failed += 1
        assert code == 7, said
        assert len(said.splitlines()) == 1, said
        after = {path: content for path, content in contents(places.disk).items() if path not in CHANGED}
        assert set(after) == set(before), f"left at {pages} free pages"
        assert after == before
    assert failed
    assert not code or run(arguments) == 0


def test_what_stood_in_a_file_stays_there(disk: Path) -> None:
    old = b"y" * 4096
    write_whole(disk / "kept", old)
    for write, error in ((write_whole, OSError), (write_new, OSError)):
        with full(disk, 2), pytest.raises(error):
            write(disk / ("kept" if write is write_whole else "new"), b"x" * 40_960)
    assert (disk / "kept").read_bytes() == old
    assert not (disk / "new").exists()
    assert not list(disk.glob(".*"))
    write_whole(disk / "kept", b"z")
    assert (disk / "kept").read_bytes() == b"z"
    with pytest.raises(FileExistsError):
        write_new(disk / "kept", b"q")
    assert (disk / "kept").read_bytes() == b"z"
