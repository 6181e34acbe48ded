"""What the opening budget stops, and by how much a label party overshoots it without: row, column and Gram reading."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import subspace_angles

from parties.node.openings import OpeningStore
from psi.flow import Flow, RemoteProtocolError, run_local
from tests.attacks.rig import FIXED, RING, encoded, feature_end, label_end, label_session, secret, weight_share
from vfl.arithmetic.share import Share
from vfl.models.split.feature import serve_source
from vfl.models.split.label import SealedSource
from vfl.protocols.opening import agree_masks
from vfl.protocols.opening_budget import BudgetExceededError, Charge, OpeningBudget

ROWS, FEATURES, WIDTH = 96, (12, 12), 8
TOTAL = sum(FEATURES)
COLUMNS = dict(zip("ab", FEATURES, strict=True))
RUN = hashlib.sha256(b"openings").hexdigest()


def features(seed: int = 0) -> dict[str, NDArray[np.float64]]:
    draw = np.random.default_rng(seed)
    return {name: draw.normal(size=(ROWS, d)).clip(-8, 8) for name, d in zip("ab", FEATURES, strict=True)}


class Unlimited(OpeningBudget):
    """The defence switched off: openings are not counted."""

    def charge(self, label: str, rows: NDArray[np.int64], width: int) -> None:
        """Let everything through."""


def openings(passes: int, budget: type[OpeningBudget], limit: int) -> list[NDArray[np.float64]]:
    """Full-batch passes with honest-looking updates; what the label party opened, each (ROWS, WIDTH)."""
    data = features()
    opened: list[NDArray[np.float64]] = []
    rows = np.arange(ROWS)
    draw = np.random.default_rng(1)

    def label() -> Flow[None]:
        shares = {n: weight_share(f"v/{n}", (x.shape[1], WIDTH)) for n, x in data.items()}
        source = SealedSource(label_end(COLUMNS, session="s"), shares, secret("label"))
        yield from source.start()
        for step in range(passes):
            opened.append((yield from source.forward(step, rows)))
            yield from source.backward(step, rows, draw.normal(size=(ROWS, WIDTH)) * 0.1)
        yield from source.finish()

    def feature(me: str) -> Flow[Any]:
        stream = secret(f"openings/{me}")
        masks = yield from agree_masks(me, "ab", RUN, RING, stream)
        share = weight_share(f"u/{me}", (data[me].shape[1], WIDTH))
        end = feature_end(me, COLUMNS, masks, budget(ROWS, limit), stream, session="s")
        return (yield from serve_source(end, encoded(data[me]), share))

    with contextlib.suppress(RemoteProtocolError):
        run_local({"label": label(), "a": feature("a"), "b": feature("b")})
    return opened


def column_space(opened: list[NDArray[np.float64]]) -> tuple[int, float, float]:
    """From opened sums alone: their rank, the largest angle to the features' columns, and the Gram matrix's error.

    The attacker's guess of the projector X (X^T X)^-1 X^T is the one on the span of all it has seen.
    """
    seen = np.hstack(opened)
    left, values, _ = np.linalg.svd(seen, full_matrices=False)
    rank = int((values > 1e-6 * values[0]).sum())
    basis = left[:, : min(rank, TOTAL)]
    pooled = np.hstack([np.rint(x * 2**FIXED.feature_bits) for x in features().values()])
    angle = float(subspace_angles(pooled, basis).max()) if rank >= TOTAL else np.pi / 2
    true = pooled @ np.linalg.pinv(pooled)
    return rank, angle, float(np.linalg.norm(basis @ basis.T - true) / np.linalg.norm(true))


def test_without_a_budget_repeated_passes_rebuild_the_column_space() -> None:
    rank, angle, error = column_space(openings(4, Unlimited, 0))
    assert rank >= TOTAL, "four passes of width 8 span all 24 columns"
    assert angle < 1e-4
    assert error < 1e-4


def test_within_the_default_budget_the_column_space_stays_open() -> None:
    """R * h <= 0.6 d: one pass of width 8 for 24 features. A second one is refused, whatever it is called."""
    limit = int(0.6 * TOTAL / WIDTH)
    opened = openings(4, OpeningBudget, limit)
    assert len(opened) == limit == 1
    rank, _, error = column_space(opened)
    assert rank == limit * WIDTH
    # the best guess still misses at least (24 - 8) of 24 directions
    assert error > np.sqrt((TOTAL - rank) / TOTAL) - 1e-6


def chosen_columns(second: dict[str, NDArray[np.uint64]], limit: int) -> NDArray[np.float64]:
    """A label party that swaps its weight shares between two openings: their difference, (ROWS, WIDTH)."""
    data = features()

    def label() -> Flow[NDArray[np.float64]]:
        first = {n: weight_share(f"v/{n}", (x.shape[1], WIDTH)) for n, x in data.items()}
        source = SealedSource(label_end(COLUMNS, session="s"), first, secret("label"), predictions=(0, 1))
        yield from source.start()
        one = yield from source.forward(0, np.arange(ROWS))
        source.shares = {n: first[n] + Share(RING, second[n]) for n in first}
        two = yield from source.forward(1, np.arange(ROWS))
        yield from source.finish()
        return two - one

    def feature(me: str) -> Flow[Any]:
        stream = secret(f"chosen/{me}")
        masks = yield from agree_masks(me, "ab", RUN, RING, stream)
        share = weight_share(f"u/{me}", (data[me].shape[1], WIDTH))
        budget = OpeningBudget(ROWS, limit)
        end = feature_end(me, COLUMNS, masks, budget, stream, session="s")
        return (yield from serve_source(end, encoded(data[me]), share))

    result: NDArray[np.float64] = run_local({"label": label(), "a": feature("a"), "b": feature("b")})["label"]
    return result


def test_a_cheating_label_party_reads_the_columns_it_chooses_and_no_more() -> None:
    """The budget's known limit (docs/threat-model.md): R openings of width h give (R - 1) * h columns."""
    unit = np.zeros((FEATURES[0], WIDTH), dtype=np.int64)
    unit[:WIDTH, :WIDTH] = np.eye(WIDTH, dtype=np.int64) << FIXED.weight_bits
    second = {"a": RING.wrap(unit), "b": np.zeros((FEATURES[1], WIDTH), dtype=np.uint64)}
    read = chosen_columns(second, limit=2)
    assert np.abs(read - features()["a"][:, :WIDTH]).max() < 2.0 ** -(FIXED.feature_bits - 1)
    with pytest.raises(RemoteProtocolError, match=r"^label: asked for more than it may have: .* which is the limit"):
        chosen_columns(second, limit=1)


