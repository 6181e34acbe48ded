"""The settlement and members pages over a real coordinator and two real nodes: dry run, two approvals, posted once."""

from __future__ import annotations

from pathlib import Path

from parties.cli import run as entente
from parties.ledger.settlement import party_account
from parties.node.home import NodeHome
from parties.node.settlements import waiting
from tests.parties.approval_rig import RealNode, settle_homes
from tests.parties.coordinator_rig import wait_until
from tests.parties.settlement.test_nodes import live_record
from tests.parties.settlement_rig import RULES, SettledHome
from tests.ui.pages_rig import button, said, show


def page(client: object, name: str) -> None:
    import importlib

    from parties.client import ViewerView

    view = importlib.import_module(f"ui.views.{name}")
    view.render(client, ViewerView(name="admin", role="admin"))


def test_a_settlement_is_dry_run_asked_for_and_approved_by_two(tmp_path: Path) -> None:
    settled = SettledHome(tmp_path, RULES)
    settle_homes(settled)
    homes = {name: settled.consortium.home(name) for name in ("bank", "sat")}
    with settled.consortium.coordinator() as coordinator, settled.consortium.client() as client:
        house = coordinator.desk
        app = show(page, client, "settlement")
        assert "live data of 2" in said(app)
        assert not [b for b in app.button if b.label.startswith("Ask for approval")], "not before live data"
        with RealNode(homes["bank"]), RealNode(homes["sat"]):
            house.approvals.take_live("bank", live_record(settled))
            app = show(page, client, "settlement")
            before = house.ledger.head()
            button(app, "Ask for approval: finalise").click().run()
            assert not app.exception
            assert not app.error
            assert house.ledger.head() == before, "asking posts nothing"
            assert "0 of 2 approvals" in "\n".join(str(m.value) for m in app.markdown)
            for name, home in homes.items():
                wait_until(lambda home=home: len(waiting(NodeHome(home))) == 1, f"{name}'s node is asked")
                digest = waiting(NodeHome(home))[0].asked.dossier.digest
                assert entente(["settle", "approve", digest[:12], "--home", str(home), "--yes"]) == 0
            wait_until(lambda: house.ledger.head() != before, "the second approval posts it")
            app = show(page, client, "settlement")
            app.segmented_control(key="cash kind").set_value("pay").run()
            app.text_input(key="cash reference pay").set_value("2026-06").run()
            button(app, "Ask for approval: pay out").click().run()
            assert not app.exception
            assert not app.error
            owed = house.ledger.balances()[party_account("sat", "Payable")]
            assert owed.posted > 0, "asking pays nothing"
            for name, home in homes.items():
                wait_until(lambda home=home: len(waiting(NodeHome(home))) == 1, f"{name}'s node is asked")
                asked = waiting(NodeHome(home))[0].asked.dossier
                assert asked.reasons == ("sat: 10.00 USD is payable",)
                assert entente(["settle", "approve", asked.digest[:12], "--home", str(home), "--yes"]) == 0
            wait_until(
                lambda: house.ledger.balances()[party_account("sat", "Payable")].posted == 0, "two approvals pay it"
            )
        app = show(page, client, "settlement")
        assert "Asked for before" in said(app)
        assert list(app.dataframe[0].value["Stands"]) == ["final"]
        app = show(page, client, "ledger")
        assert "all verified" in said(app)
        assert house.ledger.check().ok
        app = show(page, client, "members")
        next(t for t in app.text_input if t.label == "Name").set_value("newcomer")
        button(app, "Make the invitation").click().run()
        assert app.code[0].value.startswith("entente1-")
        assert [one.name for one in house.membership.invited()] == ["newcomer"]
