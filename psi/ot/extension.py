"""A batched oblivious PRF from 512 base transfers: the receiver learns F(x) for its own set, the sender F of any x.

The receiver keeps a random matrix T, one row a cell, and sends U = T + T' + C(D), where D is a table that gives each of
its keys the message h(x), and C the code, row by row. Of each pair of columns (T, T') the sender has one, by its secret
bits s, so its rows are Q = T + (C(D) and s). Read at x, Q + (C(h(x)) and s) is T where x was entered, and differs from
it in 171 or more places under s for any other x.

A receiver that sends something else than code words could read s bit by bit. So it adds 64 random rows, and must
open 64 sums of rows that the sender picks at random afterwards: a matrix that is not of code words fails but
with probability 2**-64, or by guessing as many bits of s as it wants to learn.

Source: Kolesnikov, Kumaresan, Rosulek and Trieu, CCS 2016 (ePrint 2016/799), section 3 (the PRF); Pinkas, Rosulek,
Trieu and Yanai, EUROCRYPT 2020 (ePrint 2020/193), section 4 (a table in place of cuckoo hashing); Orru, Orsini and
Scholl, CT-RSA 2017 (ePrint 2016/933), figure 3 (the check).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from psi.flow import RemoteProtocolError
from psi.ot.code import WIDTH, byte_words, masked
from psi.ot.fixed_key import BLOCK_BYTES, Blocks, Streams, as_blocks
from psi.ot.kernels import add_code_words, add_up, transpose
from psi.ot.table import Keys, read

__all__ = ["CHECKS", "ROW_BYTES", "Matrix", "ReceiverEnd", "SenderEnd", "answer_bytes"]

CHECKS = 64
ROW_BYTES = WIDTH // 8
_ALL = np.full(WIDTH // 64, 2**64 - 1, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Matrix:
    """A receiver's side of one table, for as long as its sums may be asked for."""

    messages: Blocks = field(repr=False)
    rows: Blocks = field(repr=False)

    def opened(self, challenge: bytes) -> bytes:
        """The sums that ``challenge``, 16 bytes, picks: of messages and of rows, each under one of the random rows."""
        picks = _picks(challenge, len(self.rows) - CHECKS)
        return _sums(self.messages, picks).tobytes() + _sums(self.rows, picks).tobytes()


@dataclass(frozen=True, slots=True)
class ReceiverEnd:
    """The end that has both streams of each column. Tables come in an agreed order, each once."""

    zeros: Streams
    ones: Streams

    @classmethod
    def of(cls, seeds: list[tuple[bytes, bytes]]) -> ReceiverEnd:
        return cls(Streams([low for low, _ in seeds]), Streams([high for _, high in seeds]))

    def next_matrix(self, table: Blocks, random_rows: bytes) -> tuple[bytes, Matrix]:
        """For the next table: what goes to the sender, and what stays here.

        random_rows: 16 * CHECKS secret random bytes, fresh for every matrix.
        """
        messages = np.concatenate([table, masked(as_blocks(random_rows))])
        count = len(messages)
        low, high = self.zeros.columns(_room(count)), self.ones.columns(_room(count))
        high ^= low
        kept, sent = _rows(low)[:count], _rows(high)[:count]
        add_code_words(messages, byte_words(), _ALL, sent)
        return sent.tobytes(), Matrix(messages, kept)


@dataclass(frozen=True, slots=True)
class SenderEnd:
    """The end that has one stream of each column, and the bits that say which."""

    streams: Streams
    secret: Blocks = field(repr=False)

    @classmethod
    def of(cls, seeds: list[bytes], bits: list[bool]) -> SenderEnd:
        packed = np.packbits(np.array(bits, dtype=np.uint8), bitorder="little")
        return cls(Streams(seeds), packed.view(np.uint64))

    def next_rows(self, sent: bytes, cells: int) -> Blocks:
        """The rows Q of the next table, from the ``cells + CHECKS`` rows that the receiver sent for it."""
        count = cells + CHECKS
        rows = _rows(self.streams.columns(_room(count)))[:count]
        rows ^= np.frombuffer(sent, dtype="<u8").reshape(count, -1) & self.secret
        return rows

    def check(self, rows: Blocks, challenge: bytes, answer: bytes, peer: str) -> None:
        """Raise :class:`RemoteProtocolError` naming ``peer`` unless its sums fit rows of code words."""
        if len(answer) != answer_bytes():
            raise RemoteProtocolError(f"sent {len(answer)} bytes of sums where {answer_bytes()} are due", peer)
        messages = np.frombuffer(answer[: 16 * CHECKS], dtype="<u8").reshape(CHECKS, 2)
        sums = np.frombuffer(answer[16 * CHECKS :], dtype="<u8").reshape(CHECKS, -1).copy()
        add_code_words(messages, byte_words(), self.secret, sums)
        own = _sums(rows, _picks(challenge, len(rows) - CHECKS))
        if (masked(messages) != messages).any() or (sums != own).any():
            raise RemoteProtocolError("sent a matrix that is not of code words", peer)

    def values(self, keys: Keys, rows: Blocks, messages: Blocks) -> Blocks:
        """Q at each key, its code word taken off: T at a key of the receiver's."""
        found = read(keys, rows[:-CHECKS])
        add_code_words(messages, byte_words(), self.secret, found)
        return found

    def __repr__(self) -> str:
        return "<the sender's end of an oblivious PRF>"


def answer_bytes() -> int:
    """How long an answer to a challenge is."""
    return CHECKS * (2 * 8 + ROW_BYTES)


def _room(rows: int) -> int:
    """Streams are read in whole blocks of AES."""
    return -(-rows // (8 * BLOCK_BYTES)) * 8 * BLOCK_BYTES


def _rows(columns: Blocks) -> Blocks:
    rows = np.empty((columns.shape[1] * 64, WIDTH // 64), dtype=np.uint64)
    transpose(columns, rows)
    return rows


def _picks(challenge: bytes, rows: int) -> Blocks:
    return Streams([challenge]).columns(_room(64 * rows))[0, :rows]


def _sums(rows: Blocks, picks: Blocks) -> Blocks:
    totals = rows[-CHECKS:].copy()
    add_up(rows[:-CHECKS], picks, totals)
    return totals
