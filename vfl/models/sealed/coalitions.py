"""Coalition values of the sealed network from sums over a period: two numbers per coalition and period.

A coalition's score is the network's with the columns of its members and the label party's alone. The label party needs,
per period, the covariance of that score with its labels and the score's variance: both are inner products of shares,
and they alone open, at 32 bits each. Embeddings are computed again from the weights of each prediction, which every
side has kept, so nothing of a row is kept for this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from psi.flow import LocalProtocolError, Message, Payload, RemoteProtocolError, Role, message
from vfl.arithmetic.bit_packing import unpack_bits
from vfl.arithmetic.prime_ring import PRIME, PRIME_RING
from vfl.models.sealed.opens import NUMBER_BITS
from vfl.models.sealed.scales import MEAN_BITS

__all__ = [
    "CHUNK_ROWS",
    "FEWEST_ROWS",
    "LABEL_BITS",
    "NUMBER_DROP",
    "CoalitionEmbedding",
    "CoalitionNumbers",
    "Moments",
    "NumbersCommitted",
    "Piece",
    "Valued",
    "ValuedPeriod",
    "ValuedRows",
    "ValuesEnd",
    "cut_numbers",
    "numbers_received",
    "opened_moments",
    "period_chunks",
    "period_mean_removed",
    "period_sums",
    "pieces_of",
    "valued_coalitions",
]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

CHUNK_ROWS = 8188
"""Rows that are valued together, of whole periods: what fills a ciphertext of slot mode."""

FEWEST_ROWS = 10
"""Rows with labels that a period needs, so that its two numbers are of no row where every party has all of them.

Where a group's members serve zeros for entities that they lack, a coalition may have rows of few of these, or of one.
"""

LABEL_BITS = 12
"""Fractional bits of a label and of a centred score here."""

NUMBER_DROP = 8
"""Bits that a sum of products loses before it opens: 16 fractional bits stay."""

_SOURCE = "docs/protocols/sealed.md#coalition-values"


@message(
    "sealed.value",
    sender=Role.LABEL,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="which predicted rows have labels in the evaluated periods",
    source=_SOURCE,
)
class ValuedRows(Message):
    """Some periods' rows: for each piece its period, the prediction step it was in, and how many rows follow."""

    number: int
    periods: tuple[int, ...]
    steps: tuple[int, ...]
    counts: tuple[int, ...]
    rows: bytes


@message(
    "sealed.values-end",
    sender=Role.LABEL,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="how many periods were valued, and whether their numbers were recorded before",
    source=_SOURCE,
)
class ValuesEnd(Message):
    """All rows were announced. ``again``: the numbers were made before a crash, and open as they were recorded."""

    periods: int
    again: bool


@message(
    "sealed.coalition",
    sender=Role.FEATURE,
    receiver=Role.PARTY,
    payload=Payload.MASKED,
    reveals="nothing: a uniform share under a coalition's zero-sum mask, to the anchor",
    source="zero-sum masks after Bonawitz et al. 2017",
)
class CoalitionEmbedding(Message):
    """A member's share of its embedding of the announced rows, plus its mask among the coalition's members.

    ``told``: :func:`vfl.models.sealed.messages.as_told` of the rows that were announced to it.
    """

    number: int
    members: tuple[str, ...]
    told: bytes
    values: bytes


@message(
    "sealed.numbers",
    sender=Role.PARTY,
    receiver=Role.LABEL,
    payload=Payload.SHARE,
    reveals="with the label party's shares: two numbers of 32 bits per coalition, or trial of a search, and period",
    source=_SOURCE,
)
class CoalitionNumbers(Message):
    """The anchor's shares modulo 2**32 of all numbers, packed."""

    count: int
    values: bytes


@dataclass(frozen=True)
class Piece:
    """Rows of one period that one prediction step had."""

    period: int
    step: int
    rows: I64


