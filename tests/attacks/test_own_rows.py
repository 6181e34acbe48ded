"""What a party refuses before it signs: plans beyond its own bits, flags, repeated rows, sums of its own over a list.

The data are a simulated party's, and for flags and a monthly feed what stands in a CSV file of a test.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from parties.agreement.bit_plan import bit_plan
from parties.agreement.document import Agreement
from parties.control.commands import ApproveBody
from parties.data.simulate import simulate
from parties.demo.homes import DemoHomes, lay_out
from parties.errors import AgreementError, ConfigError
from parties.node.asked_runs import asked_runs
from parties.node.decisions import decide
from parties.node.home import NodeHome
from parties.node.openings import OpeningStore
from parties.node.own_data import read_own_data
from parties.node.own_rows import (
    MOST_WITHHELD,
    OwnRows,
    check_own_rows,
    kept_own_rows,
    own_cautions,
    served_rows,
)
from parties.node.policy import check_agreement, left_to_a_person
from parties.node.run_approvals import RunApprovals
from parties.node.settings import NodeSettings, StandingLimits
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import ConsortiumSettings, PartySettings, load_consortium
from tests.attacks.rig import secret
from tests.attacks.test_opened_bits import DISCRETE, SHIPPED
from tests.parties.agreement.test_text import document
from vfl.factors.panel import FeaturePanel
from vfl.models.ridge.basis import secret_rotation
from vfl.protocols.opened_numbers import OpenedNumbers
from vfl.protocols.opening_budget import OpeningBudget
from vfl.protocols.row_bits import RowBits

KEY = bytes(32)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoHomes, ConsortiumSettings]:
    made = simulate(tmp_path_factory.mktemp("data"), entities=60, periods=24, parties=2, seed=7, model="split")
    settings = load_consortium(made.config)
    out = tmp_path_factory.mktemp("homes") / "out"
    return lay_out(out, settings, made.config.parent, made.data, 7), settings


def proposed(homes: tuple[DemoHomes, ConsortiumSettings], **model: Any) -> Agreement:
    place, settings = homes
    wide = settings.model_copy(
        update={
            "model": settings.model.model_copy(update=model),
            "openings": settings.openings.model_copy(update={"largest_fraction": 9.0, "limit_per_row": 6}),
        }
    )
    return agreement_of(wide, place.roster, datetime.now(UTC), timedelta(minutes=5))


class Outbox:
    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def signed(self, run_id: str, signature: str) -> None:
        self.said.append(("signed", run_id))

    def links(self, run_id: str, said: Any) -> None:
        """What answered at the peers' addresses comes before an answer, and is none."""

    def data_usable(self) -> None:
        """Nor is this."""

    def rejected(self, run_id: str, why: str) -> None:
        self.said.append(("rejected", why))


@pytest.fixture
def asked(homes: tuple[DemoHomes, ConsortiumSettings]) -> Iterator[Any]:
    """Ask the satellite fund's node, whose operator decides, for its signature; what it said at once."""
    home = NodeHome(homes[0].party("satellite"))
    limits = home.settings.limits.model_copy(update={"largest_fraction": 9.0, "forms_per_row": None})
    home.settings = home.settings.model_copy(update={"approve": "ask", "limits": limits})
    outbox, store = Outbox(), home.openings()
    with home.audit() as audit:
        approvals = RunApprovals(home, audit, store, cast(Any, outbox))
        approvals.close()

        def ask(agreement: Agreement) -> list[tuple[str, str]]:
            outbox.said.clear()
            approvals.ask(agreement.run_id, ApproveBody(agreement=agreement.model_dump(mode="json")))
            approvals._look()
            return outbox.said

        yield SimpleNamespace(ask=ask, home=home, approvals=approvals, outbox=outbox)
    store.close()


