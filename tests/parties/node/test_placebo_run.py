"""The permuted placebo as an agreed run: proposed, signed, encrypted, counted, and told in the next version."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from parties.agreement.document import Agreement
from parties.agreement.text import agreement_lines
from parties.cli import proposals
from parties.cli import run as entente
from parties.client import Client
from parties.errors import AgreementError, ConfigError
from parties.factor.tables import open_folder
from parties.members.keys import create_identity
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.node.home import NodeHome
from parties.node.placebo import strangers
from parties.proposing.drafting import agreement_of
from parties.proposing.placebo import check_placebo, placebo_of
from parties.settlement.coalition_runs import retrained
from tests.parties.planted_rig import MONTHS, WIDTH, Stage, T, planted, staged
from vfl.factors.evaluate import ic_by_period
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.factors.placebo import placebo_run
from vfl.models.split.twin import alone, train_in_the_clear
from vfl.terms import RidgeModel, WalkForward

N = 48


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path, N) as made:
        yield made


@pytest.mark.system
def test_a_planted_fingerprint_is_caught_by_an_encrypted_placebo_run(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = stage.homes
    tested, reason = stage.settled(capsys, str(tmp_path / "consortium.toml"))
    assert reason == ""
    factor = homes.party("fund") / "factors" / "planted-next"
    first = {path: path.read_bytes() for path in (factor / tested[:12]).rglob("*") if path.is_file()}
    before = open_folder(factor / tested[:12])
    assert before.validation["models"]["joint"]["rank"]["mean"] > 0.25, "it looks like a factor"

    placebo, reason = stage.settled(capsys, "--placebo", tested[:12], "--seed", "11")
    assert reason == ""
    assert {path: path.read_bytes() for path in first} == first, "version 1 stays"
    for party in ("fund", "a"):
        after = open_folder(homes.party(party) / "factors" / "planted-next" / f"{tested[:12]}-2")
        assert after.metadata["supersedes"]["version"] == tested[:12]
        assert after.metadata["supersedes"]["run_id"] == placebo
        assert after.factor.equals(before.factor)
        found = after.findings
        assert found is not None
        assert found.warned("fingerprint")
        assert found.value("placebo", "run_permuted") > 0.5 * found.value("placebo", "run_truth") > 0.1
        assert found.value("placebo", "run_openings") == 2
    assert not (homes.party("b") / "factors").exists(), "b is no recipient"
    for version in (tested[:12], f"{tested[:12]}-2"):
        sealed = homes.party("fund") / "sealed" / f"planted-next.{version}.quant.sealed"
        terms = homes.party("fund") / "runs" / (tested if version == tested[:12] else placebo) / "agreement.json"
        mine = ("--key", str(tmp_path / "quant.key"), "--agreement", str(terms), "--out", str(tmp_path / "quant"))
        assert entente(["factors", "open", str(sealed), *mine]) == 0
    kept = open_folder(tmp_path / "quant" / "planted-next" / f"{tested[:12]}-2").findings
    assert kept is not None
    assert kept.record() == found.record()
    capsys.readouterr()
    assert entente(["factors", "show", str(factor / f"{tested[:12]}-2")]) == 0
    assert "warning, fingerprint: the placebo run gains" in capsys.readouterr().out

    # both runs' openings stand in one account, and a second placebo has no room left
    store = NodeHome(homes.party("b")).openings()
    names = [f"co{i:03}" for i in range(N)]
    periods = [str(month) for month in MONTHS]
    counted = max(
        store.before("", [n.upper() for n in names], periods, 1).max(), store.before("", names, periods, 1).max()
    )
    store.close()
    assert counted == 4
    monkeypatch.setattr(proposals, "_FIRST_ANSWERS_SECONDS", 100.0)  # a busy machine's nodes answer late
    again = ("--placebo", tested[:12], "--limit-per-row", "4", "--wait", "60", "--yes")
    assert entente(["run", "propose", *again, *stage.admin]) == 6
    refused = capsys.readouterr().err
    assert "rejected the agreement" in refused, "nobody signs it"
    assert "have 4 openings of earlier runs" in refused

    assert entente(["run", "propose", "--placebo", placebo[:12], "--yes", *stage.admin]) == 2
    assert "is a placebo itself" in capsys.readouterr().err
    with Client("", homes.admin) as client, pytest.raises(ConfigError, match="is a placebo, which no coalition's"):
        retrained([client.run(placebo)])


ENSEMBLE = """
[model]
kind = "ensemble"

[model.network]
alpha = 5.0
batch_rows = 256
warmup_steps = 8
steps = 1

