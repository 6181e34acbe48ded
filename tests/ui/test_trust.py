"""Trust: the log and its answer, entries and proofs, heads, what a run revealed, agreements; every state and role."""

from __future__ import annotations

from typing import Any

import pytest

from parties.client import AuditQuestion, HeadsView, MemberHeads
from parties.errors import PeerError, StorageError
from tests.ui import sample_trust
from tests.ui.pages_rig import numbers, said, show, text_tables
from tests.ui.sample import HOSTILE, SETTLED, SampleClient
from ui.charts.trust import links_chart
from ui.log_sentences import facts
from ui.pages import PAGES
from ui.tables.trust import audit_table, revealed_table, signers_table
from ui.wording import plain


def trust_page(client: object, role: str = "admin") -> None:
    from parties.client import ViewerView
    from ui.views import trust

    trust.render(client, ViewerView(name=role, role=role))


def tables(app: Any) -> list[Any]:
    return [*(table.value for table in app.dataframe), *text_tables(app)]


def test_the_log_answers_green_when_asked() -> None:
    client = SampleClient()
    app = show(trust_page, client)
    assert "trust/check" not in client.asked
    assert "1 to 50 of 300 entries" in said(app)
    app.button(key="verify log").click().run()
    assert app.success[0].value.startswith("300 entries and 12 signed heads, all in order.")
    assert "none at odds with another: 4 of orbit." in app.success[0].value
    assert "cd" * 32 in app.code[0].value
    app.run()
    assert client.asked.count("trust/check") == 1


def test_the_log_answers_red_with_its_faults() -> None:
    client = SampleClient()
    client.doors["trust/check"] = lambda _: sample_trust.check(sound=False, faults=("entry 7 was changed " + HOSTILE,))
    app = show(trust_page, client)
    app.button(key="verify log").click().run()
    assert plain("entry 7 was changed " + HOSTILE) in app.error[0].value
    assert HOSTILE not in app.error[0].value
    assert not app.success


def test_a_check_that_fails_leaves_no_old_answer() -> None:
    client = SampleClient()
    app = show(trust_page, client)
    app.button(key="verify log").click().run()

    def away(_: Any) -> Any:
        raise StorageError("the audit log cannot be read; restore a backup")

    client.doors["trust/check"] = away
    app.button(key="verify log").click().run()
    assert "cannot be read" in app.error[0].value
    assert not app.success


def test_filters_ask_the_coordinator_and_start_at_the_first_page() -> None:
    client = SampleClient()
    app = show(trust_page, client)
    assert list(tables(app)[0]["Entry"])[:2] == [299, 298]
    app.selectbox(key="audit kind").set_value("signed").run()
    assert "1 to 50 of 75 entries" in said(app)
    assert set(tables(app)[0]["Kind"]) == {"signed"}
    app.text_input(key="audit words").set_value("nowhere").run()
    assert "Nothing fits" in said(app)
    app.text_input(key="audit words").set_value("").run()
    app.text_input(key="audit run").set_value("ffff").run()
    assert "Nothing fits" in said(app)


def test_an_entry_is_shown_as_it_was_logged() -> None:
    [shown] = SampleClient().audit_page(AuditQuestion(limit=1)).entries
    table = audit_table([shown])
    assert table["Run"][0] == "a1" * 6
    assert "ab" * 32 not in table["What"][0]
    assert facts({"a": "x", "many": [1, 2], "none": [], "hash": "0" * 64}) == "a x, 2 many"


def test_heads_are_shown_and_a_wrong_one_is_red() -> None:
    client = SampleClient()
    app = show(trust_page, client, section="heads")
    assert list(tables(app)[0]["Signature fits"]) == ["yes", "\N{EN DASH}"]
    assert tables(app)[0]["With"][0] == "Export, run a1a1a1a1a1a1"
    assert len(tables(app)[1]) == 1
    assert not app.error
    forged = MemberHeads(name="till", heads=1, size=3, root="00" * 32, signed_at="2026-11-02T09:30:00+00:00")
    client.doors["trust/heads"] = lambda _: HeadsView(members=(forged,))
    app = show(trust_page, client, section="heads")
    assert "till is not signed by its key" in app.error[0].value
    assert "None yet" in said(app)


def test_the_report_of_a_run_adds_up() -> None:
    app = show(trust_page, SampleClient(), section="revealed", run=SETTLED)
    assert numbers(app) == {
        "Sent in all": "43.5 MB", "Message types": "3", "Openings per row": "5 of 6", "Common entities": "463",
    }  # fmt: skip
    table = tables(app)[0]
    assert list(table["To"]) == ["orbit", "not said", "harbor"]
    assert f"The factor's files went to {plain('harbor and coordinator')}." in said(app)


