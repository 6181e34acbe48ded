"""docs/operator-guide.md: its blocks, carried out as they stand in an empty folder, end in a settled run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from parties.data.query import read_observations
from parties.demo.homes import free_addresses
from parties.demo.processes import environment
from parties.settings.consortium import load_consortium
from tests.places import ROOT

GUIDE = ROOT / "docs" / "operator-guide.md"


def script() -> str:
    text = re.sub(r"^<!--.*?-->", "", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    for port, address in zip(range(7400, 7404), free_addresses(4), strict=True):
        blocks = blocks.replace(f"127.0.0.1:{port}", address)
    return f'set -e\nentente() {{ "{sys.executable}" -m parties.cli "$@"; }}\n{blocks}\necho THE END\n'


@pytest.mark.system
def test_the_operator_guide_ends_in_a_settled_run(tmp_path: Path) -> None:
    commands = script()
    process = subprocess.Popen(
        ["bash", "-c", commands],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=240)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    assert said.rstrip().endswith("THE END"), said[-3000:]
    assert process.returncode == 0
    assert "settle    done" in said
    assert "Within its standing limits" in said
    assert "The books are sound" in said
    for name in ("fund", "satellite", "social"):
        assert len(list((tmp_path / name / "factors").glob("*/*/factor.parquet"))) == 1
        keys = [*(tmp_path / name / "keys").glob("*.key")]
        assert keys
        assert all(b"ENCRYPTED" in key.read_bytes() for key in keys)
    logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert (tmp_path / "key").read_text().strip() not in logs
    private = private_texts(tmp_path / "sim")
    assert len(private) > 1000
    assert [text for text in private if text in logs] == []


def private_texts(simulated: Path) -> set[str]:
    """Every party's feature values, as far as they are too long to occur by chance."""
    settings = load_consortium(simulated / "consortium.toml")
    observed = [read_observations(party, simulated, simulated / "data") for party in settings.party]
    values = (f"{value}" for rows in observed for value in rows.values[:300].ravel())
    return {text[:9] for text in values if len(text) >= 9}
