"""Ledger and settlement pages: each role, each state, hostile names, and what is asked of the coordinator."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from parties.client import AccountView, CashStep, SettlementStep, StandingView, WithdrawQuestion
from parties.errors import LedgerError, PeerError
from tests.ui.pages_rig import button, numbers, said, show, text_tables
from tests.ui.sample import HOSTILE, SampleClient
from ui.charts.money import balances_chart
from ui.money import accounts_table, entries_table, journal_question, settlements_table, standing_words, whole
from ui.views.money_steps import minor_of
from ui.wording import as_sentence, plain

NARROW = "\N{NARROW NO-BREAK SPACE}"


def ledger_page(client: object, role: str = "admin", party: str = "") -> None:
    from parties.client import ViewerView
    from ui.views import ledger

    ledger.render(client, ViewerView(name=role, role=role, party=party))


def settlement_page(client: object, role: str = "admin", party: str = "") -> None:
    from parties.client import ViewerView
    from ui.views import settlement

    settlement.render(client, ViewerView(name=role, role=role, party=party))


def harmless(app: Any) -> None:
    """Hostile names are shown escaped, and nothing asks for HTML."""
    assert HOSTILE not in said(app)
    assert not any(getattr(element.proto, "allow_html", False) for element in (*app.markdown, *app.caption))


# -- the ledger


def test_balances_are_summed_shown_and_drawn() -> None:
    app = show(ledger_page, SampleClient())
    assert numbers(app) == {
        "Rewards pending": plain(f"2{NARROW}500.00 USD"), "Payable": plain("932.50 USD"),
        "Staked": plain(f"10{NARROW}000.00 USD"), "Cash": plain(f"31{NARROW}250.00 USD"),
    }  # fmt: skip
    assert all(metric.help for metric in app.metric)
    assert len(app.get("vega_lite_chart")) == 1
    balances = text_tables(app)[0]
    assert len(balances) == 11, "ten accounts with money, and a sum"
    assert balances["Final"].iloc[-1] == f"10{NARROW}932.50 USD"
    assert balances["Pending"].iloc[0] == "\N{EN DASH}"
    app.toggle(key="zero accounts").set_value(True).run()
    assert len(text_tables(app)[0]) == 13
    assert "all verified 2026-" in said(app)
    assert not app.error


def test_books_that_do_not_balance_say_what_was_found() -> None:
    client = SampleClient()
    client.money.standing = client.money.standing.model_copy(
        update={"balanced": False, "finding": f"entry 7 {HOSTILE}", "complete": False}
    )
    app = show(ledger_page, client)
    assert "Entry 7" in app.error[0].value
    harmless(app)


def test_books_that_are_being_verified_say_how_far() -> None:
    client = SampleClient()
    client.money.standing = client.money.standing.model_copy(update={"complete": False, "checked": 301})
    app = show(ledger_page, client)
    assert f"301 of 1{NARROW}204 entries verified (25 %)" in said(app)


def test_the_journal_is_paged_by_cursors_there_and_back() -> None:
    client = SampleClient()
    app = show(ledger_page, client)
    first = list(text_tables(app)[1]["No."])
    assert first[0] == "120"
    app.button(key="journal on").click().run()
    assert client.money.asked[-1].after == "71"
    assert text_tables(app)[1]["No."].iloc[0] == "70"
    app.button(key="journal back").click().run()
    assert list(text_tables(app)[1]["No."]) == first
    assert app.button(key="journal back").disabled
    assert not app.exception


def test_filters_reach_the_coordinator_and_begin_at_the_first_page() -> None:
    client = SampleClient()
    app = show(ledger_page, client)
    app.button(key="journal on").click().run()
    app.text_input(key="journal words").set_value("run 12").run()
    asked = client.money.asked[-1]
    assert (asked.text, asked.after, asked.limit) == ("run 12", "", 50)
    app.selectbox(key="journal state").set_value("pending").run()
    app.selectbox(key="journal party").set_value("orbit").run()
    app.text_input(key="journal run").set_value("A1a1 zz").run()
    app.date_input(key="journal days").set_value((date(2026, 1, 2), date(2026, 1, 3))).run()
    app.selectbox(key="journal order").set_value("amount").run()
    asked = client.money.asked[-1]
    assert (asked.state, asked.party, asked.run_id, asked.order) == ("pending", "orbit", "a1a1", "amount")
    assert (asked.first, asked.last) == (date(2026, 1, 2), date(2026, 1, 3))
    app.text_input(key="journal words").set_value("nothing has these words").run()
    assert "Nothing fits" in said(app)
    assert not app.exception


def test_files_are_made_when_asked_for_and_a_refusal_is_said() -> None:
    client = SampleClient()
    app = show(ledger_page, client)
    assert not app.get("download_button")
    button(app, "This search as CSV").click().run()
    assert len(app.get("download_button")) == 1
    client.doors["ledger/file"] = lambda _: (_ for _ in ()).throw(LedgerError("more than 50000 transactions fit"))
    button(app, "All as Beancount").click().run()
    assert any("50\N{NARROW NO-BREAK SPACE}000" in error.value for error in app.error)
    button(app, "Statement of chatter").click().run()
    assert client.money.asked[-1].party == "chatter"
    assert not app.exception


def test_an_operator_is_told_what_it_sees_and_a_reader_sees_no_amount() -> None:
    client = SampleClient()
    client.money.scope = "party"
    app = show(ledger_page, client, "operator", "orbit")
    assert "You work for orbit" in said(app)
    assert set(text_tables(app)[0]["Whose"]) == {"orbit"}
    labels = [b.label for b in app.button]
    assert "Verify all again" not in labels
    assert "All as Beancount" not in labels
    client.money.scope = "none"
    client.money.accounts = []
    app = show(ledger_page, client, "reader")
    assert "not shown to this role" in said(app)
    assert not text_tables(app)
    assert "ledger/journal" not in client.asked[client.asked.index("ledger/balances", -3) :]


def test_an_empty_ledger_and_a_silent_coordinator() -> None:
    client = SampleClient()
    client.money.accounts = []
    assert "No account yet" in said(show(ledger_page, client))
    client = SampleClient()
    client.money.entries = []
    assert "No posting yet" in said(show(ledger_page, client))
    client.error = PeerError("the coordinator at 127.0.0.1:1 cannot be reached: check the address, and that it runs")
    app = show(ledger_page, client)
    assert [error.value for error in app.error] == [plain(as_sentence(str(client.error)))]
    client.error = None
    button(app, "Try again").click().run()
    assert not app.error


def test_hostile_memos_are_only_text() -> None:
    client = SampleClient()
    app = show(ledger_page, client)
    assert HOSTILE in list(text_tables(app)[1]["Memo"])  # a table shows text as it is
    harmless(app)


# -- settlement


def test_runs_stand_where_they_stand() -> None:
    app = show(settlement_page, SampleClient())
    table = app.dataframe[0].value
    assert list(table["Stands"]) == ["to finalise", "pending", "final", "to close"]
    assert table["Live periods"].iloc[0] == "2 of 2"
    assert "live contribution below the close" in str(text_tables(app)[0])
    assert table["Waits for"].iloc[1].startswith("The agreement wants live data")
    harmless(app)


def test_a_way_to_one_run_shows_that_run() -> None:
    client = SampleClient()
    disputed = client.money.runs[1].run_id
    app = show(settlement_page, client, run=disputed)
    assert any("Disputed by till." in warning.value for warning in app.warning), "not the first of the list"
    del client.money.runs[2:]
    others = client.money.runs * 13
    client.money.runs = [run for run in others if run.run_id != disputed][:12] * 3 + [client.money.runs[1]]
    app = show(settlement_page, client, run=disputed)
    assert list(app.dataframe[0].value["Run"]) == [disputed[:12]], "one that is on a later page stands alone"
    button(app, "All runs").click().run()
    assert len(app.dataframe[0].value) == 25


def test_an_admin_asks_for_what_the_dry_run_showed() -> None:
    client = SampleClient()
    app = show(settlement_page, client)
    assert "settlement/ask" not in client.asked, "looking asks for nothing"
    button(app, "Ask for approval: finalise").click().run()
    step = client.money.asked[-1]
    assert isinstance(step, SettlementStep)
    assert (step.kind, step.shown) == ("final", client.money.steps(step.run_id))
    assert "Waiting for approval" in said(app)
    shown = "\n".join(str(m.value) for m in app.markdown)
    assert "chatter" in str([w.value for w in app.warning])
    assert "refused" in str([w.value for w in app.warning])
    assert "1 of 2 approvals" in shown or "1 of 2 approvals" in str(app)
    assert not [b for b in app.button if b.label.startswith("Ask for approval")], "one request at a time"
    harmless(app)


def test_a_request_is_withdrawn_with_a_reason() -> None:
    client = SampleClient()
    app = show(settlement_page, client)
    button(app, "Ask for approval: finalise").click().run()
    digest = client.money.dossiers[0].digest
    app.text_input(key=f"why {digest}").set_value("too early").run()
    app.button(key=f"withdraw {digest}").click().run()
    asked = client.money.asked[-1]
    assert isinstance(asked, WithdrawQuestion)
    assert (asked.digest, asked.why) == (digest, "too early")
    assert not app.exception


def test_a_void_needs_its_reason_before_it_can_be_asked_for() -> None:
    client = SampleClient()
    app = show(settlement_page, client)
    run = client.money.runs[0].run_id
    app.get("button_group")[0].set_value("void").run()
    assert "Say why" in app.info[0].value
    assert not [b for b in app.button if b.label.startswith("Ask for approval")]
    app.text_input(key=f"why void {run}").set_value("the label was wrong").run()
    button(app, "Ask for approval: void").click().run()
    assert (client.money.asked[-1].kind, client.money.asked[-1].why) == ("void", "the label was wrong")


@pytest.mark.parametrize("role", ["operator", "auditor"])
def test_others_look_and_cannot_ask(role: str) -> None:
    client = SampleClient()
    app = show(settlement_page, client, role, "orbit" if role == "operator" else "")
    labels = [b.label for b in app.button]
    assert not [label for label in labels if label.startswith(("Ask for", "Withdraw"))]
    assert "each party approves at its own node" in said(app)


def test_a_moved_ledger_is_said_and_nothing_is_asked() -> None:
    client = SampleClient()
    client.doors["settlement/ask"] = lambda _: (_ for _ in ()).throw(LedgerError("the books have moved since"))
    app = show(settlement_page, client)
    button(app, "Ask for approval: finalise").click().run()
    assert "have moved since" in app.error[0].value
    assert not app.exception


def test_nothing_to_settle_and_a_silent_coordinator() -> None:
    client = SampleClient()
    client.money.runs, client.money.dossiers = [], []
    assert "Nothing to settle yet" in said(show(settlement_page, client))
    client = SampleClient()
    client.error = PeerError("the coordinator at 127.0.0.1:1 cannot be reached: check the address, and that it runs")
    app = show(settlement_page, client)
    assert {error.value for error in app.error} == {plain(as_sentence(str(client.error)))}


# -- the words and tables


def test_tables_keep_every_posting_and_count_what_is_hidden() -> None:
    client = SampleClient()
    entry = client.money.entries[0].model_copy(update={"hidden": 3})
    table = entries_table([entry])
    assert len(table) == len(entry.lines) + 1
    assert table["Account"].iloc[-1] == "3 postings of others"
    bare = entry.model_copy(update={"lines": (), "hidden": 0})
    assert len(entries_table([bare])) == 1, "a void without postings is a row of its own"
    assert len(entries_table([])) == len(accounts_table([])) == len(settlements_table([])) == 0


def test_amounts_in_tables_are_exact() -> None:
    big = AccountView(
        account="Assets:Consortium:Cash",
        kind="consortium",
        posted=9_007_199_254_740_993,
        pending=1,
        unit="USD",
        scale=2,
    )
    assert accounts_table([big])["Final"].iloc[0].replace(NARROW, "") == "90071992547409.93 USD"
    assert whole(12_345, 2) == 123.45
    assert balances_chart([], ",").to_dict()["height"] > 0


def test_questions_keep_only_what_a_run_id_can_hold() -> None:
    assert journal_question(run=" AB-12!").run_id == "ab12"
    assert journal_question(text="x" * 999).text == "x" * 200
    assert journal_question(days=(date(2026, 1, 2),)).last == date(2026, 1, 2)


def test_the_standing_in_words() -> None:
    empty = StandingView(entries=0, checked=0, complete=False, balanced=True)
    assert standing_words(empty) == "0 of 0 entries verified (0 %)"
    assert standing_words(empty.model_copy(update={"finding": "x*y"})) == plain("x*y")


# -- money in and out


def test_an_admin_pays_out_and_is_warned_of_empty_cash() -> None:
    client = SampleClient()
    app = show(settlement_page, client)
    app.segmented_control(key="cash kind").set_value("pay").run()
    assert client.money.asked[-1].parties == ("chatter", "orbit")
    assert any(plain("holds 0.00 USD") in str(w.value) for w in app.warning)
    app.text_input(key="cash reference pay").set_value("2026-06").run()
    button(app, "Ask for approval: pay out").click().run()
    [step] = [one for one in client.money.asked if isinstance(one, CashStep)]
    assert (step.kind, step.reference, len(step.shown)) == ("pay", "2026-06", 1)
    assert "Waiting for approval" in said(app)
    harmless(app)


def test_amounts_are_typed_in_whole_units_and_never_rounded() -> None:
    assert minor_of("1 250.00", 2) == minor_of("1,250", 2) == 125_000
    assert minor_of("1.001", 2) is None
    assert minor_of("nan", 2) is None
    client = SampleClient()
    app = show(settlement_page, client)
    app.segmented_control(key="cash kind").set_value("receipt").run()
    app.text_input(key="cash amount receipt").set_value("12.345").run()
    assert "at most 2 decimals" in str([w.value for w in app.warning])
    app.text_input(key="cash amount receipt").set_value("12.30").run()
    assert (client.money.asked[-1].kind, client.money.asked[-1].amount) == ("receipt", 1_230)
    app.segmented_control(key="cash kind").set_value("correction").run()
    app.text_input(key="cash amount correction").set_value("-5").run()
    assert (client.money.asked[-1].run_id, client.money.asked[-1].amount) == (client.money.runs[2].run_id, -500)
    assert not app.exception


def test_a_party_disputes_and_asks_stake_back_and_others_only_read() -> None:
    client = SampleClient()
    app = show(settlement_page, client, "operator", "orbit")
    app.segmented_control(key="cash kind").set_value("dispute").run()
    asked = client.money.asked[-1]
    assert (asked.kind, asked.parties, asked.run_id) == ("dispute", ("orbit",), client.money.runs[0].run_id)
    assert "Money in and out" not in said(show(settlement_page, SampleClient(), "auditor"))


def test_a_final_run_shows_what_each_party_got_and_its_statement() -> None:
    client = SampleClient()
    client.money.runs = [client.money.runs[2]]
    app = show(settlement_page, client)
    table = text_tables(app)[0]
    assert list(table["Party"]) == ["chatter", "orbit", "till", "All"]
    assert table["Became payable"].iloc[-1] == f"1{NARROW}200.00 USD"
    button(app, "Statement as PDF").click().run()
    assert client.money.asked[-1].party == "chatter"
    assert [one.proto.label for one in app.get("download_button")] == [
        "Export 1 run as CSV", "Download statement\\-chatter\\.pdf",
    ]  # fmt: skip
