"""Settlement approved by nodes over their lines: a real coordinator, real nodes, and what may go wrong between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from parties.cli import run as entente
from parties.control.commands import SettleBody
from parties.coordinator import approvals as approvals_module
from parties.coordinator.approvals import Approvals, Waiting
from parties.coordinator.closed_runs import closed_run
from parties.coordinator.service import Coordinator
from parties.errors import AgreementError, ConfigError, LedgerError, StorageError
from parties.ledger.settlement import party_account
from parties.node.settlement_judgement import judge
from parties.node.settlements import Settlements, waiting
from parties.settlement.dossier import Approval, Dossier
from parties.settlement.dossier_store import Dossiers
from parties.settlement.live_record import LiveRecord
from parties.settlement.proposals import propose_dispute, propose_final, propose_judgement, propose_void
from parties.settlement.requests import Answer, Asked, Facts
from tests.parties.approval_rig import RealNode, settle_homes
from tests.parties.coordinator_rig import HostileCommand, wait_until
from tests.parties.rounds import Rounds
from tests.parties.settlement_rig import RULES, SettledHome

Said = pytest.CaptureFixture[str]


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


class World:
    """One coordinator's present life."""

    def __init__(self, settled: SettledHome, coordinator: Coordinator) -> None:
        self.settled, self.coordinator = settled, coordinator
        desk = coordinator.desk
        self.approvals, self.ledger = desk.approvals, desk.ledger
        known = desk.engine.known(settled.run_id)
        run = closed_run(known.state, known.agreement)
        assert run is not None
        self.run = run

    def ask_final(self) -> Waiting:
        live = self.approvals.live(self.run.run_id)
        return self.approvals.ask(propose_final(self.ledger, self.run, live, "admin", now()), self.run, "ada")

    def one(self, digest: str) -> Waiting:
        return next(one for one in self.approvals.latest() if one.request.digest == digest)

    def approved(self, digest: str) -> set[str]:
        return {approval.name for approval in self.one(digest).dossier.approvals}

    def tell(self, party: str, command: Any) -> None:
        self.coordinator.desk.engine.tell(party, command)

    def payable(self, party: str) -> int:
        return self.ledger.balances()[party_account(party, "Payable")].posted


@pytest.fixture
def settled(tmp_path: Path) -> SettledHome:
    made = SettledHome(tmp_path, RULES)
    settle_homes(made)
    return made


@pytest.fixture
def world(settled: SettledHome) -> Iterator[World]:
    with settled.consortium.coordinator() as coordinator:
        yield World(settled, coordinator)


def node(settled: SettledHome, name: str) -> RealNode:
    return RealNode(settled.consortium.home(name))


def attest(settled: SettledHome, tmp_path: Path, **phi: float) -> int:
    """The label party's operator signs live contributions at its node's folder."""
    parties = {name: {"phi": value, "standard_error": 0.0} for name, value in phi.items()}
    record = {"run_id": settled.run_id, "periods": ["2020Q4", "2021Q1"]}
    record["contribution"] = {"method": "masked", "parties": parties}
    file = tmp_path / "live.json"
    file.write_text(json.dumps(record))
    return entente(["settle", "attest", str(file), "--home", str(settled.consortium.home("bank"))])


def decide(settled: SettledHome, name: str, word: str, digest: str, *more: str) -> int:
    home = str(settled.consortium.home(name))
    return entente(["settle", word, digest[:12], "--home", home, *more])


def test_from_live_data_to_the_books_with_two_nodes(
    settled: SettledHome, world: World, tmp_path: Path, capsys: Said
) -> None:
    run = settled.run_id
    with node(settled, "bank"), node(settled, "sat"):
        with pytest.raises(LedgerError, match="wants live data of 2"):
            world.ask_final()
        assert attest(settled, tmp_path, sat=0.015, card=-0.5) == 0
        wait_until(lambda: world.approvals.live(run) is not None, "the live record arrives over the line")
        asked = world.ask_final()
        digest = asked.request.digest
        assert asked.dossier.approvals == (), "to ask is not to approve"
        assert asked.request.asked == ("bank", "card", "sat")
        assert world.ask_final().request.digest == digest, "asking again changes nothing"
        wait_until(lambda: len(waiting(place_of(settled, "bank"))) == 1, "bank's node has it")
        capsys.readouterr()
        assert entente(["settle", "waiting", "--home", str(settled.consortium.home("bank"))]) == 0
        told = capsys.readouterr().out
        assert "computed the amounts again" in told
        assert "sat: 10.00 USD of 20.00 USD payable" in told
        assert decide(settled, "bank", "approve", digest, "--yes", "--as", "ann") == 0
        wait_until(lambda: world.approved(digest) == {"bank"}, "bank's approval is recorded")
        assert world.payable("sat") == 0
        assert decide(settled, "bank", "approve", digest, "--yes", "--as", "bob") != 0, "nobody approves twice"
        wait_until(lambda: len(waiting(place_of(settled, "sat"))) == 1, "sat's node has it")
        assert decide(settled, "sat", "approve", digest, "--yes") == 0
        wait_until(lambda: world.one(digest).posted, "two approvals post it")
    assert world.payable("sat") == 1_000
    assert world.ledger.check().ok
    assert entente(["settle", "check", "--home", str(settled.home)]) == 0
    assert waiting(place_of(settled, "card")) == [], "card's node was never there"


