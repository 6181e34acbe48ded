"""The benchmarks run the real code path, and what they print is what they measured."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from parties.bench.federated import FederatedShape, bench_federated
from parties.bench.ridge import bench_ridge
from parties.bench.sealed import SealedShape, bench_sealed
from parties.bench.session import Part, run_session
from parties.bench.train import Shape, bench_train
from parties.cli import run
from parties.errors import PeerError
from psi.flow import Flow, Role


@pytest.mark.system
def test_training_between_processes_is_measured() -> None:
    figures = bench_train(Shape(40, 16, 3, 2, 2, 3))
    assert figures["rows_per_second"] == pytest.approx(16 * 3 * 2 / figures["seconds"])
    assert set(figures["peak_rss_mb"]) == {"label", "p0", "p1"}
    assert figures["bytes_per_row_to_features"] > 0
    assert 0 < figures["paillier_rows_per_second"] < figures["plain_torch_rows_per_second"]


@pytest.mark.system
def test_ridge_between_processes_equals_pooled_ridge() -> None:
    figures = bench_ridge(Shape(512, 256, 3, 1, 2, 1))
    assert figures["largest_score_difference"] < 1e-3


def test_a_product_is_written_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "product.json"
    assert run(["bench", "product", "--rows", "16", "--features", "4", "--hidden", "2", "--json", str(path)]) == 0
    figures = json.loads(path.read_text())
    assert figures["share_of_raw"] > 0
    assert "Paillier" in capsys.readouterr().out


def _failing(name: str) -> Flow[None]:
    yield from ()
    raise ValueError(f"{name} cannot")


@pytest.mark.system
def test_a_part_that_fails_is_named() -> None:
    with pytest.raises(PeerError, match="label failed: ValueError: label cannot"):
        run_session({"label": Part(Role.LABEL, _failing, {})})


def test_a_sealed_step_between_processes_is_measured_beside_the_split() -> None:
    figures = bench_sealed(SealedShape(256, 64, 3, 2, 2, 1, own=1))
    assert figures["rows_per_second"] > 0
    assert set(figures["bytes_per_row"]) == {"label", "p0", "p1"}
    assert 0 < figures["share_of_raw"] < 1.5
    assert figures["split"]["rows_per_second"] > 0


@pytest.mark.system
@pytest.mark.skipif(
    not os.environ.get("ENTENTE_LONG"),
    reason="five processes load torch, and test_federated.py runs rounds over TLS: set ENTENTE_LONG=1",
)
def test_federated_averaging_between_processes_equals_plain_averaging() -> None:
    figures = bench_federated(FederatedShape(members=3, rows=40, features=3, hidden=2, rounds=2))
    assert figures["largest_difference"] < 1e-6
    assert set(figures["bytes_per_round"]) == {"m0", "m1", "m2", "coordinator"}
