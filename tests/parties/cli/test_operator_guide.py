"""docs/operator-guide.md: its blocks, carried out as they stand in an empty folder, end in a settled run."""

from __future__ import annotations

from pathlib import Path

import pytest

from parties.data.query import read_observations
from parties.settings.consortium import load_consortium
from tests.parties.cli.guide_rig import carried_out
from tests.places import ROOT

GUIDE = ROOT / "docs" / "operator-guide.md"


@pytest.mark.system
def test_the_operator_guide_ends_in_a_settled_run(tmp_path: Path) -> None:
    said = carried_out(GUIDE, tmp_path)
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
