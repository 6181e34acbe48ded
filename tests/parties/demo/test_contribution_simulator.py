"""Contribution on the product's own simulator: masked values against retraining, with a copycat and noise planted."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from parties.data.simulate import simulate
from parties.demo.compare import Pooled
from parties.demo.homes import lay_out
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import load_consortium
from vfl.contribution import ContributionReport, coalitions, exact_shapley, refit_with_own, scores_for_pay
from vfl.contribution.retrained_scores import retrained_scores
from vfl.factors.evaluate import ic_by_period
from vfl.factors.panel import FeaturePanel
from vfl.models.split.top import LabelHead
from vfl.models.split.training import score_coalition
from vfl.models.split.twin import PlainSource, initial_weights, train_in_the_clear
from vfl.terms import SplitModel, WalkForward

TERMS = SplitModel(
    embedding_width=2,
    hidden=8,
    members=2,
    epochs=2,
    batch_rows=512,
    top_steps=4,
    warmup_epochs=2,
    source_learning_rate=0.1,
)
WALK = WalkForward(horizon=1, warmup=8)


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> Pooled:
    """A simulated consortium as only a test or a demo may see it: all panels in one place."""
    folder: Path = tmp_path_factory.mktemp("simulated")
    made = simulate(folder / "data", entities=150, periods=60, parties=2, seed=7, model="split")
    settings = load_consortium(made.config)
    homes = lay_out(folder / "demo", settings, made.config.parent, made.data, 7)
    homes.agreement.write_bytes(agreement_of(settings, homes.roster, datetime.now(UTC)).canonical())
    return Pooled.load(homes.out)


@pytest.fixture(scope="module")
def reports(pooled: Pooled) -> tuple[ContributionReport, ContributionReport]:
    """Masked and retrained values of the simulated parties, a copycat of the fund's columns, and noise."""
    panels: dict[str, FeaturePanel] = dict(pooled.panels)
    own = pooled.label.features
    noise = np.random.default_rng(1).normal(size=(*own.values.shape[:2], 4))
    panels["copycat"] = own
    panels["noise"] = FeaturePanel(("a", "b", "c", "d"), noise, own.covered, own.asof, own.available_at)
    names = tuple(panels)
    columns = [panel.values.shape[-1] for panel in panels.values()]
    seeds = [(bytes([k]) * 32, bytes([k + 100]) * 32) for k in range(len(names))]
    weights = dict(zip(names, initial_weights(seeds, columns, 2, pooled.agreement.fixed_point), strict=True))
    labels = np.where(pooled.label.universe, pooled.label.label, np.nan)
    value = partial(ic_by_period, labels=labels, when_constant=0.0)

    result, source = train_in_the_clear(
        list(panels.values()), pooled.label, TERMS, WALK, row_limit=3, reserved=0, weights=list(weights.values())
    )
    assert isinstance(source, PlainSource)
    head, masked = LabelHead(TERMS, own.values.shape[-1]), {}
    for members in coalitions(names):
        sums = source.coalition([k for k, name in enumerate(names) if name in members], result.predictions)
        scores = score_coalition(head, result, pooled.label, result.in_place(sums))
        masked[members] = value(refit_with_own(scores, pooled.label, WALK))
    retrained = retrained_scores(panels, pooled.label, coalitions(names), TERMS, WALK, row_limit=3, weights=weights)
    return (
        exact_shapley(masked, parties=names, refitted=True),
        exact_shapley({c: value(s) for c, s in retrained.items()}, parties=names, method="retrain"),
    )


def test_masked_values_lie_in_the_intervals_of_retraining(
    reports: tuple[ContributionReport, ContributionReport],
) -> None:
    masked, retrained = reports
    for name, oracle in retrained.estimates.items():
        assert oracle.low <= masked.estimates[name].mean <= oracle.high, name
    assert sum(e.mean for e in masked.estimates.values()) == pytest.approx(masked.total)


def test_the_copycat_and_the_noise_are_not_paid(reports: tuple[ContributionReport, ContributionReport]) -> None:
    for report in reports:
        pay = scores_for_pay(report, 1.0)
        honest = max(pay["satellite"], pay["social"])
        assert honest > 0.01
        for worthless in ("copycat", "noise"):
            assert abs(report.estimates[worthless].mean) < 0.004
            assert pay[worthless] < 0.02 * honest
