"""How a predicted row's score opens to the label party, whatever model was trained on shares: modulo 2**17."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, RemoteProtocolError, receive
from vfl.arithmetic.bit_packing import unpack_bits
from vfl.arithmetic.prime_ring import PRIME
from vfl.arithmetic.received import MalformedError
from vfl.models.sealed.messages import Scores
from vfl.models.sealed.scales import SCORE_BITS
from vfl.terms import SealedModel
from vfl.walk.schedule import Step

__all__ = ["FEWEST_JUDGED", "NEAR_THE_END", "check_scores", "open_scores", "short_share"]

U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]


NEAR_THE_END = 0.75
"""Of the largest score: garbage that wraps is beyond it in a quarter of the rows, a score of use in none."""

FEWEST_JUDGED = 20
"""Scores of which a share is judged."""


def short_share(share: U64, bits: int) -> U64:
    """The label party's share, modulo 2**bits, of numbers below that, from its share in Z_p.

    Two uniform shares of a small number wrap once; of a number of 17 bits they do not but for one row in 2**42.
    """
    less = np.uint64(-PRIME % (1 << bits))
    return (share + less) & np.uint64((1 << bits) - 1)


def open_scores(anchor: str, step: int, share: NDArray[np.integer], fraction: int) -> Flow[F64]:
    """The label party: scores (rows,) in label deviations, from its short shares and the anchor's.

    fraction: their fractional bits.

    Learns: 17 bits of each row: its score.
    Leaks: nothing.
    Model: whatever it put into operands before, no more than 17 bits a row arrive.
    Source: docs/protocols/sealed.md#a-step.
    """
    got = yield from receive(anchor, Scores)
    if got.step != step:
        raise RemoteProtocolError(f"opened the scores of step {got.step} at step {step}", anchor)
    try:
        theirs = unpack_bits(got.values, SCORE_BITS, len(share), 1 << SCORE_BITS)
    except MalformedError as error:
        raise RemoteProtocolError(str(error), anchor) from None
    unused = 64 - SCORE_BITS
    signed = ((share.astype(np.uint64) + theirs) << np.uint64(unused)).astype(np.int64) >> np.int64(unused)
    return np.ldexp(signed.astype(np.float64), -fraction)


def check_scores(step: Step, scores: F64, terms: SealedModel) -> None:
    """Raise LocalProtocolError where scores fill the range that they wrap in: training has left the ring."""
    near = NEAR_THE_END * terms.score_limit
    beyond = int((np.abs(scores) >= near).sum())
    if beyond * 20 > len(scores) >= FEWEST_JUDGED:
        raise LocalProtocolError(
            f"{beyond} of {len(scores)} scores of step {step.number} are {near:g} or more deviations of the "
            f"label from 0, so training has diverged: lower model.linear_rate = {terms.linear_rate:g} and "
            f"model.square_rate = {terms.square_rate:g}, or raise model.score_limit"
        )
