"""docs/own-files.md: its blocks, carried out on messy files of people's own, end in a settled run without a refusal.

With ENTENTE_LONG=1 also in a settled second run on later weeks, and in what the guide shows of it.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.parties.cli.guide_rig import carried_out, script
from tests.places import ROOT

GUIDE = ROOT / "docs" / "own-files.md"
N, WEEKS = 40, 30  # the first run takes 26 of them
SECOND = "## 5. The next run"
LONG = "ENTENTE_LONG" in os.environ
BAR = 30
"""Commands that a first settled run may take."""


def files(folder: Path) -> None:
    """Three parties' files with the faults that the guide names; a company's name is another at each."""
    random = np.random.default_rng(5)
    for name in ("fund", "sat", "web"):
        (folder / name / "data").mkdir(parents=True)
    names = [f"ACME{i:02d}" for i in range(N)]
    fridays = pd.date_range("2024-01-05", periods=WEEKS, freq="W-FRI")
    visits, mentions = random.gamma(4, 400, (WEEKS, N)), random.poisson(30, (WEEKS, N))
    returns = 0.02 * random.normal(size=(WEEKS, N)) + 1e-5 * (visits - visits.mean()) + 1e-3 * (mentions - 30)
    rows = [(name, t, i) for t in range(WEEKS) for i, name in enumerate(names)]
    with open(folder / "fund/data/returns.csv", "w", encoding="utf-8") as out:
        out.write("company,friday,next_return,known_on\n")
        for name, t, i in rows:
            known = fridays[t] + pd.Timedelta(days=7)
            out.write(f"{name},{fridays[t]:%Y-%m-%d},{returns[t, i]:.5f},{known:%Y-%m-%d}\n")
    with open(folder / "sat/data/visits.csv", "w", encoding="utf-8") as out:
        out.write("Firma;Tag;Besuche\n")
        for name, t, i in rows:
            number = f"{visits[t, i]:,.1f}".translate(str.maketrans(",.", ".,"))
            out.write(f"{name.title()} Corp.;{fridays[t] - pd.Timedelta(days=3):%d.%m.%Y};{number}\n")
    with open(folder / "web/data/mentions.csv", "w", encoding="utf-8-sig") as out:
        out.write("ticker,day,mentions,tone\n")
        for name, t, i in rows:
            tone = "" if (t + i) % 9 == 0 else f"{random.normal():.3f}"
            out.write(f"${name.lower()},{fridays[t] - pd.Timedelta(days=1):%Y-%m-%d},{mentions[t, i]},{tone}\n")
    (folder / "companies.csv").write_text("company\n" + "\n".join(names) + "\n", encoding="utf-8")


def test_it_takes_few_commands() -> None:
    assert len(re.findall(r"^(?:until |for .*until )?entente ", script(GUIDE, SECOND), re.MULTILINE)) <= BAR


def test_the_second_run_is_signed_as_the_first_was() -> None:
    whole, first = script(GUIDE).splitlines(), script(GUIDE, SECOND).splitlines()
    signing = [line for line in first if re.search(r"run (waiting|review|approve|watch)|^RUN=", line)]
    assert len(signing) == 7
    assert [line for line in whole if line in signing] == signing * 2
    assert subprocess.run(["bash", "-n", "-c", script(GUIDE)], check=False).returncode == 0


@pytest.mark.system
@pytest.mark.timeout(1200 if LONG else 600)
def test_messy_files_of_ones_own_end_in_a_settled_run(tmp_path: Path) -> None:
    files(tmp_path)
    said = carried_out(GUIDE, tmp_path, "" if LONG else SECOND)
    assert said.count("is settled. Look at it") == (2 if LONG else 1)
    assert "rejected" not in said, "no proposal is refused"
    assert said.count("Ready for a run over this calendar") == 3
    assert re.search(rf"align +done .*, {N} entities", said), "every name was matched"
    factors = [pd.read_parquet(path) for path in (tmp_path / "sat" / "factors").glob("*/*/factor.parquet")]
    ends = sorted(str(one.index.get_level_values("datetime").max())[:10] for one in factors)
    assert ends == ["2024-06-28", "2024-07-26"][: 1 + LONG]
    assert all(one.iloc[:, 0].size > N for one in factors)
    assert ("Proved together: Both ends logged the same transcript" in said) == LONG
