"""The retrain way between real parties: a coalition's terms, and what its runs must have in common."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parties.cli import contributing
from parties.cli import run as run_command
from parties.client import ADMIN, RunSummary, RunView
from parties.data.simulate import simulate
from parties.errors import ConfigError
from parties.members.keys import create_identity
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.proposing.drafting import agreement_of, coalition_of
from parties.settings.consortium import ConsortiumSettings, load_consortium
from parties.settlement.coalition_runs import retrained
from tests.parties.coordinator_rig import LABEL, PERIODS, Consortium

IC = {("sat",): 0.07, ("card",): 0.06, ("sat", "card"): 0.09}
OWN = (0.04, 0.05, 0.06)
STEP = (-0.01, 0.0, 0.01)


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return Consortium(tmp_path_factory.mktemp("homes"))


def view(consortium: Consortium, members: tuple[str, ...], **changes: Any) -> RunView:
    """The record of a finished run of a coalition, in which its IC rises by 0.01 per period around its mean."""
    terms = consortium.agreement("+".join(members))
    parties = [p.model_dump() for p in terms.parties if p.name in (LABEL, *members)]
    for party in parties:
        party |= changes.get("entities", {}).get(party["name"], {})
    openings = {"contribution": "none", "single_party": len(members) == 1, "limit_per_row": 2}
    recipients = list(members)
    agreed = consortium.agreement(
        "+".join(members), parties=parties, openings=openings, recipients=recipients, **changes.get("terms", {})
    )
    ends = terms.calendar.model_dump()
    agreed = agreed.model_copy(update={"calendar": type(terms.calendar).model_validate(ends | CALENDAR)})
    points = [
        {"period": period, "ic_joint": changes.get("ic", IC[members]) + STEP[i], "ic_own": changes.get("own", OWN)[i]}
        for i, period in enumerate(PERIODS)
    ]
    return RunView.model_validate(
        {
            "run_id": agreed.run_id,
            "consortium": "Test funds",
            "purpose": "tests",
            "status": changes.get("status", "settled"),
            "proposed_at": agreed.proposed_at,
            "n_common": changes.get("n_common", 40),
            "series": changes.get("points", points),
            "agreement": json.loads(agreed.canonical()),
        }
    )


CALENDAR: dict[str, Any] = {
    "period_ends": [f"2020-0{3 * i}-28T00:00:00Z" for i in (1, 2, 3)],
    "cutoffs": [f"2020-0{3 * i}-28T00:00:00Z" for i in (1, 2, 3)],
}


@pytest.fixture(scope="module")
def views(consortium: Consortium) -> dict[tuple[str, ...], RunView]:
    return {members: view(consortium, members) for members in IC}


def test_the_values_are_those_of_the_runs(views: dict[tuple[str, ...], RunView]) -> None:
    found = retrained(list(views.values()))
    report = found.report
    assert report.method == "retrain"
    # v: nobody 0.05, sat 0.07, card 0.06, both 0.09
    assert report.estimates["sat"].mean == pytest.approx((0.02 + 0.03) / 2)
    assert report.estimates["card"].mean == pytest.approx((0.01 + 0.02) / 2)
    assert sum(e.mean for e in report.estimates.values()) == pytest.approx(report.total) == pytest.approx(0.04)
    assert (report.everyone, report.nobody) == (pytest.approx(0.09), pytest.approx(0.05))
    assert found.runs[("sat", "card")] == views["sat", "card"].run_id
    said = json.loads(json.dumps(found.record()))
    assert said["periods"] == list(PERIODS)
    assert np.allclose(said["parties"]["sat"]["phi_by_period"], 0.025)


def test_without_features_of_the_label_partys_own_nobody_scores_nothing(consortium: Consortium) -> None:
    runs = [view(consortium, members, own=(None, None, None)) for members in IC]
    assert retrained(runs).report.nobody == 0.0


def test_kin_of_the_label_party_is_always_in_and_earns_nothing(consortium: Consortium) -> None:
    kin = {"card": {"legal_entity": "One"}, LABEL: {"legal_entity": "One"}}
    runs = [view(consortium, members, entities=kin) for members in (("card",), ("sat", "card"))]
    report = retrained(runs).report
    assert report.estimates["card"].mean == 0.0
    assert report.estimates["sat"].mean == pytest.approx(0.09 - 0.06)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"status": "aborted"}, "is aborted: name runs that have finished"),
        ({"n_common": 39}, r"39.*common entities|common entities.*39"),
        ({"own": (0.04, 0.05, 0.07)}, "other rank ICs in"),
        ({"points": []}, r"evaluation\.metrics_to_coordinator"),
        ({"terms": {"evaluation": {"first": PERIODS[1]}}}, "differ in evaluation"),
        ({"terms": {"label": {"name": "z", "definition": "d", "party": LABEL}}}, "differ in label"),
        ({"terms": {"walk_forward": {"warmup": 2}}}, "differ in walk_forward"),
        ({"entities": {"card": {"columns": ["other"] * 1 + [f"c{i}" for i in range(9)]}}}, "columns of 'card'"),
    ],
)
def test_runs_that_differ_are_refused_by_name(
    consortium: Consortium, views: dict[tuple[str, ...], RunView], changes: dict[str, Any], says: str
) -> None:
    odd = view(consortium, ("card",), **changes)
    with pytest.raises(ConfigError, match=says) as refused:
        retrained([views["sat",], views["sat", "card"], odd])
    assert odd.run_id[:12] in str(refused.value)


def test_a_missing_coalition_and_a_double_one_are_named(
    views: dict[tuple[str, ...], RunView], consortium: Consortium
) -> None:
    with pytest.raises(ConfigError, match="no run of the coalition card: entente run propose FILE --only card"):
        retrained([views["sat",], views["sat", "card"]])
    with pytest.raises(ConfigError, match="no run has all parties together"):
        retrained([views["sat",], views["card",]])
    with pytest.raises(ConfigError, match="are of one coalition"):
        retrained([*views.values(), view(consortium, ("sat",), terms={"purpose": "again"})])
    with pytest.raises(ConfigError, match="name the runs"):
        retrained([])


class Recorded:
    """A client over recorded runs."""

    def __init__(self, views: list[RunView]) -> None:
        self._views = {found.run_id: found for found in views}

    def runs(self, *, limit: int, offset: int = 0) -> list[RunSummary]:
        return list(self._views.values())[offset : offset + limit]

    def run(self, run_id: str) -> RunView:
        return self._views[run_id]


def test_the_command_prints_the_table_and_writes_the_numbers(
    views: dict[tuple[str, ...], RunView],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    @contextlib.contextmanager
    def connect(_address: str, _credentials: Path | None) -> Iterator[Recorded]:
        yield Recorded(list(views.values()))

    monkeypatch.setattr(contributing, "connect", connect)
    ids, out = [found.run_id for found in views.values()], tmp_path / "r.json"
    assert run_command(["contribution", "retrain", *ids, "--json", str(out)]) == 0
    said = capsys.readouterr().out
    assert "+0.0250" in said
    assert "the phis share out +0.0400" in said
    assert json.loads(out.read_text())["method"] == "retrain"
    assert run_command(["contribution", "retrain", *ids, "--json", str(tmp_path / "no" / "r.json")]) == 7
    assert run_command(["contribution", "retrain", *ids[:2]]) == 2
    assert "no run has all parties together" in capsys.readouterr().err


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ConsortiumSettings:
    return load_consortium(
        simulate(tmp_path_factory.mktemp("sim"), entities=40, periods=16, parties=3, seed=1, model="split").config
    )


def test_a_coalitions_terms_are_the_same_without_the_others_and_without_pay(
    settings: ConsortiumSettings, tmp_path: Path
) -> None:
    names = [p.name for p in settings.party]
    label, first, second, third = names
    made = coalition_of(settings, without=[third])
    assert [p.name for p in made.party] == [label, first, second]
    assert made.openings.contribution == "none"
    assert (made.reward.pot, made.reward.settlement, made.fees) == (0, None, None)
    assert third in settings.recipients
    assert made.recipients == tuple(name for name in settings.recipients if name != third)
    assert f"coalition {first}, {second}" in made.purpose
    for unchanged in ("calendar", "label", "walk_forward", "evaluation", "alignment", "fixed_point"):
        assert getattr(made, unchanged) == getattr(settings, unchanged)
    widest = max(len(party.columns) for party in settings.party if party.role == "feature")
    assert len({len(party.columns) for party in settings.party if party.role == "feature"}) > 1
    for one in (made, coalition_of(settings, only=[first]), coalition_of(settings, only=[second])):
        assert one.model == settings.model.model_copy(update={"smallest_batch": 5 * widest}), "all train on these steps"

    nodes = Roster(
        {name: create_identity(name, tmp_path / name).member("127.0.0.1:1") for name in (COORDINATOR, ADMIN, *names)}
    )
    now = datetime(2026, 1, 1, tzinfo=UTC)
    alone = coalition_of(settings, only=[second])
    with pytest.raises(ConfigError, match=r"openings\.single_party = true to consent"):
        agreement_of(alone, nodes, now)
    consented = coalition_of(settings, only=[second], single_party=True)
    with pytest.raises(ConfigError, match="above the agreed fraction"):
        agreement_of(consented, nodes, now)
    wide = coalition_of(settings, only=[second], single_party=True, limit_per_row=3, largest_fraction=2.0)
    agreed = agreement_of(wide, nodes, now, coalition=second)
    assert agreed.nonce.startswith(f"{second}:")
    assert (agreed.openings.limit_per_row, agreed.openings.largest_fraction) == (3, 2.0)
    assert not coalition_of(settings, only=[first, second], single_party=True).openings.single_party


def test_coalitions_that_cannot_be(settings: ConsortiumSettings) -> None:
    features = [p.name for p in settings.party if p.role == "feature"]
    with pytest.raises(ConfigError, match="'moon' is no feature party"):
        coalition_of(settings, only=["moon"])
    with pytest.raises(ConfigError, match="a coalition of nobody needs no run"):
        coalition_of(settings, without=features)
    with pytest.raises(ConfigError, match=r"openings\.largest_fraction"):
        coalition_of(settings, only=features, largest_fraction=-1.0)
