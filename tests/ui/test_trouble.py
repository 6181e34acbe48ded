"""What a visitor sees when a page fails, when the coordinator is away, and on a page that is not for the role."""

from __future__ import annotations

import logging

import pytest
from streamlit.testing.v1 import AppTest

from parties.errors import PeerError
from tests.ui.pages_rig import TIMEOUT, said, show
from tests.ui.sample import HOSTILE, SETTLED, SampleClient
from ui.wording import plain

_AWAY = "the coordinator at 127.0.0.1:1 cannot be reached: check the address, and that it runs"


def run_page(client: object) -> None:
    from tests.ui.sample import VIEWER
    from ui.views import run

    run.render(client, VIEWER)


def failing_page() -> None:
    from ui.incidents import guarded

    guarded(lambda: {}["a secret detail"])()


def not_for_page(role: str) -> None:
    from parties.client import ViewerView
    from ui.pages import PAGES, _not_for

    _not_for(ViewerView(name="Rae", role=role), next(page for page in PAGES if page.key == "trust"))


def nowhere_page(client: object) -> None:
    from parties.client import ViewerView
    from ui.links import remember
    from ui.views import not_found

    remember({"overview": None})  # type: ignore[dict-item]
    not_found.render(client, ViewerView(name="Ada", role="admin"))  # type: ignore[arg-type]


def whole_site(client: object) -> None:
    from ui import app

    app.connection = lambda: client
    app.present_secret = lambda: "sample"
    app.main()


def test_a_fault_has_a_number_which_the_log_explains(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "entente.page"):
        app = AppTest.from_function(failing_page, default_timeout=TIMEOUT).run()
    assert not app.exception
    number = app.error[0].value.split()[1].rstrip(":")
    assert "a secret detail" not in said(app)
    (record,) = caplog.records
    assert number in record.getMessage()
    assert "a secret detail" in str(record.exc_info)


def test_an_address_that_no_page_has_is_named_and_not_obeyed() -> None:
    app = show(nowhere_page, SampleClient(), asked=HOSTILE)
    assert f"There is no page /{plain(HOSTILE)}" in said(app)
    assert [one.label for one in app.button] == ["Overview"], "search is not among this visitor's pages"


def test_a_run_is_shown_as_last_read_while_the_coordinator_is_away() -> None:
    client = SampleClient()
    app = show(run_page, client, run=SETTLED)
    client.error = PeerError(_AWAY)
    app.run()
    assert "cannot be reached" in app.error[0].value.replace("\\", "")
    assert "last state that was read" in said(app)
    assert {metric.label for metric in app.metric} >= {"Rank IC, joint", "Uplift"}, "its numbers stay"
    client.error = None
    app.run()
    assert not app.error
    assert "last state" not in said(app)


def test_the_site_says_since_when_it_has_no_answer_and_goes_on_by_itself() -> None:
    client = SampleClient()
    client.error = PeerError(_AWAY)
    app = AppTest.from_function(whole_site, args=(client,), default_timeout=TIMEOUT).run()
    assert not app.exception
    assert "asked again every 5 seconds" in app.error[0].value
    assert "Since 20" in said(app)
    client.error = None
    app.run()
    assert not app.exception
    assert "Overview" in said(app)
    client.error = PeerError(_AWAY)
    app.run()
    assert "last state" in said(app)
    assert "Parties online" in said(app), "the page as it was"


def test_a_page_that_is_not_for_a_role_says_for_whom_it_is() -> None:
    text = said(show(not_for_page, "reader"))
    assert "Not for the role reader" in text
    assert "roles admin, operator and auditor" in text


def test_nobody_is_shown_what_is_gone() -> None:
    """A refusal is no reason to show what was there before."""
    client = SampleClient()
    app = show(run_page, client, run=SETTLED)
    client.views.pop(SETTLED)
    app.run()
    assert "There is no run" in app.error[0].value
    assert not app.metric
    assert app.title[0].value == "Run"
