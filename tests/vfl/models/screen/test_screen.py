"""A screen's sums on shares against the same in plain numbers, and what an indicator in the label's place reads."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from psi.flow import Flow, RemoteProtocolError, run_local
from vfl.arithmetic.prime_ring import PRIME, PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.models.screen.checking import sum_faults
from vfl.models.screen.feature import ScreenFeature, secret_order
from vfl.models.screen.label import Screened, ScreenLabel
from vfl.models.screen.messages import ScreenMembers
from vfl.models.screen.numbers import LABEL_TOP, RANK_TOP, Window, label_integers
from vfl.models.screen.opens import SCREEN_BITS
from vfl.models.screen.twin import screened_in_the_clear
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.models.sealed.label import LabelKeys

I64 = NDArray[np.int64]
PERIODS, ENTITIES = 3, 11


def ranks(rng: np.random.Generator, columns: int) -> I64:
    return rng.integers(-RANK_TOP, RANK_TOP + 1, size=(PERIODS, ENTITIES, columns))


def asking(name: str, asked: dict[str, tuple[int, int]]) -> Callable[[int, int], None]:
    return lambda own, others: asked.update({name: (own, others)})


def screened(labels: I64, terminals: dict[str, I64], own: I64) -> tuple[Screened, dict[str, tuple[int, int]]]:
    """The screen in one process; and whose terminals each feature party was told its own would be multiplied by."""
    members = ScreenMembers("l", tuple(terminals), PERIODS, ENTITIES, 6, own.shape[2] > 0)
    asked: dict[str, tuple[int, int]] = {}

    def label() -> Flow[Screened]:
        side = ScreenLabel(members, labels, own, LabelKeys(coefficient_key(), slot_key()))
        found = yield from side.screen()
        yield from side.tell(dict.fromkeys(terminals, b"{}"))
        return found

    parts: dict[str, Flow[Any]] = {"l": label()}
    for name, made in terminals.items():
        stream = SecretStream(os.urandom(32))
        side = ScreenFeature(name, members, made, stream, opening=asking(name, asked))
        parts[name] = side.serve()
    return run_local(parts)["l"], asked


def close(found: NDArray[np.float64], plain: NDArray[np.float64], factors: int) -> None:
    window = Window(ENTITIES, factors)
    there = np.isfinite(found)
    assert there.sum() >= 0.9 * there.size
    assert np.abs(found - plain)[there].max(initial=0.0) <= 2.0**window.drop


@pytest.mark.parametrize("own", [0, 2])
def test_sums_on_shares_are_those_in_the_clear(own: int) -> None:
    rng = np.random.default_rng(own)
    labels = rng.integers(-LABEL_TOP, LABEL_TOP + 1, size=(PERIODS, ENTITIES))
    terminals = {"a": ranks(rng, 3), "b": ranks(rng, 1), "c": ranks(rng, 2)} if own else {"a": ranks(rng, 2)}
    mine = ranks(rng, own)
    found, asked = screened(labels, terminals, mine)
    plain = screened_in_the_clear(labels, terminals, mine)
    assert found.pairs.keys() == plain.pairs.keys()
    for name in terminals:
        close(found.alone[name], plain.alone[name], 1)
        close(found.own[name], plain.own[name], 2)
    for pair, sums in plain.pairs.items():
        close(found.pairs[pair], sums, 2)
    assert asked == ({"a": (2, 3), "b": (2, 5), "c": (2, 4)} if own else {"a": (0, 0)})


@pytest.mark.parametrize(("rows", "factors"), [(1, 1), (1, 2), (500, 2), (20_000, 2)])
def test_a_window_gives_back_the_number_it_cut(rows: int, factors: int) -> None:
    window, stream = Window(rows, factors), SecretStream(bytes(32))
    most = LABEL_TOP * RANK_TOP**factors * rows
    x = np.r_[np.random.default_rng(0).integers(-most, most + 1, size=4000), [0, most, -most]]
    mine = PRIME_RING.uniform(stream, x.shape)
    read = window.read(window.cut(PRIME_RING.sub(PRIME_RING.wrap(x), mine)), mine)
    there = np.isfinite(read)
    assert there.mean() > 0.998
    assert np.abs(read - x)[there].max() <= 2.0**window.drop
    assert 2.0**window.drop <= max(most / 2**20, 1)


def test_an_indicator_reads_one_row_and_24_bits_a_number() -> None:
    """Attack: the label is one row's alone. What the text says, that row's products and no more, is what is read."""
    rng = np.random.default_rng(5)
    terminals = {"a": ranks(rng, 2), "b": ranks(rng, 2)}
    labels = np.zeros((PERIODS, ENTITIES), dtype=np.int64)
    labels[:, 4] = LABEL_TOP
    read, _ = screened(labels, terminals, ranks(rng, 0))
    row = terminals["a"][:, 4, :, None] * terminals["b"][:, 4, None, :]
    there = np.isfinite(read.pairs["a", "b"])
    unit = 2.0 ** Window(ENTITIES, 2).drop / LABEL_TOP
    assert np.abs(read.pairs["a", "b"] / LABEL_TOP - row)[there].max() <= unit
    # every other row could be anything: the numbers of another panel with this row are the same but for lost bits
    other = {name: np.where(np.arange(ENTITIES)[:, None] == 4, made, 0) for name, made in terminals.items()}
    again, _ = screened(labels, other, ranks(rng, 0))
    same = there & np.isfinite(again.pairs["a", "b"])
    assert np.abs(read.pairs["a", "b"] - again.pairs["a", "b"])[same].max() <= 2.0 ** Window(ENTITIES, 2).drop
    assert len(Window(ENTITIES, 2).cut(np.zeros(4, dtype=np.uint64))) * 8 == 4 * SCREEN_BITS


def test_whatever_is_encrypted_24_bits_arrive() -> None:
    """Attack: a label of the whole ring's width packs rows into one number; what is sent has room for none of them."""
    window = Window(ENTITIES, 2)
    packed = PRIME_RING.wrap(np.array([PRIME // 3, -PRIME // 5, 7 << 50]))
    assert len(window.cut(packed)) * 8 == 3 * SCREEN_BITS
    moved = PRIME_RING.add(packed, PRIME_RING.wrap(np.array([1 << (window.drop + SCREEN_BITS)] * 3)))
    assert window.cut(packed) == window.cut(moved)


def test_order_and_signs_are_another_in_every_run() -> None:
    first, second = (secret_order(SecretStream(bytes([seed] * 32)), 40) for seed in (1, 2))
    again = secret_order(SecretStream(bytes([1] * 32)), 40)
    assert all((one == other).all() for one, other in zip(first, again, strict=True))
    assert sorted(first[0]) == list(range(40))
    assert set(first[1]) == {-1, 1}
    assert (first[0] != second[0]).any()
    assert (first[1] != second[1]).any()


def test_labels_are_ranks_of_a_period_among_those_known() -> None:
    label = np.tile(np.arange(12.0), (2, 1))
    label[0, 11], label[1, :2] = np.nan, 5.0
    made = label_integers(label, np.isfinite(label) & (label < 11))
    assert made[0, [0, 5, 10, 11]].tolist() == [-LABEL_TOP, 0, LABEL_TOP, 0]
    assert made[1, 0] == made[1, 1] == made[1, 5]
    assert made[1, 11] == 0


def test_a_period_of_few_labels_enters_no_sum() -> None:
    """Of two labels the sum would be the difference of two rows."""
    label = np.where(np.arange(30) < 9, np.arange(30.0), np.nan)[None]
    assert not label_integers(label, np.isfinite(label)).any()
    label[0, 9] = 9.0
    assert (label_integers(label, np.isfinite(label)) != 0).sum() == 10


def test_more_terminals_than_agreed_are_refused() -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(RemoteProtocolError, match="more than was agreed"):
        members = ScreenMembers("l", ("a",), PERIODS, ENTITIES, 6, False)
        label = ScreenLabel(members, ranks(rng, 1)[:, :, 0], ranks(rng, 1), LabelKeys(coefficient_key(), slot_key()))
        side = ScreenFeature("a", members, ranks(rng, 1), SecretStream(bytes(32)))
        run_local({"l": label.screen(), "a": side.serve()})


def test_sums_of_another_label_than_was_committed_are_found() -> None:
    """Attack: an indicator takes the place of the labels in the pairs alone. Without the replay nobody would know."""
    rng = np.random.default_rng(8)
    labels = rng.integers(-LABEL_TOP, LABEL_TOP + 1, size=(PERIODS, ENTITIES))
    terminals, own = {"a": ranks(rng, 2), "b": ranks(rng, 3)}, ranks(rng, 1)
    honest, _ = screened(labels, terminals, own)
    assert list(sum_faults(labels, own, terminals, honest)) == []
    indicator = np.zeros_like(labels)
    indicator[:, 4] = LABEL_TOP
    read, _ = screened(indicator, terminals, own)
    cheated = Screened(honest.alone, honest.own, read.pairs)
    [fault] = sum_faults(labels, own, terminals, cheated)
    assert "a's and b's terminals that its committed labels do not have, in 3 of 3 periods" in fault
    assert list(sum_faults(labels, own, {"a": terminals["a"]}, cheated)) == [], "a alone cannot see it"
    hidden = Screened(honest.alone, honest.own, {("a", "b"): np.full_like(read.pairs["a", "b"], np.nan)})
    [fault] = sum_faults(labels, own, terminals, hidden)
    assert "leaves out 18 of 18" in fault
