"""Four members on a panel that differs between them: an encoder trained together, pooled, and by each alone.

Each member standardises its columns by itself, trains the sequence encoder of docs/models.md without labels, and fits
a ridge of its own on the codes; the figure is the mean rank IC over members and later periods, and the seconds of the
secure sums. Run: python -m benchmarks.federated
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from parties.data.encoder import SequenceEncoder
from parties.settings.consortium import EncoderSettings
from psi.flow import run_local
from vfl.arithmetic.randomness import SecretStream
from vfl.federated.learning import ModuleLearner
from vfl.federated.rounds import Rounds, aggregate, take_part
from vfl.federated.twin import in_plain
from vfl.federated_terms import FederatedModel

__all__ = ["ENCODER", "MODEL", "Panel", "compared", "simulated"]

F64 = NDArray[np.float64]
MEMBERS = ("north", "south", "east", "west")
COORDINATOR = "coordinator"
ENCODER = EncoderSettings(window=6, outputs=1, hidden=6)
MODEL = FederatedModel(rounds=10, local_epochs=4, batch_rows=64, learning_rate=0.03, weight_decay=0.0)


@dataclass(frozen=True)
class Panel:
    """One member's columns (T, n, d), standardised by period, and the label that each period's end tells (T, n)."""

    columns: F64
    label: F64


def simulated(periods: int = 48, entities: int = 8, seed: int = 0) -> dict[str, Panel]:
    """A slow hidden state of each entity drives the label; columns see it through noise that differs by member."""
    draw = np.random.default_rng(seed)
    found = {}
    for place, name in enumerate(MEMBERS):
        state = np.zeros((periods, entities))
        for period in range(1, periods):
            state[period] = 0.95 * state[period - 1] + 0.3 * draw.normal(size=entities)
        loadings = np.array([1.0, 0.7, -0.8, 0.0, 0.0, 0.0]) + 0.1 * draw.normal(size=6)
        loadings[place % 3] *= 0.3  # one column says little here and more elsewhere
        noise = 1.3 * (0.8 + 0.2 * place)
        columns = state[:, :, None] * loadings + draw.normal(size=(periods, entities, 6)) * noise
        spread = columns.std(axis=1, keepdims=True)
        columns = (columns - columns.mean(axis=1, keepdims=True)) / spread
        found[name] = Panel(columns, state + 0.5 * draw.normal(size=state.shape))
    return found


def _windows(panels: Sequence[Panel], terms: EncoderSettings, first: int, last: int) -> F64:
    """Windows (rows, window, 2 d) that end in periods [first, last), a period's entities together."""
    rows = []
    for panel in panels:
        steps = np.concatenate([panel.columns, np.ones_like(panel.columns)], axis=2)
        rows += [steps[t - terms.window + 1 : t + 1].transpose(1, 0, 2) for t in range(first, last)]
    return np.concatenate(rows)


def _learner(panels: Sequence[Panel], terms: EncoderSettings, model: FederatedModel, until: int) -> ModuleLearner:
    windows = torch.from_numpy(_windows(panels, terms, terms.window - 1, until))
    columns = windows.shape[2] // 2
    with torch.random.fork_rng():
        torch.manual_seed(model.seed)
        encoder = SequenceEncoder(terms, columns).to(torch.float64)

    def loss(chosen: Tensor, generator: torch.Generator) -> Tensor:
        rows = windows[chosen]
        hidden = torch.rand(rows.shape[:2], generator=generator, dtype=torch.float64) < terms.masked_share
        blank = torch.where(hidden[:, :, None], 0.0, rows)
        restored = encoder.restore(blank, encoder.encode(blank))
        return ((restored - rows[:, :, :columns])[hidden] ** 2).mean()

    return ModuleLearner(encoder, loss, len(windows), model)