[model.boosted]
trees = 4
refit_every = 20
depth = 2
rate = 0.5
smallest_leaf = 5
"""


@pytest.mark.system
@pytest.mark.skipif("ENTENTE_LONG" not in os.environ, reason="takes long: set ENTENTE_LONG=1")
def test_a_placebo_of_an_ensemble_trains_both_members_again_and_opens_as_many_scores_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with staged(tmp_path, N, lambda folder, n: planted(folder, n, ENSEMBLE)) as stage:
        tested, reason = stage.settled(capsys, str(tmp_path / "consortium.toml"))
        assert reason == ""
        _, reason = stage.settled(capsys, "--placebo", tested[:12], "--seed", "11")
        assert reason == ""
        after = open_folder(stage.homes.party("fund") / "factors" / "planted-next" / f"{tested[:12]}-2")
    assert after.metadata["supersedes"]["version"] == tested[:12]
    found = after.findings
    assert found is not None
    assert found.warned("fingerprint")
    assert found.value("placebo", "run_permuted") > 0.5 * found.value("placebo", "run_truth") > 0.1
    assert found.value("placebo", "run_openings") == 2, "one of each member, beside the two of the run"


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> tuple[Agreement, Roster, Path]:
    folder = tmp_path_factory.mktemp("terms")
    settings = planted(folder)
    names = (COORDINATOR, *(party.name for party in settings.party))
    roster = Roster({name: create_identity(name, folder / "keys" / name).member("127.0.0.1:1") for name in names})
    agreement = agreement_of(settings, roster, datetime(2026, 1, 1, tzinfo=UTC))
    runs = folder / "runs"
    (runs / agreement.run_id).mkdir(parents=True)
    (runs / agreement.run_id / "agreement.json").write_bytes(agreement.canonical())
    return agreement, roster, runs


def proposed(tested: tuple[Agreement, Roster, Path]) -> Agreement:
    return placebo_of(tested[0], tested[1], datetime(2026, 2, 1, tzinfo=UTC), timedelta(days=1), seed=1)


def test_a_placebo_has_the_terms_of_the_run_it_tests_and_says_so(tested) -> None:
    made = proposed(tested)
    check_placebo(made, tested[2])
    check_placebo(tested[0], tested[2])
    assert made.placebo is not None
    assert (made.schedule_limit, made.reserved_openings) == (tested[0].row_limit, 0)
    assert made.row_limit == 4, "room for both runs"
    lines = "\n".join(agreement_lines(made))
    assert f"PLACEBO of run {tested[0].run_id[:12]}" in lines
    assert "up to 2 more times" in lines
    assert Agreement.model_validate_json(made.canonical()).run_id == made.run_id


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": RidgeModel(alpha=1.0)}, "in model"),
        ({"walk_forward": WalkForward(warmup=9)}, "in walk_forward"),
        ({"recipients": ("fund", "b")}, "in recipients"),
        ({"readers": {}}, "in readers"),
    ],
)
def test_a_placebo_with_other_terms_is_signed_by_nobody(tested, changes, says) -> None:
    with pytest.raises(AgreementError, match=says):
        check_placebo(proposed(tested).model_copy(update=changes), tested[2])


def test_a_placebo_of_a_run_unknown_here_is_signed_by_nobody(tested, tmp_path: Path) -> None:
    with pytest.raises(AgreementError, match="has no record of run"):
        check_placebo(proposed(tested), tmp_path)
    made = proposed(tested)
    assert made.placebo is not None
    for change in ({"row_limit": 9}, {"reserved": 3}):
        other = made.model_copy(update={"placebo": made.placebo.model_copy(update=change)})
        with pytest.raises(AgreementError, match="the schedule's openings"):
            check_placebo(other, tested[2])
    with pytest.raises(ConfigError, match="is a placebo itself"):
        placebo_of(made, tested[1], datetime(2026, 2, 1, tzinfo=UTC), timedelta(days=1))
    with pytest.raises(ConfigError, match="no member of this consortium any more"):
        without = {name: tested[1][name] for name in (COORDINATOR, "a", "fund")}
        placebo_of(tested[0], without, datetime(2026, 2, 1, tzinfo=UTC), timedelta(days=1))


def test_a_placebo_that_pays_or_opens_coalitions_is_no_agreement(tested) -> None:
    body = proposed(tested).model_dump(mode="json")
    for change in ({"reward": {"pot": 5}}, {"openings": body["openings"] | {"contribution": "masked"}}):
        with pytest.raises(ValueError, match="a placebo pays nothing"):
            Agreement.model_validate(body | change)


@pytest.mark.parametrize("genuine", [True, False])
def test_only_a_fingerprint_survives_strangers_rows(genuine: bool) -> None:
    """The same on a plain panel, where news is lost and identity is kept; the label party's own part is taken off."""
    rng = np.random.default_rng(5)
    never = np.full((T, N), np.datetime64("NaT", "ns"))
    values = rng.normal(size=(T if genuine else 1, N, 3 * WIDTH)) * np.ones((T, 1, 1))
    panel = FeaturePanel(tuple(f"f{i}" for i in range(3 * WIDTH)), values, np.ones((T, N), dtype=bool), never, never)
    own_values = rng.normal(size=(T, N, 1))
    own = FeaturePanel(("own",), own_values, np.ones((T, N), dtype=bool), never, never)
    usual = rng.normal(size=N)
    label = 0.5 * own_values[:, :, 0] + (0.3 * values.sum(axis=2) if genuine else usual) + rng.normal(size=(T, N))
    known = np.repeat(np.arange(1, T + 1)[:, None], N, axis=1)
    truth = LabelPanel(own, label, known, np.ones((T, N), dtype=bool))

    def ics(labels: LabelPanel) -> np.ndarray:
        terms = (RidgeModel(alpha=5.0), WalkForward())
        result, _ = train_in_the_clear([panel], labels, *terms, row_limit=2, reserved=0, weights=[])
        return ic_by_period(result.scores, labels.label)

    base = ic_by_period(alone(None, truth, RidgeModel(alpha=5.0), WalkForward()).scores, label)
    found = placebo_run(ics(truth), ics(strangers(truth, 1)), horizon=1, openings=2, own=base)
    assert found.value("placebo", "run_truth_t") > 2
    assert found.warned("fingerprint") is not genuine
    if genuine:
        assert found.value("placebo", "run_permuted") < 0.05
