"""Pay that moves without merit: noise, backdated columns and recycled outputs, on the product's own valuation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from parties.agreement.document import Agreement
from parties.errors import DataError
from parties.node.recorded_outputs import check_own_columns, record_outputs
from parties.settlement.closing import reward_split
from tests.attacks.valued_rig import ValuedConsortium, recorded, widened
from vfl.contribution.recycled import explained_by_outputs
from vfl.factors.panel import FeaturePanel

POT = 1_000_000
UNTESTED = {"risk_aversion": 0.0, "uplift_level": 1.0, "rows": "any"}
"""The defence switched off: a contribution is paid for as it is."""


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> ValuedConsortium:
    return ValuedConsortium(tmp_path_factory.mktemp("valued"))


def noise(consortium: ValuedConsortium, seed: int) -> dict[str, object]:
    """Everybody's columns replaced by noise of the same size."""
    rng = np.random.default_rng(seed)
    panels = {
        name: replace(panel, values=np.clip(rng.normal(size=panel.values.shape), -8, 8))
        for name, panel in consortium.panels.items()
    }
    return consortium.value(panels, seed=seed)[0]


def test_honest_data_is_paid_at_the_shipped_defaults(consortium: ValuedConsortium) -> None:
    record = recorded(in_time(consortium.value()[0], *consortium.names))
    assert sum(reward_split(consortium.agreement(), record).shares.values()) == POT


def test_noise_takes_the_pot_where_nothing_is_tested_and_nothing_where_the_uplift_is(
    consortium: ValuedConsortium,
) -> None:
    """Attack 11: phis of pure noise are above zero about half the time, and something above zero took the whole pot."""
    records = [recorded(noise(consortium, seed)) for seed in range(4)]
    taken = [sum(reward_split(consortium.agreement(**UNTESTED), record).shares.values()) for record in records]
    assert taken.count(POT) >= 2, "with the defence off noise takes the whole pot"
    for record in records:
        split = reward_split(consortium.agreement(rows="any"), record)
        assert (sum(split.shares.values()), split.rolled_over) == (0, POT)


def backdated(consortium: ValuedConsortium, correlation: float) -> dict[str, FeaturePanel]:
    """Attack 11: 'social' adds a column that follows the next week, as anybody can once the week is over."""
    rng = np.random.default_rng(5)
    label = np.nan_to_num(consortium.label.label)
    column = correlation * label + np.sqrt(1 - correlation**2) * rng.normal(size=label.shape)
    return {**consortium.panels, "social": widened(consortium.panels["social"], column[..., None], "back")}


def in_time(record: dict[str, Any], *parties: str) -> dict[str, Any]:
    """The record with what the coordinator witnessed: these parties committed every week, the others never."""
    known = len(record["periods"])
    return record | {"committed": {name: [name in parties] * known for name in record["parties"]}}


def test_a_backdated_column_takes_the_pot_where_any_rows_are_paid_and_nothing_where_they_must_be_committed(
    consortium: ValuedConsortium,
) -> None:
    honest = [name for name in consortium.names if name != "social"]
    fair = recorded(in_time(consortium.value()[0], *consortium.names))
    before = reward_split(consortium.agreement(rows="any"), fair).shares
    said = consortium.value(backdated(consortium, 0.2))[0]
    taken = reward_split(consortium.agreement(rows="any"), recorded(in_time(said))).shares
    assert taken["social"] > 0.75 * POT, "with the defence off one backdated column takes most of the pot"
    assert taken["social"] > 2 * before["social"]
    stopped = reward_split(consortium.agreement(rows="committed"), recorded(in_time(said, *honest))).shares
    assert stopped["social"] == 0
    nobody = reward_split(consortium.agreement(rows="committed"), recorded(in_time(said)))
    assert nobody.rolled_over == POT
    everybody = reward_split(consortium.agreement(rows="committed"), fair).shares
    assert everybody == before, "who commits in time is paid as before"


