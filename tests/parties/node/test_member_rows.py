"""A member's own rows in a federated run: the agreed order of columns, what is known in time, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from parties.agreement.document import Agreement
from parties.agreement.federated_terms import federated_rounds, valuation_plan
from parties.errors import ConfigError, DataError
from parties.node.member_rows import read_member_rows, training_seed
from parties.settings.consortium import PartySettings
from tests.parties.agreement.test_federated_terms import NOW, federated

DAYS = pd.date_range(NOW, periods=30, tz="UTC")


def member(folder: Path, entities: int = 8, **more: object) -> PartySettings:
    """A member whose label is its column x, known a day later; its columns stand in another order than the agreed."""
    rng = np.random.default_rng(0)
    rows = [(f"E{i}", day.date(), rng.normal(), i + 0.1 * rng.normal()) for day in DAYS for i in range(entities)]
    frame = pd.DataFrame(rows, columns=["entity", "period", "y", "x"])
    frame.to_csv(folder / "rows.csv", index=False)
    for name, columns in (("rows", "entity, period, y, x"), ("label", "entity, period, x AS label")):
        (folder / f"{name}.sql").write_text(f"SELECT {columns} FROM read_csv('${{data}}/rows.csv')")
    said = {
        "name": "b", "role": "feature", "query": "rows.sql", "columns": ["y", "x"], "lag_days": 0,
        "label_query": "label.sql", "label_lag_days": 1, **more,
    }  # fmt: skip
    return PartySettings.model_validate(said)


def terms(**change: object) -> Agreement:
    return federated({"alignment": {"policy": "own", "minimum_common": 5}, **change})


def test_it_trains_on_what_is_known_before_and_in_the_agreed_order(tmp_path: Path) -> None:
    agreement = terms()
    rows = read_member_rows(agreement, member(tmp_path), None, tmp_path, tmp_path)
    assert rows.window == slice(20, 30)
    assert (rows.trained // len(rows.entities)).max() < 20
    assert len(rows.trained) > 0
    known = np.isfinite(rows.label)
    assert np.corrcoef(rows.values[:, :, 0][known], rows.label[known])[0, 1] > 0.9  # x comes first, as the lead has it
    learner = rows.trained_alone()
    scores = rows.scores(learner)
    assert np.isnan(scores[:20]).all()
    judged = rows.judged_by(learner)
    assert judged.rows.max() == 8
    assert np.nanmean(judged.ics) > 0.5


def test_what_cannot_take_part_is_refused_by_name(tmp_path: Path) -> None:
    held = member(tmp_path)
    with pytest.raises(ConfigError, match="b has no label_query: add it"):
        read_member_rows(terms(), held.model_copy(update={"label_query": ""}), None, tmp_path, tmp_path)
    with pytest.raises(DataError, match="fewer than 9 entities"):
        few = terms(alignment={"policy": "own", "minimum_common": 9})
        read_member_rows(few, held, None, tmp_path, tmp_path)
    with pytest.raises(DataError, match="no label is known before p20"):
        late = held.model_copy(update={"label_lag_days": 400})
        read_member_rows(terms(), late, None, tmp_path, tmp_path)


def test_every_training_of_every_run_begins_at_weights_of_its_own() -> None:
    """The same terms and attempt begin at the same ones: a run is repeated by its id."""
    assert training_seed(federated_rounds(terms()), 1) == training_seed(federated_rounds(terms()), 1)
    seeds: list[int] = []
    for agreement in (terms(), terms(purpose="another")):
        plan, rounds = valuation_plan(agreement), federated_rounds(agreement)
        seeds += [training_seed(rounds, attempt) for attempt in range(1, 25)]
        seeds += [plan.seed(place) for place in range(len(plan.coalitions))]
    assert len(set(seeds)) == len(seeds) == 2 * (24 + 4)
