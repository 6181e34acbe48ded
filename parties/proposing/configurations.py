"""The configurations that a sealed run is to try, drawn before anyone signs: what is signed is their list.

The draw is optuna's random sampler with a seed, without regard to any result: the same settings draw the same list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from parties.errors import ConfigError
from psi.flow import LocalProtocolError
from vfl.models.sealed.scales import check_ranges
from vfl.terms import SealedModel
from vfl.walk.configurations import Configuration, SealedSearchTerms, SearchDraft
from vfl.walk.search import Choice, SearchTerms

if TYPE_CHECKING:
    import optuna

    from parties.settings.consortium import ConsortiumSettings

__all__ = ["drawn", "signed_search"]

_DRAWS = 50
"""Draws for each configuration wanted: many contradict the model, its arithmetic, or an earlier one."""

_RATES = ("linear_rate", "square_rate")
_STEPS = ("warmup_steps", "steps")
_WHOLE = ("width", "batch_rows", "warmup_steps", "steps")


def signed_search(settings: ConsortiumSettings) -> SearchTerms | SealedSearchTerms | None:
    """The search as everyone signs it. Raises :class:`ConfigError` where nothing can be drawn."""
    draft = settings.search
    if not isinstance(draft, SearchDraft):
        return draft
    if draft.configurations or not isinstance(settings.model, SealedModel):
        return SealedSearchTerms(configurations=draft.configurations or (Configuration(),))
    return SealedSearchTerms(configurations=drawn(draft, settings))


def drawn(draft: SearchDraft, settings: ConsortiumSettings) -> tuple[Configuration, ...]:
    """``draft.trials`` configurations that the arithmetic has room for, the agreed model first; each another model."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    model = settings.model
    assert isinstance(model, SealedModel)
    columns = sum(len(party.output_columns) for party in settings.party)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=draft.seed))
    space = {key: choice for key, choice in draft.space.items() if not (draft.same_cost and key in _STEPS)}
    found: dict[SealedModel, Configuration] = {model: Configuration()}
    for _ in range(_DRAWS * draft.trials):
        if len(found) == draft.trials:
            break
        proposed = Configuration.model_validate(_steps_of_the_width(_proposed(study.ask(), space), draft, model))
        try:
            applied = proposed.applied(model)
            check_ranges(applied, settings.fixed_point, applied.batch_rows, columns)
        except (ValueError, LocalProtocolError):
            continue
        found.setdefault(applied, proposed)
    if len(found) < draft.trials:
        raise ConfigError(
            f"search.space has {len(found)} configurations that this model and its arithmetic take, the agreed one "
            f"among them, and search.trials is {draft.trials}: lower it, or widen the space"
        )
    return tuple(found.values())


def _steps_of_the_width(values: dict[str, float], draft: SearchDraft, model: SealedModel) -> dict[str, float]:
    """With as many steps as the model's cost allows at this width, where every trial is to cost the same."""
    if not draft.same_cost:
        return values
    share = (model.width + 1) / (values["width"] + 1)
    return values | {key: max(1, round(getattr(model, key) * share)) for key in _STEPS}


def _proposed(trial: optuna.Trial, space: Mapping[str, Choice]) -> dict[str, float]:
    """A value for every key. A rate is drawn from the powers of two within its range."""
    drawn: dict[str, float] = {}
    for key, choice in sorted(space.items()):
        low, high = choice.low, choice.high
        values: list[float] = [float(value) for value in choice.values]
        if low is not None and high is not None and key in _RATES:
            values = [2.0**-bits for bits in range(16, -1, -1) if low <= 2.0**-bits <= high]
            if not values:
                raise ConfigError(f"search.space.{key} has no power of two from {low:g} to {high:g}: widen it")
        if values or low is None or high is None:
            picked = trial.suggest_categorical(key, values)
            assert picked is not None
            drawn[key] = picked
        elif key in _WHOLE:
            drawn[key] = trial.suggest_int(key, int(low), int(high), log=choice.log)
        else:
            drawn[key] = float(f"{trial.suggest_float(key, low, high, log=choice.log):.4g}")
    return drawn