class Context:
    """What recording and checking need of a run context, of a run with this id."""

    me = "fund"

    def __init__(self, folder: Path, agreement: Agreement, run_id: str) -> None:
        self.agreement, self.run_id, self.folder = agreement, run_id, folder
        self.run_folder = folder / "runs" / run_id
        self.audit = self
        self.logged: list[str] = []

    def append(self, kind: str, run: str, body: Any) -> int:
        self.logged.append(kind)
        return 0


def test_outputs_brought_back_move_the_pay_where_they_are_allowed_and_are_refused_at_the_defaults(
    consortium: ValuedConsortium, tmp_path: Path
) -> None:
    """Attack 06: the label party's columns become the embeddings that an earlier run opened; joining is worth less."""
    first, scores, single = consortium.value()
    embeddings = np.concatenate([single[name] for name in consortium.names], axis=2)
    label = replace(consortium.label, features=widened(consortium.label.features, embeddings, "z"))
    second = consortium.value(label=label, seed=2)[0]
    gains = [sum(one["phi"] for one in record["parties"].values()) for record in (first, second)]
    assert gains[1] < 0.5 * gains[0], "with the defence off the feature parties' contribution falls"

    agreement = consortium.agreement(rows="any")
    periods = agreement.calendar.periods
    earlier, later = (Context(tmp_path, agreement, digit * 64) for digit in "12")
    outputs = {f"embeddings of {name}": values for name, values in single.items()}
    record_outputs(cast(Any, earlier), periods, consortium.entities, {"score": scores[..., None], **outputs})
    check_own_columns(cast(Any, later), consortium.label.features, consortium.entities)
    with pytest.raises(DataError, match=r"column 'z0' is .* an output of an earlier run"):
        check_own_columns(cast(Any, later), label.features, consortium.entities)
    back = widened(consortium.panels["card"], np.nan_to_num(scores)[..., None], "f")
    with pytest.raises(DataError, match=r"column 'f0' is .*\(score of run 1111"):
        check_own_columns(cast(Any, later), back, consortium.entities)
    later.agreement = consortium.agreement(rows="any", outputs="allowed")
    check_own_columns(cast(Any, later), label.features, consortium.entities)
    assert later.logged == ["columns"] * 4, "what each column is stands in the audit log"


def test_a_mixture_of_outputs_is_an_output_and_so_is_one_under_an_old_columns_name(
    consortium: ValuedConsortium, tmp_path: Path
) -> None:
    """Attack 06, disguised: no output alone explains the column, or the column bears the name of one that went in."""
    _, scores, single = consortium.value()
    agreement = consortium.agreement(rows="any")
    periods, entities = agreement.calendar.periods, consortium.entities
    earlier, later = (Context(tmp_path, agreement, digit * 64) for digit in "12")
    own = consortium.label.features
    check_own_columns(cast(Any, earlier), own, entities)
    outputs = {f"embeddings of {name}": values for name, values in single.items()}
    record_outputs(cast(Any, earlier), periods, entities, {"score": scores[..., None], **outputs})
    check_own_columns(cast(Any, later), own, entities)

    first, second, *_ = single.values()
    mixed = 0.8 * first[:, :, 0] - 1.1 * second[:, :, 1] + 0.3 * np.nan_to_num(scores)
    made = widened(own, mixed[..., None], "blend")
    alone = [
        explained_by_outputs(made.values[:, :, -1:], [group])[0] for group in (*single.values(), scores[..., None])
    ]
    assert max(alone) < 0.95, "held against one output at a time it passes"
    with pytest.raises(DataError, match=r"column 'blend0' is .* \(outputs of run 111111111111, mixed\)"):
        check_own_columns(cast(Any, later), made, entities)

    values = own.values.copy()
    values[:, :, 0] = made.values[:, :, -1]
    with pytest.raises(DataError, match=rf"column '{own.columns[0]}' is .* an output of an earlier run"):
        check_own_columns(cast(Any, later), replace(own, values=values), entities)
