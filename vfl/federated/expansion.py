"""An expansion that a group's members fit together: sums of counts and of moments, of which all make the same columns.

What single rows decide (where a random tree cuts) no sum gives, and is not offered. Frequencies are drawn by a hash of
the run. Edges of bins come from counts of scores in cells of a fixed width, whitened directions from the sums of the
features and of their products. Both sums are of all members or do not open, so that no two of one run differ by one
member. Members add the counts up themselves, since what they let open next depends on them; the coordinator opens the
second sum alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, ProtocolError, Send, UnattributedError, receive
from vfl.arithmetic.randomness import SecretStream
from vfl.expansion_terms import ExpansionShape
from vfl.federated.group import Alike, JointEncoder, common_held, hold_alike, told_held, weights_digest
from vfl.federated.messages import EncoderHeld, EncoderTold
from vfl.federated.secure_sum import SumTerms, add, total
from vfl.federated.shared_sum import add_among
from vfl.federated.updates import RING

__all__ = [
    "CELLS",
    "REACH",
    "ExpansionPlan",
    "UnfitRows",
    "UnfitSums",
    "counts_of",
    "join_expansion",
    "moments_of",
    "serve_expansion",
    "whitened",
]

F64 = NDArray[np.float64]

REACH = 4.0
"""Scores are cut there before anything is fitted on them, so that one entity bends no edge."""
CELLS = 128
"""Of equal width, in which a column's scores are counted: an edge of a bin is an edge of a cell."""
VALUES_A_MOMENT = 4
"""A member has as many values as this for each moment, in rows that differ: of its rows alone they cannot be solved for
then, whatever others add. From one value a moment they were, to 0.3 % of a deviation
(tests/attacks/test_expansion_sums.py); a moment is of some 32 bits, a value of some 14, and 0.6 of them as elsewhere.
"""
_ALIKE = 2
"""Decimals of a score from which on rows differ."""
_FRACTION = 24
_FIRST, _COUNTS = 2, 4
"""Numbers of what members tell each other that they hold, after those of the encoder."""
_SMALLEST = 1e-9
"""Share of the largest direction's variance below which a direction is none."""


class UnfitSums(ProtocolError):
    """The members' rows together do not do for the agreed expansion."""


class UnfitRows(ProtocolError):
    """A member's own rows do not do for it. The text counts them, which is for this member alone."""


