"""The real app over a real coordinator and its mutual TLS; only the nodes answer by rote."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from parties.client import DESK
from tests.parties.coordinator_rig import PARTIES, Consortium, FakeNode, wait_for_status
from ui.browser_session import HELD


def test_a_run_seen_through_the_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    consortium = Consortium(tmp_path)
    with ExitStack() as stack:
        coordinator = stack.enter_context(consortium.coordinator())
        for name in PARTIES:
            stack.enter_context(FakeNode(consortium, name))
        universe = {"policy": "universe", "universe_sha256": "ab" * 32}
        agreement = consortium.agreement(purpose="<script>alert(1)</script>", alignment=universe)
        with consortium.client() as client:
            run_id = client.propose(agreement)
            wait_for_status(client, run_id, "settled")
        monkeypatch.setenv("ENTENTE_COORDINATOR", coordinator.address)
        monkeypatch.setenv("ENTENTE_DESK", str(consortium.home(DESK)))
        app = AppTest.from_file("../../ui/app.py", default_timeout=30)
        app.run()
        assert "not signed in" in app.info[0].value
        assert not app.metric
        assert not app.dataframe
        with consortium.desk() as desk:
            app.session_state[HELD] = secret = desk.sign_in(consortium.token())
        app.run()
        assert not app.exception
        assert {m.label: m.value for m in app.metric}["Parties online"] == "3 of 3"
        assert "The coordinator" in [heading.value for heading in app.subheader]

        app = AppTest.from_file("../../ui/app.py", default_timeout=30)
        app.query_params["run"] = run_id
        app.session_state[HELD] = secret
        app.run()
        assert not app.error
