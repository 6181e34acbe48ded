"""Settlement's and the members' doors over a real coordinator: dry runs that post nothing, asking, tokens, revoking."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parties.coordinator.desk.all_doors import all_doors
from parties.coordinator.desk.context import DeskContext
from parties.coordinator.desk.doors import Caller, pass_through
from parties.coordinator.service import Coordinator
from parties.errors import AgreementError, ConfigError, LedgerError
from parties.joining.token import Token
from parties.ledger.movements import movements
from tests.parties.coordinator_rig import Consortium
from tests.parties.settlement.test_nodes import live_record
from tests.parties.settlement_rig import RULES, SettledHome

ADMIN, AUDITOR, READER = Caller("ada", "admin", session=1), Caller("aud", "auditor"), Caller("rea", "reader")
SAT, STRANGER = Caller("olga", "operator", "sat"), Caller("otto", "operator", "elsewhere")


class Desk:
    def __init__(self, coordinator: Coordinator) -> None:
        self.house: DeskContext = coordinator.desk
        self.doors = all_doors(self.house)

    def ask(self, what: str, caller: Caller = ADMIN, **arguments: Any) -> Any:
        return json.loads(pass_through(self.doors, what, arguments, caller))

    def file(self, what: str, caller: Caller = ADMIN, **arguments: Any) -> str:
        return pass_through(self.doors, what, arguments, caller).decode()


@pytest.fixture
def settled(tmp_path: Path) -> SettledHome:
    return SettledHome(tmp_path, RULES)


@pytest.fixture
def desk(settled: SettledHome) -> Iterator[Desk]:
    with settled.consortium.coordinator() as coordinator:
        yield Desk(coordinator)


def test_where_a_run_stands_and_what_it_waits_for(desk: Desk, settled: SettledHome) -> None:
    [run] = desk.ask("settlement/page")["runs"]
    assert (run["state"], run["amount"], run["live_needed"], run["live_periods"]) == ("pending", 2_500, 2, 0)
    assert any("live data of 2" in why for why in run["waits"])
    assert run["disputable_until"] is not None
    desk.house.approvals.take_live("bank", live_record(settled))
    [run] = desk.ask("settlement/page")["runs"]
    assert (run["state"], run["waits"], run["live_periods"]) == ("due", [], 2)
    assert desk.ask("settlement/page", SAT)["total"] == 1
    assert desk.ask("settlement/page", STRANGER) == {"runs": [], "total": 0, "dossiers": []}
    for door in ("settlement/page", "settlement/export"):
        with pytest.raises(AgreementError, match="signed in as reader"):
            desk.ask(door, READER)
    [row] = csv.DictReader(io.StringIO(desk.file("settlement/export", SAT)))
    assert (row["run_id"], row["state"], row["amount_minor"], row["waits"]) == (run["run_id"], "due", "2500", "")
    assert (row["live_periods"], row["live_needed"], row["payable_minor"]) == ("2", "2", "")
    assert row["closed_at"] == run["closed_at"][:19].replace("T", " ")
    assert len(desk.file("settlement/export", STRANGER).splitlines()) == 1


def test_a_dry_run_posts_nothing_and_says_everything(desk: Desk, settled: SettledHome) -> None:
    desk.house.approvals.take_live("bank", live_record(settled))
    before = desk.house.ledger.head()
    plan = desk.ask("settlement/plan", AUDITOR, run_id=settled.run_id, kind="final")
    assert desk.house.ledger.head() == before
    assert not list(settled.home.glob("settlements/final-*"))
    numbers = {o["party"]: (o["pending"], o["payable"], o["lost"], o["why"]) for o in plan["outcomes"]}
    assert numbers["sat"] == (2_000, 1_000, 0, "live contribution below the close's")
    assert numbers["card"] == (500, 0, 500, "harmed live; the whole pledge is lost")
    assert plan["blocked"] == []
    assert plan["needed"] == 2
    assert {person["name"] for person in plan["approvers"]} == {"admin", "bank", "card", "sat"}
    assert len(plan["reasons"]) == 2
    asked = desk.ask("settlement/ask", run_id=settled.run_id, kind="final", shown=plan["steps"])
    one = next(one for one in desk.house.approvals.latest() if one.request.digest == asked["digest"])
    for name in ("bank", "sat"):
        key = settled.consortium.identities[name].key
        from parties.settlement.requests import Answer

        signed = one.dossier.approved_by(name, key, one.dossier.made_at)
        desk.house.approvals.heard(name, Answer(digest=asked["digest"], approval=signed.approvals[0]))
    after = desk.house.ledger.balances()
    for effect in plan["effects"]:
        balance = after[effect["account"]]
        assert (balance.posted, balance.pending) == (effect["posted_after"], effect["pending_after"]), effect
    entry, moves = list(movements(desk.house.ledger.journal()))[-1]
    assert entry.transaction.id.endswith("/final")
    assert {move.account for move in moves} == {effect["account"] for effect in plan["effects"]}
    [run] = desk.ask("settlement/page")["runs"]
    [dossier] = desk.ask("settlement/page")["dossiers"]
    assert (run["state"], dossier["state"]) == ("final", "posted")
    states = {person["name"]: person["state"] for person in dossier["approvers"]}
    assert states == {"admin": "may", "bank": "approved", "card": "asked", "sat": "approved"}
    assert dossier["asked_by"] == "ada (admin)"


def test_numbers_are_shown_while_a_step_must_wait_and_cannot_be_asked_for(desk: Desk, settled: SettledHome) -> None:
    plan = desk.ask("settlement/plan", SAT, run_id=settled.run_id, kind="final")
    assert len(plan["outcomes"]) == 2
    assert plan["effects"], "on what is known today"
    assert "live data" in plan["blocked"][0]
    with pytest.raises(LedgerError, match="live data"):
        desk.ask("settlement/ask", run_id=settled.run_id, kind="final")
    plan = desk.ask("settlement/plan", run_id=settled.run_id, kind="close")
    assert "settled as pending already" in plan["blocked"][0]
    plan = desk.ask("settlement/plan", run_id=settled.run_id, kind="void")
    assert "say why" in plan["blocked"][0]
    for caller in (SAT, AUDITOR, READER):
        with pytest.raises(AgreementError, match="signed in as"):
            desk.ask("settlement/ask", caller, run_id=settled.run_id, kind="void", why="x")
    with pytest.raises(AgreementError, match="has no part"):
        desk.ask("settlement/plan", STRANGER, run_id=settled.run_id, kind="final")
    with pytest.raises(ConfigError, match="no run"):
        desk.ask("settlement/plan", run_id="ab" * 32, kind="final")


def test_what_is_asked_for_is_what_was_shown(desk: Desk, settled: SettledHome) -> None:
    arguments = {"run_id": settled.run_id, "kind": "void", "why": "the label was wrong"}
    steps = desk.ask("settlement/plan", **arguments)["steps"]
    with pytest.raises(LedgerError, match="have moved since"):
        desk.ask("settlement/ask", **arguments, shown=[{**steps[0], "transaction": "other"}])
    made = desk.ask("settlement/ask", **arguments, shown=steps)
    assert made["state"] == "open"
    assert made["approvers"][0] == {
        "name": "admin", "state": "may", "online": False, "at": None, "why": "",
    }  # fmt: skip
    [dossier] = desk.ask("settlement/page", SAT)["dossiers"]
    assert dossier["digest"] == made["digest"]
    assert desk.ask("settlement/page", STRANGER)["dossiers"] == []
    [run] = desk.ask("settlement/page")["runs"]
    assert run["dossier"] == made["digest"]
    ended = desk.ask("settlement/withdraw", digest=made["digest"], why="too early")
    assert (ended["state"], ended["ended"]) == ("ended", "withdrawn by ada (admin): too early")
    with pytest.raises(AgreementError):
        desk.ask("settlement/withdraw", digest="ab" * 32)


# -- members


def test_members_say_what_they_offer_and_how_long_they_are_good(desk: Desk) -> None:
    members = {member["name"]: member for member in desk.ask("members/list", READER)}
    assert set(members) == {"bank", "card", "sat"}, "neither the coordinator, the admin nor the desk is a party"
    assert members["sat"]["certificate"] == "good"
    assert members["sat"]["limits"] is None


def test_an_invitation_is_shown_once_and_kept_nowhere(
    desk: Desk, settled: SettledHome, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        made = desk.ask("members/invite", name="newcomer", role="label", minutes=30)
    token = Token.decode(made["token"])
    assert (token.name, token.role) == ("newcomer", "label")
    size = len(made["code"])
    assert size >= 21
    assert {len(row) for row in made["code"]} == {size}
    assert made["code"][0].startswith("1111111"), "the finder pattern of a QR code"
    listed = desk.ask("members/invitations")
    assert [one["name"] for one in listed] == ["newcomer"]
    secret = made["token"].removeprefix("entente1-")
    files = [path for path in settled.home.rglob("*") if path.is_file()]
    for form in (secret.encode(), token.secret, token.secret.hex().encode()):
        assert not [path for path in files if form in path.read_bytes()], "no file holds the secret"
    assert secret not in caplog.text
    assert secret not in json.dumps(listed)
    for wrong in ("sat", "admin", "coordinator"):
        with pytest.raises(ConfigError, match="is a member already"):
            desk.ask("members/invite", name=wrong)
    for wrong in ({"name": "Not A Name"}, {"name": "x", "minutes": 1}, {"name": "x", "role": "admin"}):
        with pytest.raises(ConfigError):
            desk.ask("members/invite", **wrong)


def test_a_withdrawn_invitation_lets_nobody_in(desk: Desk) -> None:
    desk.ask("members/invite", name="newcomer")
    roots = desk.house.membership.roots()
    assert roots
    assert desk.ask("members/withdraw", name="newcomer") == []
    assert desk.house.membership.roots() == b"", "no handshake shows its certificate any more"
    with pytest.raises(ConfigError, match="nobody is invited"):
        desk.ask("members/withdraw", name="newcomer")


def test_a_revoked_member_is_out_and_only_an_admin_revokes(desk: Desk) -> None:
    for caller in (SAT, AUDITOR, READER):
        for what in ("members/revoke", "members/withdraw", "members/invite"):
            with pytest.raises(AgreementError, match="signed in as"):
                desk.ask(what, caller, name="card")
    for keeper in ("admin", "coordinator", "desk"):
        with pytest.raises(ConfigError, match="no party"):
            desk.ask("members/revoke", name=keeper)
    left = desk.ask("members/revoke", name="card")
    assert [member["name"] for member in left] == ["bank", "sat"]
    assert "card" not in desk.house.roster
    with pytest.raises(ConfigError):
        desk.ask("members/revoke", name="card")


def test_limits_are_published_where_a_node_says_so(tmp_path: Path) -> None:
    from tests.parties.approval_rig import RealNode, settle_homes
    from tests.parties.coordinator_rig import wait_until

    settled = SettledHome(tmp_path, None)
    settle_homes(settled, publish_limits=True, limits={"openings_per_row": 5, "hours": "18:00-06:00"})
    with settled.consortium.coordinator() as coordinator, RealNode(settled.consortium.home("sat")):
        desk = Desk(coordinator)

        def limits() -> Any:
            return next(one for one in desk.ask("members/list") if one["name"] == "sat")["limits"]

        wait_until(lambda: limits() is not None, "the node introduces itself")
        assert limits() == {"openings_per_row": 5, "largest_fraction": 0.6, "hours": "18:00-06:00"}


def test_a_certificate_near_its_end_is_told(tmp_path: Path) -> None:
    consortium = Consortium(tmp_path)
    with consortium.coordinator() as coordinator:
        desk = Desk(coordinator)
        membership = desk.house.membership
        expires = desk.house.roster["sat"].expires
        from datetime import timedelta
        from unittest.mock import patch

        def told(days: int) -> tuple[str, int]:
            with patch.object(membership, "clock", lambda: expires - timedelta(days=days, seconds=-1)):
                member = next(one for one in desk.ask("members/list") if one["name"] == "sat")
            return member["certificate"], member["days_left"]

        assert told(400) == ("good", 399)
        assert told(30) == ("soon", 29)
        assert told(-1) == ("over", -2)


def test_money_is_planned_and_asked_for_by_whom_it_is_theirs(desk: Desk, settled: SettledHome) -> None:
    paid = {"kind": "receipt", "parties": ["sat"], "amount": 12_345, "reference": "bank-7"}
    plan = desk.ask("settlement/cash-plan", **paid)
    assert "123.45 USD" in plan["reasons"][0]
    before = desk.house.ledger.head()
    asked = desk.ask("settlement/cash-ask", **paid, shown=plan["steps"])
    assert asked["kind"] == "receipt"
    assert desk.house.ledger.head() == before, "asking posts nothing"
    seen = desk.ask("settlement/page", SAT)["dossiers"]
    assert [one["digest"] for one in seen] == [asked["digest"]], "the party's operator sees what its node is asked"
    assert desk.ask("settlement/page", STRANGER)["dossiers"] == []
    for kind, caller in (("receipt", SAT), ("dispute", ADMIN), ("exit", STRANGER)):
        with pytest.raises(AgreementError):
            desk.ask("settlement/cash-plan", caller, kind=kind, parties=["sat"], run_id=settled.run_id, why="x")
    dispute = {"kind": "dispute", "parties": ["sat"], "run_id": settled.run_id, "why": "the label was late"}
    assert desk.ask("settlement/cash-plan", SAT, **dispute)["needed"] == 1
    assert desk.ask("settlement/cash-ask", SAT, **dispute)["party"] == "sat"
    for unable, why in (
        ({"kind": "pay", "parties": ["sat"], "reference": "1"}, "nothing is payable"),
        ({"kind": "release", "parties": ["sat"]}, "has not asked any stake back"),
        ({"kind": "correction", "parties": ["sat"], "run_id": settled.run_id, "amount": 1, "why": "x"}, "is not final"),
        ({"kind": "receipt", "parties": ["sat"], "amount": 5}, "reference"),
        ({"kind": "receipt", "parties": ["nobody"], "amount": 5, "reference": "1", "stake": True}, "not open"),
    ):
        assert why in desk.ask("settlement/cash-plan", **unable)["blocked"][0]
