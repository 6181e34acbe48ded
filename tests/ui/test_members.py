"""The members' page: warnings in time, an invitation shown once, confirmation before anybody is put out."""

from __future__ import annotations

from typing import Any

import pytest

from parties.errors import PeerError
from tests.ui import sample_desk
from tests.ui.pages_rig import button, said, show, text_tables
from tests.ui.sample import HOSTILE, SampleClient
from tests.ui.sample_money import TOKEN
from ui.members import certificate_words, checked_words, code_picture, columns_table, data_look, warnings
from ui.wording import as_sentence, plain, with_commands


def members_page(client: object, role: str = "admin") -> None:
    from parties.client import ViewerView
    from ui.views import members

    members.render(client, ViewerView(name=role, role=role))


def test_members_and_what_they_publish() -> None:
    app = show(members_page, SampleClient())
    assert [e.label for e in app.expander] == [*["What it brings: 9 columns"] * 4, "Propose an estimate"]
    assert [w.value for w in app.warning] == [
        with_commands(told) for told in warnings(SampleClient().membership.members)
    ]
    assert "ends in 12 days" in app.warning[0].value
    assert "has ended" in app.warning[1].value
    text = said(app)
    assert "at most **8** times" in text
    assert "next week" in text
    assert HOSTILE not in text
    assert not any(getattr(element.proto, "allow_html", False) for element in (*app.markdown, *app.caption))


def test_members_say_when_their_data_were_checked_and_what_came_of_it() -> None:
    ready, broken, *_, silent = SampleClient().membership.members
    assert (data_look(ready)[0], data_look(broken)[0]) == ("data ready", "data cannot be used")
    assert checked_words(broken).endswith("its operator reads why with `entente doctor`")
    assert (data_look(silent)[0], checked_words(silent)) == ("data not checked", "its node has not started")
    text = said(show(members_page, SampleClient()))
    assert "data ready" in text
    assert "data cannot be used" in text


def test_two_members_at_one_address_are_remarked_on() -> None:
    first, second, *_ = SampleClient().membership.members
    told = warnings([first, second.model_copy(update={"address": first.address})])
    assert f"names the address of {first.name}" in told[0]


def test_an_invitation_is_shown_once() -> None:
    client = SampleClient()
    app = show(members_page, client)
    assert "None." in said(app)
    next(t for t in app.text_input if t.label == "Name").set_value("newcomer")
    button(app, "Make the invitation").click().run()
    assert TOKEN in [code.value for code in app.code]
    assert "Keep it secret" in str(app.warning) or any("Shown this once" in w.value for w in app.warning)
    assert len(app.get("download_button")) == 1
    assert TOKEN not in repr(client.membership.invited), "what is kept of it has no secret"
    app.run()
    assert TOKEN not in [code.value for code in app.code]
    assert "newcomer" in said(app)
    app.button(key="withdraw newcomer").click().run()
    assert client.membership.invited == []
    assert not app.exception


def test_a_wrong_name_is_refused_before_it_is_sent() -> None:
    client = SampleClient()
    app = show(members_page, client)
    next(t for t in app.text_input if t.label == "Name").set_value("Not A Name")
    button(app, "Make the invitation").click().run()
    assert "No such name" in app.error[0].value
    assert "members/invite" not in client.asked


def test_nobody_is_put_out_without_typing_the_name() -> None:
    client = SampleClient()
    app = show(members_page, client)
    assert app.button(key="revoke till").disabled
    app.text_input(key="confirm till").set_value("tell").run()
    assert app.button(key="revoke till").disabled
    app.text_input(key="confirm till").set_value("till").run()
    app.button(key="revoke till").click().run()
    assert "members/revoke" in client.asked
    assert [member.name for member in client.membership.members] == ["harbor", "orbit", "chatter"]
    assert not app.exception


@pytest.mark.parametrize("role", ["operator", "auditor", "reader"])
def test_only_an_admin_is_offered_to_change_anything(role: str) -> None:
    client = SampleClient()
    app = show(members_page, client, role)
    labels = {b.label for b in app.button}
    assert not labels & {"Make the invitation", "Put out for good", "Withdraw"}
    assert "members/invitations" not in client.asked


def test_no_member_and_a_silent_coordinator() -> None:
    client = SampleClient()
    client.membership.members = []
    assert "No party yet" in said(show(members_page, client))
    client = SampleClient()
    client.error = PeerError("the coordinator at 127.0.0.1:1 cannot be reached: check the address, and that it runs")
    app = show(members_page, client)
    assert {error.value for error in app.error} == {plain(as_sentence(str(client.error)))}
    client.error = None
    button(app, "Try again").click().run()
    app.run()
    assert not app.error


def test_tables_and_the_code() -> None:
    member: Any = SampleClient().membership.members[1]
    assert list(columns_table(member)["Unit"])[:2] == ["USD", "\N{EN DASH}"]
    assert certificate_words(member.model_copy(update={"days_left": -3})) == "3 days ago", "below: certificate ended"
    picture = code_picture(["10", "01"], module=5)
    assert picture.count("M") == 2
    assert 'width="50"' in picture
    assert 'fill="#fff"' in picture


def test_estimates_of_shared_entities_are_round_numbers_with_their_noise() -> None:
    app = show(members_page, SampleClient())
    [table] = [t for t in text_tables(app) if "Give or take" in t]
    assert table.to_dict("list") == {
        "Of": ["Energy", "Utilities"],
        "Held by all of": ["harbor, orbit"] * 2,
        "About": ["42", "0"],
        "Give or take": ["8", "8"],
    }
    assert f"orbit: {plain(f'refused: {sample_desk.HOSTILE}')}" in said(app)
    assert "Entities shared" not in said(show(members_page, SampleClient(), "reader"))


def test_a_certificate_that_has_ended_names_the_commands_that_help() -> None:
    member = SampleClient().membership.members[1]
    [ended] = warnings([member.model_copy(update={"certificate": "over"})])
    for command in (
        f"entente coordinator revoke {member.name} --home COORDINATOR",
        f"entente invite {member.name} --role {member.role} --home COORDINATOR",
        f"entente party join TOKEN --home {member.name}-new --listen {member.address}",
    ):
        assert command in ended
    [soon] = warnings([member.model_copy(update={"certificate": "soon", "days_left": 9})])
    assert f"entente party rotate --home {member.name}" in soon


def test_an_admin_proposes_an_estimate_once_everything_is_named() -> None:
    client = SampleClient()
    asked: list[Any] = []
    client.doors["overlaps/propose"] = lambda question: asked.append(question) or []
    app = show(members_page, client, "admin")
    assert button(app, "Propose the estimate").disabled
    assert "Name two members or more" in said(app)
    app.multiselect(key="overlap members").set_value(["harbor", "till"]).run()
    app.selectbox(key="overlap by").set_value("year").run()
    assert "Name the years" in said(app)
    app.text_input(key="overlap parts").set_value("2023, 2024").run()
    app.text_input(key="overlap purpose").set_value(" worth it? ").run()
    button(app, "Propose the estimate").click().run()
    assert not app.exception
    (question,) = asked
    assert (question.members, question.by, question.parts) == (("harbor", "till"), "year", ("2023", "2024"))
    assert (question.epsilon, question.largest_set, question.purpose, question.days) == (1.0, 4096, "worth it?", 7)
    assert not [b for b in show(members_page, SampleClient(), "operator").button if b.label == "Propose the estimate"]
