"""What was signed over is what a run begins with: a change in it is refused by name, what comes in later is not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from parties.agreement.document import Agreement
from parties.control.commands import ApproveBody
from parties.data.calendar import calendar_of
from parties.data.simulate import simulate
from parties.demo.homes import lay_out
from parties.errors import DataError, StorageError
from parties.node.decisions import decide
from parties.node.home import NodeHome
from parties.node.own_data import read_own_data
from parties.node.run_approvals import RunApprovals
from parties.node.signed_data import (
    check_signed_data,
    data_stamp,
    keep_signed_data,
    kept_signed_data,
    signed_data,
)
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import load_consortium

KEY = bytes(range(32))


class Laid:
    """Nodes of a simulated consortium, one agreement, and a way to change a file of theirs."""

    def __init__(self, folder: Path) -> None:
        made = simulate(folder / "data", entities=40, periods=20, parties=2, seed=7)
        self.place = lay_out(folder / "out", load_consortium(made.config), made.config.parent, made.data, 7)
        self.data = made.data
        settings = load_consortium(made.config)
        self.agreement: Agreement = agreement_of(settings, self.place.roster, datetime.now(UTC), timedelta(minutes=5))

    def home(self, name: str) -> NodeHome:
        return NodeHome(self.place.party(name))

    def looked_at(self, name: str, at: datetime) -> None:
        """The node looks at its data, as before it signs."""
        home = self.home(name)
        data = read_own_data(self.agreement, home.settings, home.folder)
        (home.folder / "runs" / self.agreement.run_id).mkdir(parents=True, exist_ok=True)
        found = signed_data(self.agreement, data, data_stamp(home.settings, home.folder), at, KEY)
        keep_signed_data(home.folder / "runs" / self.agreement.run_id, found)

    def begins(self, name: str) -> None:
        home = self.home(name)
        check_signed_data(self.agreement, home.settings, home.folder, KEY)

    def change(self, file: str, how: Callable[[pd.DataFrame], Any]) -> Callable[[], None]:
        """Write ``file`` anew with something changed; returns what brings the old content back."""
        path = self.data / file
        old = path.read_bytes()
        table = pd.read_parquet(path)
        changed = how(table)
        table = table if changed is None else changed
        table.to_parquet(path, index=False)
        return lambda: path.write_bytes(old) and None


@pytest.fixture
def laid(tmp_path: Path) -> Laid:
    return Laid(tmp_path)


def test_changed_values_end_the_run_by_name_and_restored_ones_do_not(laid: Laid) -> None:
    laid.looked_at("satellite", datetime.now(UTC))
    laid.begins("satellite")

    def nudge(table: pd.DataFrame) -> None:
        days = table["observed"].astype("datetime64[ns]")
        table.loc[(days == days.max()) & (table.index % 2 == 0), "lot_fill"] *= 1.5

    restore = laid.change("satellite.parquet", nudge)
    with pytest.raises(DataError, match="this node's data changed after") as caught:
        laid.begins("satellite")
    said = str(caught.value)
    assert "satellite.sql: this node's data changed after" in said
    assert f"rows of 1 period, the first {laid.agreement.periods[-1]}. Restore" in said
    assert "have the run proposed again" in said
    restore()
    laid.begins("satellite")
    laid.begins("social")  # nothing was kept for it: a run that began under an earlier version goes on
    kept = laid.home("satellite").folder / "runs" / laid.agreement.run_id / "signed_data.json"
    kept.write_bytes(kept.read_bytes()[:-9])
    with pytest.raises(StorageError, match=r"signed_data\.json: damaged; restore it"):
        laid.begins("satellite")


def test_a_link_that_leads_to_another_folder_is_a_change_of_files(laid: Laid) -> None:
    home = laid.home("satellite")
    for month in ("may", "june"):
        (laid.data / month).mkdir()
    link = laid.data / "current"
    link.symlink_to("may", target_is_directory=True)
    before = data_stamp(home.settings, home.folder)
    assert before == data_stamp(home.settings, home.folder)
    link.unlink()
    link.symlink_to("june", target_is_directory=True)
    assert data_stamp(home.settings, home.folder) != before


def test_rows_taken_away_are_counted_and_a_changed_label_is_named(laid: Laid) -> None:
    for name in ("satellite", "fund"):
        laid.looked_at(name, datetime.now(UTC))
    laid.change("satellite.parquet", lambda table: table.drop(table.index[::3]))
    with pytest.raises(DataError, match=r"rows of \d+ periods, the first .* rows, now "):
        laid.begins("satellite")

    def restated(table: pd.DataFrame) -> None:
        days = table["friday"].astype("datetime64[ns]")
        table.loc[(days == days.drop_duplicates().sort_values().iloc[-4]) & (table.index % 2 == 0), "close"] *= 1.2

    laid.change("prices.parquet", restated)
    with pytest.raises(DataError, match=r"labels of \d periods, the first "):
        laid.begins("fund")


def test_what_was_not_over_when_it_was_signed_may_still_come_in(laid: Laid) -> None:
    """Signed in the middle of the calendar: later rows and labels change, and earlier ones may not."""
    cutoffs = calendar_of(laid.agreement.dated).cutoffs
    middle = pd.Timestamp(cutoffs[9]).tz_localize("UTC").to_pydatetime()
    for name in ("satellite", "fund"):
        laid.looked_at(name, middle)
    kept = kept_signed_data(laid.home("fund").folder / "runs" / laid.agreement.run_id)
    assert kept is not None
    assert len(kept.periods) == 10
    assert list(kept.labels.values()).count("") == 1, "the last label is known a week later"

    def later(table: pd.DataFrame, day: str, column: str) -> None:
        days = table[day].astype("datetime64[ns]")
        table.loc[(days > pd.Timestamp(cutoffs[10])) & (table.index % 2 == 0), column] *= 1.2

    laid.change("satellite.parquet", lambda table: later(table, "observed", "heat"))
    laid.change("prices.parquet", lambda table: later(table, "friday", "close"))
    for name in ("satellite", "fund"):
        laid.begins(name)
    laid.change("satellite.parquet", lambda table: table.__setitem__("heat", -table["heat"]))
    with pytest.raises(DataError, match=r"rows of 10 periods, the first "):
        laid.begins("satellite")


class Said:
    """Where a node's answers go."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.came = threading.Event()

    def signed(self, run_id: str, signature: str) -> None:
        self.answers[run_id] = "signed"
        self.came.set()

    def rejected(self, run_id: str, why: str) -> None:
        self.answers[run_id] = why
        self.came.set()

    def data_usable(self) -> None:
        pass

    def links(self, run_id: str, body: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("broken", "answer"),
    [("", "signed"), ("data", "its data cannot be used"), ("code", "an internal error (KeyError)")],
)
def test_a_node_that_signs_later_looks_again_where_its_data_changed(
    laid: Laid, broken: str, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a person signs is what the data are then; data that cannot be used any more are not signed over."""
    home, run_id, said = laid.home("satellite"), laid.agreement.run_id, Said()
    home.settings = home.settings.model_copy(update={"approve": "ask"})
    folder = home.folder / "runs" / run_id
    openings, audit = home.openings(), home.audit()
    approvals = RunApprovals(home, audit, openings, said)  # type: ignore[arg-type]
    try:
        approvals.ask(run_id, ApproveBody(agreement=laid.agreement.model_dump(mode="json")))
        for _ in range(600):
            if kept_signed_data(folder) is not None and approvals.known(run_id) is not None:
                break
            assert not said.came.wait(0.05), said.answers
        before = kept_signed_data(folder)
        assert before is not None
        if broken == "code":
            monkeypatch.setattr("parties.node.run_approvals.check_ready", lambda *given: {}["fault"])
        if broken == "data":
            laid.change("satellite.parquet", lambda table: table.drop(columns="heat"))
        else:
            laid.change("satellite.parquet", lambda table: table.__setitem__("heat", -table["heat"]))
        decide(folder, home.settings, "approve", by="somebody")
        assert said.came.wait(60)
        assert answer in said.answers[run_id]
        if broken:
            return
        now = kept_signed_data(folder)
        assert now is not None
        assert now.at > before.at
        assert all(digest != before.periods[name] for name, digest in now.periods.items())
    finally:
        approvals.close()
        openings.close()
        audit.close()
