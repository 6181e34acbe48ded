"""A signature means that the run can run: what would stop it is refused, with a remedy, before a node signs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parties.agreement.arithmetic import check_openings
from parties.agreement.document import Agreement
from parties.cli import run as entente
from parties.data.simulate import simulate
from parties.demo.homes import DemoHomes, lay_out
from parties.errors import AgreementError, ConfigError, DataError
from parties.node import rehearsal
from parties.node.counted_before import counted_lines
from parties.node.home import NodeHome
from parties.node.link_check import WARNING, try_links
from parties.node.openings import NUMBERS, SCORES, OpeningStore
from parties.node.policy import check_agreement
from parties.node.readiness import Ready, check_ready
from parties.private_files import write_private
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import ConsortiumSettings, load_consortium
from parties.transport.grpc import ExchangeServer
from psi.flow import Flow
from vfl.protocols.opening_budget import Charge

Laid = tuple[DemoHomes, ConsortiumSettings]
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Laid:
    made = simulate(tmp_path_factory.mktemp("data"), entities=40, periods=20, parties=2, seed=7)
    settings = load_consortium(made.config)
    return lay_out(tmp_path_factory.mktemp("homes") / "out", settings, made.config.parent, made.data, 7), settings


@pytest.fixture
def store() -> Iterator[OpeningStore]:
    found = OpeningStore("sqlite://")
    yield found
    found.close()


def agreed(laid: Laid, change: Change = lambda _: None, seed: int = 0) -> Agreement:
    """The simulated consortium's agreement, with something changed in it; another ``seed`` is another run."""
    place, settings = laid
    made = agreement_of(settings, place.roster, datetime.now(UTC), timedelta(minutes=5))
    record = made.model_dump(mode="json")
    record["model"]["seed"] += seed
    change(record)
    return Agreement.model_validate(record)


def ready(laid: Laid, agreement: Agreement, name: str, store: OpeningStore) -> Ready:
    return check_ready(agreement, NodeHome(laid[0].party(name)), store, datetime.now(UTC))


def test_a_run_that_can_run_is_ready_at_every_party(laid: Laid, store: OpeningStore) -> None:
    agreement = agreed(laid)
    for party in agreement.parties:
        lines = ready(laid, agreement, party.name, store).lines
        assert lines[0].startswith("Data: "), lines
        assert "rows in 20 of 20 periods" in lines[0], lines
        assert lines[-1].startswith("Encrypted products of this kind come out right on this machine")
    assert "labels" in ready(laid, agreement, agreement.label.party, store).lines[0]


def test_links_are_tried_and_another_certificate_is_told_from_silence(laid: Laid, store: OpeningStore) -> None:
    place, agreement = laid[0], agreed(laid)
    me, peers = agreement.label.party, [party.name for party in agreement.features]
    loop = "127.0.0.1:0"
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(closing(ExchangeServer(NodeHome(place.party(name)).identity, place.roster, loop)))
            for name in peers
        }

        def moved(record: dict[str, Any]) -> None:
            for party in record["parties"]:
                if party["name"] in servers:
                    party["address"] = servers[party["name"]].address

        tried = try_links(agreed(laid, moved), me, "never")
        lines = tried.lines
        assert tried.states == dict.fromkeys(peers, "agreed")
        assert lines[0].startswith("Encrypted links stand")
        assert len(lines) == 1

        def swapped(record: dict[str, Any]) -> None:
            for party in record["parties"]:
                if party["name"] in servers:
                    party["address"] = servers[peers[0]].address

        swap = try_links(agreed(laid, swapped), me, "never")
        assert swap.states == {peers[0]: "agreed", **dict.fromkeys(peers[1:], "other")}
        stranger = swap.lines[1:]
        assert all(line.startswith(WARNING) and "another certificate" in line for line in stranger)
        assert len(stranger) == len(peers) - 1
    away = try_links(agreed(laid, moved), me, "when_unreachable")
    assert set(away.states.values()) == {"silent"}
    silent = away.lines
    assert all("no link to" in line and "through the coordinator" in line for line in silent)
    assert try_links(agreed(laid, moved), me, "always").lines[0].startswith("Links: all messages go through")


