"""A party's own sequence encoder: what the last periods of its columns have in common, as a few further columns.

It is trained on this party's history alone, without labels: some steps of a window are hidden, and each is restored
from the values beside it by an autoregression whose coefficients follow from the code of the rest. What the neighbours
tell is no news, so the code learns how the window moves: its level, its regularity, the sign of its autocorrelation.

Nothing looks ahead. The code of period t reads what was known at the cutoffs up to t. Its weights were fitted on
periods before the block that t is in: the first ``fit_periods``, or, with ``refit_every``, all before the block. Before
the first fit there is no code. Everything follows from the data and the seed: torch draws nothing else, and on a CPU
it adds up in one order. Nothing leaves the node but what any other column would.

Source: LSTM of Hochreiter and Schmidhuber (1997) with the additive attention of Bahdanau, Cho and Bengio (2015);
Transformer encoder of Vaswani et al. (2017); masked restoration after Devlin et al. (2019).
"""

from __future__ import annotations

import logging
import time
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parties.data.preprocess import cross_sectional_scores, winsorised
from parties.errors import ConfigError
from vfl.encoder_terms import EncoderSettings, EncoderShape

__all__ = ["SequenceEncoder", "codes_of", "encoded", "padded_steps", "restoration_loss", "windows_of"]

_LOG = logging.getLogger(__name__)

Floats = NDArray[np.float64]


class SequenceEncoder(nn.Module):
    """Windows (B, window, channels) to codes (B, outputs) in (-1, 1), and restored values (B, window, columns)."""

    def __init__(self, terms: EncoderShape, columns: int) -> None:
        super().__init__()
        channels, hidden = 2 * columns, terms.hidden
        self.kind = terms.kind
        if terms.kind == "lstm":
            self.reader: nn.Module = nn.LSTM(channels, hidden, batch_first=True)
        else:
            self.entry = nn.Linear(channels, hidden)
            self.places = nn.Parameter(0.1 * torch.randn(terms.window, hidden))
            self.reader = nn.TransformerEncoderLayer(
                hidden, 2, 2 * hidden, dropout=0.0, batch_first=True, norm_first=True
            )
        self.attention = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))
        self.code = nn.Linear(hidden, terms.outputs)
        self.decoder = nn.Sequential(nn.Linear(terms.outputs, hidden), nn.Tanh(), nn.Linear(hidden, 3 * columns))

    def encode(self, windows: Tensor) -> Tensor:
        """The code of each window."""
        if self.kind == "lstm":
            states, _ = self.reader(windows)
        else:
            states = self.reader(self.entry(windows) + self.places)
        weights = torch.softmax(self.attention(states), dim=1)
        return torch.tanh(self.code((weights * states).sum(dim=1)))

    def restore(self, windows: Tensor, code: Tensor) -> Tensor:
        """Every step's values from the code and the two steps beside it; ``windows`` has the hidden steps blank."""
        values = windows[:, :, : windows.shape[2] // 2]
        nothing = torch.zeros_like(values[:, :1])
        before, after = torch.cat([nothing, values[:, :-1]], 1), torch.cat([values[:, 1:], nothing], 1)
        level, backward, forward = self.decoder(code)[:, None, :].chunk(3, dim=2)
        restored: Tensor = level + backward * before + forward * after
        return restored


def encoded(raw: Floats, terms: EncoderSettings, columns: tuple[str, ...], *, winsorise: float, who: str) -> Floats:
    """Codes (T, n, outputs) of raw as-of values (T, n, d) with NaN where missing; NaN where there is no code.

    ``columns`` names the d columns. Without any value in its window an entity has no code. ``who`` is for the log.
    Raises :class:`ConfigError` for a device that is not there.
    """
    padded = padded_steps(raw, terms, columns, winsorise=winsorise)
    codes = np.full((*raw.shape[:2], terms.outputs), np.nan)
    if not raw.shape[1]:
        return codes
    device = _device(terms)
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(terms.seed)
        torch.set_num_threads(1)
        try:
            model = SequenceEncoder(terms, padded.shape[2] // 2).to(torch.float64).to(device)
            generator = np.random.default_rng(terms.seed)
            for start, stop in _blocks(terms, len(raw)):
                began = time.monotonic()
                loss = _fit(model, terms, padded, start, generator, device)
                for period in range(start, stop):
                    codes[period] = codes_of(model, terms, padded, period, device)
                _LOG.info(
                    "%s: encoder fitted on %d periods in %.1f s (restoration error %.3f), for periods %d to %d",
                    who, start, time.monotonic() - began, loss, start + 1, stop,
                )  # fmt: skip
        finally:
            torch.set_num_threads(threads)
    return codes


def _device(terms: EncoderSettings) -> torch.device:
    if terms.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError('encoder.device = "cuda", but torch finds no GPU on this machine: set it to "cpu"')
    return torch.device(terms.device)


def _blocks(terms: EncoderSettings, periods: int) -> list[tuple[int, int]]:
    """Periods [start, stop) that one fit serves, each fitted on the periods before its start."""
    starts = list(range(terms.fit_periods, periods, terms.refit_every or periods))
    return list(pairwise([*starts, periods])) if starts else []


def padded_steps(raw: Floats, terms: EncoderShape, columns: tuple[str, ...], *, winsorise: float) -> Floats:
    """What an encoder reads of raw as-of values (T, n, d): scores within each period and which there are, behind
    ``window - 1`` empty periods; (T + window - 1, n, 2 columns).
    """
    picked = [columns.index(name) for name in (terms.columns or columns)]
    scores, _ = cross_sectional_scores(winsorised(raw[:, :, picked], winsorise))
    present = np.isfinite(scores)
    steps = np.concatenate([np.where(present, scores, 0.0), present], axis=2).astype(np.float64)
    return np.concatenate([np.zeros((terms.window - 1, *steps.shape[1:])), steps])


def windows_of(padded: Floats, window: int, period: NDArray[np.int64], entity: NDArray[np.int64]) -> Floats:
    """Windows (B, window, channels) that end at these periods."""
    gathered: Floats = padded[period[:, None] + np.arange(window), entity[:, None]]
    return gathered


def _fit(
    model: SequenceEncoder,
    terms: EncoderSettings,
    padded: Floats,
    before: int,
    generator: np.random.Generator,
    device: torch.device,
) -> float:
    """Train on windows that end before period ``before``; the mean error of the last steps."""
    optimiser = torch.optim.Adam(model.parameters(), lr=terms.learning_rate, foreach=False)
    entities = padded.shape[1]
    losses: list[float] = []
    for _ in range(terms.steps):
        period = generator.integers(min(1, before - 1), before, terms.batch_rows)
        entity = generator.integers(0, entities, terms.batch_rows)
        windows = torch.from_numpy(windows_of(padded, terms.window, period, entity)).to(device)
        if terms.task == "masked":
            hidden = torch.from_numpy(generator.random(windows.shape[:2]) < terms.masked_share).to(device)
        else:
            hidden = torch.zeros(windows.shape[:2], dtype=torch.bool, device=device)
            hidden[:, -1] = True
        loss = restoration_loss(model, windows, hidden)
        if loss is None:
            continue
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=False)
        optimiser.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses[-20:])) if losses else float("nan")


