"""A member's own training of a torch module: local epochs from the common weights, drawn to them as FedProx does.

Sources: Li, Sahu, Zaheer, Sanjabi, Talwalkar and Smith, "Federated Optimization in Heterogeneous Networks", MLSys
2020 (the proximal term); Arivazhagan, Aggarwal, Singh and Choudhary, "Federated Learning with Personalization Layers",
doi:10.48550/arXiv.1912.00818 (the personalised head).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vfl.federated_terms import FederatedModel, FederatedRounds

__all__ = ["Loss", "ModuleLearner", "network", "network_learner", "scores_of"]

F64 = NDArray[np.float64]
Loss = Callable[[Tensor, torch.Generator], Tensor]
"""The loss of some rows, by their places; the generator serves what a loss draws."""

_HEAD = "head."


class ModuleLearner:
    """Trains ``module``, all float64. personal: parameters whose names begin so stay at home."""

    def __init__(self, module: nn.Module, loss: Loss, rows: int, terms: FederatedRounds, personal: str = "") -> None:
        self.module, self._loss, self._rows, self._terms = module, loss, rows, terms
        named = list(module.named_parameters())
        self._shared = [one for name, one in named if not (personal and name.startswith(personal))]
        self._own = [one for name, one in named if personal and name.startswith(personal)]
        self._all = [one for _, one in named]

    @property
    def rows(self) -> int:
        return self._rows

    @property
    def weights(self) -> F64:
        """The shared parameters as one vector."""
        vector: F64 = nn.utils.parameters_to_vector(self._shared).detach().numpy().astype(np.float64)
        return vector

    def load(self, weights: F64) -> None:
        """Take the common weights. Raises ValueError for another number of them."""
        if len(weights) != sum(one.numel() for one in self._shared):
            raise ValueError("these are the weights of another network")
        nn.utils.vector_to_parameters(torch.from_numpy(weights.copy()), self._shared)

    @property
    def own(self) -> F64:
        """The parameters that stay at home, as one vector; empty where none do."""
        if not self._own:
            return np.zeros(0)
        vector: F64 = nn.utils.parameters_to_vector(self._own).detach().numpy().astype(np.float64)
        return vector

    def load_own(self, weights: F64) -> None:
        """Take parameters of this member's own up again."""
        if self._own:
            nn.utils.vector_to_parameters(torch.from_numpy(weights.copy()), self._own)

    def train(self, weights: F64, number: int) -> F64:
        terms = self._terms
        self.load(weights)
        begun = torch.from_numpy(weights.copy())
        generator = torch.Generator().manual_seed(terms.seed * 1_000_003 + number)
        optimiser = torch.optim.Adam(
            self._all, lr=terms.learning_rate, weight_decay=terms.weight_decay, foreach=False
        )  # fmt: skip
        for _ in range(terms.local_epochs):
            order = torch.randperm(self._rows, generator=generator)
            for start in range(0, self._rows, terms.batch_rows):
                loss = self._loss(order[start : start + terms.batch_rows], generator)
                if terms.proximal:
                    moved = nn.utils.parameters_to_vector(self._shared) - begun
                    loss = loss + 0.5 * terms.proximal * (moved @ moved)
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
        return self.weights


class _Network(nn.Module):
    """A tanh layer and a line, or a line alone."""

    def __init__(self, columns: int, hidden: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(columns, hidden), nn.Tanh()) if hidden else nn.Identity()
        self.head = nn.Linear(hidden or columns, 1)

    def forward(self, rows: Tensor) -> Tensor:
        made: Tensor = self.head(self.body(rows))[:, 0]
        return made


def network(columns: int, terms: FederatedModel, seed: int) -> nn.Module:
    """The agreed network at its first weights, the same for everyone who has the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _Network(columns, terms.hidden).to(torch.float64)


def network_learner(rows: F64, labels: F64, terms: FederatedModel, seed: int) -> ModuleLearner:
    """A member's learner of the agreed network on its rows (rows, columns) and their labels (rows,)."""
    module, values, wanted = network(rows.shape[1], terms, seed), torch.from_numpy(rows), torch.from_numpy(labels)

    def loss(chosen: Tensor, _: torch.Generator) -> Tensor:
        squared: Tensor = (module(values[chosen]) - wanted[chosen]) ** 2
        return squared.mean()

    return ModuleLearner(module, loss, len(rows), terms, _HEAD if terms.personal_head else "")


def scores_of(module: nn.Module, rows: F64) -> F64:
    """The network's scores of rows (rows, columns)."""
    with torch.no_grad():
        made: F64 = module(torch.from_numpy(rows)).numpy()
    return made