@dataclass(frozen=True)
class ValuedPeriod:
    """A period to value: its pieces, and one finite label of each of their rows in order, float64."""

    period: int
    pieces: tuple[Piece, ...]
    labels: F64


@message(
    "sealed.numbers-committed",
    sender=Role.LABEL,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="a salted digest of the label party's shares of all numbers, which says nothing without the salt",
    source="docs/audit.md#replay-of-contributions",
)
class NumbersCommitted(Message):
    """SHA-256 over a salt and the label party's shares, before the anchor's shares open."""

    digest: bytes


@dataclass(frozen=True)
class Moments:
    """What opened: per coalition and valued period, in order, the mean of label * score and of score squared.

    The score is centred within the period. float64 (P,) each.
    """

    periods: tuple[int, ...]
    covariance: Mapping[frozenset[str], F64]
    variance: Mapping[frozenset[str], F64]

    def correlations(self) -> dict[frozenset[str], F64]:
        """Per-period Pearson IC of each coalition, for labels of deviation 1; 0 where its score is constant."""
        found = {}
        for members, covariance in self.covariance.items():
            variance = self.variance[members]
            constant = variance < 2.0**-20
            found[members] = np.where(constant, 0.0, covariance / np.sqrt(np.where(constant, 1.0, variance)))
        return found