def _rank_ic(weights: F64, learner: ModuleLearner, panel: Panel, terms: EncoderSettings, until: int) -> float:
    """Of a ridge on the codes, fitted on periods before ``until``, in the later ones."""
    learner.load(weights)
    entities, encoder = panel.label.shape[1], learner.module
    assert isinstance(encoder, SequenceEncoder)
    with torch.no_grad():
        windows = torch.from_numpy(_windows([panel], terms, terms.window - 1, len(panel.label)))
        codes = encoder.encode(windows).numpy().reshape(-1, entities, terms.outputs)
    codes = codes - codes.mean(axis=1, keepdims=True)
    label = panel.label[terms.window - 1 :]
    split = until - terms.window + 1
    known, wanted = codes[:split].reshape(-1, terms.outputs), label[:split].reshape(-1)
    known = known / (spread := known.std(axis=0) + 1e-9)
    fitted = np.linalg.solve(known.T @ known + 20.0 * np.eye(terms.outputs), known.T @ wanted)
    scores = (codes[split:] / spread) @ fitted
    return float(np.mean([spearmanr(a, b).statistic for a, b in zip(scores, label[split:], strict=True)]))


def compared(model: FederatedModel, terms: EncoderSettings, panels: Mapping[str, Panel]) -> dict[str, float]:
    """Mean rank IC over members: encoders of each alone, federated, and pooled, after as many passes over rows each."""
    until = 2 * len(next(iter(panels.values())).label) // 3
    names = tuple(panels)
    learners = {name: _learner([panel], terms, model, until) for name, panel in panels.items()}
    initial = learners[names[0]].weights
    rounds = Rounds(model.agreed_for(len(names)), names, COORDINATOR, "5a" * 32, len(initial))

    def mean_ic(weights: Mapping[str, F64]) -> float:
        return float(np.mean([_rank_ic(weights[n], learners[n], panels[n], terms, until) for n in names]))

    alone = {}
    for name in names:
        weights = initial
        for number in range(model.rounds):
            weights = learners[name].train(weights, number)
        alone[name] = weights
    pooled_learner, pooled = _learner(list(panels.values()), terms, model, until), initial
    for number in range(model.rounds):
        pooled = pooled_learner.train(pooled, number)
    together = in_plain(rounds, learners, initial)
    return {
        "untrained": mean_ic(dict.fromkeys(names, initial)),
        "alone": mean_ic(alone),
        "federated": mean_ic(dict.fromkeys(names, together)),
        "pooled": mean_ic(dict.fromkeys(names, pooled)),
    }


class _NoTraining:
    rows = 100

    def train(self, weights: F64, number: int) -> F64:
        return weights + 0.01


def _seconds_a_round(numbers: int, members: int) -> float:
    """Of the secure sums alone, all members and the coordinator one after the other on one core."""
    names = tuple(f"m{place}" for place in range(members))
    model = FederatedModel(rounds=3).agreed_for(members)
    rounds = Rounds(model, names, COORDINATOR, "5a" * 32, numbers)
    streams = {name: SecretStream(name.encode().ljust(32, b".")) for name in names}
    flows = {n: take_part(rounds, n, _NoTraining(), np.zeros(numbers), streams[n]) for n in names}
    began = time.perf_counter()
    run_local(flows | {COORDINATOR: aggregate(rounds, set())})
    return (time.perf_counter() - began) / 3


def main() -> None:
    """Print the figures as JSON."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seeds", type=int, default=5)
    asked.add_argument("--kind", choices=("lstm", "transformer"), default="lstm")
    given = asked.parse_args()
    torch.set_num_threads(1)
    terms = ENCODER.model_copy(update={"kind": given.kind})
    found = [compared(MODEL, terms, simulated(seed=seed)) for seed in range(given.seeds)]
    mean = {name: round(float(np.mean([one[name] for one in found])), 4) for name in found[0]}
    sums = {f"{members} members": round(_seconds_a_round(10_000, members), 3) for members in (4, 8, 16)}
    print(json.dumps({"rank_ic": mean, "seconds_a_round_of_10000_weights": sums}, indent=1))


if __name__ == "__main__":
    main()