def place_of(settled: SettledHome, name: str) -> Any:
    from parties.node.home import NodeHome

    return NodeHome(settled.consortium.home(name))


def test_a_node_that_was_away_hears_of_it_and_crashes_lose_nothing(settled: SettledHome, tmp_path: Path) -> None:
    assert attest(settled, tmp_path, sat=0.015, card=-0.5) == 0
    with settled.consortium.coordinator() as coordinator:
        first = World(settled, coordinator)
        with node(settled, "bank"):
            wait_until(lambda: first.approvals.live(settled.run_id) is not None, "what was attested before is sent")
        digest = first.ask_final().request.digest
    # the coordinator is gone before anybody was told; the nodes come back first
    with settled.consortium.coordinator() as coordinator, node(settled, "bank"):
        again = World(settled, coordinator)
        wait_until(lambda: len(waiting(place_of(settled, "bank"))) == 1, "told after both restarted")
        assert decide(settled, "bank", "approve", digest, "--yes") == 0
        wait_until(lambda: again.approved(digest) == {"bank"}, "the approval arrives")
    # sat decides while its node and the coordinator are down: what was told before stays on disk
    with settled.consortium.coordinator() as coordinator, node(settled, "sat"):
        wait_until(lambda: len(waiting(place_of(settled, "sat"))) == 1, "sat is told")
    assert decide(settled, "sat", "approve", digest, "--yes") == 0
    with settled.consortium.coordinator() as coordinator, node(settled, "sat"):
        last = World(settled, coordinator)
        wait_until(lambda: last.one(digest).posted, "the decision made in between is carried")
        assert last.payable("sat") == 1_000
        assert last.ledger.check().ok