def test_the_report_of_a_sealed_run_counts_scores_and_says_what_two_holders_would_see() -> None:
    client = SampleClient()
    sentence = "Anchor: orbit holds the other half of every share beside the label party."
    client.doors["trust/minimisation"] = lambda _: sample_trust.report(
        score_bits=17, anchor="orbit", opens=(sentence, HOSTILE)
    )
    app = show(trust_page, client, section="revealed", run=SETTLED)
    assert numbers(app)["Scores per row"] == "5 of 6"
    shown = said(app)
    assert plain(sentence) in shown
    assert plain(HOSTILE) in shown
    assert HOSTILE not in shown
    assert "17 bits each, counted by the anchor, orbit" in shown


def test_a_run_that_sent_nothing_yet_says_so() -> None:
    client = SampleClient()
    client.doors["trust/minimisation"] = lambda _: sample_trust.report(lines=(), openings=())
    assert "Nothing has left anybody" in said(show(trust_page, client, section="revealed", run=SETTLED))


def test_an_agreement_is_read_in_words_and_its_signatures_have_a_state() -> None:
    client = SampleClient()
    app = show(trust_page, client, section="agreements", run=SETTLED)
    assert app.success[0].value.startswith("All 3 parties signed")
    text = said(app)
    assert plain("Label party: harbor; label y:") in text
    assert HOSTILE not in text
    assert plain(f"Label party: harbor; label y: {HOSTILE}", longest=900)[:60] in text
    signatures, terms = tables(app)
    assert set(signatures["Signature"]) == {"fits"}
    assert "largest change" in set(terms["Term"])
    assert {"Run", "Walk forward", "Party orbit"} <= set(terms.attrs["groups"])


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"faithful": False}, "error", "what is kept here is not what was agreed"),
        ({"fault": "the signature does not fit", "signature": "00"}, "error", "orbit: the signature does not fit"),
        ({"fault": "has not signed", "signature": ""}, "warning", "never signed: orbit"),
    ],
)
def test_an_agreement_that_is_not_as_signed_says_so(changes: dict[str, Any], kind: str, words: str) -> None:
    client, made = SampleClient(), sample_trust.agreement()
    if "fault" in changes:
        signers = (made.signers[0], made.signers[1].model_copy(update=changes), made.signers[2])
        changes = {"signers": signers}
    client.doors["trust/agreement"] = lambda _: made.model_copy(update=changes)
    app = show(trust_page, client, section="agreements", run=SETTLED)
    assert words in getattr(app, kind)[0].value.replace("\\", "")
    assert not app.success


def test_runs_are_found_by_words_and_unknown_ones_explained() -> None:
    app = show(trust_page, SampleClient(), section="agreements")
    app.text_input(key="run words").set_value("nothing like it").run()
    assert "No run fits" in said(app)
    app = show(trust_page, SampleClient(), section="agreements", run="<script>")
    assert "There is no run" in app.error[0].value
    client = SampleClient()
    client.views.clear()
    assert "No run yet" in said(show(trust_page, client, section="revealed"))


@pytest.mark.parametrize("section", ["log", "heads", "revealed", "agreements", "<b>"])
def test_a_coordinator_that_is_away_is_explained(section: str) -> None:
    client = SampleClient()
    client.error = PeerError("the coordinator at 127.0.0.1:1 cannot be reached: check the address", "coordinator")
    app = show(trust_page, client, section=section)
    assert "cannot be reached" in app.error[0].value


def test_readers_have_no_such_page() -> None:
    assert set(next(page for page in PAGES if page.key == "trust").roles) == {"admin", "operator", "auditor"}


def test_tables_and_charts_hold_what_they_are_given() -> None:
    few = links_chart(sample_trust.report()).to_dict()
    assert links_chart(sample_trust.report(lines=())).to_dict()
    many = tuple(sample_trust.report().lines[0].model_copy(update={"receiver": f"p{i}"}) for i in range(20))
    busy = links_chart(sample_trust.report(lines=many)).to_dict()
    assert len({row["link"] for row in next(iter(few["datasets"].values()))}) == 3
    one = links_chart(sample_trust.report(lines=sample_trust.report().lines[:1])).to_dict()
    assert one["height"] < few["height"] < busy["height"], "a row for each link"
    assert "12 other links" in str(busy["datasets"])
    assert list(revealed_table(sample_trust.report())["Size"]) == ["41.2 MB", "2.3 MB", "12 B"]
    table = signers_table(sample_trust.agreement().signers)
    assert list(table["Legal entity"]) == [HOSTILE] * 3