def test_an_opening_under_an_old_label_is_refused_although_the_rows_are_the_same() -> None:
    """After a restart the feature party cannot see whether the weights are the same, so nothing is free."""
    history = [Charge("train-1/0", np.arange(4), 8)]
    budget = OpeningBudget(4, 9, history=history)
    with pytest.raises(BudgetExceededError, match="made before"):
        budget.charge("train-1/0", np.arange(4), 8)
    assert budget.counts.tolist() == [1] * 4
    budget.charge("train-2/0", np.arange(4), 8)
    assert budget.counts.tolist() == [2] * 4


def test_what_earlier_runs_showed_counts_in_linear_forms(tmp_path: Any) -> None:
    """24 features: a run of 2 openings at width 7, then one at width 1 whose limit is 14 openings: 14 forms in all."""
    store = OpeningStore(f"sqlite:///{tmp_path / 'state.db'}")
    entities, periods = ["A", "B"], ["p0", "p1"]
    store.begin("one", entities, periods)
    for number in range(2):
        store.record("one", Charge(f"train-1/{number}", np.array([0, 3]), 7))
    store.begin("two", ["B", "A"], periods)
    assert store.before("two", ["B", "A"], periods, 1).tolist() == [0, 14, 14, 0]
    assert store.before("two", ["B", "A"], periods, 4).tolist() == [0, 4, 4, 0], "rounded up"
    store.record("one", Charge("numbers/1", np.array([2, 3]), 14))
    store.record("one", Charge("scores/train-1/4", np.array([0]), 1))
    assert store.before("two", ["B", "A"], periods, 1).tolist() == [0, 14, 14, 0], "numbers and scores are no sums"
    assert store.before("two", ["B", "A"], periods, 1, counted="numbers").tolist() == [0, 0, 1, 1]
    assert store.before("two", ["B", "A"], periods, 1, counted="scores").tolist() == [0, 1, 0, 0]
    budget = OpeningBudget(4, 14, others=store.others("two", ["B", "A"], periods, 1), alone=store.alone)
    with pytest.raises(BudgetExceededError):
        budget.charge("train-1/0", np.array([1]), 1)
    store.close()


def test_runs_beside_each_other_count_each_others_openings(tmp_path: Any) -> None:
    """Both began before either opened anything: together they open a row no more often than one may."""
    store = OpeningStore(f"sqlite:///{tmp_path / 'state.db'}")
    entities, periods, limit, row = ["A"], ["p0"], 4, np.array([0])
    budgets = {}
    for run in ("one", "two"):
        store.begin(run, entities, periods)
        others = store.others(run, entities, periods, 1)
        budgets[run] = OpeningBudget(1, limit, others=others, alone=store.alone, record=partial(store.record, run))
    opened = 0
    with pytest.raises(BudgetExceededError, match="4 times"):
        for number in range(limit):
            for run in ("one", "two"):
                budgets[run].charge(f"train-1/{number}", row, 1)
                opened += 1
    assert opened == limit
    with pytest.raises(BudgetExceededError):
        budgets["two"].charge("value/a", row, 1)
    store.close()


def test_runs_that_charge_at_once_do_not_pass_the_limit_together(tmp_path: Any) -> None:
    store = OpeningStore(f"sqlite:///{tmp_path / 'state.db'}")
    opened: list[str] = []

    def work(run: str) -> None:
        others = store.others(run, ["A"], ["p0"], 1)
        budget = OpeningBudget(1, 12, others=others, alone=store.alone, record=partial(store.record, run))
        with contextlib.suppress(BudgetExceededError):
            for number in range(12):
                budget.charge(f"train-1/{number}", np.array([0]), 1)
                opened.append(run)

    runs = [str(number) for number in range(3)]
    for run in runs:
        store.begin(run, ["A"], ["p0"])
    threads = [threading.Thread(target=work, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 12
    store.close()


def test_a_refused_opening_sends_no_sum() -> None:
    session = label_session("ab", features(), WIDTH, steps=2, limit=1)
    with pytest.raises(RemoteProtocolError, match=r"^label: asked for more than it may have: .* limit"):
        session.run()
    assert [m.step for m in session.seen("source.sum")] == [0, 0]
