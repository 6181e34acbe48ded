"""The label party's search: optuna proposes, the run's own labels before the reported periods judge, all is recorded.

The sampler is seeded and sees results in order, so the same inputs and seed try and choose the same.
Source: Akiba et al., "Optuna: a next-generation hyperparameter optimization framework", KDD 2019; the sampler is the
tree-structured Parzen estimator of Bergstra et al. (2011).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import optuna
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.errors import ConfigError
from psi.flow import Flow, Progress, run_alone
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.judging import Judge, Tried
from vfl.models.split.replay import replay, reported
from vfl.models.split.top import LabelHead
from vfl.models.split.training import walk_forward
from vfl.models.split.twin import PlainSource
from vfl.protocols.opened_numbers import ClearNoise
from vfl.terms import SplitModel, WalkForward
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step, prequential
from vfl.walk.search import WHOLE_KEYS, Choice, SearchTerms, with_choices

__all__ = ["Found", "search_source", "search_top", "searched_in_the_clear"]

F64 = NDArray[np.float64]
Stage = Literal["source", "top"]

_STARTUP = 10
"""Trials drawn at random before the sampler learns from earlier ones."""


@dataclass(frozen=True)
class Found:
    """What a search leaves: the chosen model and its result, which of the trials it is, and all of them."""

    terms: SplitModel
    head: LabelHead
    result: TrainingResult
    chosen: int
    tried: tuple[Tried, ...]


class _Study:
    """Proposals for one stage, the agreed model first."""

    def __init__(self, terms: SearchTerms, model: SplitModel, space: Mapping[str, Choice], stage: Stage) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=terms.seed)
        if terms.sampler == "tpe":
            sampler = optuna.samplers.TPESampler(seed=terms.seed, n_startup_trials=_STARTUP)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0)
        self._study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        self._model, self._space, self._stage = model, space, stage
        self._trial: optuna.Trial | None = None
        self.tried: list[Tried] = []

    def propose(self) -> SplitModel:
        """The next model. Raises ValueError for one that contradicts itself, which is then to be recorded as failed."""
        if not self.tried:
            return self._model
        self._trial = self._study.ask()
        return with_choices(self._model, {key: self._drawn(key, choice) for key, choice in self._space.items()})

    def _drawn(self, key: str, choice: Choice) -> float | int | str:
        assert self._trial is not None
        if choice.low is None or choice.high is None:
            picked = self._trial.suggest_categorical(key, choice.values)
            assert picked is not None
            return picked
        if key in WHOLE_KEYS:
            return self._trial.suggest_int(key, int(choice.low), int(choice.high), log=choice.log)
        return self._trial.suggest_float(key, choice.low, choice.high, log=choice.log)

    def hopeless(self, value: float) -> bool:
        """Whether what a trial reached halfway is below the median of the others there."""
        if self._trial is None or math.isnan(value):
            return False
        self._trial.report(value, 1)
        return self._trial.should_prune()

    def record(self, terms: SplitModel, state: Literal["complete", "pruned", "failed"], value: float, ics: F64) -> None:
        """Keep the outcome of what was proposed last."""
        self.tried.append(Tried(self._stage, len(self.tried), terms, state, value, ics))
        if self._trial is None:
            return
        states = optuna.trial.TrialState
        if state == "complete":
            self._study.tell(self._trial, value)
        else:
            self._study.tell(self._trial, state=states.PRUNED if state == "pruned" else states.FAIL)
        self._trial = None

    def best(self) -> int:
        """The first of the best complete trials. Raises :class:`ConfigError` where all failed."""
        done = [trial for trial in self.tried if trial.state == "complete"]
        if not done:
            raise ConfigError("every trial of the search failed: widen search.space or mend the data")
        return max(done, key=lambda trial: (trial.value, -trial.number)).number


def search_source(
    terms: SearchTerms,
    model: SplitModel,
    judge: Judge,
    train: Callable[[int, SplitModel], Flow[TrainingResult]],
) -> Flow[tuple[SplitModel, tuple[Tried, ...]]]:
    """Train the source layer ``terms.source_trials`` times on periods before the reported ones; the best model.

    ``train`` is given the trial's number and model, and opens what it opens.
    """
    study = _Study(terms, model, terms.source_space, "source")
    for number in range(terms.source_trials):
        chosen = study.propose()
        result = yield from train(number, chosen)
        value = judge.value(result)
        study.record(chosen, "failed" if math.isnan(value) else "complete", value, judge.ics(result.scores))
    if not study.tried:
        return model, ()
    best = study.tried[study.best()].terms
    assert isinstance(best, SplitModel)
    return best, tuple(study.tried)


def search_top(
    terms: SearchTerms,
    model: SplitModel,
    judge: Judge,
    walk: WalkForward,
    panel: LabelPanel,
    steps: Sequence[Step],
    sums: Mapping[int, F64],
) -> Flow[Found]:
    """Try top models on the ``sums`` of a training, and take the best; progress is in trials.

    sums: what was opened, (B, h), by step number. Raises :class:`ConfigError` where nothing can be chosen by.
    """
    try:
        start = judge.predicted_from(steps)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    half = [step for step in steps if step.period < start + terms.prune_after]
    study = _Study(terms, model, terms.top_space, "top")
    nothing = np.full(len(panel.label), np.nan)
    for number in range(terms.trials):
        proposed = model
        try:
            proposed = study.propose()
            if terms.prune_after and number:
                _, early = replay(proposed, walk, panel, half, sums)
                if study.hopeless(judge.value(early)):
                    study.record(proposed, "pruned", judge.value(early), judge.ics(early.scores))
                    continue
            _, result = replay(proposed, walk, panel, steps, sums)
            value = judge.value(result)
            study.record(proposed, "failed" if math.isnan(value) else "complete", value, judge.ics(result.scores))
        except ValueError:
            study.record(proposed, "failed", math.nan, nothing)
        finally:
            yield Progress(number + 1, terms.trials, "trials")
    chosen = study.best()
    best = study.tried[chosen].terms
    assert isinstance(best, SplitModel)
    head, result = replay(best, walk, panel, steps, sums)
    return Found(best, head, reported(result, judge.first), chosen, tuple(study.tried))


def searched_in_the_clear(
    agreement: Agreement,
    panels: Sequence[FeaturePanel],
    label: LabelPanel,
    weights: Sequence[F64],
    noise: ClearNoise | None = None,
) -> F64:
    """The scores (T, n) of a searched run on pooled features, which only a demo has: the sealed run's oracle.

    noise: what the run's parties added to what opened.
    """
    search, model, walk = agreement.split_search, agreement.model, agreement.walk_forward
    assert search is not None
    assert isinstance(model, SplitModel)
    judge = Judge(label, walk, agreement.reported_from)

    def walked(
        terms: SplitModel, limit: int, reserved: int, stop: int, sums: dict[int, F64], trial: str = ""
    ) -> Flow[TrainingResult]:
        schedule = prequential(terms, walk, label.known_from, label.label, label.universe, limit, reserved)
        steps = [step for step in schedule if step.period < stop]
        added = None if noise is None else replace(noise, session=noise.session + trial)
        source = PlainSource([panel.rows for panel in panels], weights, width=terms.embedding_width, noise=added)
        head = LabelHead(terms, label.features.values.shape[-1], shares=walk.shares)
        return walk_forward(source, head, steps, label, opened=sums)

    def whole() -> Flow[Found]:
        chosen, _ = yield from search_source(
            search,
            model,
            judge,
            lambda number, terms: walked(terms, 1 + terms.epochs, 0, judge.first, {}, f"/trial-{number}"),
        )
        sums: dict[int, F64] = {}
        limit, reserved = agreement.schedule_limit, agreement.reserved_openings
        result = yield from walked(chosen, limit, reserved, len(label.label), sums)
        return (yield from search_top(search, chosen, judge, walk, label, result.steps, sums))

    return run_alone(whole()).result.scores