def restoration_loss(model: SequenceEncoder, windows: Tensor, hidden: Tensor) -> Tensor | None:
    """Mean squared error of the hidden steps (B, window), where they have values; None where none has."""
    columns = windows.shape[2] // 2
    blank = torch.where(hidden[:, :, None], 0.0, windows)
    wanted = hidden[:, :, None] & (windows[:, :, columns:] > 0)
    if not bool(wanted.any()):
        return None
    restored = model.restore(blank, model.encode(blank))
    loss: Tensor = ((restored - windows[:, :, :columns])[wanted] ** 2).mean()
    return loss


def codes_of(model: SequenceEncoder, terms: EncoderShape, padded: Floats, period: int, device: torch.device) -> Floats:
    """Codes (n, outputs) at one period, NaN for entities without a value in the window."""
    entity = np.arange(padded.shape[1])
    windows = windows_of(padded, terms.window, np.full(len(entity), period), entity)
    empty: NDArray[np.bool_] = np.logical_not(windows[:, :, windows.shape[2] // 2 :].any(axis=(1, 2)))
    if terms.task == "next":
        # the step to predict is hidden, as it was in training
        windows = np.concatenate([windows[:, 1:], np.zeros_like(windows[:, :1])], axis=1)
    with torch.no_grad():
        codes: Floats = model.encode(torch.from_numpy(windows).to(device)).cpu().numpy()
    return np.where(empty[:, None], np.nan, codes)
