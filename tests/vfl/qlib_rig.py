"""qlib for the tests: a Python of its own (``make qlib``), since what qlib asks for does not fit our versions."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.places import ROOT

__all__ = ["PYTHON", "needs_qlib", "read_by_qlib"]

PYTHON = Path(os.environ.get("ENTENTE_QLIB_PYTHON", ROOT / ".venv-qlib" / "bin" / "python"))

needs_qlib = pytest.mark.skipif(
    not PYTHON.is_file(), reason=f"no qlib at {PYTHON}: make qlib, or name its Python in ENTENTE_QLIB_PYTHON"
)


def read_by_qlib(factor: Path, labels: pd.Series, folder: Path) -> dict[str, Any]:
    """What qlib says of a factor file and of its IC with ``labels`` by (datetime, instrument)."""
    labels.rename("label").to_frame().to_parquet(folder / "labels.parquet")
    reader = Path(__file__).with_name("qlib_reader.py")
    command = [str(PYTHON), "-I", str(reader), str(factor), str(folder / "labels.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, Any] = json.loads(done.stdout)
    return told
