"""What a label party reads from numbers that open: packed weights, weights that carry rows, lattices, flags, coverage.

Each attack succeeds with its defence off and fails at the shipped limits (``OpeningTerms()``); margins stand beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flint import fmpz_mat
from numpy.typing import NDArray

from parties.data.row_contents import column_bits, imputed, row_contents
from parties.node.openings import OpeningStore
from psi.flow import Flow, run_local
from tests.attacks.rig import (
    FIXED,
    RING,
    RUN,
    encoded,
    feature_end,
    feature_side,
    label_end,
    secret,
    weight_share,
)
from vfl.arithmetic.ring import Ring
from vfl.arithmetic.share import Share
from vfl.models.split.feature import serve_source
from vfl.models.split.label import SealedSource
from vfl.protocols.opened_numbers import OpenedNumbers
from vfl.protocols.opening import agree_masks
from vfl.protocols.opening_budget import BudgetExceededError, Charge, OpeningBudget
from vfl.protocols.row_bits import BACKWARD, RowBits
from vfl.terms import OpeningTerms

SHIPPED = OpenedNumbers(OpeningTerms().deviation)
DISCRETE = OpenedNumbers(OpeningTerms(noise=0.2).deviation)
I64, F64 = NDArray[np.int64], NDArray[np.float64]
ROWS, D, WIDTH = 96, 6, 3
COLUMNS = {"a": D, "b": D}


def features(seed: int = 0) -> dict[str, F64]:
    draw = np.random.default_rng(seed)
    return {name: draw.normal(size=(ROWS, d)).clip(-8, 8) for name, d in COLUMNS.items()}


def units(z: F64) -> I64:
    """Opened numbers as whole units."""
    return np.rint(np.ldexp(z, FIXED.output_bits)).astype(np.int64)


# --- a label party that packs columns into one number -----------------------------------------

LOW, STEP, PER = 4, 13, 3
"""Bits for the products' rounding and per value; values of 12 bits and a sign."""