@dataclass(frozen=True)
class ExpansionPlan:
    """columns: how many it reads. group: the sums that the group's encoder opens by, whose threshold says how many hold
    the same. number: of the sum of moments, in the session.
    """

    shape: ExpansionShape
    columns: int
    group: SumTerms
    number: int

    @property
    def sums(self) -> SumTerms:
        """Of all members: sums of one run that differ by a member would show its own."""
        return replace(self.group, threshold=len(self.group.members))

    @property
    def counted(self) -> int:
        """Numbers of the first sum: rows, and of each column those in each cell where there are bins."""
        return 1 + (self.columns * CELLS if self.shape.bins else 0)

    @property
    def moments(self) -> int:
        """Numbers of the second sum: each feature, and each product of two."""
        width = self.shape.width(self.columns)
        return width + width * (width + 1) // 2

    @property
    def numbers(self) -> int:
        """Numbers of both sums, which members keep."""
        return self.counted + self.moments

    def check(self, counts: F64) -> None:
        """Raise :class:`UnfitSums` where rows are too few for the directions, or no rows make these counts."""
        rows, cells = counts[0], counts[1:].reshape(-1, CELLS)
        if (counts < 0).any() or (cells.sum(axis=1) != rows).any():
            raise UnfitSums(
                "the members' counts are of no rows: one of them made its own up, and a sum does not show which; "
                "propose the run again without [group.expand], or without that member"
            )
        if rows <= self.shape.outputs:
            raise UnfitSums(
                f"the members' first {self.shape.fit_periods} periods hold too few rows for "
                f"{self.shape.outputs} directions: raise group.expand.fit_periods, or lower group.expand.outputs"
            )

    def check_own(self, rows: F64) -> None:
        """Raise :class:`UnfitRows` where a member's own rows (n, columns) are too few for what the second sum tells of
        them, to others who know all the rest or make it up.
        """
        many = len(np.unique(np.round(rows, _ALIKE) + 0.0, axis=0))
        if many * self.columns < VALUES_A_MOMENT * self.moments:
            raise UnfitRows(
                f"this party's first {self.shape.fit_periods} periods hold {many} different rows of {self.columns} "
                f"columns, and {self.moments} sums of an expansion would tell too much of so few: raise "
                "group.expand.fit_periods, or lower group.expand.fourier or bins"
            )

    def edges(self, counts: F64) -> F64:
        """Inner edges of the bins, (columns, bins - 1), ascending; none without bins."""
        cells, bins = counts[1:].reshape(-1, CELLS), self.shape.bins
        if not bins:
            return np.zeros((self.columns, 0))
        below = np.cumsum(cells, axis=1)
        wanted = counts[0] * np.arange(1, bins) / bins
        reached = np.stack([np.searchsorted(one, wanted, side="left") for one in below])
        return -REACH + (reached + 1) * (2 * REACH / CELLS)

    def features(self, rows: F64, edges: F64) -> F64:
        """Fourier features and bins of scores (n, columns): (n, width), each within [-1, 1]."""
        parts = list(self._waves(rows)) if self.shape.fourier else []
        if self.shape.bins:
            for column, inner in enumerate(edges):
                place = np.searchsorted(inner, rows[:, column], side="right")
                parts.append((place[:, None] == np.arange(self.shape.bins)).astype(np.float64))
        made: F64 = np.concatenate(parts, axis=1)
        return made

    def _waves(self, rows: F64) -> Iterator[F64]:
        """Random Fourier features of a Gaussian kernel whose width is the square root of the number of columns, other
        ones in every run. Source: Rahimi and Recht 2007.
        """
        text = f"entente/expansion/{self.group.run}/{self.shape.seed}"
        drawn, many = SecretStream(hashlib.sha256(text.encode()).digest()), self.shape.fourier
        frequencies = drawn.gaussian(self.columns * many).reshape(self.columns, many) * np.sqrt(2 / self.columns)
        yield np.cos(rows @ frequencies + 2 * np.pi * drawn.unit(many))


def counts_of(plan: ExpansionPlan, rows: F64) -> F64:
    """The first sum of scores (n, columns): how many rows, and how many of them in each cell of each column."""
    if not plan.shape.bins:
        return np.array([float(len(rows))])
    place = np.clip(((rows + REACH) * (CELLS / (2 * REACH))).astype(np.int64), 0, CELLS - 1)
    cells = [np.bincount(place[:, column], minlength=CELLS) for column in range(plan.columns)]
    return np.concatenate([[float(len(rows))], *cells]).astype(np.float64)


def moments_of(plan: ExpansionPlan, rows: F64, edges: F64) -> F64:
    """The second sum: of each feature, and of each product of two."""
    made = plan.features(rows, edges)
    upper = np.triu_indices(made.shape[1])
    return np.concatenate([made.sum(axis=0), (made.T @ made)[upper]])


def join_expansion(
    plan: ExpansionPlan, me: str, rows: F64, stream: SecretStream, held: F64 | None = None
) -> Flow[JointEncoder]:
    """Member: what all members' scores of the first periods, (n, columns) of this one, add up to.

    held: what this member has of an earlier attempt that came to its end here.

    Learns: how many rows all members have in the first periods together; where there are bins, of each column how many
    of these scores lie in each of 128 cells; the sum of each feature over all rows, and of each product of two.
    Leaks: the same of its own rows as a part of these sums: of counts to the members, of moments to the coordinator
    too; to all other members who collude, alone. Where its own rows are too few for moments, only that they are.
    Model: counts as :func:`vfl.federated.shared_sum.add_among`, compared and checked by every member before any moment
    is told, so that no coordinator chooses by them whose features vary. Moments as
    :func:`vfl.federated.secure_sum.add`, with a threshold of all members. A member that cheats makes its counts up: it
    places edges of bins, other ones in each attempt. A member that tells made-up moments, or a coordinator that tells
    everybody a false total, turns everybody's directions. Counts are the same in every run on the same rows, and with
    equal edges the moments of bins: of a member that is in one run and not in another, and of what one member changed
    in between, the difference is its own. Fourier features are of other frequencies in every run, so runs on the same
    rows tell more of them, which nobody counts.
    Source: docs/groups.md#an-expansion-of-a-group.
    """
    making = _summed(plan, me, rows, stream)
    what = Alike(plan.numbers, _FIRST, "expansion", "moments")
    return (yield from hold_alike(plan.group, what, me, held, making))


