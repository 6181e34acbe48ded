"""The uplift of joining, against Numerai's own scoring and ordinary least squares."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numerai_tools.scoring import correlation_contribution
from statsmodels.regression.linear_model import OLS

from tests.vfl.lab import made_up_lab
from vfl.factors.evaluate import ic_by_period
from vfl.factors.hac import hac_mean
from vfl.factors.joining import encompassing, mmc_by_period, uplift_findings

LAB = made_up_lab(periods=24)
JOINT, OWN, LABELS = LAB.subject.scores, LAB.subject.own, LAB.subject.labels


def test_mmc_is_a_quarter_of_numerais():
    ours = mmc_by_period(JOINT, OWN, LABELS)
    for t in (0, 9):
        index = list(LAB.names)
        target = pd.Series(LABELS[t], index=index).rank().pipe(lambda r: (r - 0.5) / len(r))
        theirs = correlation_contribution(
            pd.DataFrame({"joint": JOINT[t]}, index=index), pd.Series(OWN[t], index=index, name="own"), target
        )
        assert 4 * ours[t] == pytest.approx(theirs["joint"], abs=1e-12)


def test_a_copy_of_the_own_factor_contributes_nothing():
    found = uplift_findings(3 * OWN + 1, OWN, LABELS, LAB.subject.periods, horizon=1)
    assert found.value("uplift", "rank_ic_difference") == 0
    assert found.value("uplift", "mmc") == pytest.approx(0, abs=1e-12)
    assert found.value("uplift", "correlation") == pytest.approx(1)
    assert found.numbers["uplift"]["encompassing_joint"].n == 0


def test_encompassing_is_ordinary_least_squares_on_standardised_columns():
    betas = encompassing(JOINT, OWN, LABELS)

    def z(x: np.ndarray) -> np.ndarray:
        return (x - x.mean()) / x.std()

    fit = OLS(z(LABELS[4]), np.column_stack([np.ones(JOINT.shape[1]), z(OWN[4]), z(JOINT[4])])).fit()
    np.testing.assert_allclose(betas[4], fit.params[1:], atol=1e-12)
    found = uplift_findings(JOINT, OWN, LABELS, LAB.subject.periods, horizon=2)
    mean = hac_mean(betas[:, 1], horizon=2)
    assert found.value("uplift", "encompassing_joint_t") == mean.t
    assert found.value("uplift", "encompassing_joint_t") > 3


def test_the_difference_is_paired_on_shared_rows():
    holes = np.where(np.random.default_rng(2).random(OWN.shape) < 0.4, np.nan, OWN)
    found = uplift_findings(JOINT, holes, LABELS, LAB.subject.periods, horizon=1)
    rows = ~np.isnan(holes)
    gap = ic_by_period(JOINT, np.where(rows, LABELS, np.nan)) - ic_by_period(holes, LABELS)
    assert found.value("uplift", "rank_ic_difference") == pytest.approx(gap.mean())
    assert found.value("uplift", "rank_ic_joint") - found.value("uplift", "rank_ic_own") == pytest.approx(gap.mean())
    nothing = uplift_findings(JOINT, np.full(OWN.shape, np.nan), LABELS, LAB.subject.periods, horizon=1)
    assert "no period has 10" in nothing.left_out["uplift"]


def test_a_copy_of_the_own_factor_is_named_as_no_uplift_however_good_it_is():
    found = uplift_findings(3 * OWN + 1, OWN, LABELS, LAB.subject.periods, horizon=1)
    assert [w.name for w in found.warnings] == ["no uplift"]
    assert not uplift_findings(JOINT, OWN, LABELS, LAB.subject.periods, horizon=1).warnings
    worse = uplift_findings(OWN, JOINT, LABELS, LAB.subject.periods, horizon=1)
    assert "is below the own model's by" in worse.warnings[0].text
    assert worse.value("uplift", "rank_ic_difference_p") > 0.99


def test_an_uplift_that_is_none_is_the_first_thing_a_report_says():
    from dataclasses import replace

    from vfl.factors.report import render_report
    from vfl.factors.validation import battery

    noisy = replace(LAB.subject, scores=np.random.default_rng(99).normal(size=LABELS.shape), embeddings=None)
    found = battery(noisy)
    assert {"no uplift", "noise"} <= {w.name for w in found.warnings}
    assert found.warnings[0].name == "no uplift"
    page = render_report("x", {}, found).decode()
    assert page.index("Uplift of joining") < page.index("Mean rank IC") < page.index("no uplift")
    assert page.index("no uplift") < page.index("claim nothing")