def packed_reading(numbers: OpenedNumbers | None) -> tuple[F64, F64]:
    """Values of party a that a swapped V reads from one opening, (ROWS, 6), at feature scale; and the truth."""
    data, width = features(), D // PER
    second = np.zeros((D, width), dtype=np.uint64)
    for j in range(D):
        second[j, j // PER] = np.uint64(1) << np.uint64(LOW + STEP * (j % PER))

    def label() -> Flow[I64]:
        first = {n: weight_share(f"v/{n}", (D, width)) for n in COLUMNS}
        source = SealedSource(label_end(COLUMNS, numbers=numbers), first, secret("label"), predictions=(0, 1))
        yield from source.start()
        one = yield from source.forward(0, np.arange(ROWS))
        source.shares = {**first, "a": first["a"] + Share(RING, second)}
        two = yield from source.forward(1, np.arange(ROWS))
        yield from source.finish()
        return units(two) - units(one)

    flows: dict[str, Flow[Any]] = {"label": label()}
    for n in COLUMNS:
        flows[n] = feature_side(n, COLUMNS, data[n], width, OpeningBudget(ROWS, 9), numbers=numbers)
    ring = RING if numbers is None else numbers.ring(FIXED)
    rest = ring.signed(ring.wrap(run_local(flows)["label"]))
    rest = (rest + (1 << (LOW - 1))) >> LOW
    read = np.zeros((ROWS, D))
    for k in range(PER):
        value = ((rest + (1 << (STEP - 1))) & ((1 << STEP) - 1)) - (1 << (STEP - 1))
        read[:, k::PER] = value
        rest = (rest - value) >> STEP
    return read, encoded(data["a"]).astype(float)


def test_without_noise_one_number_carries_three_columns_exactly() -> None:
    read, truth = packed_reading(None)
    assert (read == truth).mean() == 1.0


def test_at_the_shipped_noise_packed_numbers_carry_nothing_exactly() -> None:
    """Two of the three columns lie below the noise, the third beyond the ring: under 1 % exact, where all were."""
    read, truth = packed_reading(SHIPPED)
    assert (read == truth).mean() < 0.01


# --- a row that leaves as a weight --------------------------------------------------------------


def weight_reading(numbers: OpenedNumbers | None, shift: int, limit: float = 1e9) -> tuple[F64, F64]:
    """What openings of known rows before and after a training step show of rows trained once, against the truth."""
    data = features(3)
    pooled = np.hstack([encoded(data[n]) for n in COLUMNS]).astype(float)
    target, known = np.arange(WIDTH), np.arange(WIDTH, ROWS)
    gradient = np.zeros((WIDTH, WIDTH))
    gradient[np.arange(WIDTH), np.arange(WIDTH)] = 2.0**shift

    def label() -> Flow[I64]:
        shares = {n: weight_share(f"v/{n}", (D, WIDTH)) for n in COLUMNS}
        source = SealedSource(label_end(COLUMNS, numbers=numbers), shares, secret("label"), predictions=(0, 2))
        yield from source.start()
        before = yield from source.forward(0, known)
        yield from source.forward(1, target)
        yield from source.backward(1, target, gradient)
        after = yield from source.forward(2, known)
        yield from source.finish()
        return units(before) - units(after)

    def feature(me: str) -> Flow[Any]:
        stream = secret(f"weights/{me}")
        masks = yield from agree_masks(me, tuple(COLUMNS), RUN, RING, stream)
        bits = RowBits(SHIPPED.bits, limit, np.arange(ROWS))
        end = feature_end(
            me, COLUMNS, masks, OpeningBudget(ROWS, 9, bits=bits), stream, session="train-1", numbers=numbers
        )
        return (yield from serve_source(end, encoded(data[me]), weight_share(f"u/{me}", (D, WIDTH))))

    ring: Ring = RING if numbers is None else numbers.ring(FIXED)
    moved = ring.signed(ring.wrap(run_local({"label": label(), **{n: feature(n) for n in COLUMNS}})["label"]))
    scale = 2.0 ** (shift + FIXED.gradient_bits)
    got = np.linalg.lstsq(pooled[known], moved / scale, rcond=None)[0].T
    return got, pooled[target]


def test_without_noise_a_row_trained_on_once_is_read_off_the_weights() -> None:
    got, truth = weight_reading(None, 0)
    assert (np.rint(got) == truth).mean() == 1.0


def test_at_the_shipped_noise_the_weights_show_no_row_exactly_and_the_step_is_charged() -> None:
    """With the largest gradient that still fits the short ring: under 5 % exact, where all were."""
    got, truth = weight_reading(SHIPPED, -3)
    assert (np.rint(got) == truth).mean() < 0.05
    one_opening = WIDTH * SHIPPED.bits
    # uncharged, the step would pass, and the 93 known rows be refused when they open again
    with pytest.raises(BudgetExceededError, match=r"of 3 rows, the first row 0, more than .* bits would open"):
        weight_reading(SHIPPED, -3, limit=2 * one_opening - 1)


# --- lattices -------------------------------------------------------------------------------------

FORMS_BITS, WEIGHT_BITS = 12, 35


def lattice(features: F64, forms: int, noise: float, seed: int) -> tuple[int, int]:
    """Vectors of an LLL-reduced basis that are orthogonal to every column, found from opened sums alone; and all.

    ``noise``: in standard deviations of an opened number; 0 leaves the error of shares.
    """
    draw = np.random.default_rng(seed)
    whole = np.vectorize(int, otypes=[object])
    rows, columns = features.shape
    left = whole(np.rint(np.ldexp(features, FORMS_BITS)))
    weights = whole(np.rint(np.ldexp(draw.normal(size=(columns, forms)) * 0.3 / np.sqrt(columns), WEIGHT_BITS)))
    seen = left @ weights + whole(draw.integers(-2, 3, size=(rows, forms)))
    if noise:
        unit = noise * 0.3 * 2.0 ** (FORMS_BITS + WEIGHT_BITS)
        # the attacker works in units of the noise: lower bits say nothing
        seen = whole(np.rint((seen.astype(float) + unit * draw.normal(size=seen.shape)) / unit))
    flat = [int(v) for i in range(rows) for v in ([int(i == j) for j in range(rows)] + list(seen[i]))]
    basis = fmpz_mat(rows, rows + forms, flat).lll()
    found = np.array([[int(basis[i, j]) for j in range(rows)] for i in range(rows)], dtype=object)
    found = found[np.argsort([float(sum(int(x) ** 2 for x in row)) for row in found])]
    binary = len(np.unique(features)) <= 2 * columns
    due = rows - columns - int(binary)
    return sum(not np.any(row @ left) for row in found[:due]), due


def continuous(rows: int, columns: int) -> F64:
    return np.random.default_rng(1).normal(size=(rows, columns)).clip(-8, 8)


def flags(rows: int, columns: int) -> F64:
    draw = np.random.default_rng(1)
    rate = draw.uniform(0.15, 0.5, columns)
    return ((draw.random((rows, columns)) < rate) - rate) / np.sqrt(rate * (1 - rate))


@pytest.mark.parametrize(
    ("made", "forms", "noise"),
    [(continuous(80, 12), 7, OpeningTerms().noise), (flags(60, 12), 1, OpeningTerms().noise)],
    ids=["continuous", "flags"],
)
def test_lattice_reduction_finds_columns_in_exact_sums_and_none_under_noise(
    made: F64, forms: int, noise: float
) -> None:
    """All of 68 (47) orthogonal vectors without noise, none with it."""
    found, due = lattice(made, forms, 0.0, 2)
    assert found == due
    found, _ = lattice(made, forms, noise, 2)
    assert found == 0


# --- flags in single embeddings -------------------------------------------------------------------


def nine_flags() -> NDArray[np.bool_]:
    draw = np.random.default_rng(4)
    return draw.random((500, 9)) < np.array([0.5, 0.45, 0.4, 0.35, 0.3, 0.3, 0.25, 0.2, 0.15])


def same_pattern(numbers: OpenedNumbers | None) -> float:
    """Share of rows whose nearest row, by three opened numbers of their party alone, has the same nine flags."""
    draw, bits = np.random.default_rng(4), nine_flags()
    embedded = (bits - bits.mean(0)) / bits.std(0) @ draw.normal(size=(9, 3)) * 0.1
    if numbers is not None:
        embedded = numbers.wrapped(embedded + numbers.deviation * draw.normal(size=embedded.shape))
    gap = ((embedded[:, None] - embedded[None]) ** 2).sum(axis=2) + np.where(np.eye(500), np.inf, 0)
    twins = (bits[:, None] == bits[None]).all(axis=2).sum(axis=1) > 1
    return float((bits[gap.argmin(axis=1)] == bits).all(axis=1)[twins].mean())


def test_flags_cluster_in_embeddings_even_under_noise_so_the_budget_lets_none_of_them_open() -> None:
    """All rows find their like in exact embeddings, and nearly half do under twice the shipped noise: it is no answer.

    Nine flags hold less than nine bits, and one opening of width 3 tells fifteen: a party that brings flags alone is
    refused its first opening.
    """
    assert same_pattern(None) == 1.0
    assert same_pattern(DISCRETE) > 0.4
    draw = np.random.default_rng(5)
    held = column_bits(np.stack([draw.permutation(nine_flags()).astype(float) for _ in range(4)]))
    assert (held <= 1).all()
    budget = OpeningBudget(500, 9, bits=RowBits(SHIPPED.bits, 0.6 * held.sum(), np.arange(500)))
    with pytest.raises(BudgetExceededError, match=r"more than 2\.\d bits would open"):
        budget.charge("train-1/0", np.arange(500), 3)
    assert 3 * SHIPPED.bits > 2.5 * 0.6 * held.sum(), "the margin"


# --- repeated rows ----------------------------------------------------------------------------------


def test_a_monthly_feed_in_a_weekly_calendar_has_one_budget_for_its_four_weeks(tmp_path: Any) -> None:
    """By entity and period alone each week has a budget of its own; by content the four share one, over runs too."""
    raw = np.repeat(np.random.default_rng(0).normal(size=(2, 5, 3)), 4, axis=0)
    contents = row_contents(raw, np.ones((8, 5), dtype=bool))
    alone = OpeningBudget(40, 9, bits=RowBits(5.0, 10.0, np.arange(40)))
    shared = OpeningBudget(40, 9, bits=RowBits(5.0, 10.0, contents.groups))
    for week in range(4):
        rows = week * 5 + np.arange(5)
        alone.charge(f"train-1/{week}", rows, 2)
        if week == 0:
            shared.charge("train-1/0", rows, 2)
        else:
            with pytest.raises(BudgetExceededError, match="of the same content"):
                shared.charge(f"train-1/{week}", rows, 2)
    store = OpeningStore(f"sqlite:///{tmp_path / 'state.db'}")
    names, weeks, key = [f"e{i}" for i in range(5)], [f"w{t}" for t in range(8)], bytes(16)
    store.begin("one", names, weeks)
    store.hold_contents("one", contents.keyed(key), 5.0)
    store.record("one", Charge("train-1/0", np.arange(5), 2))
    store.record("one", Charge(f"train-1{BACKWARD}0", np.arange(5), 2))
    store.record("one", Charge("value/a/0", np.arange(5), 2))
    later = [f"v{t}" for t in range(8)]
    told = store.told("two", names, later, contents.keyed(key)).reshape(8, 5)
    assert (told[:4] == 20.0).all(), "an opening and a backward product; coalitions repeat a part"
    assert not told[4:].any()
    store.begin("old", names, weeks)
    store.record("old", Charge("train-1/0", np.arange(5), 2))
    assert (store.told("two", names, weeks, contents.keyed(key)).reshape(8, 5)[0] == 20 + 88).all(), "44 bits a number"
    store.close()


def test_a_column_that_stays_or_creeps_adds_no_room_of_its_own() -> None:
    draw = np.random.default_rng(0)
    moving = draw.normal(size=(40, 200, 1))
    still = np.repeat(draw.normal(size=(1, 200, 1)), 40, axis=0)
    creeping = np.cumsum(draw.normal(size=(40, 200, 1)) * 1e-3, axis=0) + still
    flag = (draw.random((40, 200, 1)) < 0.5).astype(float)
    found = column_bits(np.concatenate([moving, still, creeping, flag], axis=2))
    assert 13.5 < found[0] < 14.5
    assert found[1] == 0
    assert found[2] < 5
    assert 0.4 < found[3] < 1


# --- coverage ---------------------------------------------------------------------------------------


def named_absent(imputation: bool) -> float:
    """How well the length of opened rows tells absent from present ones, as an AUC."""
    draw = np.random.default_rng(2)
    values, covered = draw.normal(size=(6, 300, 8)), draw.random((6, 300)) < 0.7
    values[~covered] = 0.0
    if imputation:
        values = imputed(values, covered, secret("absent"))
    opened = values.reshape(-1, 8) @ draw.normal(size=(8, 3)) * 0.1
    opened = SHIPPED.wrapped(opened + SHIPPED.deviation * draw.normal(size=opened.shape))
    size, present = np.linalg.norm(opened, axis=1), covered.reshape(-1)
    return float((size[present][:, None] > size[~present][None]).mean())


def test_absent_rows_stand_out_as_zeros_and_not_when_drawn_from_the_cross_section() -> None:
    assert named_absent(imputation=False) > 0.95
    assert abs(named_absent(imputation=True) - 0.5) < 0.05
