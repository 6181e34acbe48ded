"""Terms of a run of an ensemble: what they are filled up with, what is refused, and the text that is signed."""

from __future__ import annotations

from typing import Any

import pytest

from parties.agreement.arithmetic import check_arithmetic
from parties.agreement.document import Agreement
from parties.agreement.sealed_terms import with_kind_defaults
from parties.agreement.text import agreement_lines
from parties.agreement.who_learns import who_learns
from parties.errors import AgreementError, ConfigError
from parties.proposing.counted_costs import run_cost
from parties.proposing.placebo import placebo_of
from tests.faults.test_ensemble_run import TERMS as SIGNED
from tests.parties.agreement.test_model_terms import agreement, load
from vfl.terms import EnsembleModel


def ensemble(limit_per_row: int = 2, contribution: str = "none", **model: Any) -> Agreement:
    return agreement(
        {"kind": "ensemble", "anchor": "b"} | model, contribution=contribution, limit_per_row=limit_per_row
    )


def test_terms_are_whole_and_both_parts_have_one_anchor_and_seed(tmp_path: Any) -> None:
    made = ensemble(seed=3, network={"width": 2}, boosted={"trees": 20})
    assert isinstance(made.model, EnsembleModel)
    assert Agreement.model_validate_json(made.canonical()).run_id == made.run_id
    assert [(part.anchor, part.seed) for part in made.model.members.values()] == [("b", 3), ("b", 3)]
    assert (made.needed_openings, made.reserved_openings) == (2, 0)
    check_arithmetic(made)
    read = load(tmp_path, '[model]\nkind = "ensemble"\ntrees_share = [0.3]\n[model.network]\nwidth = 6\n')
    assert (read.network.width, read.trees_share, read.boosted.trees) == (6, (0.3,), 150)
    with pytest.raises(ConfigError, match=r"name it as model\.seed, not as model\.boosted\.seed"):
        load(tmp_path, '[model]\nkind = "ensemble"\n[model.boosted]\nseed = 2\n')
    with pytest.raises(ConfigError, match="distinct numbers from 0 to 1"):
        load(tmp_path, '[model]\nkind = "ensemble"\ntrees_share = [0.3, 1.2]\n')


def test_a_list_of_averages_says_what_is_trained_and_terms_without_one_keep_their_hash() -> None:
    listed = [{"linear": 1}, {"trees": 3, "network": 1}]
    made = EnsembleModel.model_validate({"weights": listed, "anchor": "b"})
    assert isinstance(made, EnsembleModel)
    assert made.names == ("linear", "network", "trees")
    assert made.averages == ((1, 0, 0), (0, 0.25, 0.75))
    assert [made.told(number) for number in range(2)] == ["100% linear", "25% network and 75% trees"]
    assert [part.kind for part in made.members.values()] == ["sealed", "sealed", "trees"]
    assert made.members["linear"].width == 0
    assert not {"weights", "linear"} & set(EnsembleModel().model_dump())
    text = " ".join(agreement_lines(ensemble(weights=[{"linear": 1, "trees": 1}])))
    assert "a score is 50% of its rank by the line and 50% of its rank by the trees" in text
    assert "First a sealed line over all parties' columns" in text
    assert "Of the line: Training opens nothing." in text
    for wrong, said in (
        ({"weights": [{"trees": 1}]}, "name trees alone, which is no ensemble"),
        ({"weights": [{"trees": 1, "network": 0}]}, "numbers above 0"),
        ({"weights": [{"trees": 1, "network": 1}, {"trees": 2, "network": 2}]}, "the same average"),
        ({"weights": listed, "trees_share": [0.2]}, "leave one of them out"),
        ({"linear": {"width": 2}}, "leave model.linear.width out"),
    ):
        with pytest.raises(ValueError, match=said):
            EnsembleModel.model_validate(wrong)
    with pytest.raises(ValueError, match=r"an ensemble opens 3 scores of each predicted row.*raise it to 3"):
        ensemble(weights=listed)


def test_what_does_not_fit_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r'set openings.contribution = "none", and value the parties by runs of'):
        ensemble(contribution="moments")
    with pytest.raises(ValueError, match=r"1 are left of openings.limit_per_row: raise it to 2 or more"):
        ensemble(limit_per_row=1)
    with pytest.raises(ValueError, match=r"name that period, or one of them"):
        ensemble(trees_share=[0.25, 0.75])
    raw: dict[str, Any] = {"model": {"kind": "ensemble"}}
    assert with_kind_defaults(raw)["openings"] == {"contribution": "none"}
    with pytest.raises(ValueError, match="an ensemble has no search"):
        Agreement.model_validate(
            SIGNED.model_dump() | {"search": {"kind": "sealed", "configurations": [{"width": 2}, {"width": 4}]}}
        )
    with pytest.raises(AgreementError, match=r"batch_rows|embedding_limit|linear_rate|square_rate"):
        check_arithmetic(ensemble(network={"embedding_limit": 1000.0, "batch_rows": 16_384, "width": 64}))


def test_the_text_says_that_both_scores_open_and_what_each_part_opens() -> None:
    text = " ".join(agreement_lines(ensemble(trees_share=[0.3])))
    assert "a score is 70% of its rank by the network and 30% of its rank by the trees" in text
    assert "Two scores of each predicted row open to the label party, one of each part, 34 bits together" in text
    assert "Of the network: Training opens nothing." in text
    assert "Of the trees: Each tree opens" in text
    learns = who_learns(ensemble())
    assert any("what each tree takes off" in line for line in learns["coordinator"])
    model = SIGNED.model.model_copy(update={"trees_share": (0.2, 0.4)})
    chosen = " ".join(agreement_lines(SIGNED.model_copy(update={"model": model})))
    assert "The average is the one of 80% network and 20% trees; 60% network and 40% trees with the best mean" in chosen


def test_a_placebo_has_room_for_four_scores_and_the_cost_is_of_both_parts() -> None:
    tested = SIGNED
    nodes: Any = {
        name: type("Node", (), {"address": "h:1", "certificate_sha256": "00", "identity_key": "00"})()
        for name in ("coordinator", *(party.name for party in tested.parties))
    }
    made = placebo_of(tested, nodes, tested.proposed_at, tested.expires_at - tested.proposed_at, seed=1)
    assert made.openings.limit_per_row == 4
    assert "opens a row up to 2 more times" in " ".join(agreement_lines(made))
    model = tested.model
    assert isinstance(model, EnsembleModel)
    parts = [run_cost(tested.model_copy(update={"model": part}), 40) for part in model.members.values()]
    whole = run_cost(tested, 40)
    assert whole.seconds == pytest.approx(sum(part.seconds for part in parts))
    assert whole.steps.all == sum(part.steps.all for part in parts)
