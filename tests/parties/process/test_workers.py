"""Products spread over real workers: loky processes, and real local clusters of Dask and of Ray."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from parties.errors import ConfigError
from parties.process.workers import ComputeSettings, open_workers
from vfl.arithmetic.he import Context, Evaluator, KeyHolder
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring
from vfl.protocols.product import Operand, choose_packing, encrypt_right, open_answer
from vfl.protocols.spread import Spread, Workers


def check_products(workers: Workers) -> None:
    """Both products of one X equal the oracle, to one unit in the last place."""
    ring, context = Ring(44), Context("bfv-4096", 44)
    key = KeyHolder(context)
    evaluator = Evaluator(context, key.public_key)
    left = np.random.default_rng(0).integers(-4096, 4097, (700, 5))
    packing = choose_packing(700, 5, 3, context.degree, both=True)
    spread = Spread(workers, evaluator, key.public_key, left, packing)
    stream = SecretStream(bytes(32))
    for transposed, inner in ((False, 5), (True, 700)):
        right = ring.uniform(stream, (inner, 3))
        blocks = encrypt_right(key, right, packing, transposed=transposed)
        answer, share = spread.multiply(Operand("x", inner, 3, packing.sizes, blocks), transposed=transposed)
        x = left.T if transposed else left
        held = open_answer(key, answer, x.shape[0], 3, packing, transposed=transposed)
        difference = ring.signed(ring.sub(ring.add(held, share), ring.matmul(x, right)))
        assert int(np.abs(difference).max()) <= 1


def test_loky_processes() -> None:
    with open_workers(ComputeSettings(backend="loky", workers=2)) as workers:
        assert workers is not None
        pids = set(workers(os.getpid, [() for _ in range(8)]))
        assert os.getpid() not in pids
        check_products(workers)


def test_dask_cluster_of_two_processes() -> None:
    distributed = pytest.importorskip("distributed", reason="the dask extra is not installed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        open_workers(ComputeSettings(backend="dask", address=cluster.scheduler_address)) as workers,
    ):
        assert workers is not None
        assert workers.count == 2
        check_products(workers)
        with distributed.Client(cluster.scheduler_address) as client:
            tasks = client.run(lambda: __import__("os").getpid())
        assert len(set(tasks.values())) == 2
        assert os.getpid() not in tasks.values()


def test_ray_cluster_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where it keeps its token
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # sockets have short names only
    ray = pytest.importorskip("ray", reason="the ray extra is not installed")
    with open_workers(ComputeSettings(backend="ray", workers=2)) as workers:
        assert workers is not None
        assert workers.count == 2
        assert os.getpid() not in set(workers(os.getpid, [() for _ in range(8)]))
        check_products(workers)
    assert not ray.is_initialized(), "a cluster of our own ends with us"


def test_no_workers() -> None:
    with open_workers(ComputeSettings()) as workers:
        assert workers is None


def test_a_cluster_that_is_not_there_is_named() -> None:
    pytest.importorskip("distributed", reason="the dask extra is not installed")
    settings = ComputeSettings(backend="dask", address="tcp://127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"compute\.address"), open_workers(settings):
        pass
