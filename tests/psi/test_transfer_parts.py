"""The parts of alignment by oblivious transfer: the code, the table, base transfers, blocks, buckets."""

from __future__ import annotations

import math
import secrets
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psi.flow import LocalProtocolError, RemoteProtocolError
from psi.identifiers import NotNormalised, check_canonical, normalise
from psi.ot.base_ot import choose, offer, pairs
from psi.ot.buckets import Buckets, bucket_count, cells_of, fullest
from psi.ot.code import DISTANCE, MESSAGE_BITS, WIDTH, byte_words, generator, masked
from psi.ot.fixed_key import Blocks, FixedKey, Streams, as_blocks, in_order
from psi.ot.id_blocks import BlockSet, canonical_blocks, id_blocks
from psi.ot.kernels import find_among, sort_random, split_lines, transpose
from psi.ot.table import DENSE, Keys, TableFull, cells_for, encode, read
from tests.psi.rig import Seeded


def blocks(count: int, seed: object) -> Blocks:
    return as_blocks(Seeded(seed).token_bytes(16 * count)).copy()


def test_the_code_is_the_bch_code_it_says_it_is() -> None:
    """Degree, divisor of x^511 - 1, and the zeros that make words differ in 171 places."""
    made = generator()
    assert made.bit_length() - 1 == 511 - MESSAGE_BITS == 435
    rest = 1 << 511 | 1
    while rest.bit_length() >= made.bit_length():
        rest ^= made << rest.bit_length() - made.bit_length()
    assert rest == 0
    words = byte_words()
    messages = blocks(400, "code")
    rows = sum_of(masked(messages), words)
    for one, other in pairwise(rows):
        assert np.bitwise_count(one ^ other).sum() >= DISTANCE
    single = words[:, [1, 2, 4, 8, 16, 32, 64, 128]].reshape(-1, WIDTH // 64)[:MESSAGE_BITS]
    weights = np.bitwise_count(single).sum(axis=1)
    assert weights.min() >= DISTANCE


def sum_of(messages: Blocks, words: Blocks) -> Blocks:
    data = messages.view(np.uint8).reshape(len(messages), 16)
    return np.bitwise_xor.reduce([words[byte, data[:, byte]] for byte in range(10)])


def test_transposing_is_what_numpy_does_bit_by_bit() -> None:
    columns = np.frombuffer(Seeded("bits").token_bytes(512 * 3 * 8), dtype=np.uint64).reshape(512, 3)
    rows = np.empty((192, 8), dtype=np.uint64)
    transpose(columns, rows)

    def bits(words: Blocks) -> Blocks:
        return np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")

    assert (bits(rows) == bits(columns).T).all()


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 700), width=st.sampled_from([1, 2, 8]), seed=st.integers(0, 2**32))
def test_a_table_gives_back_what_was_entered(count: int, width: int, seed: int) -> None:
    cells = cells_for(count)
    keys = Keys.of(blocks(count, (seed, 1)), blocks(count, (seed, 2)), cells)
    values = blocks(count * width, (seed, 3)).reshape(-1)[: count * width].reshape(count, width)
    table = blocks(cells * width, (seed, 4)).reshape(-1)[: cells * width].reshape(cells, width).copy()
    encode(keys, values, table)
    assert (read(keys, table) == values).all()
    assert (np.diff(keys.places, axis=1) > 0).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_dense_cells_settle_what_peeling_leaves(seed: int) -> None:
    """70 keys in 48 cells and 64 dense ones: nothing peels."""
    keys = Keys.of(blocks(70, (seed, 1)), blocks(70, (seed, 2)), 48 + DENSE)
    values, table = blocks(70, (seed, 3)), blocks(48 + DENSE, (seed, 4))
    encode(keys, values, table)
    assert (read(keys, table) == values).all()


def test_a_table_that_cannot_be_made_ends_by_name_and_is_not_tried_again() -> None:
    one = blocks(1, "same")
    twice = Keys.of(np.concatenate([one, one]), np.concatenate([one, one]), cells_for(2))
    with pytest.raises(TableFull, match="run the alignment again"):
        encode(twice, blocks(2, "values"), blocks(cells_for(2), "table"))
    many = np.repeat(one, 3000, axis=0)
    with pytest.raises(TableFull, match="3000 of 3000 keys fit no table"):
        encode(Keys.of(many, many, cells_for(3000)), blocks(3000, 1), blocks(cells_for(3000), 2))


