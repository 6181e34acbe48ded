"""Attacks on alignment by oblivious transfer: each succeeds with its defence taken out, and fails with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from psi.commitment import AlignmentLimits
from psi.flow import Flow, LocalProtocolError, RemoteProtocolError, Send, receive, run_local
from psi.ot import leader as leading
from psi.ot.code import WIDTH, byte_words, masked
from psi.ot.extension import CHECKS, SenderEnd
from psi.ot.fixed_key import Blocks, FixedKey, as_blocks
from psi.ot.id_blocks import id_blocks
from psi.ot.kernels import add_code_words
from psi.ot.member import answer
from psi.ot.messages import BaseChoices, BaseOffer, CommonList, Hint, MaskedMatrix, MatrixChallenge, MatrixSums
from psi.ot.opening_moves import Opened, base_tag, narrowed, open_alignment, unpacked
from psi.ot.table import DENSE, Keys, TableFull, cells_for, encode, read
from tests.psi.rig import RUN, Seeded, Wire, toy_signature, toy_verify
from tests.psi.transfer_rig import transfer, without_base_transfers

LIMITS = AlignmentLimits(1, 10_000, 0.25)
COMMON = [f"COMMON{n}" for n in range(1200)]
HELD = [f"HELD{n}" for n in range(40)]
NOT_HELD = [f"OTHER{n}" for n in range(40)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    without_base_transfers(monkeypatch)


def opening(name: str, ids: list[str]) -> Flow[Opened]:
    return open_alignment(
        name, ["bank", "sky"], ids, run=RUN, limits=LIMITS, randomness=Seeded(name),
        sign=lambda data: toy_signature(name, data), verify=toy_verify, padding=b"", previous=None,
    )  # fmt: skip


def victim() -> Flow[Any]:
    opened = yield from opening("sky", COMMON + HELD)
    return (yield from answer(opened, "bank", LIMITS, Seeded("sky's")))


def probing_leader(found: dict[str, set[str]]) -> Flow[None]:
    """Spoils one column of the code a row, learns by which of eight guesses a common id comes out, hence which bits of
    the victim's secret are set, and with the whole secret tries ids that it never put into its set."""
    opened = yield from opening("bank", COMMON)
    bucket, cells = opened.buckets.bucket(0), opened.cells["bank"]
    yield Send("sky", BaseOffer(bytes(32)))
    yield from receive("sky", BaseChoices)
    ends = leading.ReceiverEnd.of(leading.pairs(None, b"", WIDTH, base_tag(opened.tag, "bank", "sky"), "sky"))
    keys, table = bucket.keys(cells), np.zeros((cells, 2), dtype=np.uint64)
    encode(keys, masked(bucket.third), table)
    sent, matrix = ends.next_matrix(table, Seeded("rows").token_bytes(16 * CHECKS))
    spoilt = np.frombuffer(sent, dtype=np.uint64).reshape(-1, WIDTH // 64).copy()
    column = np.arange(cells - DENSE) % WIDTH
    spoilt[np.arange(cells - DENSE), column // 64] ^= np.uint64(1) << (column % 64).astype(np.uint64)
    yield Send("sky", MaskedMatrix(0, spoilt.tobytes()))
    challenge = yield from receive("sky", MatrixChallenge)
    yield Send("sky", MatrixSums(0, matrix.opened(challenge.seed)))
    hint = unpacked((yield from receive("sky", Hint)).cells)
    secret = secret_bits(opened, keys, read(keys, matrix.rows[:-CHECKS]), hint, column)
    probes = HELD + NOT_HELD
    hashes = [one.hashed(id_blocks(probes)) for one in opened.buckets._hashes]
    there = Keys.of(hashes[0], hashes[1], cells)
    rows = matrix.rows.copy()
    add_code_words(matrix.messages, byte_words(), secret, rows)
    rows ^= spoilt_part(column, cells) & secret
    values = SenderEnd(ends.zeros, secret).values(there, rows, masked(hashes[2]))
    zero = comes_to_zero(opened, hashes, values, hint)
    found["read"] = {name for name, hit in zip(probes, zero, strict=True) if hit}


def spoilt_part(column: Any, cells: int) -> Blocks:
    made = np.zeros((cells + CHECKS, WIDTH // 64), dtype=np.uint64)
    made[np.arange(len(column)), column // 64] = np.uint64(1) << (column % 64).astype(np.uint64)
    return made


def comes_to_zero(opened: Opened, hashes: list[Blocks], values: Blocks, hint: Blocks) -> Any:
    absorbed = opened.function(b"absorb").absorbed(hashes[0], values)
    total = opened.zero_shares(hashes[0]) ^ opened.function(b"mask").hashed(absorbed)
    total ^= read(Keys.of(hashes[0], hashes[1], opened.cells["sky"]), hint)
    return ~narrowed(total).any(axis=1)


def secret_bits(opened: Opened, keys: Keys, rows: Blocks, hint: Blocks, column: Any) -> Blocks:
    """Every common id tells the bits at the columns of its three cells."""
    bucket = opened.buckets.bucket(0)
    hashes = [bucket.first, bucket.second]
    places = column[keys.places]
    apart = (np.diff(np.sort(places, axis=1)) > 0).all(axis=1)
    secret = np.zeros(WIDTH, dtype=np.uint8)
    for guess in range(8):
        tried = rows.copy()
        for j in range(3):
            if guess >> j & 1:
                at = places[:, j]
                tried[np.arange(len(tried)), at // 64] ^= np.uint64(1) << (at % 64).astype(np.uint64)
        hit = comes_to_zero(opened, hashes, tried, hint) & apart
        for j in range(3):
            if guess >> j & 1:
                secret[places[hit, j]] = 1
    return np.packbits(secret, bitorder="little").view(np.uint64)


def attack() -> set[str]:
    found: dict[str, set[str]] = {}
    with pytest.raises(LocalProtocolError, match="sky waits for"):  # a result that its leader never sends
        run_local({"bank": probing_leader(found), "sky": victim()})
    return found["read"]


def test_a_spoilt_matrix_would_read_ids_outside_the_leaders_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SenderEnd, "check", lambda *_: None)
    assert attack() == set(HELD)


def test_the_check_of_code_words_stops_it_before_a_hint_leaves() -> None:
    with pytest.raises(RemoteProtocolError, match="bank: sent a matrix that is not of code words"):
        attack()


def test_a_leader_that_names_all_its_ids_is_refused_by_whoever_lacks_one(monkeypatch: pytest.MonkeyPatch) -> None:
    truths = iter([lambda blocks: blocks & np.uint64(0)])
    monkeypatch.setattr(leading, "narrowed", lambda blocks: next(truths, narrowed)(blocks))
    wire = Wire()
    with pytest.raises(RemoteProtocolError, match="bank: named a common entity that is not among"):
        transfer({"bank": ["AAPL", "XOM"], "sky": ["AAPL", "XOM"], "web": ["AAPL", "TSLA"]}, wire=wire)


def test_a_members_table_takes_few_ids_more_than_it_committed_to() -> None:
    """A table that would answer for a whole market cannot be made: it has 1.3 cells an id, and 64."""
    committed, market = 1000, 3000
    cells = cells_for(committed)
    assert cells - DENSE < 1.45 * committed
    hashes = [FixedKey(bytes([n]) * 16).hashed(as_blocks(Seeded("market").token_bytes(16 * market))) for n in range(2)]
    with pytest.raises(TableFull):
        encode(Keys.of(hashes[0], hashes[1], cells), hashes[0], np.zeros((cells, 2), dtype=np.uint64))


def test_two_runs_over_the_same_sets_share_nothing_that_travels() -> None:
    """So a recorded run tells nothing of another, and who came and went only the two results tell."""
    sets = {"bank": COMMON[:50], "sky": COMMON[:50], "web": COMMON[:49]}
    seen = []
    for number in range(2):
        wire = Wire()
        transfer(sets, wire=wire, run=bytes([number]) * 32, seed=number)
        seen.append(
            {
                body[at : at + 10]
                for _, _, m in wire.sent
                for body in [
                    getattr(m, {Hint: "cells", CommonList: "values", MaskedMatrix: "rows"}.get(type(m), ""), b"")
                ]
                for at in range(0, len(body), 10)
            }
        )
    assert min(map(len, seen)) > 1000
    assert not seen[0] & seen[1]