def _summed(plan: ExpansionPlan, me: str, rows: F64, stream: SecretStream) -> Flow[JointEncoder]:
    sums, members = plan.sums, plan.group.members
    plan.check_own(rows)
    counts = RING.decode((yield from add_among(RING, members, me, RING.encode(counts_of(plan, rows), 0), stream)), 0)
    yield from _compared(members, me, counts)
    plan.check(counts)
    values = RING.encode(moments_of(plan, rows, plan.edges(counts)), _FRACTION)
    made = yield from add(sums, me, plan.number, members, values, stream)
    found = np.concatenate([counts, RING.decode(made.elements, _FRACTION)])
    whitened(plan, found)  # before anybody keeps what makes no columns
    return JointEncoder(found)


def _compared(members: Sequence[str], me: str, counts: F64) -> Flow[None]:
    """The counts that every member added up are the same."""
    others, digest = [name for name in members if name != me], weights_digest(counts)
    for name in others:
        yield Send(name, EncoderHeld(_COUNTS, digest))
    for name in others:
        if (yield from told_held(name, _COUNTS)) != digest:
            raise UnattributedError(
                f"{name} added up other counts of the members' rows than {me}, so no moment is told: it, or another "
                "member, told the two different ones; nothing shows which"
            )


def serve_expansion(plan: ExpansionPlan, gone: set[str]) -> Flow[None]:
    """Coordinator: open the sum of moments, unless enough members hold what came of both sums already.

    Learns: the sum of each feature over all rows of all members, and of each product of two. With bins these add up to
    the number of rows; without, that number can be guessed, and tried against a hash of what members hold of an earlier
    attempt. In which cells scores lie it does not learn.
    Leaks: to every member the sum.
    Model: as :func:`vfl.federated.secure_sum.total`, with a threshold of all members. One that tells everybody a false
    total turns everybody's directions.
    Source: docs/groups.md#an-expansion-of-a-group.
    """
    told = {}
    for name in plan.group.members:
        told[name] = (yield from receive(name, EncoderTold)).digest
    if not common_held(plan.group, told):
        yield from total(plan.sums, plan.number, plan.group.members, plan.moments, gone)


def whitened(plan: ExpansionPlan, sums: F64) -> tuple[F64, F64, F64]:
    """Of the opened sums: edges, the features' means, and the whitening (width, outputs), its directions by variance.

    They are the principal components of the pooled rows.

    Source: docs/groups.md#an-expansion-of-a-group.
    """
    counts, moments = sums[: plan.counted], sums[plan.counted :]
    rows, width, outputs = counts[0], plan.shape.width(plan.columns), plan.shape.outputs
    means, products = moments[:width] / rows, np.zeros((width, width))
    products[np.triu_indices(width)] = moments[width:]
    products += np.triu(products, 1).T
    values, vectors = np.linalg.eigh((products - rows * np.outer(means, means)) / (rows - 1))
    values, vectors = values[::-1][:outputs], vectors[:, ::-1][:, :outputs]
    if not np.isfinite(values).all() or values[-1] <= _SMALLEST * max(values[0], 1e-300):
        raise UnfitSums(
            f"the members' rows have fewer than {outputs} directions that differ: lower group.expand.outputs, or raise "
            "group.expand.fourier or bins"
        )
    largest = np.abs(vectors).argmax(axis=0)
    turned = vectors * np.sign(vectors[largest, np.arange(outputs)])
    return plan.edges(counts), means, turned / np.sqrt(values)
