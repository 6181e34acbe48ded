"""A small consortium of real processes whose factor is a planted fingerprint: sixteen constants name the companies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from parties.cli import run as entente
from parties.client import Client
from parties.demo.homes import DemoHomes, lay_out
from parties.factor.sealing import reading_public_key
from parties.members.keys import create_reading_key
from parties.settings.consortium import ConsortiumSettings, load_consortium
from tests.parties.demo_rig import let_bits, until
from tests.parties.node_rig import in_this_process

__all__ = ["MONTHS", "RIDGE", "Stage", "T", "WIDTH", "columns", "planted", "staged"]

T, WIDTH = 20, 8
MONTHS = pd.period_range("2022-01", periods=T, freq="M")

TERMS = """
name = "planted"
recipients = ["fund", "a"]

[calendar]
frequency = "M"
first = 2022-01-01
last = 2023-08-31

[label]
name = "next"
definition = "next month's value"
query = "label.sql"
lag_days = 31

MODEL

[alignment]
minimum_common = 30

[readers]
quant = "READER"

[openings]
limit_per_row = 2
contribution = "none"
"""


RIDGE = """
[model]
kind = "ridge"
alpha = 5.0
"""


def columns(name: str) -> list[str]:
    return [f"{name}{i}" for i in range(WIDTH)]


def planted(folder: Path, n: int = 48, model: str = RIDGE) -> ConsortiumSettings:
    """Two funds whose sixteen features never change and mean nothing; companies differ in their usual label."""
    rng = np.random.default_rng(3)
    names = [f"CO{i:03}" for i in range(n)]
    grid = pd.MultiIndex.from_product([MONTHS.end_time.date, names], names=["period", "entity"])
    usual = rng.normal(size=n)

    def table(name: str, values: np.ndarray, cols: list[str]) -> None:
        frame = pd.DataFrame(values.reshape(T * n, -1), columns=cols, index=grid)
        frame.to_csv(folder / f"{name}.csv")
        kinds = ", ".join(cols)
        sql = f"SELECT entity, CAST(period AS DATE) AS period, {kinds} FROM read_csv('${{data}}/{name}.csv')"
        (folder / f"{name}.sql").write_text(sql)

    parties = []
    for name in ("a", "b"):
        table(name, np.repeat(rng.normal(size=(1, n, WIDTH)), T, axis=0), columns(name))
        parties.append(("feature", name, columns(name)))
    table("fund", rng.normal(size=(T, n, 1)), ["own"])
    table("label", usual[None, :, None] + 0.5 * rng.normal(size=(T, n, 1)), ["label"])
    parties.append(("label", "fund", ["own"]))
    reader = create_reading_key(folder / "quant.key")
    text = TERMS.replace("READER", reading_public_key(reader)).replace("MODEL", model)
    for role, name, cols in parties:
        text += f'\n[[party]]\nname = "{name}"\nrole = "{role}"\nquery = "{name}.sql"\ncolumns = {json.dumps(cols)}\n'
        text += "lag_days = 0\nwinsorise = 0\n"
    (folder / "consortium.toml").write_text(text)
    return load_consortium(folder / "consortium.toml")


@dataclass(frozen=True)
class Stage:
    homes: DemoHomes
    admin: tuple[str, ...]

    def settled(self, capsys: pytest.CaptureFixture[str], *proposal: str) -> tuple[str, str]:
        """Propose, and wait for the end: the run id and the reason it was aborted for, if it was."""
        code = entente(["run", "propose", *proposal, "--wait", "120", "--yes", *self.admin])
        said = capsys.readouterr()
        assert code == 0, said.err
        found = re.search(r"Proposed run (\w{64})", said.out)
        assert found is not None
        with Client("", self.homes.admin) as client:
            until(lambda: client.run(found[1]).ended, "the run's end")
            return found[1], client.run(found[1]).reason


@contextmanager
def staged(folder: Path, n: int = 48, made: Callable[[Path, int], ConsortiumSettings] = planted) -> Iterator[Stage]:
    """The consortium at work in this process; nodes sign what stays within four openings of a row."""
    settings = made(folder, n)
    room = settings.openings.model_copy(update={"limit_per_row": 4})
    homes = lay_out((folder / "out").resolve(), settings.model_copy(update={"openings": room}), folder, folder, 7)
    let_bits(homes, [party.name for party in settings.party])  # a fingerprint holds few bits, the same in every period
    with in_this_process(homes, [party.name for party in settings.party]):
        yield Stage(homes, ("--credentials", str(homes.admin)))
