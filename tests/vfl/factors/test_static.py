"""Measures of static scores beside scikit-learn's own, and the bundle that they are exported in."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from tests.vfl.bundles import made_up
from vfl.factors.bundle_metadata import StaticMetadata
from vfl.factors.class_quality import class_quality
from vfl.factors.report import verdict
from vfl.factors.static_export import StaticBundle, export_static
from vfl.factors.static_quality import static_quality
from vfl.factors.verify import verify_bundle

STREAM = np.random.default_rng(5)
TRUTH = STREAM.random(600)
LABEL = np.where(np.arange(600) < 500, (STREAM.random(600) < TRUTH).astype(float), np.nan)
NOISE = STREAM.normal(0.5, 0.2, 600)


def test_binary_scores_are_measured_where_all_are_known_and_clipped_where_a_probability_is_needed() -> None:
    joint = 1.4 * TRUTH - 0.2
    joint[:50] = np.nan
    found = static_quality(LABEL, {"joint": joint, "own": NOISE}, "binary", 0.5)
    y, shown = LABEL[50:500], np.clip(joint[50:500], 0, 1)
    assert found.rows == 450
    assert found.measures["joint"]["auc"] == pytest.approx(roc_auc_score(y, joint[50:500]))
    assert found.measures["joint"]["log_loss"] == pytest.approx(log_loss(y, np.clip(shown, 0.001, 0.999)))
    numbers = found.findings.numbers
    assert numbers["calibration"]["outside"].value == pytest.approx(np.mean(shown != joint[50:500]))
    assert len(found.findings.series["reliability"].y) == 9, "a tenth and more are 0, and fall together"
    assert numbers["uplift"]["auc_difference_low"].value > 0
    assert not found.findings.warnings


def test_joining_that_is_worth_nothing_is_said() -> None:
    found = static_quality(LABEL, {"joint": NOISE, "own": TRUTH}, "binary", 0.5)
    assert found.findings.warned("no uplift")


def test_regression_has_r2_and_rank_correlation_and_what_is_undefined_is_said() -> None:
    y = 3.0 * TRUTH
    found = static_quality(y, {"joint": y}, "regression", float(y.mean()))
    assert found.measures["joint"]["r2"] == 1.0
    assert found.measures["joint"]["rank_correlation"] == pytest.approx(1.0)
    alike = static_quality(np.ones(600), {"joint": y}, "regression", 1.0)
    assert "every label of the 600 test rows is alike" in alike.findings.left_out["quality"]


def test_several_classes_are_measured_by_accuracy_log_loss_and_macro_auc() -> None:
    number = np.where(np.isfinite(LABEL), np.arange(600) % 3, np.nan)
    truth = np.nan_to_num(number)[:, None] == np.arange(3)
    joint = 0.3 + 0.5 * truth + STREAM.normal(0, 0.3, (600, 3))
    joint[:50] = np.nan
    own = np.full((600, 3), 1 / 3) + STREAM.normal(0, 0.1, (600, 3))
    found = class_quality(number, {"joint": joint, "own": own}, np.full(3, 1 / 3))
    y, shown = number[50:500].astype(int), joint[50:500]
    shares = np.clip(shown, 0.001, 1) / np.clip(shown, 0.001, 1).sum(axis=1, keepdims=True)
    made = found.measures["joint"]
    assert found.rows == 450
    assert made["accuracy"] == pytest.approx((shown.argmax(axis=1) == y).mean())
    assert made["log_loss"] == pytest.approx(log_loss(y, shares))
    each = [roc_auc_score(y == number, shown[:, number]) for number in range(3)]
    assert made["macro_auc"] == pytest.approx(np.mean(each))
    assert made["brier"] == pytest.approx(np.square(shares - truth[50:500]).sum(axis=1).mean())
    numbers = found.findings.numbers
    assert numbers["by_class"]["class_1_auc"].value == pytest.approx(each[1])
    assert numbers["mean_label"]["log_loss"].value == pytest.approx(np.log(3))
    assert numbers["calibration"]["right"].value == pytest.approx(made["accuracy"])
    assert len(found.findings.series["right_rows"].y) == 10
    assert verdict(found.findings).startswith("Accuracy 75.8 %")
    assert numbers["uplift"]["accuracy_difference_low"].value > 0
    assert class_quality(number, {"joint": own, "own": joint}, np.full(3, 1 / 3)).findings.warned("no uplift")
    alike = class_quality(np.ones(600), {"joint": joint}, np.full(3, 1 / 3))
    assert "every label of the 550 test rows is alike" in alike.findings.left_out["quality"]
    estimates = np.array([[0.2, 0.5, 0.3], [np.nan] * 3, [0.4, 0.4, 0.1]])
    table = pd.read_parquet(io.BytesIO(bundled(scores=estimates)["scores.parquet"]))
    assert list(table.columns) == ["entity", "score_0", "score_1", "score_2", "class", "part"]
    assert table.set_index("entity").loc[["b", "c"], "class"].tolist() == [1.0, 0.0]
    assert np.isnan(table.set_index("entity").loc["=a()", "class"])


def bundled(**changes: Any) -> dict[str, bytes]:
    told = made_up().metadata.model_dump()
    told = {name: value for name, value in told.items() if name in StaticMetadata.model_fields}
    names, part = ["b", "=a()", "c"], ["test", "training", "test"]
    quality = static_quality(LABEL, {"joint": TRUTH}, "binary", 0.5)
    about = StaticMetadata.model_validate(told | {"label_kind": "binary", "parts": "as the label party says"})
    fields: dict[str, Any] = {"entities": names, "scores": np.array([0.25, np.nan, 1.5]), "parts": part}
    return export_static(StaticBundle(**fields | changes, metadata=about, quality=quality))


def test_the_bundle_has_entity_score_and_part_and_nothing_of_periods() -> None:
    files = bundled()
    table = pd.read_parquet(io.BytesIO(files["scores.parquet"]))
    assert list(table.columns) == ["entity", "score", "part"]
    assert table["score"].notna().tolist() == (table["part"] == "test").tolist()
    assert files["scores.csv"].splitlines()[1] == b"'=a(),,training"
    validation = json.loads(files["validation.json"])
    assert set(validation["battery"]["numbers"]) == {"test_rows", "mean_label", "calibration"}
    page = files["report.html"].decode()
    assert "AUC" in page
    assert "<dt>proposed</dt><dd>2024-06-03 20:11 UTC, as all parties signed it</dd>" in page
    assert not any(word in page.lower() for word in ("turnover", "decay", "capacity", "rank ic", "quantile of the"))
    assert {fault.file for fault in verify_bundle(files).faults} == {"signatures/"}, "nobody has signed it here"
    assert bundled() == files


def test_scores_that_are_none_or_infinite_are_refused() -> None:
    for bad in (np.full(3, np.nan), np.array([1.0, np.inf, 0.0])):
        with pytest.raises(ValueError, match="train again"):
            bundled(scores=bad)