def test_a_table_of_random_values_does_not_show_its_keys() -> None:
    """Cells in use are no other than the rest: mean bit one half in both, where values are random."""
    count, used, rest = 300, [], []
    for seed in range(20):
        cells = cells_for(count)
        keys = Keys.of(blocks(count, (seed, 1)), blocks(count, (seed, 2)), cells)
        table = blocks(cells, (seed, 4))
        encode(keys, blocks(count, (seed, 3)), table)
        inside = np.zeros(cells, dtype=bool)
        inside[keys.places.ravel()] = True
        used.append(np.bitwise_count(table[inside]).sum() / (128 * inside.sum()))
        rest.append(np.bitwise_count(table[~inside]).sum() / (128 * (~inside).sum()))
    assert abs(np.mean(used) - 0.5) < 0.004
    assert abs(np.mean(rest) - 0.5) < 0.004


def test_a_receiver_has_the_seed_it_chose_and_not_the_other() -> None:
    bits = [bool(secrets.randbelow(2)) for _ in range(40)]
    choices, made = choose(bits, b"tag", Seeded("receiver")), offer(Seeded("sender"))
    both = pairs(made, choices.points, 40, b"tag", "peer")
    mine = choices.seeds(made.point, "peer")
    for bit, pair, seed in zip(bits, both, mine, strict=True):
        assert pair[bit] == seed
        assert pair[1 - bit] != seed
    assert not set(mine) & {seed for pair in pairs(made, choices.points, 40, b"other", "peer") for seed in pair}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda points: bytes(32) + points[32:], "is the identity"),
        (lambda points: b"\xff" * 32 + points[32:], "canonical"),
        (lambda points: points[:-32], "were announced"),
        (lambda points: points[32:64] + points[32:], "same point twice"),
    ],
)
def test_bad_points_of_a_base_transfer_are_refused_by_name(edit, reason: str) -> None:
    choices, made = choose([True, False], b"tag", Seeded("receiver")), offer(Seeded("sender"))
    with pytest.raises(RemoteProtocolError, match=f"sky: .*{reason}"):
        pairs(made, edit(choices.points), 2, b"tag", "sky")
    with pytest.raises(RemoteProtocolError, match="sky: sent a point"):
        choices.seeds(bytes(32), "sky")


@given(st.lists(st.text("ABCXYZ0189", min_size=1, max_size=40), max_size=8))
def test_plain_ids_are_in_normal_form_which_the_quick_way_takes_for_granted(ids: list[str]) -> None:
    assert [normalise(name) for name in ids] == ids


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=30), max_size=12))
def test_the_quick_check_of_ids_says_what_the_slow_one_says(ids: list[str]) -> None:
    def verdict(check) -> str:
        try:
            check(list(dict.fromkeys(ids)))
        except Exception as error:
            return type(error).__name__
        return "fine"

    assert verdict(canonical_blocks) == verdict(check_canonical)


@pytest.mark.parametrize("size", [0, 1, 2, 700, 20_000])
def test_sorting_random_blocks_is_what_numpy_does(size: int) -> None:
    drawn = blocks(size, "drawn")
    order = np.empty(size, dtype=np.intp)
    assert sort_random(drawn, order)
    assert order.tolist() == np.argsort(drawn[:, 0]).tolist()


@pytest.mark.parametrize("crowd", [2, 3000])
def test_blocks_that_are_not_random_are_sorted_in_another_way(crowd: int) -> None:
    drawn = blocks(4000, "drawn")
    drawn[:crowd, 0] = np.arange(crowd) // 2
    assert not sort_random(drawn, np.empty(4000, dtype=np.intp))
    assert in_order(drawn).tolist() == np.lexsort((drawn[:, 1], drawn[:, 0])).tolist()


def test_blocks_are_found_among_others_or_one_is_said_to_be_missing() -> None:
    drawn = blocks(500, "drawn")
    drawn[::2, 0] = drawn[1::2, 0]
    drawn = drawn[in_order(drawn)]
    places = np.empty(100, dtype=np.intp)
    assert find_among(drawn, drawn[7:500:5][:98], places)
    assert places[:98].tolist() == list(range(7, 497, 5))
    for wanted in (blocks(1, "other"), np.full((1, 2), 2**64 - 1, dtype=np.uint64), drawn[3:5][::-1]):
        assert not find_among(drawn, wanted, places)


