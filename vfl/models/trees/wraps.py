"""Whether a predicted score wrapped: one number of a prediction, which the scores that opened give where none did.

A score opens modulo 2**17, so one beyond +-score_limit would come as another number. Of the truncated scores s, whose
shares the holders have in Z_p, the sum of w s opens too, with w public and uniform in Z_p. The label party has the
same sum of the scores as they opened. Where none wrapped both are equal, so the number tells nothing that was not
open; where some did they differ, but for one time in p.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, RemoteProtocolError, receive
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.models.trees.messages import ScoreCheck, flat_elements
from vfl.models.trees.scales import beyond_score_limit
from vfl.tree_terms import TreesModel

__all__ = ["check_wraps", "folded"]

U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]


def folded(terms: TreesModel, step: int, scores: U64) -> U64:
    """The sum (1,) of elements (rows,) of Z_p under the step's weights, which everyone knows."""
    key = hashlib.sha256(f"entente/trees/wraps/{terms.seed}".encode()).digest()
    weights = PRIME_RING.uniform(SecretStream(key).child(str(step)), scores.shape)
    return PRIME_RING.sum(PRIME_RING.mul(weights, scores).reshape(-1, 1), axis=0)


def check_wraps(anchor: str, terms: TreesModel, step: int, share: U64, scores: F64) -> Flow[None]:
    """The label party: raise LocalProtocolError where one of these opened scores (rows,) has wrapped.

    share: its own of the folded scores, (1,).

    Learns: that none wrapped; where one did, 59 bits of how often each.
    Leaks: nothing.
    Model: whatever it put into operands before, no more than 59 bits arrive.
    Source: docs/protocols/trees.md#a-prediction.
    """
    got = yield from receive(anchor, ScoreCheck)
    if got.step != step:
        raise RemoteProtocolError(f"checked the scores of step {got.step} at step {step}", anchor)
    whole = PRIME_RING.add(share, flat_elements(got.value, 1, anchor))
    opened = np.rint(np.ldexp(scores, terms.score_fraction)).astype(np.int64)
    if not np.array_equal(whole, folded(terms, step, PRIME_RING.wrap(opened))):
        raise LocalProtocolError(beyond_score_limit(terms, step))
