"""Which model a run has: read from TOML, refused by name, and what signing it means."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.agreement.terms import CalendarTerms, LabelTerms, PartyTerms
from parties.agreement.text import agreement_lines
from parties.errors import ConfigError
from parties.settings.consortium import load_consortium
from vfl.terms import OpeningTerms, RidgeModel, SplitModel

TOML = """
name = "c"
{model}
[calendar]
frequency = "Q"
first = 2020-01-01
last = 2020-12-31
[label]
name = "y"
definition = "y"
query = "y.sql"
[[party]]
name = "l"
role = "label"
query = "l.sql"
columns = ["x"]
"""


def load(path: Path, model: str) -> Any:
    file = path / "consortium.toml"
    file.write_text(TOML.format(model=model))
    return load_consortium(file).model


def agreement(model: dict[str, Any], **openings: Any) -> Agreement:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    columns = {"l": ("own",), "a": tuple("abcdef"), "b": tuple("ghijkl"), "c": tuple("mnop")}
    parties = [
        PartyTerms(
            name=name, role="label" if name == "l" else "feature", address="h:1", identity_key="00",
            certificate_sha256="00", columns=names,
        )
        for name, names in columns.items()
    ]  # fmt: skip
    return Agreement.model_validate(
        {
            "consortium": "c", "purpose": "p", "proposed_at": now, "expires_at": now, "nonce": "n",
            "coordinator_certificate_sha256": "00", "coordinator_address": "h:2", "parties": parties,
            "label": LabelTerms(name="y", definition="y", party="l"),
            "calendar": CalendarTerms(frequency="Q", periods=("p",), period_ends=(now,), cutoffs=(now,)),
            "openings": OpeningTerms(**openings), "recipients": (), "code_version": "0", "model": model,
        }
    )  # fmt: skip


def test_the_kind_decides_and_split_is_the_default(tmp_path: Path) -> None:
    assert load(tmp_path, "") == SplitModel()
    assert load(tmp_path, "[model]\nembedding_width = 2") == SplitModel(embedding_width=2)
    assert load(tmp_path, '[model]\nkind = "ridge"\nalpha = 3.0') == RidgeModel(alpha=3.0)


@pytest.mark.parametrize(
    "model", ['[model]\nkind = "lasso"', '[model]\nkind = "ridge"\nhidden = 3', "[model]\nalpha = 1.0"]
)
def test_a_model_that_does_not_exist_is_named(tmp_path: Path, model: str) -> None:
    with pytest.raises(ConfigError, match="model"):
        load(tmp_path, model)


def test_a_ridge_needs_few_openings_and_survives_the_canonical_form() -> None:
    ridge = agreement({"kind": "ridge", "alpha": 2.0}, limit_per_row=5)
    assert ridge.needed_openings == 1 + 1 + 3
    assert ridge.row_limit == 5
    again = Agreement.model_validate_json(ridge.canonical())
    assert again.run_id == ridge.run_id
    assert again.model == RidgeModel(alpha=2.0)
    assert ridge.run_id != agreement({"kind": "split", "embedding_width": 1}, limit_per_row=5).run_id
    with pytest.raises(ValidationError, match="linear forms"):
        agreement({"kind": "ridge"}, limit_per_row=10)


def test_signing_a_ridge_says_what_its_moments_show() -> None:
    said = "\n".join(agreement_lines(agreement({"kind": "ridge", "rows_per_column": 7}, limit_per_row=5)))
    assert f"at least {7 * 18} rows" in said
    assert "up to 2 linear forms" in said
    assert "second moments" not in "\n".join(agreement_lines(agreement({"embedding_width": 1}, limit_per_row=5)))


def test_a_warm_start_is_off_and_then_leaves_the_terms_as_they_were(tmp_path: Path) -> None:
    plain = agreement({"embedding_width": 1}, limit_per_row=5)
    assert b"warm_start" not in plain.canonical()
    warm = agreement({"embedding_width": 1, "warm_start": "ridge", "warm_start_alpha": 7.0}, limit_per_row=5)
    assert warm.run_id != plain.run_id
    assert Agreement.model_validate_json(warm.canonical()).model == warm.model
    assert warm.needed_openings == plain.needed_openings
    with pytest.raises(ConfigError, match="regression"):
        load(tmp_path, '[model]\nwarm_start = "ridge"\nloss = "logistic"')


def test_signing_a_warm_start_says_what_it_shows() -> None:
    said = "\n".join(agreement_lines(agreement({"embedding_width": 1, "warm_start": "ridge"}, limit_per_row=5)))
    assert "second moments" in said
    assert f"at least {5 * 18}, each party's columns in a basis only that party knows" in said
    assert "up to 2 linear forms" in said