@pytest.mark.parametrize(
    ("text", "rows", "verdict"),
    [
        (b"A1\nZ\n", 2, 2),
        (b"A1\nz\n", 2, 1),
        (b"ABCDEFGHIJKLMNO\n", 1, 2),
        (b"ABCDEFGHIJKLMNOP\n", 1, 0),
        (b"A\n\n", 2, 0),
        (b"A\nB\n", 1, 0),
        (b"A\n", 2, 0),
        (b"", 1, 0),
    ],
)
def test_lines_are_read_only_where_they_are_the_ids(text: bytes, rows: int, verdict: int) -> None:
    made = np.zeros((rows, 16), dtype=np.uint8)
    assert split_lines(np.frombuffer(text, dtype=np.uint8), made) == verdict
    if verdict:
        lines = text.split(b"\n")[:-1]
        assert [row.tobytes() for row in made] == [line.ljust(15, b"\0") + bytes([len(line)]) for line in lines]


def test_blocks_tell_ids_apart_and_know_their_length() -> None:
    ids = ["A", "A0", "A" * 15, "A" * 16, "A" * 15 + "B", "BRK.B", "É", "ÉÉ", "X" * 1_000_000, "0", "00"]
    made = id_blocks(ids)
    assert len({row.tobytes() for row in made}) == len(ids)
    assert (id_blocks(ids[5:6]) == made[5:6]).all()
    with pytest.raises(NotNormalised, match="'brk-b'"):
        canonical_blocks(["AAPL", "brk-b"])


def test_a_set_of_blocks_commits_to_the_set_and_counts_changes() -> None:
    ids = [f"ID{n}" for n in range(1000)]
    held = BlockSet.of(b"s" * 32, id_blocks(ids))
    assert held is not None
    assert held == BlockSet.of(b"s" * 32, id_blocks(ids[::-1]))
    other = BlockSet.of(b"s" * 32, id_blocks([*ids[:-1], "NEW"]))
    salted = BlockSet.of(b"t" * 32, id_blocks(ids))
    assert other is not None
    assert salted is not None
    assert len({held.root, other.root, salted.root}) == 3
    assert held.changed([*ids[10:], "NEW"]) == 10
    assert held.changed([*ids, "NEW"]) == 1
    assert held.changed(ids) == 0
    assert BlockSet.of(b"s" * 32, id_blocks(["A", "B", "A"])) is None
    assert "ID" not in repr(held)


def test_buckets_hold_every_id_once_and_no_more_than_a_table_takes() -> None:
    held = blocks(5000, "ids")
    cut = Buckets(held, b"tag", 8)
    cut.check_fits(5000)
    order = np.concatenate([cut.order[bucket.span] for bucket in cut])
    assert sorted(order.tolist()) == list(range(5000))
    assert (cut.bucket(3).first == FixedKey.hashed(cut._hashes[0], held[cut.order[cut.bucket(3).span]])).all()
    with pytest.raises(LocalProtocolError, match="fall in one bucket"):
        Buckets(np.repeat(held[:1], 5000, axis=0), b"tag", 8).check_fits(5000)


def test_failures_are_below_two_to_the_minus_forty() -> None:
    """Of a bucket that is too full, and of two keys that neither three cells nor 64 dense ones can part."""
    for size in (70_000, 1_000_000, 10_000_000):
        count = bucket_count(size)
        most, mean = fullest(size, count), size / count
        assert count * math.exp(most - mean + most * math.log(mean / most)) < 2**-43
        assert mean <= 2**16
        assert most < 1.06 * mean
        cells = (cells_of(size, count) - DENSE) // 3
        same_cells = math.comb(most, 2) / cells**3
        assert count * same_cells * 2**-DENSE < 2**-60
    assert bucket_count(2**16) == 1
    assert fullest(10, 1) == 10


def test_keystreams_are_those_of_aes_and_never_start_again() -> None:
    streams = Streams([b"k" * 16])
    first, second = streams.columns(128), streams.columns(128)
    assert first.tobytes() == FixedKey(b"k" * 16).permute(as_blocks(bytes(16))).tobytes()
    assert second.tobytes() == FixedKey(b"k" * 16).permute(as_blocks(bytes(15) + b"\x01")).tobytes()