def test_a_query_that_does_not_parse_is_refused_and_its_words_stay_at_home(laid: Laid, store: OpeningStore) -> None:
    home = NodeHome(laid[0].party("satellite"))
    query = home.folder / home.settings.queries / home.settings.party.query
    kept = query.read_text()
    query.write_text("SELEC entity FROM nowhere")
    try:
        with pytest.raises(DataError, match=query.name):
            ready(laid, agreed(laid), "satellite", store)
        query.unlink()
        with pytest.raises(DataError, match=query.name):
            ready(laid, agreed(laid), "satellite", store)  # its path is no other party's to read
        assert entente(["doctor", "--home", str(home.folder)]) == 2, "doctor tries the data too"
    finally:
        query.write_text(kept)


def test_a_calendar_that_the_data_do_not_cover_is_refused(laid: Laid, store: OpeningStore) -> None:
    def earlier(record: dict[str, Any]) -> None:
        shift = timedelta(weeks=52 * 20)
        for key in ("periods", "cutoffs"):
            if key in record["calendar"]:
                record["calendar"][key] = [
                    f"{datetime.fromisoformat(at) - shift:%Y-%m-%d}" if key == "periods"
                    else (datetime.fromisoformat(at) - shift).isoformat()
                    for at in record["calendar"][key]
                ]  # fmt: skip

    agreement = agreed(laid, earlier)
    with pytest.raises(DataError, match=r"no row is known at any cutoff of the calendar \(2003.*propose periods"):
        ready(laid, agreement, "satellite", store)
    with pytest.raises(DataError, match="no period can be predicted"):
        ready(laid, agreement, agreement.label.party, store)


def test_how_many_entities_there_are_refuses_nothing_and_is_said_at_home(laid: Laid, store: OpeningStore) -> None:
    """A refusal would tell a proposer the number, limit by limit, before anybody agreed to anything."""
    agreement = agreed(laid, lambda record: record["alignment"].update(minimum_common=5000, maximum_set_size=9000))
    told = " ".join(ready(laid, agreement, "satellite", store).lines)
    assert "warning: fewer than the 5,000 common entities that the run needs" in told


def opened(laid: Laid, store: OpeningStore, kind: str, times: int) -> Agreement:
    """An earlier run of the same parties in which the anchor opened every row of the last period ``times`` times."""
    earlier = agreed(laid, seed=1)
    home = NodeHome(laid[0].party(earlier.model.anchor))
    periods = earlier.calendar.periods
    entities = [f"SIM{i:03d}" for i in range(3)] + list(_entities(home))
    store.begin(earlier.run_id, entities, periods)
    rows = np.arange(len(entities) * (len(periods) - 1), len(entities) * len(periods))
    for number in range(times):
        store.record(earlier.run_id, Charge(f"{kind}x/{number}", rows, 1))
    folder = home.folder / "runs" / earlier.run_id
    folder.mkdir(parents=True, exist_ok=True)
    write_private(folder / "agreement.json", earlier.canonical())
    return earlier


def _entities(home: NodeHome) -> tuple[str, ...]:
    from parties.data.entities import party_entities

    return party_entities(home.settings.party, home.folder / home.settings.queries, home.folder / home.settings.data)


@pytest.mark.parametrize(("kind", "words"), [(SCORES, "opened scores"), (NUMBERS, "valuations and screens")])
def test_rows_whose_openings_are_used_up_are_refused_before_anybody_signs(
    laid: Laid, store: OpeningStore, kind: str, words: str
) -> None:
    agreement = agreed(laid, seed=2)
    anchor, limit = agreement.model.anchor, agreement.row_limit
    opened(laid, store, kind, limit - 1)
    told = " ".join(ready(laid, agreement, anchor, store).lines)
    assert f"Earlier runs used up to {limit - 1} of {limit} {words} of a row" in told
    earlier = opened(laid, store, kind.replace("/", "/again-"), 1)
    assert earlier.run_id != agreement.run_id
    with pytest.raises(AgreementError, match=f"have {limit} {words}.*limit_per_row of {limit + 1} or more"):
        ready(laid, agreement, anchor, store)
    other = next(p.name for p in agreement.features if p.name != anchor)
    ready(laid, agreement, other, store)  # the anchor counts, and says so for all

    more = agreed(laid, lambda record: record["openings"].update(limit_per_row=limit + 1), seed=2)
    home = NodeHome(laid[0].party(anchor))
    home.settings = home.settings.model_copy(
        update={"limits": home.settings.limits.model_copy(update={"openings_per_row": limit + 1})}
    )
    check_ready(more, home, store, datetime.now(UTC))  # the remedy works