def valued_coalitions(parties: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Coalitions whose numbers open: all but the full one, whose scores opened already; the empty one first."""
    return tuple(members for size in range(len(parties)) for members in combinations(parties, size))


def period_chunks(periods: Sequence[ValuedPeriod]) -> list[list[ValuedPeriod]]:
    """The periods in order, as many together as have CHUNK_ROWS rows. Raises LocalProtocolError for a short one."""
    chunks: list[list[ValuedPeriod]] = []
    size = 0
    for period in periods:
        rows = sum(len(piece.rows) for piece in period.pieces)
        if rows < FEWEST_ROWS or len(period.labels) != rows or not np.isfinite(period.labels).all():
            raise LocalProtocolError(
                f"period {period.period} has {rows} rows with labels and {FEWEST_ROWS} are needed: leave it out"
            )
        if not chunks or size + rows > CHUNK_ROWS:
            chunks.append([])
            size = 0
        chunks[-1].append(period)
        size += rows
    return chunks


@dataclass
class Valued:
    """Rows of a valuation so far, by period: each enters once."""

    rows: dict[int, I64] = field(default_factory=dict)

    def holds(self, rows: I64) -> bool:
        """Whether any of ``rows`` was announced before."""
        return any(np.isin(rows, before).any() for before in self.rows.values())


def pieces_of(announced: ValuedRows, predicted: Mapping[int, I64], valued: Valued, peer: str) -> list[Piece]:
    """The announced pieces, checked. predicted: the rows of each prediction's step. valued: what came before, to which
    these are added. Raises RemoteProtocolError.
    """
    count = len(announced.periods)
    data = np.frombuffer(announced.rows[: len(announced.rows) // 4 * 4], dtype="<u4").astype(np.int64)
    if not count or {len(announced.steps), len(announced.counts)} != {count} or min(announced.counts) < 1:
        raise RemoteProtocolError("announced rows to value that do not fit together", peer)
    if sum(announced.counts) != len(data) or len(announced.rows) % 4:
        raise RemoteProtocolError("announced rows to value that do not fit together", peer)
    if len(np.unique(data)) != len(data) or valued.holds(data):
        raise RemoteProtocolError("wants to value a row twice", peer)
    pieces, start, sizes = [], 0, dict.fromkeys(announced.periods, 0)
    for period, step, size in zip(announced.periods, announced.steps, announced.counts, strict=True):
        rows = data[start : start + size]
        of_step = predicted.get(step)
        if of_step is None or not np.isin(rows, of_step).all():
            raise RemoteProtocolError("wants to value rows that were not predicted at the step it names", peer)
        pieces.append(Piece(period, step, rows))
        start += size
        sizes[period] += size
    if (
        list(sizes) != sorted(set(announced.periods))
        or set(sizes) & set(valued.rows)
        or min(sizes.values()) < FEWEST_ROWS
    ):
        raise RemoteProtocolError(
            f"wants to value a period twice, out of order, or with fewer than {FEWEST_ROWS} rows", peer
        )
    for period in sizes:
        valued.rows[period] = np.concatenate([piece.rows for piece in pieces if piece.period == period])
    return pieces


def _starts(pieces: Sequence[Piece]) -> tuple[list[int], list[int]]:
    """Where each period's rows begin, and how many they are."""
    sizes: dict[int, int] = {}
    for piece in pieces:
        sizes[piece.period] = sizes.get(piece.period, 0) + len(piece.rows)
    counts = list(sizes.values())
    return [sum(counts[:i]) for i in range(len(counts))], counts


def period_mean_removed(score: U64, pieces: Sequence[Piece]) -> U64:
    """Share of each score less its period's mean, MEAN_BITS more fractional bits."""
    made = PRIME_RING.scale(score, 1 << MEAN_BITS)
    for start, count in zip(*_starts(pieces), strict=True):
        part = slice(start, start + count)
        total = PRIME_RING.sum(score[part], axis=0).reshape(1)
        mean = PRIME_RING.scale(total, round((1 << MEAN_BITS) / count))
        made[part] = PRIME_RING.sub(made[part], np.broadcast_to(mean, (count,)))
    return made


def period_sums(values: U64, pieces: Sequence[Piece]) -> U64:
    """Share of each period's sum, in order."""
    return np.array(
        [int(PRIME_RING.sum(values[s : s + c], axis=0)) for s, c in zip(*_starts(pieces), strict=True)],
        dtype=np.uint64,
    )


def cut_numbers(share: U64, *, label: bool) -> U64:
    """A share of truncated numbers modulo 2**32: the label party's takes the one wrap of p with it."""
    less = np.uint64(-PRIME % (1 << NUMBER_BITS)) if label else np.uint64(0)
    return (share + less) & np.uint64((1 << NUMBER_BITS) - 1)


def numbers_received(values: bytes, ours: U64) -> U64:
    """The anchor's shares of all numbers as they arrived, in the shape of ours. Raises MalformedError for others."""
    return unpack_bits(values, NUMBER_BITS, ours.size, 1 << NUMBER_BITS).reshape(ours.shape)


def opened_moments(
    parties: Sequence[str],
    periods: Sequence[ValuedPeriod],
    opened: Sequence[F64],
    ours: U64,
    theirs: U64,
    coalitions: Sequence[tuple[str, ...]] | None = None,
) -> Moments:
    """Moments of every coalition from the shares of both holders, uint64 (coalitions, 2, periods) modulo 2**32.

    opened: of each period the scores of its rows, of which the full coalition's moments are; () where ``coalitions``,
    by default all but the full one, hold it.
    """
    numbers = (ours + theirs).astype(np.uint32).astype(np.int32).astype(np.float64)
    means = np.ldexp(numbers, NUMBER_DROP - 2 * LABEL_BITS) / np.array([len(one.labels) for one in periods], float)
    valued = [frozenset(members) for members in (valued_coalitions(parties) if coalitions is None else coalitions)]
    covariance = {members: means[place, 0] for place, members in enumerate(valued)}
    variance = {members: means[place, 1] for place, members in enumerate(valued)}
    everyone = frozenset(parties)
    if everyone not in covariance:
        centred = [scores - scores.mean() for scores in opened]
        pairs = zip(periods, centred, strict=True)
        covariance[everyone] = np.array([float(np.mean(period.labels * scores)) for period, scores in pairs])
        variance[everyone] = np.array([float(np.mean(scores**2)) for scores in centred])
    return Moments(tuple(period.period for period in periods), covariance, variance)
