"""The top model and everything adaptive about training, all at the label party.

The label party sees each opened embedding Z, its own features and its labels, and nothing else. It
fits the top model on them with Adam, and turns dLoss/dZ into an update of the source layer that is
a plain integer addition on shares: learning rate, decay, normalisation and 1/batch are folded in here,
because shares cannot be rescaled later.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vfl.plan import SplitModel

__all__ = ["LabelHead", "TopModel", "information_coefficient"]

CLIP = 6.0
"""Normalised gradients beyond this many standard deviations are clipped, so the encoder's bound is known."""

SMALLEST_DATE = 3
"""Rows a date needs for its correlation to mean anything."""


class TopModel(nn.Module):
    """score = mean over members of skip([z, own]) + outer . tanh(inner([z, own])), all float64.

    The linear skip makes each member a split linear model plus a small correction; ``outer`` starts at zero, so
    training begins exactly linear. Members differ in their random ``inner`` layers. Averaging them steadies the
    score and costs no further opening, since all of them read the same embedding.
    """

    def __init__(self, width: int, own: int, hidden: int, members: int, generator: torch.Generator) -> None:
        super().__init__()
        inputs = width + own
        skip = torch.zeros(members, inputs, dtype=torch.float64)
        skip[:, :width] = 0.3 * torch.randn(width, generator=generator, dtype=torch.float64).sign()
        inner = torch.randn(members, inputs, hidden, generator=generator, dtype=torch.float64) / max(inputs, 1) ** 0.5
        self.skip = nn.Parameter(skip)
        self.bias = nn.Parameter(torch.zeros(members, dtype=torch.float64))
        self.inner = nn.Parameter(inner)
        self.inner_bias = nn.Parameter(torch.zeros(members, 1, hidden, dtype=torch.float64))
        self.outer = nn.Parameter(torch.zeros(members, hidden, 1, dtype=torch.float64))

    def members(self, z: Tensor, own: Tensor) -> Tensor:
        """Each member's scores (members, B) of z (B, h) and own (B, d_own)."""
        inputs = torch.cat([z, own], dim=1)
        bent = torch.tanh(inputs @ self.inner + self.inner_bias) @ self.outer
        scores: Tensor = self.skip @ inputs.T + self.bias[:, None] + bent.squeeze(2)
        return scores

    def forward(self, z: Tensor, own: Tensor) -> Tensor:
        """z (B, h), own (B, d_own) -> score (B,)."""
        return self.members(z, own).mean(dim=0)


def information_coefficient(score: Tensor, label: Tensor, dates: Tensor) -> Tensor | None:
    """Mean over dates of the Pearson correlation of each score (..., B) with label (B,): (...,), differentiable.

    Dates with fewer than three rows do not count, nor do those where the label or any score is constant; None
    when no date counts.
    """
    _, index = torch.unique(dates, return_inverse=True)
    count = torch.bincount(index).to(score.dtype)

    def total(x: Tensor) -> Tensor:
        return torch.zeros(*x.shape[:-1], len(count), dtype=x.dtype).index_add(-1, index, x)

    def centred(x: Tensor) -> Tensor:
        return x - (total(x) / count)[..., index]

    s, y = centred(score), centred(label)
    ss, yy, sy = total(s * s), total(y * y), total(s * y)
    good = (count >= SMALLEST_DATE) & (ss > 1e-12).reshape(-1, len(count)).all(dim=0) & (yy > 1e-12)
    if not bool(good.any()):
        return None
    return (sy[..., good] / torch.sqrt(ss[..., good] * yy[good])).mean(dim=-1)


class LabelHead:
    """Top model, losses, optimiser and gradient scaling. Deterministic given the terms' seed.

    The loss is the mean over members of (1 - w) * squared error + w * (1 - per-date IC), w = ``ic_weight``;
    a batch in which no date has an IC counts its squared error alone. Classification has the cross-entropy of its
    class instead; a class is to the top model what a member is, with a skip and a small network of its own.

    ``own``: columns of the label party's own features. ``width``: overrides the embedding width (0 trains
    on own features alone). ``loss`` and ``ic`` tell of the last training batch, mean over
    members; ``ic`` is NaN where undefined.
    """

    def __init__(self, terms: SplitModel, own: int, *, width: int | None = None) -> None:
        self.terms = terms
        self.width = terms.embedding_width if width is None else width
        self.own = own
        generator = torch.Generator().manual_seed(terms.seed)
        self.model = TopModel(self.width, own, terms.hidden, terms.members * terms.outputs, generator)
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
                scores = self._by_class(*self._inputs(z, own)).mean(dim=0).T.numpy()
        return scores

    def _by_class(self, z: Tensor, own: Tensor) -> Tensor:
        """Each member's logits (members, classes, B)."""
        return self.model.members(z, own).reshape(self.terms.members, self.terms.outputs, len(z))

    def train_batch(
        self,
        z: NDArray[np.float64],
        own: NDArray[np.float64],
        label: NDArray[np.float64],
        dates: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Fit on one opened batch and return the source layer's update direction, float64 (B, h).

        label (B,) finite, dates (B,) period of each row. Runs ``top_steps`` optimiser steps on the same
        Z, then takes dLoss/dZ, scales each column to unit root mean square, clips, and
        multiplies by learning rate / batch; the source layer does ``W -= X.T @ gradient``.
        """
        if not len(z) == len(own) == len(label) == len(dates) > 0:
            sizes = f"{len(z)} embeddings, {len(own)} own rows, {len(label)} labels and {len(dates)} dates"
            raise ValueError(f"a batch needs one of each per row, not {sizes}")
        if not (np.isfinite(z).all() and np.isfinite(label).all()):
            raise ValueError("embeddings and labels of a training batch must be finite")
        if self.terms.loss != "regression":
            classes = max(self.terms.outputs, 2)
            if not np.isin(label, np.arange(classes)).all():
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
        if self.terms.loss == "logistic":
            logits = self.model.members(z, own)
            return nn.functional.binary_cross_entropy_with_logits(logits, label.expand_as(logits))
        if self.terms.loss == "softmax":
            by_class = self._by_class(z, own).transpose(1, 2).reshape(-1, self.terms.outputs)
            return nn.functional.cross_entropy(by_class, label.long().repeat(self.terms.members))
        scores = self.model.members(z, own)
        weight = self.terms.ic_weight
        squared: Tensor = ((scores - label) ** 2).mean()
        ics = information_coefficient(scores, label, dates)
        self.ic = float("nan") if ics is None else float(ics.detach().mean())
        return squared if ics is None else (1.0 - weight) * squared + weight * (1.0 - ics.mean())

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