def test_a_run_of_other_parties_does_not_forbid(laid: Laid, store: OpeningStore) -> None:
    """Its rows need not be common again; what it used is said."""
    agreement = agreed(laid, seed=2)
    earlier = opened(laid, store, SCORES, agreement.row_limit)
    (Path(laid[0].party(agreement.model.anchor)) / "runs" / earlier.run_id / "agreement.json").unlink()
    told = " ".join(ready(laid, agreement, agreement.model.anchor, store).lines)
    assert f"Earlier runs used up to {agreement.row_limit} of {agreement.row_limit} opened scores" in told


def test_a_machine_that_multiplies_wrongly_is_found(
    laid: Laid, store: OpeningStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = rehearsal.hold_slots

    def broken(*asked: Any) -> Flow[Any]:
        share = yield from honest(*asked)
        return share ^ np.uint64(1)

    rehearsal._rehearsed.cache_clear()
    monkeypatch.setattr(rehearsal, "hold_slots", broken)
    with pytest.raises(ConfigError, match="comes out wrong on this machine"):
        ready(laid, agreed(laid), "satellite", store)


def test_openings_that_leave_none_to_train_on_are_refused_without_any_data(tmp_path: Path) -> None:
    made = simulate(tmp_path / "data", entities=30, periods=12, parties=3, seed=7, model="split")
    settings = load_consortium(made.config)
    place = lay_out(tmp_path / "out", settings, made.config.parent, made.data, 7)

    def few(record: dict[str, Any]) -> None:
        record["openings"].update(limit_per_row=4, contribution="masked")

    with pytest.raises(AgreementError, match=r"4 openings of a row leave none to train on .*limit_per_row = 5 or more"):
        check_openings(agreed((place, settings), few))
    check_openings(agreed((place, settings), lambda record: record["openings"].update(limit_per_row=5)))


def test_a_screen_of_rows_that_entered_enough_of_them_or_with_a_stranger_as_holder_is_refused(
    laid: Laid, store: OpeningStore
) -> None:
    def screen(record: dict[str, Any]) -> None:
        periods = [f"p{i}" for i in range(30)]
        days = [(datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=7 * i)).isoformat() for i in range(30)]
        record["calendar"] |= {"periods": periods, "period_ends": days, "cutoffs": days}
        record |= {"model": {"kind": "screen"}, "evaluation": {}, "reward": {}}
        record["openings"] |= {"contribution": "none"}

    agreement = agreed(laid, screen)
    first, second = agreement.features
    home = NodeHome(laid[0].party(first.name))
    limits = home.settings.limits.model_copy(update={"anchors": ("somebody",), "counterparties": ()})

    def allowed(home: NodeHome) -> None:
        settings = home.settings.model_copy(update={"limits": limits})
        check_agreement(agreement, settings, home.identity, home.roster, datetime.now(UTC))

    with pytest.raises(AgreementError, match=rf"{second.name} would hold shares .* limits\.anchors"):
        allowed(home)
    allowed(NodeHome(laid[0].party(second.name)))  # nobody holds shares of the last party's terminals

    store.begin("e" * 64, ["x"], agreement.periods[:1])
    store.record("e" * 64, Charge(f"{NUMBERS}train-1/screen/0", np.array([0]), 9))
    told = " ".join(counted_lines(agreement, home.folder, first.name, ["x"], store))
    assert f"Earlier runs used up to 1 of {agreement.row_limit} valuations and screens of a row" in told
