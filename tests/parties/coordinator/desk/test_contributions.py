"""The doors about contributions at a real coordinator: values, rewards, filters, the export, and who may pass."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from parties.agreement.document import Agreement
from parties.calls.contributions import ContributionsQuestion
from parties.control.phases import Plan
from parties.coordinator.desk.access import sees_rewards
from parties.coordinator.desk.contributions import settling
from parties.coordinator.desk.doors import Caller
from parties.errors import AgreementError, ConfigError
from parties.settlement.contribution import ContributionRecord
from tests.parties.contribution_records import record_of
from tests.parties.coordinator_rig import LABEL, REPORTS
from tests.parties.desk_rig import Desk, opened

PERIODS = tuple(f"2020-{i:02d}" for i in range(1, 13))
SWING = [math.sin(i) for i in range(2, 12)]
PHI = (None, None, *(0.03 + 0.01 * (one - sum(SWING) / 10) for one in SWING))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    now = datetime.now(UTC)
    ends = [now - timedelta(days=500 - 30 * i) for i in range(12)]
    value = REPORTS["value"]

    def report(name: str) -> dict[str, Any]:
        said = value(name)
        if "contribution" in said:
            sat = np.array([math.nan if value is None else value for value in PHI])
            card = np.where(np.isnan(sat), math.nan, 0.01 + (0.03 - sat) / 2)
            made = record_of(PERIODS, {"sat": sat, "card": card}) | {"v_everyone": 0.09, "definition": "what it is"}
            made["parties"]["sat"] |= {"phi": 0.03, "plain": 0.05, "low": 0.01, "high": 0.05}
            made["parties"]["card"] |= {"phi": 0.01}
            said["contribution"] = made
            said["attribution"] = {"total": 0.2, "parties": {"sat": 0.15, "card": 0.05}, "definition": "it explains"}
        return said

    calendar = {"frequency": "M", "periods": PERIODS, "period_ends": ends, "cutoffs": ends}
    folder = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REPORTS, "value", report)
        with opened(folder, held=False, calendar=calendar, consortium="=HYPERLINK(1)") as made:
            yield made


def test_values_stand_beside_what_was_booked(desk: Desk) -> None:
    page = desk.client.contributions(ContributionsQuestion())
    assert (page.total, page.parties, page.consortia) == (1, ("card", "sat"), ("=HYPERLINK(1)",))
    (run,) = page.runs
    assert (run.run_id, run.method, run.v_everyone, run.v_nobody, run.pot) == (
        desk.run_id,
        "masked",
        0.09,
        0.05,
        10_001,
    )
    told = {one.party: (one.phi, one.plain, one.attribution, one.reward) for one in run.parties}
    assert told == {"sat": (0.03, 0.05, 0.15, 7501), "card": (0.01, None, 0.05, 2500)}
    assert sum(one.share for one in run.parties) == pytest.approx(1.0)


def test_filters_and_pages(desk: Desk) -> None:
    now = datetime.now(UTC)
    for question, total in (
        (ContributionsQuestion(party="sat"), 1),
        (ContributionsQuestion(party="bank"), 0),
        (ContributionsQuestion(consortium="other"), 0),
        (ContributionsQuestion(since=now - timedelta(hours=1)), 1),
        (ContributionsQuestion(until=now - timedelta(hours=1)), 0),
    ):
        assert desk.client.contributions(question).total == total
    assert desk.client.contributions(ContributionsQuestion(offset=1)).runs == ()


def test_one_run_settles_over_its_periods(desk: Desk) -> None:
    detail = desk.client.contribution(desk.run_id)
    assert (detail.definition, detail.attribution_definition) == ("what it is", "it explains")
    points = detail.over_time["sat"]
    assert [point.period for point in points] == list(PERIODS[5:])
    known = [value for value in PHI if value is not None]
    assert points[-1].mean == pytest.approx(sum(known) / len(known))
    assert all(point.low < point.mean < point.high for point in points if point.low is not None)
    assert set(detail.over_time) == {"sat", "card"}
    with pytest.raises(ConfigError, match="there is no run"):
        desk.client.contribution("nowhere")


def test_a_long_run_is_thinned_and_ends_at_its_last_period(desk: Desk) -> None:
    agreement = Agreement.model_validate(desk.client.run(desk.run_id).agreement)
    ends = [datetime(2000, 1, 1, tzinfo=UTC) + timedelta(days=i) for i in range(1000)]
    names = tuple(f"p{i:04d}" for i in range(1000))
    calendar = agreement.calendar.model_copy(
        update={"periods": names, "period_ends": tuple(ends), "cutoffs": tuple(ends)}
    )
    phi = tuple(math.sin(i) for i in range(1000))
    record = ContributionRecord(method="masked", parties={"sat": {"phi": 0.0, "phi_by_period": phi}})
    points = settling(agreement.model_copy(update={"calendar": calendar}), record)["sat"]
    assert len(points) <= 60
    assert points[-1].period == "p0999"


def test_the_export_has_every_party_and_starts_no_formula(desk: Desk) -> None:
    rows = list(csv.DictReader(io.StringIO(desk.client.contributions_export(ContributionsQuestion()).decode())))
    assert [(row["party"], row["phi"], row["reward_minor"]) for row in rows] == [
        ("sat", "0.03", "7501"),
        ("card", "0.01", "2500"),
    ]
    assert {row["consortium"] for row in rows} == {"'=HYPERLINK(1)"}
    only = desk.client.contributions_export(ContributionsQuestion(party="card")).decode().splitlines()
    assert len(only) == 2


def test_roles_see_what_is_theirs(desk: Desk) -> None:
    for role, party in (("admin", ""), ("auditor", ""), ("operator", "card")):
        assert desk.ask("contributions/page", role, party)["total"] == 1
    outside = desk.ask("contributions/page", "operator", "outsider")
    assert (outside["total"], outside["parties"], outside["consortia"]) == (0, [], [])
    assert len(desk.ask("contributions/export", "operator", "outsider").decode().splitlines()) == 1
    with pytest.raises(AgreementError, match="outsider takes no part"):
        desk.ask("contributions/one", "operator", "outsider", run_id=desk.run_id)
    for door in ("contributions/page", "contributions/one", "contributions/export"):
        with pytest.raises(AgreementError, match="signed in as reader"):
            desk.ask(door, "reader")


def test_the_runs_view_tells_rewards_to_those_whom_they_concern(desk: Desk) -> None:
    """By every way to a run: the page of contributions is not the only one."""
    consortium = desk.consortium
    with consortium.desk() as door:

        def seen(role: Any, party: str = "") -> Any:
            return door.within(door.sign_in(consortium.token(role, "Ada", party))).run(desk.run_id)

        for client in (desk.client.run(desk.run_id), seen("auditor"), seen("operator", "sat")):
            assert {one.party: one.reward for one in client.contributions} == {"sat": 7501, "card": 2500}
            assert client.transactions
        reader = seen("reader")
        assert (reader.contributions, reader.contribution_way, reader.transactions) == ((), "", ())
        assert reader.evaluation == desk.client.run(desk.run_id).evaluation
    plan = Plan(LABEL, (LABEL, "sat"), (), matching=False, valued=True)
    assert sees_rewards(Caller("Ada", "operator", "sat"), plan)
    assert not sees_rewards(Caller("Ada", "operator", "card"), plan)
