"""An overlap estimate from proposal to number: real homes, data and signatures; members in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from parties.agreement.overlap import DELTA, OverlapAnswer, OverlapProposal, OverlapState, overlap_lines, sign_overlap
from parties.audit.log import AuditLog
from parties.calls.overlaps import OverlapQuestion
from parties.cli import run
from parties.control.commands import Command, OverlapsBody, parse_command
from parties.control.reports import Report, parse_report
from parties.coordinator.desk.overlaps import doors
from parties.coordinator.engine import Engine
from parties.coordinator.overlaps import Overlaps as Desk
from parties.data.simulate import simulate
from parties.demo.homes import DemoHomes, lay_out
from parties.errors import AgreementError, ConfigError
from parties.node.home import NodeHome
from parties.node.overlap_sets import overlap_sets
from parties.node.overlaps import Overlaps, check_budget, known_overlaps, spent
from parties.settings.consortium import load_consortium
from parties.transport.memory import MemoryNetwork
from psi.overlap import dummies_for

NAMES = ("fund", "satellite", "social")


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> DemoHomes:
    out = tmp_path_factory.mktemp("overlap")
    made = simulate(out / "data", entities=40, periods=12, parties=2, seed=5)
    return lay_out(out, load_consortium(made.config), made.config.parent, made.data, 5)


class House:
    """A coordinator's desk and the members' nodes, joined by the bytes of reports and commands."""

    def __init__(self, homes: DemoHomes, folder: Path) -> None:
        self.nodes: dict[str, Overlaps] = {}
        engine = SimpleNamespace(tell=self._tell)
        self.desk = Desk(folder, cast(Engine, engine), homes.roster, lambda: datetime.now(UTC))
        network = MemoryNetwork()
        for name in NAMES:
            place = NodeHome(homes.party(name))
            audit = AuditLog.at(name, "", folder / f"{name}.db", place.identity.key.sign)
            line: Any = SimpleNamespace(overlap=lambda answer, name=name: self._hear(name, answer))
            self.nodes[name] = Overlaps(place, network.node(name), audit, line)

    def _hear(self, name: str, answer: OverlapAnswer) -> None:
        said = parse_report("overlap", "", Report(answer).encoded(), name).body
        assert isinstance(said, OverlapAnswer)
        self.desk.heard(name, said)

    def _tell(self, party: str, command: Command) -> None:
        body = parse_command(command.kind, command.run_id, command.encoded()).body
        assert isinstance(body, OverlapsBody)
        self.nodes[party].told(body.overlaps)


@pytest.fixture
def house(homes: DemoHomes, tmp_path: Path) -> Iterator[House]:
    made = House(homes, tmp_path)
    yield made
    for node in made.nodes.values():
        node.close()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_three_members_learn_an_estimate_and_the_page_the_same(
    homes: DemoHomes, house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    place = homes.party
    asked = ["--with", "satellite", "--with", "social", "--epsilon", "2", "--purpose", "is it worth it"]
    assert run(["overlap", "propose", "--home", str(place("fund")), *asked]) == 0
    until(lambda: all(known_overlaps(place(name)) for name in NAMES), "the proposal reaches everybody")
    for name in NAMES[1:]:
        assert (
            run(["overlap", "answer", known_overlaps(place(name))[0][0].name[:10], "--home", str(place(name)), "--yes"])
            == 0
        )
    until(
        lambda: all((known_overlaps(place(name))[0][0] / "found.json").exists() for name in NAMES), "it is carried out"
    )
    until(lambda: house.desk.all()[0].status == "done", "the coordinator hears of it")
    [state] = house.desk.all()
    sets = {
        name: set(dict(overlap_sets(state.proposal, NodeHome(place(name)).settings, place(name)))[""]) for name in NAMES
    }
    [found] = state.found
    for group, estimate in found.together.items():
        members = group.split("+")
        true = len(set.intersection(*(sets[name] for name in members)))
        assert abs(estimate - true) < 6 * state.proposal.terms.deviation(len(members))
    told = {(known_overlaps(place(name))[0][0] / "found.json").read_text() for name in NAMES}
    assert len(told) == 1
    assert spent(place("fund"), "fund", datetime.now(UTC)) == {"satellite": 2.0, "social": 2.0}
    until(lambda: known_overlaps(place("social"))[0][1].status == "done", "and everybody of that")
    capsys.readouterr()
    assert run(["overlap", "show", "--home", str(place("social"))]) == 0
    said = capsys.readouterr().out
    assert "fund, satellite, social" in said
    assert "With fund: epsilon 2 of 3 is spent" in said
    assert "The coordinator shows other numbers" not in said
    asked_at = known_overlaps(place("social"))[0][0] / "asked.json"
    group, told_by_members = next(iter(found.together.items()))
    false = found.model_copy(update={"together": {**found.together, group: told_by_members + 700}})
    asked_at.write_text(state.model_copy(update={"found": (false,)}).model_dump_json())
    assert run(["overlap", "show", "--home", str(place("social"))]) == 0
    again = capsys.readouterr().out
    assert "The coordinator shows other numbers" in again
    assert f"{max(told_by_members, 0) + 700:.0f}" not in again
    assert run(["overlap", "propose", "--home", str(place("fund")), "--with", "social", "--epsilon", "1.5"]) != 0
    assert "limits.overlap_epsilon) of 3" in capsys.readouterr().err


def proposal(**changes: Any) -> OverlapProposal:
    now = datetime.now(UTC).replace(microsecond=0)
    given = {
        "members": ("fund", "satellite"), "epsilon": 1.0, "largest_set": 64, "proposed_at": now,
        "expires_at": now + timedelta(days=1), "nonce": "ab" * 16,
    }  # fmt: skip
    return OverlapProposal.model_validate(given | changes)


def test_who_refuses_ends_it_and_nobody_speaks_for_another(homes: DemoHomes, house: House) -> None:
    keys = {name: NodeHome(homes.party(name)).identity.key for name in NAMES}
    one = proposal()
    for name, answer, reason in (
        ("social", OverlapAnswer(proposal=one, signature=sign_overlap(keys["social"], one)), "not among the members"),
        (
            "satellite",
            OverlapAnswer(proposal=one, signature=sign_overlap(keys["satellite"], one)),
            "by its first member, who signs it, or by an admin",
        ),
        ("fund", OverlapAnswer(proposal=one, signature=sign_overlap(keys["social"], one)), "does not fit this overlap"),
        (
            "fund",
            OverlapAnswer(proposal=proposal(members=("fund", "eve")), signature="ab" * 64),
            "eve, who are no members",
        ),
    ):
        with pytest.raises(AgreementError, match=reason):
            house.desk.heard(name, answer)
    assert house.desk.heard("fund", OverlapAnswer(proposal=one, signature=sign_overlap(keys["fund"], one)))
    with pytest.raises(AgreementError, match="that not all have signed"):
        house.desk.heard("satellite", OverlapAnswer(proposal=one, found=({"part": "", "together": {}},)))  # type: ignore[arg-type]
    assert house.desk.heard("satellite", OverlapAnswer(proposal=one, refused="not with you"))
    assert not house.desk.heard(
        "satellite", OverlapAnswer(proposal=one, signature=sign_overlap(keys["satellite"], one))
    )
    assert house.desk.all()[0].status == "refused"
    again = Desk(house.desk._folder.parent, house.desk._engine, homes.roster, lambda: datetime.now(UTC))
    assert again.all() == house.desk.all(), "a coordinator that comes back knows it"


def test_what_an_admin_proposes_at_the_page_each_member_answers_the_first_too(homes: DemoHomes, house: House) -> None:
    door = doors(house.desk, lambda: datetime.now(UTC))["overlaps/propose"]
    admin: Any = SimpleNamespace(role="admin", party="")
    asked = OverlapQuestion(members=("satellite", "social"), epsilon=0.5, largest_set=64, purpose="worth it?")
    (shown,) = door.answer(asked, admin)
    assert (shown.status, set(shown.answers.values())) == ("waiting", {"has not answered"})
    place = homes.party
    known = {name: (lambda name=name: [f for f, s in known_overlaps(place(name)) if f.name == shown.overlap_id])
             for name in asked.members}  # fmt: skip
    until(lambda: all(found() for found in known.values()), "the proposal reaches both")
    for name in asked.members:
        assert house.desk.all()[0].status == "waiting", "nothing moves before all have signed"
        assert run(["overlap", "answer", shown.overlap_id[:10], "--home", str(place(name)), "--yes"]) == 0
    until(lambda: house.desk.all()[0].status == "done", "it is carried out")
    for wrong, words in (
        (asked.model_copy(update={"members": ("social",)}), "members: .* at least 2"),
        (asked.model_copy(update={"members": ("social", "eve")}), "eve, who are no members"),
        (asked.model_copy(update={"by": "year"}), "parts are named for a year"),
    ):
        with pytest.raises((ConfigError, AgreementError), match=words):
            door.answer(wrong, admin)


def test_budgets_count_what_was_signed_and_texts_say_what_it_tells(tmp_path: Path) -> None:
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    old = proposal(proposed_at=long_ago, expires_at=long_ago + timedelta(days=1), epsilon=9.0)
    for one in (old, proposal(epsilon=2.0, nonce="cd" * 16)):
        place = tmp_path / "overlaps" / one.overlap_id
        place.mkdir(parents=True)
        (place / "signed.json").write_text(one.model_dump_json())
    check_budget(tmp_path, proposal(), "fund", 3.0)
    with pytest.raises(AgreementError, match=r"with satellite estimates of epsilon 2 were signed in 365 days, and 1.5"):
        check_budget(tmp_path, proposal(epsilon=1.5), "fund", 3.0)
    years = proposal(by="year", parts=("2023", "2024"), epsilon=2.0)
    assert years.epsilon_each == 1.0
    assert proposal(by="sector", parts=("Energy",), epsilon=2.0).epsilon_each == 2.0
    text = "\n".join(overlap_lines(years, {"satellite": 2.0}))
    for said in ("for each year of 2023, 2024", "noise of up to 8 entities", "factor of 7.4", "has spent epsilon 2"):
        assert said in text
    for bad in ({"by": "year"}, {"parts": ("2024",)}, {"by": "year", "parts": ("this",)}, {"members": ("a", "a")}):
        with pytest.raises(ValueError, match=r"parts|years|share a name"):
            proposal(**bad)
    assert OverlapState(proposal=years).status == "waiting"


def test_a_proposer_cannot_have_an_estimate_repeated_within_one_epsilon(tmp_path: Path) -> None:
    """Its own word on when it proposed, one sector in two spellings, and delta once a year would each average noise."""
    now = datetime.now(UTC).replace(microsecond=0)
    with pytest.raises(ValueError, match="answered within 31 days"):
        proposal(proposed_at=now - timedelta(days=400))
    with pytest.raises(ValueError, match="once"):
        proposal(by="sector", parts=("Energy", "ENERGY"))
    with pytest.raises(ValueError, match=r"epsilon 0\.1 at least"):
        proposal(by="year", parts=("2023", "2024"), epsilon=0.19)
    late = proposal(proposed_at=now - timedelta(days=30), epsilon=2.0, nonce="cd" * 16)
    place = tmp_path / "overlaps" / late.overlap_id
    place.mkdir(parents=True)
    (place / "signed.json").write_text(late.model_dump_json())
    assert spent(tmp_path, "fund", now + timedelta(days=340)) == {"satellite": 2.0}, "a year from when it could be done"
    years = tuple(str(2001 + i) for i in range(10))
    assert proposal(by="year", parts=years, epsilon=2.0).terms.dummies == dummies_for(0.2, DELTA / 10)
