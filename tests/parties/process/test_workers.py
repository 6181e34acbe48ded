"""Products spread over real workers: loky processes, and real local clusters of Dask and of Ray."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from parties.errors import ConfigError
from parties.process.workers import ComputeSettings, open_workers
from psi.flow import Flow, RemoteProtocolError, run_local
from vfl.arithmetic.he import Context, Evaluator, KeyHolder
from vfl.arithmetic.parameter_sets import SLOT_SET
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring
from vfl.protocols.product import Operand, choose_packing, encrypt_right, open_answer
from vfl.protocols.slot_messages import SlotOperand
from vfl.protocols.slots import SLOTS, SlotEvaluator, answer_slots, finish_slots, offer_slots, receive_slots
from vfl.protocols.spread import Spread, SpreadSlots, Workers


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


def check_slot_products(workers: Workers) -> None:
    """Products element by element over more than one ciphertext, and a sum of two, equal the oracle."""
    context = Context(SLOT_SET, PRIME_RING.bits)
    key, stream = KeyHolder(context), SecretStream(bytes(range(32)))
    evaluator = Evaluator(context, key.public_key)
    side = SlotEvaluator(evaluator, stream, spread=SpreadSlots(workers, evaluator))
    held, mine, other = (PRIME_RING.uniform(stream, (SLOTS + 9,)) for _ in range(3))

    def holder() -> Flow[NDArray[np.uint64]]:
        yield from offer_slots("evaluator", "x", held, key)
        return (yield from finish_slots("evaluator", "x", held.size, key))

    def evaluate() -> Flow[NDArray[np.uint64]]:
        loaded = yield from receive_slots("holder", "x", held.size, side)
        return (yield from answer_slots("holder", "x", [(loaded, mine), (loaded, other)], side))

    shares = run_local({"holder": holder(), "evaluator": evaluate()})
    whole = PRIME_RING.add(shares["holder"], shares["evaluator"])
    assert np.array_equal(whole, PRIME_RING.mul(held, PRIME_RING.add(mine, other)))


def test_a_block_that_is_no_ciphertext_is_refused_before_it_reaches_a_worker() -> None:
    context = Context(SLOT_SET, PRIME_RING.bits)
    evaluator = Evaluator(context, KeyHolder(context).public_key)

    class Nobody:
        count = 2

        def __call__(self, function: object, calls: object) -> list[object]:
            raise AssertionError("nothing is sent to workers")

    side = SlotEvaluator(evaluator, SecretStream(bytes(32)), spread=SpreadSlots(Nobody(), evaluator))
    flow = receive_slots("peer", "x", 3, side)
    next(flow)
    with pytest.raises(RemoteProtocolError, match="peer: a ciphertext has"):
        flow.send(SlotOperand("x", 3, (b"no",)))


def test_loky_processes() -> None:
    with open_workers(ComputeSettings(backend="loky", workers=2)) as workers:
        assert workers is not None
        pids = set(workers(os.getpid, [() for _ in range(8)]))
        assert os.getpid() not in pids
        check_products(workers)
        check_slot_products(workers)


def test_dask_cluster_of_two_processes() -> None:
    distributed = pytest.importorskip("distributed", reason="the dask extra is not installed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        open_workers(ComputeSettings(backend="dask", address=cluster.scheduler_address)) as workers,
    ):
        assert workers is not None
        assert workers.count == 2
        check_products(workers)
        check_slot_products(workers)
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
        check_slot_products(workers)
    assert not ray.is_initialized(), "a cluster of our own ends with us"


def test_no_workers() -> None:
    with open_workers(ComputeSettings()) as workers:
        assert workers is None


def test_a_cluster_that_is_not_there_is_named() -> None:
    pytest.importorskip("distributed", reason="the dask extra is not installed")
    settings = ComputeSettings(backend="dask", address="tcp://127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"compute\.address"), open_workers(settings):
        pass
