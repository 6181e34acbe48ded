"""A member's part of a group's encoder: what it trains on of its own panel, and its codes under the common weights.

Windows end in the first ``fit_periods`` alone, and there is no code for these; a code of period t reads what was known
at the cutoffs up to t. Both are made of this member's own entities: where it has nothing there is no row to train on
and no code. Sources: those of :mod:`parties.data.encoder` and :mod:`vfl.federated.rounds`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parties.data.encoder import SequenceEncoder, codes_of, padded_steps, restoration_loss, windows_of
from parties.errors import DataError
from vfl.encoder_terms import EncoderShape
from vfl.federated.learning import ModuleLearner
from vfl.federated_terms import FederatedRounds

__all__ = ["EncoderLearner", "encoder_learner", "group_codes"]

Floats = NDArray[np.float64]
_DECODER = "decoder."


class EncoderLearner(ModuleLearner):
    """Trains the encoder on a member's windows, one thread at a time: the same data and seed give the same bits."""

    def train(self, weights: Floats, number: int) -> Floats:
        with _one_thread():
            return super().train(weights, number)


def encoder_learner(
    raw: Floats,
    shape: EncoderShape,
    rounds: FederatedRounds,
    columns: tuple[str, ...],
    seed: int,
    *,
    winsorise: float,
    who: str,
) -> EncoderLearner:
    """A member's learner of raw as-of values (T, n, d), NaN where missing; first weights from ``seed``.

    Raises :class:`DataError` where no window of the first periods has a value.
    """
    padded = padded_steps(raw, shape, columns, winsorise=winsorise)
    until, entities, width = min(shape.fit_periods, len(raw)), raw.shape[1], padded.shape[2] // 2
    period, entity = (grid.reshape(-1) for grid in np.mgrid[:until, :entities])
    windows = windows_of(padded, shape.window, period, entity)
    windows = windows[windows[:, :, width:].any(axis=(1, 2))]
    if not len(windows):
        raise DataError(
            f"{who} has no value in the first {shape.fit_periods} periods, on which its group trains: propose a larger "
            "encoder.fit_periods, a later calendar, or the group without it"
        )
    encoder, held = _encoder(shape, width, seed), torch.from_numpy(windows)

    def loss(chosen: Tensor, generator: torch.Generator) -> Tensor:
        rows = held[chosen]
        hidden = torch.zeros(rows.shape[:2], dtype=torch.bool)
        if shape.task == "masked":
            hidden = torch.rand(rows.shape[:2], generator=generator, dtype=torch.float64) < shape.masked_share
        else:
            hidden[:, -1] = True
        found = restoration_loss(encoder, rows, hidden)
        # nothing was hidden that has a value: these rows move nothing
        return sum((one.sum() for one in encoder.parameters()), torch.zeros(())) * 0.0 if found is None else found

    return EncoderLearner(encoder, loss, len(windows), rounds, _DECODER if rounds.personal_head else "")


def group_codes(
    raw: Floats,
    shape: EncoderShape,
    columns: tuple[str, ...],
    weights: Floats | None,
    *,
    winsorise: float,
) -> Floats:
    """Codes (T, n, outputs) under common weights, those that restore values left out or not; NaN where there is none.

    None for weights: before they are trained there is no code at all.
    """
    codes = np.full((*raw.shape[:2], shape.outputs), np.nan)
    if weights is None or not raw.shape[1]:
        return codes
    padded = padded_steps(raw, shape, columns, winsorise=winsorise)
    encoder = _encoder(shape, padded.shape[2] // 2, 0)
    shared = [one for name, one in encoder.named_parameters() if not name.startswith(_DECODER)]
    if len(weights) != sum(one.numel() for one in shared):
        shared = list(encoder.parameters())
    if len(weights) != sum(one.numel() for one in shared):
        raise DataError("these are the weights of another encoder than [party.encoder] says: propose the run again")
    torch.nn.utils.vector_to_parameters(torch.from_numpy(weights.copy()), shared)
    with _one_thread():
        for period in range(shape.fit_periods, len(raw)):
            codes[period] = codes_of(encoder, shape, padded, period, torch.device("cpu"))
    return codes


def _encoder(shape: EncoderShape, columns: int, seed: int) -> SequenceEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SequenceEncoder(shape, columns).to(torch.float64)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