def test_a_plan_beyond_a_partys_own_bits_is_refused_before_anybody_is_asked(
    homes: tuple[DemoHomes, ConsortiumSettings], asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence reaches the proposer: columns, what they hold, what the plan tells, and terms that fit do fit."""
    asked.home.settings = asked.home.settings.model_copy(update={"limits": StandingLimits(largest_fraction=9.0)})
    wide = proposed(homes, embedding_width=12, epochs=2, warmup_epochs=2)
    # 9 times the default share: the sentence must come from the bits, not from the count of linear forms
    monkeypatch.setattr("parties.node.own_rows.bits_allowed", lambda held, *_: 0.6 * held)
    ((kind, why),) = asked.ask(wide)
    assert kind == "rejected"
    assert "this party's 8 columns hold" in why
    assert f"the plan tells {bit_plan(wide).bits:.0f}" in why
    assert "model.embedding_width = 2 with model.epochs = 2" in why
    assert "model.embedding_width = 4 with model.epochs = 1" in why
    (refused,) = asked_runs(asked.home.folder)
    assert (refused.run_id, refused.status, refused.reason) == (wide.run_id, "refused", why)
    assert [path.name for path in (asked.home.folder / "runs" / wide.run_id).iterdir()] == ["ended.json"]
    fits = proposed(homes, embedding_width=4, epochs=1, warmup_epochs=1)
    assert asked.ask(fits) == [], "it waits for the operator"
    folder = asked.home.folder / "runs" / fits.run_id
    own = kept_own_rows(folder)
    assert own is not None
    assert own.columns == 8
    decide(folder, asked.home.settings, "approve", by="ann")
    asked.approvals._look()
    assert asked.outbox.said == [("signed", fits.run_id)]


def test_the_shipped_limits_take_the_shipped_plan(homes: tuple[DemoHomes, ConsortiumSettings]) -> None:
    """As laid out, no node has a limit of bits of its own, and each signs what the simulation's terms ask for."""
    place, settings = homes
    agreement = agreement_of(settings, place.roster, datetime.now(UTC), timedelta(minutes=5))
    for party in agreement.features:
        home = NodeHome(place.party(party.name))
        assert home.settings.limits.bits_per_row == 0
        check_agreement(agreement, home.settings, home.identity, home.roster, datetime.now(UTC))
        store = OpeningStore("sqlite://")
        own = check_own_rows(agreement, home.settings, read_own_data(agreement, home.settings, home.folder), store, KEY)
        assert own is not None
        assert not left_to_a_person(agreement, home.settings, own)
        assert agreement.model.embedding_width == 2
        assert getattr(agreement.model, "smallest_batch", 0) >= 5 * len(party.columns)


# --- flags and feeds, from a file ----------------------------------------------------------------

ENTITIES, DAYS = 40, 12
PERIODS = pd.date_range("2024-01-05", periods=DAYS, freq="W-FRI")


def node_of(tmp_path: Path, frame: pd.DataFrame, **limits: Any) -> NodeSettings:
    frame.to_csv(tmp_path / "d.csv", index=False)
    names = tuple(column for column in frame.columns if column not in ("entity", "period"))
    (tmp_path / "q.sql").write_text(f"SELECT entity, CAST(period AS DATE) AS period, {', '.join(names)} "
                                    "FROM read_csv('${data}/d.csv')")  # fmt: skip
    party = PartySettings(name="sat", role="feature", query="q.sql", columns=names, lag_days=0)
    return NodeSettings(listen="x:1", data=".", party=party, limits=StandingLimits(**limits))


def drawn(columns: int, flags: int, every: int = 1) -> pd.DataFrame:
    """Weekly rows whose values change only ``every`` so many weeks."""
    draw, rows = np.random.default_rng(3), []
    values, marks = draw.normal(size=(DAYS, ENTITIES, columns)), draw.random((DAYS, ENTITIES, flags)) < 0.4
    for t, day in enumerate(PERIODS):
        for i in range(ENTITIES):
            told = {f"c{j}": values[t // every, i, j] for j in range(columns)}
            told |= {f"f{j}": float(marks[t // every, i, j]) for j in range(flags)}
            rows.append({"entity": f"E{i:03d}", "period": day.date(), **told})
    return pd.DataFrame(rows)


def agreement_for(settings: NodeSettings, noise: float = 0.1, **model: Any) -> Agreement:
    ends = [day.tz_localize("UTC") + pd.Timedelta(hours=23) for day in PERIODS]
    made = document(
        model={"kind": "split", **model}, openings={"contribution": "none", "noise": noise},
        walk_forward={}, search=None, fees=None, reward={}, evaluation={}, readers={},
        calendar={"frequency": "W-FRI", "periods": [str(d.date()) for d in PERIODS], "period_ends": ends,
                  "cutoffs": ends},
    )  # fmt: skip
    made["parties"][1]["columns"] = list(settings.party.output_columns)
    made["parties"][1].pop("encoder"), made["parties"][1].pop("expansion")
    return Agreement.model_validate(made)


def measured(tmp_path: Path, settings: NodeSettings, agreement: Agreement) -> OwnRows:
    found = check_own_rows(
        agreement, settings, read_own_data(agreement, settings, tmp_path), OpeningStore("sqlite://"), KEY
    )
    assert found is not None
    return found


def read_flags(numbers: OpenedNumbers, turned: bool) -> float:
    """Share of flags that a label party reads which swaps its weights for one flag after another, at full reach."""
    draw = np.random.default_rng(5)
    rows = 4000
    values = np.concatenate([draw.normal(size=(rows, 12)), np.zeros((rows, 9))], axis=1)
    marks = draw.random((rows, 9)) < 0.4
    values[:, 12:] = (marks - 0.4) / np.sqrt(0.24)
    basis = secret_rotation(secret("basis"), values.shape[1])
    served = values @ basis if turned else values
    # one flag's two levels lie 2 apart in the ring of 4, the widest that does not wrap
    opened = numbers.wrapped(0.9 * served[:, 12:] + numbers.deviation * draw.normal(size=(rows, 9)))
    read = opened > opened.mean(axis=0)
    return float((read == marks).mean())


def test_flags_beside_wide_columns_are_read_whole_where_they_may_open_and_are_refused_by_default(
    tmp_path: Path,
) -> None:
    """The bits of twelve continuous columns pay for nine numbers, and one number tells a flag whole: noise is no rule.

    Without the rule all flags are read. With it the party does not sign. Where its operator accepts what the
    sentence says, they are read in a secret basis alone, which hides which number is a flag: near chance, from one row.
    """
    assert read_flags(SHIPPED, turned=False) == 1.0
    assert read_flags(DISCRETE, turned=False) == 1.0
    assert read_flags(DISCRETE, turned=True) < 0.7, "0.6 by chance"
    frame = drawn(12, 3)
    settings = node_of(tmp_path, frame)
    budget = OpeningBudget(9, 9, bits=RowBits(SHIPPED.bits, 0.6 * 12 * 13, np.arange(9)))
    budget.charge("train-1/0", np.arange(9), 9)
    with pytest.raises(
        AgreementError, match=r"columns of few values may not open \(limits.discrete\): f0 \(1.0 bits\)"
    ):
        measured(tmp_path, settings, agreement_for(settings, noise=0.3))
    open_to = node_of(tmp_path, frame, discrete="accept")
    with pytest.raises(AgreementError, match=r"open under noise of 0.2 or more, and openings.noise is 0.1: f0"):
        measured(tmp_path, open_to, agreement_for(open_to))
    own = measured(tmp_path, open_to, agreement_for(open_to, noise=0.2))
    assert set(own.discrete) == {"f0", "f1", "f2"}
    (caution,) = own_cautions(own)
    assert caution.term == "parties.columns"
    assert "can read such a value of any row" in caution.words
    alone = open_to.model_copy(update={"approve": "automatic"})
    assert any("parties.columns" in line for line in left_to_a_person(agreement_for(open_to, 0.2), alone, own))


def test_a_missing_indicator_is_a_column_of_few_values(tmp_path: Path) -> None:
    frame = drawn(12, 0)
    frame.loc[frame.index % 17 == 0, "c3"] = np.nan
    settings = node_of(tmp_path, frame)
    shown = settings.party.model_copy(update={"missing_indicators": ("c3",)})
    with pytest.raises(AgreementError, match=r"c3_missing \(0\.\d bits\)"):
        told = settings.model_copy(update={"party": shown})
        measured(tmp_path, told, agreement_for(told))
    assert not measured(tmp_path, settings, agreement_for(settings)).discrete


def test_a_calendar_finer_than_the_feed_is_named_before_signing_with_how_often_a_row_repeats(tmp_path: Path) -> None:
    """Rows that change every second week are let through, named and left to a person; one of six weeks is refused."""
    fortnight = node_of(tmp_path, drawn(12, 0, every=2), counterparties=("bank", "card", "web"))
    own = measured(tmp_path, fortnight, agreement_for(fortnight))
    (caution,) = own_cautions(own)
    assert caution.term == "calendar.frequency"
    assert "stand in 1.8 periods on average" in caution.words, "the first is known a week later"
    assert own.withheld == 0
    alone = fortnight.model_copy(update={"approve": "automatic"})
    assert any("calendar.frequency" in line for line in left_to_a_person(agreement_for(fortnight), alone, own))
    slow = node_of(tmp_path, drawn(12, 0, every=6))
    with pytest.raises(AgreementError, match=r"stand in 5\.5 periods on average: its 12 columns hold .* times at most"):
        measured(tmp_path, slow, agreement_for(slow))
    weekly = node_of(tmp_path, drawn(12, 0))
    assert own_cautions(measured(tmp_path, weekly, agreement_for(weekly))) == ()


def test_rows_whose_values_told_enough_stay_closed_and_no_run_ends_over_them(tmp_path: Path) -> None:
    """Two of sixteen never change: their rows open as often as their one content allows, then as absent ones.

    Room for one opening more stays: a step that is made again after a crash is counted again.
    """
    draw = np.random.default_rng(1)
    raw = draw.normal(size=(10, 16, 4))
    raw[:, :2] = raw[0, :2]
    panel = panel_of(raw)
    settings = NodeSettings(
        listen="x:1", data=".", party=PartySettings(name="sat", role="feature", query="q", columns=tuple("abcd")),
        limits=StandingLimits(bits_per_row=75.0),
    )  # fmt: skip
    agreement = agreement_for(node_of(tmp_path, drawn(4, 0)))
    plan = bit_plan(agreement)
    once = plan.width * plan.per_number
    assert 2 * plan.bits + once < 75 < 3 * plan.bits
    served = served_rows(agreement, settings, tmp_path, panel, lambda _: np.zeros(160), KEY)
    closed = served.withheld.reshape(10, 16)
    assert (closed[2:, :2]).all()
    assert closed.sum() == 16
    bits = RowBits(plan.per_number, served.most, served.contents.groups)
    budget = OpeningBudget(160, 9, bits=bits)
    budget.charge("train-1/0", np.arange(160), plan.numbers)
    budget.charge("train-2/0", np.arange(2), plan.width)
    assert (bits.told <= 75).all()
    with pytest.raises(Exception, match="more than 75"):
        budget.charge("train-3/0", np.arange(2), 2 * plan.width)
    with pytest.raises(Exception, match="more than 75"):
        OpeningBudget(160, 9, bits=RowBits(plan.per_number, 75.0, np.repeat(0, 160))).charge(
            "train-1/0", np.arange(160), plan.numbers
        )
    again = served_rows(agreement, settings, tmp_path, panel, lambda _: np.full(160, 99.0), KEY)
    assert (again.withheld == served.withheld).all(), "a run that goes on serves what it served"
    with pytest.raises(AgreementError, match="have told what they may, in earlier runs"):
        served_rows(agreement, settings, tmp_path / "new", panel, lambda _: np.full(160, 99.0), KEY)
    assert MOST_WITHHELD < 1


def panel_of(raw: np.ndarray[Any, Any]) -> FeaturePanel:
    from parties.data.row_contents import row_contents, value_bits

    covered = np.ones(raw.shape[:2], dtype=bool)
    nothing = np.zeros(raw.shape[:2], dtype="datetime64[ns]")
    return FeaturePanel(
        columns=tuple("abcd"), values=raw, covered=covered, asof=nothing, available_at=nothing,
        contents=row_contents(raw, covered).digests, row_bits=60.0, value_bits=tuple(value_bits(raw).tolist()),
    )  # fmt: skip


# --- a public list ---------------------------------------------------------------------------------


def test_over_a_public_list_no_partys_own_sums_open(homes: tuple[DemoHomes, ConsortiumSettings]) -> None:
    """Refused by whoever proposes, and by every feature party's node whatever was proposed."""
    place, settings = homes
    listed = {"policy": "universe", "universe_sha256": "07" * 32}
    settings = settings.model_copy(update={"alignment": settings.alignment.model_copy(update=listed)})
    assert settings.openings.contribution == "masked"
    with pytest.raises(ConfigError, match="over a public list or a union no single party's sums may open"):
        agreement_of(settings, place.roster, datetime.now(UTC))
    quiet = settings.openings.model_copy(update={"contribution": "none"})
    made = agreement_of(settings.model_copy(update={"openings": quiet}), place.roster, datetime.now(UTC))
    home = NodeHome(place.party("satellite"))
    check_agreement(made, home.settings, home.identity, home.roster, datetime.now(UTC))
    forced = made.model_copy(update={"openings": settings.openings})
    with pytest.raises(AgreementError, match="which rows a party does not cover"):
        check_agreement(forced, home.settings, home.identity, home.roster, datetime.now(UTC))


def test_a_node_refuses_training_steps_of_fewer_rows_than_five_for_each_of_its_columns(
    homes: tuple[DemoHomes, ConsortiumSettings],
) -> None:
    place, settings = homes
    made = agreement_of(settings, place.roster, datetime.now(UTC))
    home = NodeHome(place.party("satellite"))
    small = made.model_copy(update={"model": made.model.model_copy(update={"smallest_batch": 39})})
    with pytest.raises(AgreementError, match=r"trains on 39 rows at once; .* is 40: ask for model.smallest_batch = 40"):
        check_agreement(small, home.settings, home.identity, home.roster, datetime.now(UTC))
