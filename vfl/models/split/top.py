"""The top model and everything adaptive about training, all at the label party.

The label party sees each opened embedding Z, its own features and its labels, and nothing else. It
fits the top model on them with Adam, and turns dLoss/dZ into an update of the source layer that is
a plain integer addition on shares: learning rate, decay, normalisation and 1/batch are folded in here,
because shares cannot be rescaled later.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vfl.models.split.losses import loss_of
from vfl.terms import SplitModel

__all__ = ["LabelHead", "TopModel"]

CLIP = 6.0
"""Normalised gradients beyond this many standard deviations are clipped, so the encoder's bound is known."""


class TopModel(nn.Module):
    """score = mean over members of skip([z, own]) + outer . tanh(inner([z, own])), all float64.

    residual: the linear skip makes each member a split linear model plus a small correction; ``outer`` starts at zero,
    so training begins exactly linear. linear: the skip alone, so that all members are one. mlp: no skip, and a random
    ``outer``. Members differ in their random layers. Averaging them steadies the score and costs no further opening,
    since all of them read the same embedding. Several outputs (``shares``) are members of their own each; the score is
    their mean weighted by shares that add up to 1.
    """

    def __init__(
        self, width: int, own: int, terms: SplitModel, generator: torch.Generator, shares: Sequence[float] = (1.0,)
    ) -> None:
        super().__init__()
        inputs, members = width + own, terms.members * len(shares)
        hidden = 0 if terms.top == "linear" else terms.hidden
        skip = torch.zeros(members, inputs, dtype=torch.float64)
        skip[:, :width] = 0.3 * torch.randn(width, generator=generator, dtype=torch.float64).sign()
        inner = torch.randn(members, inputs, hidden, generator=generator, dtype=torch.float64) / max(inputs, 1) ** 0.5
        outer = torch.zeros(members, hidden, 1, dtype=torch.float64)
        if terms.top == "mlp":
            skip = torch.zeros_like(skip)
            outer = 0.3 * torch.randn(members, hidden, 1, generator=generator, dtype=torch.float64) / hidden**0.5
        self.shares = None if len(shares) == 1 else torch.tensor(shares, dtype=torch.float64)
        self.skip = nn.Parameter(skip, requires_grad=terms.top != "mlp")
        self.bias = nn.Parameter(torch.zeros(members, dtype=torch.float64))
        self.inner = nn.Parameter(inner)
        self.inner_bias = nn.Parameter(torch.zeros(members, 1, hidden, dtype=torch.float64))
        self.outer = nn.Parameter(outer)

    def members(self, z: Tensor, own: Tensor) -> Tensor:
        """Each member's scores (members, B) of z (B, h) and own (B, d_own)."""
        inputs = torch.cat([z, own], dim=1)
        bent = torch.tanh(inputs @ self.inner + self.inner_bias) @ self.outer
        scores: Tensor = self.skip @ inputs.T + self.bias[:, None] + bent.squeeze(2)
        return scores

    def forward(self, z: Tensor, own: Tensor) -> Tensor:
        """z (B, h), own (B, d_own) -> score (B,)."""
        scores = self.members(z, own)
        if self.shares is None:
            return scores.mean(dim=0)
        return self.shares @ scores.reshape(len(scores) // len(self.shares), len(self.shares), len(z)).mean(dim=0)


class LabelHead:
    """Top model, losses, optimiser and gradient scaling. Deterministic given the terms' seed.

    The loss is that of :func:`vfl.models.split.losses.loss_of`. Classification has the cross-entropy of its class
    instead; a class is to the top model what a member is, with a skip and a small network of its own. So is a
    horizon: the loss is then the mean of theirs, over those of which the batch has labels.

    ``own``: columns of the label party's own features. ``width``: overrides the embedding width (0 trains
    on own features alone). ``shares``: of each horizon in the score, adding up to 1. ``loss`` and ``ic`` tell of the
    last training batch, mean over members, the IC of the first horizon; ``ic`` is NaN where undefined.
    """

    def __init__(
        self, terms: SplitModel, own: int, *, width: int | None = None, shares: Sequence[float] = (1.0,)
    ) -> None:
        if len(shares) > 1 and terms.outputs > 1:
            raise ValueError("several horizons and several classes do not go together: choose another model.loss")
        self.terms = terms
        self.width = terms.embedding_width if width is None else width
        self.own = own
        self.horizons = len(shares)
        self.outputs = max(self.horizons, terms.outputs)
        generator = torch.Generator().manual_seed(terms.seed)
        outputs = shares if terms.outputs == 1 else [1 / terms.outputs] * terms.outputs
        self.model = TopModel(self.width, own, terms, generator, outputs)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=terms.top_learning_rate, weight_decay=terms.weight_decay, foreach=False
        )
        self.batches = 0
        self.loss = float("nan")
        self.ic = float("nan")

    @property
    def gradient_bound(self) -> float:
        """No entry of a gradient that :meth:`train_batch` returns is larger in magnitude."""
        return self.terms.source_learning_rate * CLIP

    def predict(self, z: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores float64 of embeddings (B, h) and own features (B, d_own): (B,), or (B, classes) under softmax.

        A classification's scores are logits.
        """
        with torch.no_grad(), _one_thread():
            if self.terms.loss != "softmax":
                scores: NDArray[np.float64] = self.model(*self._inputs(z, own)).numpy()
            else:
                scores = self._by_output(*self._inputs(z, own)).mean(dim=0).T.numpy()
        return scores

    def predict_each(self, z: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores float64 (B, horizons), one column per horizon, in agreed order."""
        with torch.no_grad(), _one_thread():
            scores: NDArray[np.float64] = self._by_output(*self._inputs(z, own)).mean(dim=0).T.numpy()
        return scores

    def _by_output(self, z: Tensor, own: Tensor) -> Tensor:
        """Each member's outputs (members, horizons or classes, B)."""
        return self.model.members(z, own).reshape(self.terms.members, self.outputs, len(z))

    def train_batch(
        self,
        z: NDArray[np.float64],
        own: NDArray[np.float64],
        label: NDArray[np.float64],
        dates: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Fit on one opened batch and return the source layer's update direction, float64 (B, h).

        label (B,) finite, or (B, horizons) with NaN where a label beyond the first is not known; dates (B,) period of
        each row. Runs ``top_steps`` optimiser steps on the same
        Z, then takes dLoss/dZ, scales each column to unit root mean square, clips, and
        multiplies by learning rate / batch; the source layer does ``W -= X.T @ gradient``.
        """
        if not len(z) == len(own) == len(label) == len(dates) > 0:
            sizes = f"{len(z)} embeddings, {len(own)} own rows, {len(label)} labels and {len(dates)} dates"
            raise ValueError(f"a batch needs one of each per row, not {sizes}")
        first = label.reshape(len(label), -1)[:, 0]
        if not (np.isfinite(z).all() and np.isfinite(first).all()):
            raise ValueError("embeddings and labels of a training batch must be finite")
        if label.size != len(label) * self.horizons:
            raise ValueError(f"labels have shape {label.shape}, and the top model has {self.horizons} horizons")
        if self.terms.loss in ("logistic", "softmax"):
            classes = max(self.terms.outputs, 2)
            if not np.isin(label[~np.isnan(label)], np.arange(classes)).all():
                raise ValueError(f"labels of the {self.terms.loss} loss are whole numbers from 0 to {classes - 1}")
        with _one_thread():
            embedding, features = self._inputs(z, own)
            target, when = torch.from_numpy(np.array(label, dtype=np.float64)), torch.from_numpy(np.array(dates))
            for group in self.optimiser.param_groups:
                group["lr"] = self.terms.top_learning_rate / (1.0 + self.terms.top_decay * self.batches)
            for _ in range(self.terms.top_steps):
                self.optimiser.zero_grad()
                torch.autograd.backward(self._loss(embedding, features, target, when))
                self.optimiser.step()
            if not self.width:
                self.loss = float(self._loss(embedding, features, target, when).detach())
                self.batches += 1
                return np.zeros((len(label), 0))
            embedding.requires_grad_(True)
            loss = self._loss(embedding, features, target, when)
            (slope,) = torch.autograd.grad(loss, embedding)
        self.loss = float(loss.detach())
        rate = self.terms.source_learning_rate / (1.0 + self.terms.source_decay * self.batches)
        self.batches += 1
        scale = torch.sqrt((slope**2).mean(dim=0, keepdim=True))
        direction = torch.where(scale > 1e-12, slope / scale.clamp_min(1e-12), 0.0).clamp(-CLIP, CLIP)
        gradient: NDArray[np.float64] = (direction * (rate / len(label))).numpy()
        return gradient

    def _inputs(self, z: NDArray[np.float64], own: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        if z.shape[1:] != (self.width,) or own.shape[1:] != (self.own,):
            raise ValueError(
                f"the top model takes {self.width} embedding and {self.own} own columns, "
                f"not {z.shape[1:]} and {own.shape[1:]}"
            )
        return torch.from_numpy(np.array(z, dtype=np.float64)), torch.from_numpy(np.array(own, dtype=np.float64))

    def _loss(self, z: Tensor, own: Tensor, label: Tensor, dates: Tensor) -> Tensor:
        if self.terms.loss == "softmax":
            by_class = self._by_output(z, own).transpose(1, 2).reshape(-1, self.terms.outputs)
            return nn.functional.cross_entropy(by_class, label.long().repeat(self.terms.members))
        scores = self._by_output(z, own)
        losses: list[Tensor] = []
        for horizon, wanted in enumerate(label.reshape(len(label), -1).T):
            known = ~torch.isnan(wanted)
            if bool(known.any()):
                loss, ic = loss_of(self.terms, scores[:, horizon, known], wanted[known], dates[known])
                losses.append(loss)
                self.ic = self.ic if horizon else ic
        return torch.stack(losses).mean()

    def scorer(self) -> bytes:
        """The top model alone, as safetensors: enough for :meth:`predict`, a few kilobytes."""
        return safetensors.torch.save({f"model.{k}": v.clone() for k, v in self.model.state_dict().items()})

    def load_scorer(self, data: bytes) -> None:
        """Take the top model from :meth:`scorer` or :meth:`snapshot`; the optimiser stays as it is."""
        tensors = safetensors.torch.load(data)
        wanted = self.model.state_dict()
        got = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        if {k: v.shape for k, v in got.items()} != {k: v.shape for k, v in wanted.items()}:
            raise ValueError("the saved top model has other shapes; use the terms it was trained under")
        self.model.load_state_dict(got)

    def snapshot(self) -> bytes:
        """Everything needed to go on: model, optimiser and step count, as safetensors."""
        tensors = {f"model.{k}": v.clone() for k, v in self.model.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": v.clone() for k, v in state.items()}
        tensors["batches"] = torch.tensor(self.batches, dtype=torch.int64)
        return safetensors.torch.save(tensors)

    def restore(self, data: bytes) -> None:
        """Go on exactly where :meth:`snapshot` was taken. Raises ValueError when the shapes do not fit the terms."""
        self.load_scorer(data)
        tensors = safetensors.torch.load(data)
        if "batches" not in tensors:
            raise ValueError("this is a scorer, not a snapshot: it lacks the optimiser's state")
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimiser."):
                _, index, key = name.split(".", 2)
                state.setdefault(int(index), {})[key] = tensor
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
        self.batches = int(tensors["batches"])


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in a fixed order whatever the machine's core count; these products are too small to share anyway."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