def test_an_answer_on_disk_is_sent_again_until_it_was_heard(
    settled: SettledHome, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = live_record(settled)
    world.approvals.take_live("bank", record)
    digest = world.ask_final().request.digest
    heard = Approvals.heard
    monkeypatch.setattr(Approvals, "heard", lambda *_: (_ for _ in ()).throw(StorageError("the disk is full")))
    with node(settled, "bank"):
        wait_until(lambda: len(waiting(place_of(settled, "bank"))) == 1, "told")
        assert decide(settled, "bank", "approve", digest, "--yes") == 0
        answer = settled.consortium.home("bank") / "settlements" / digest / "answer.json"
        wait_until(answer.exists, "decided and on disk")
    signed = answer.read_bytes()
    monkeypatch.setattr(Approvals, "heard", heard)
    settled.consortium.write_rosters(world.coordinator.address)
    with node(settled, "bank"):
        wait_until(lambda: world.approved(digest) == {"bank"}, "the same answer is sent by the next process")
    assert answer.read_bytes() == signed


def live_record(settled: SettledHome, *periods: str, **changes: Any) -> LiveRecord:
    parties = {"sat": {"phi": 0.015, "standard_error": 0.0}, "card": {"phi": -0.5, "standard_error": 0.0}}
    body = {
        "run_id": settled.run_id, "periods": periods or ("2020Q4", "2021Q1"), "horizon": 1,
        "contribution": {"method": "masked", "parties": parties}, **changes,
    }  # fmt: skip
    return LiveRecord.model_validate(body).signed(settled.consortium.identities["bank"].key)


def approval(settled: SettledHome, dossier: Dossier, name: str, key_of: str = "") -> Approval:
    key = settled.consortium.identities[key_of or name].key
    return dossier.model_copy(update={"approvals": ()}).approved_by(name, key, now()).approvals[0]


def test_forged_late_and_repeated_approvals_do_nothing(settled: SettledHome, world: World) -> None:
    world.approvals.take_live("bank", live_record(settled))
    one = world.ask_final()
    digest, dossier = one.request.digest, one.dossier
    other = dossier.model_copy(update={"reasons": ("more for me",)})
    hear = world.approvals.heard
    mine = approval(settled, dossier, "bank")
    forged = {
        "by the proposer's own key": ("bank", approval(settled, dossier, "bank", key_of="admin")),
        "for another party": ("sat", mine),
        "of another dossier": ("bank", approval(settled, other, "bank")),
        "by someone who was not asked": ("admin", approval(settled, dossier, "admin")),
        "with a signature of nothing": ("bank", mine.model_copy(update={"signature": "00" * 64})),
    }
    for what, (party, said) in forged.items():
        with pytest.raises(AgreementError):
            hear(party, Answer(digest=digest, approval=said))
        assert world.approved(digest) == set(), what
    with pytest.raises(AgreementError, match="nobody asked"):
        hear("bank", Answer(digest="ab" * 32, approval=mine))
    assert hear("bank", Answer(digest=digest, approval=mine))
    assert not hear("bank", Answer(digest=digest, approval=mine)), "a replay changes nothing"
    with pytest.raises(AgreementError, match="has approved"):
        hear("bank", Answer(digest=digest, refused="on second thoughts"))
    assert not world.one(digest).posted, "one person twice is not two people"
    assert hear("sat", Answer(digest=digest, approval=approval(settled, dossier, "sat")))
    assert world.one(digest).posted
    entries = world.ledger.head().sequence
    assert not hear("card", Answer(digest=digest, approval=approval(settled, dossier, "card"))), "too late"
    assert world.ledger.head().sequence == entries
    assert world.ledger.check().ok


@pytest.mark.parametrize("crash", ["before posting", "after posting"])
def test_a_crash_around_the_posting_posts_exactly_once(
    settled: SettledHome, monkeypatch: pytest.MonkeyPatch, crash: str
) -> None:
    class Killed(BaseException):
        pass

    real = approvals_module.post

    def dying(*arguments: Any) -> Any:
        if crash == "after posting":
            real(*arguments)
        raise Killed

    with settled.consortium.coordinator() as coordinator:
        world = World(settled, coordinator)
        world.approvals.take_live("bank", live_record(settled))
        one = world.ask_final()
        digest = one.request.digest
        world.approvals.heard("bank", Answer(digest=digest, approval=approval(settled, one.dossier, "bank")))
        monkeypatch.setattr(approvals_module, "post", dying)
        with pytest.raises(Killed):
            world.approvals.heard("sat", Answer(digest=digest, approval=approval(settled, one.dossier, "sat")))
        assert world.payable("sat") == (1_000 if crash == "after posting" else 0)
    monkeypatch.setattr(approvals_module, "post", real)
    with settled.consortium.coordinator() as coordinator:
        world = World(settled, coordinator)
        assert world.one(digest).posted, "the start posts what had its approvals"
        assert world.payable("sat") == 1_000
        assert world.ledger.check().ok
        assert not world.approvals.heard("sat", Answer(digest=digest, approval=approval(settled, one.dossier, "sat")))


def test_refusals_end_a_request_when_too_few_are_left(settled: SettledHome, world: World, capsys: Said) -> None:
    world.approvals.take_live("bank", live_record(settled))
    digest = world.ask_final().request.digest
    with node(settled, "sat"):
        wait_until(lambda: len(waiting(place_of(settled, "sat"))) == 1, "told")
        assert decide(settled, "sat", "refuse", digest, "--why", "<b>too little</b>") == 0
        wait_until(lambda: len(world.one(digest).request.refusals) == 1, "the refusal arrives")
    refusal = world.one(digest).request.refusals[0]
    assert (refusal.party, refusal.why) == ("sat", "<b>too little</b>")
    with pytest.raises(AgreementError, match="has refused"):
        world.approvals.heard(
            "sat", Answer(digest=digest, approval=approval(settled, world.one(digest).dossier, "sat"))
        )
    for party in ("bank", "card"):
        world.approvals.heard(party, Answer(digest=digest, refused="no"))
    assert "too few" in world.one(digest).request.ended
    assert world.payable("sat") == 0
    fresh = world.ask_final()
    assert fresh.open, "another request may follow"


def test_withdrawn_is_over_and_the_nodes_are_told(settled: SettledHome, world: World) -> None:
    world.approvals.take_live("bank", live_record(settled))
    one = world.ask_final()
    digest = one.request.digest
    with node(settled, "sat"):
        wait_until(lambda: len(waiting(place_of(settled, "sat"))) == 1, "told")
        world.approvals.withdraw(digest, "ada", "a mistake")
        wait_until(lambda: waiting(place_of(settled, "sat")) == [], "nothing waits at the node any more")
    assert not world.approvals.heard("sat", Answer(digest=digest, approval=approval(settled, one.dossier, "sat")))
    with pytest.raises(ConfigError, match="not open"):
        world.approvals.withdraw(digest, "ada", "")


def test_a_policy_signs_what_the_node_computed_and_only_that(settled: SettledHome, world: World) -> None:
    settle_homes(settled, settlements="within_agreement")
    world.approvals.take_live("bank", live_record(settled))
    with node(settled, "sat"), node(settled, "card"):
        void = world.approvals.ask(
            propose_void(world.ledger, world.run, "for no reason", "admin", now()), world.run, "ada"
        )
        wait_until(lambda: len(waiting(place_of(settled, "sat"))) == 1, "what cannot be computed waits for people")
        assert world.approved(void.request.digest) == set()
        world.approvals.withdraw(void.request.digest, "ada", "")
        final = world.ask_final()
        wait_until(lambda: world.one(final.request.digest).posted, "both nodes sign what they computed")
    assert world.payable("sat") == 1_000


def test_no_node_signs_a_settlement_before_its_own_date(
    settled: SettledHome, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its date says whether the agreed days are over, and the coordinator chooses it."""
    settle_homes(settled, settlements="within_agreement")
    world.approvals.take_live("bank", live_record(settled))
    live = world.approvals.live(world.run.run_id)
    ahead = propose_final(world.ledger, world.run, live, "admin", now() + timedelta(hours=1))
    one = world.approvals.ask(ahead, world.run, "ada")
    rounds = Rounds(monkeypatch, Settlements, "_look")
    with node(settled, "sat"):
        wait_until(lambda: len(waiting(place_of(settled, "sat"))) == 1, "the node has it")
        rounds.go_by()
        assert world.approved(one.request.digest) == set()
        world.approvals.withdraw(one.request.digest, "ada", "")
        due = world.ask_final().request.digest
        wait_until(lambda: world.approved(due) == {"sat"}, "one of today is signed")


def test_nobody_judges_their_own_dispute(settled: SettledHome, world: World) -> None:
    dispute = propose_dispute(world.run, "sat", "card copied me", now())
    for one in dispute.intended():
        world.ledger.append(one)
    judgement = propose_judgement(world.ledger, world.run, "sat", "it did not", "admin", now(), upheld=False)
    asked = world.approvals.ask(judgement, world.run, "ada")
    assert asked.request.asked == ("bank", "card")
    with pytest.raises(AgreementError, match="was not asked"):
        world.approvals.heard(
            "sat", Answer(digest=asked.request.digest, approval=approval(settled, asked.dossier, "sat"))
        )
    with pytest.raises(LedgerError, match="not judged yet"):
        world.approvals.take_live("bank", live_record(settled))
        world.ask_final()


def test_live_records_are_the_label_partys_of_this_run_and_horizon(settled: SettledHome, world: World) -> None:
    take = world.approvals.take_live
    with pytest.raises(AgreementError, match="not the label party"):
        take("sat", live_record(settled))
    with pytest.raises(AgreementError, match="does not say its horizon"):
        take("bank", live_record(settled, horizon=None))
    with pytest.raises(AgreementError, match="of horizon 7"):
        take("bank", live_record(settled, horizon=7))
    with pytest.raises(AgreementError, match="not the label party of a run"):
        take("bank", live_record(settled, run_id="ab" * 32))
    with pytest.raises(AgreementError, match="does not carry the signature"):
        take("bank", live_record(settled).model_copy(update={"periods": ("2020Q4", "2021Q2")}))
    with pytest.raises(AgreementError, match="after the run's"):
        take("bank", live_record(settled, "2020Q3", "2020Q4"))
    assert take("bank", live_record(settled))
    assert not take("bank", live_record(settled)), "the same again"
    assert not take("bank", live_record(settled, "2020Q4")), "an older one that comes late"
    with pytest.raises(AgreementError, match="drops or changes"):
        take("bank", live_record(settled, "2020Q4", "2021Q2", "2021Q3"))
    assert take("bank", live_record(settled, "2020Q4", "2021Q1", "2021Q2"))


def test_a_node_refuses_amounts_that_do_not_follow(settled: SettledHome, world: World) -> None:
    world.approvals.take_live("bank", live_record(settled))
    one = world.ask_final()
    place = place_of(settled, "sat")

    def judged(dossier: Dossier, facts: Facts = one.request.facts) -> Any:
        agreement = settled.agreement
        asked, kept = Asked(dossier=dossier, facts=facts), settled.signed.record
        return judge(asked, agreement, place.roster, "sat", place.identity.public_key, kept)

    assert judged(one.dossier).confirmed
    entry = one.dossier.transactions[0]
    assert entry.postings
    more = tuple(
        (account, amount + (50 if i == 0 else -50 if i == 1 else 0))
        for i, (account, amount) in enumerate(entry.postings)
    )
    with pytest.raises(LedgerError, match="final amounts are not"):
        judged(one.dossier.model_copy(update={"transactions": (entry.model_copy(update={"postings": more}),)}))
    with pytest.raises(LedgerError, match="something else than"):
        judged(one.dossier.model_copy(update={"kind": "void"}))
    wrong = live_record(settled).model_copy(update={"signature": "00" * 64}).model_dump(mode="json")
    with pytest.raises(LedgerError, match="does not carry the signature"):
        judged(one.dossier.model_copy(update={"basis": {**one.dossier.basis, "live": wrong}}))
    with pytest.raises(LedgerError, match="wants live data"):
        judged(one.dossier.model_copy(update={"basis": {**one.dossier.basis, "live": None}}))
    pending = one.request.facts.pending
    assert pending is not None
    swollen = pending.model_copy(update={"postings": more})
    with pytest.raises(LedgerError):
        judged(one.dossier, one.request.facts.model_copy(update={"pending": swollen}))
    told = one.request.facts.contribution
    assert told is not None
    nothing = told.parties["sat"].model_copy(update={"phi": -0.01})
    worse = told.model_copy(update={"parties": {**told.parties, "sat": nothing}})
    with pytest.raises(LedgerError, match="tells other contributions than the label party signed"):
        judged(one.dossier, one.request.facts.model_copy(update={"contribution": worse}))
    with pytest.raises(LedgerError, match="has not signed the agreement"):
        judge(Asked(dossier=one.dossier), None, place.roster, "sat", place.identity.public_key, None)
    with pytest.raises(LedgerError, match="not among those"):
        judge(
            Asked(dossier=one.dossier, facts=one.request.facts), settled.agreement, place.roster, "sat", "00" * 32, None
        )


def test_a_hostile_list_of_settlements_does_not_stop_a_node(settled: SettledHome, world: World) -> None:
    world.approvals.take_live("bank", live_record(settled))
    with node(settled, "sat"):
        for body in (b'{"requests": [{"dossier": "no"}]}', b'{"what": 1}', b"[]"):
            world.tell("sat", HostileCommand("settle", body))
        digest = world.ask_final().request.digest
        wait_until(lambda: len(waiting(place_of(settled, "sat"))) == 1, "the next list is taken")
        assert waiting(place_of(settled, "sat"))[0].asked.dossier.digest == digest
    assert SettleBody().model_dump(mode="json") == {"requests": []}


def test_an_approval_at_the_coordinator_and_one_over_a_line_add_up(settled: SettledHome, world: World) -> None:
    world.approvals.take_live("bank", live_record(settled))
    one = world.ask_final()
    digest = one.request.digest
    file = Dossiers(settled.home).path(one.dossier)
    keys = str(settled.keys("admin"))
    code = entente(["settle", "approve", str(file), "--home", str(settled.home), "--yes", "--credentials", keys])
    assert code == 0
    assert world.approved(digest) == {"admin"}
    world.approvals.heard("bank", Answer(digest=digest, approval=approval(settled, one.dossier, "bank")))
    assert world.one(digest).posted
    assert world.approved(digest) == {"admin", "bank"}


def test_a_time_that_is_not_over_is_named(tmp_path: Path) -> None:
    settled = SettledHome(tmp_path, RULES | {"final_after_days": 30, "live_periods": 0})
    settle_homes(settled)
    with settled.consortium.coordinator() as coordinator:
        world = World(settled, coordinator)
        until = settled.closed_at + timedelta(days=30)
        with pytest.raises(LedgerError, match=f"may be final from {until:%Y-%m-%d}"):
            world.ask_final()
