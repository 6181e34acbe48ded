"""Settlement by two people, through the commands: what is shown, who may sign, what reaches the books."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.cli import run as run_command
from parties.coordinator.bookkeeping import Bookkeeper
from parties.coordinator.closed_runs import find_run
from parties.coordinator.run_views import LedgerReader
from parties.errors import ConfigError, LedgerError, StorageError
from parties.ledger.core import State
from parties.ledger.settlement import POT, party_account
from parties.ledger.stakes import stake_deposit
from parties.ledger.store import LedgerStore
from parties.members.roster import Roster
from parties.settlement.cash import propose_payouts, propose_receipt
from parties.settlement.dossier import Dossier
from parties.settlement.dossier_store import Dossiers, post, requirement
from parties.settlement.proposals import propose_final, propose_void
from tests.parties.settlement_rig import RULES, SettledHome

NOW = datetime.now(UTC)


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Entente = Callable[..., Ran]


@pytest.fixture
def entente(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Entente:
    monkeypatch.delenv("ENTENTE_CREDENTIALS", raising=False)

    def call(*arguments: object) -> Ran:
        capsys.readouterr()
        code = run_command([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture
def settled(tmp_path: Path) -> SettledHome:
    return SettledHome(tmp_path, RULES)


def signing(settled: SettledHome, name: str) -> tuple[object, ...]:
    return ("--credentials", settled.keys(name), "--as", name)


def only_dossier(settled: SettledHome, kind: str) -> Path:
    waiting = [
        path for path, one in Dossiers(settled.home).all().items() if one.kind == kind and len(one.approvals) == 1
    ]
    return waiting[0] if waiting else next(settled.home.glob(f"settlements/{kind}-*.json"))


def posted(settled: SettledHome, party: str, kind: str) -> int:
    with settled.ledger() as ledger:
        return ledger.balances()[party_account(party, kind)].posted  # type: ignore[arg-type]


def test_a_dry_run_shows_each_number_and_why(entente: Entente, settled: SettledHome) -> None:
    with settled.ledger() as ledger:
        head = ledger.head()
    ran = entente("settle", "--dry-run", "--home", settled.home)
    assert ran.code == 0, ran.err
    assert "score = max(0, phi - 1 SE)" in ran.out
    rows = {line.split()[0]: line for line in ran.out.splitlines() if line.strip().startswith(("sat", "card"))}
    assert "+0.04000" in rows["sat"]
    assert "0.03000" in rows["sat"]
    assert "held to the stake's limit" in rows["sat"]
    assert rows["sat"].split()[6:10] == ["20.00", "USD", "20.00", "USD"], "as it was booked, not as the books are now"
    assert "Booked " in ran.out
    by_id = entente("settle", settled.run_id[:8], "--dry-run", "--home", settled.home)
    assert by_id.out == ran.out
    with settled.ledger() as ledger:
        assert ledger.head() == head
    assert entente("settle", "ffff", "--dry-run", "--home", settled.home).code == 2


def test_final_takes_live_data_and_two_people(entente: Entente, settled: SettledHome, tmp_path: Path) -> None:
    run = settled.run_id
    assert posted(settled, "sat", "Payable") == 0
    without = entente("settle", "finalise", run, "--home", settled.home, *signing(settled, "admin"))
    assert without.code == 8
    assert "wants live data of 2 or more resolved periods" in without.err
    unsigned = json.loads(settled.live(tmp_path / "unsigned.json", sat=9.0).read_text()) | {"signature": ""}
    (tmp_path / "unsigned.json").write_text(json.dumps(unsigned))
    shown = entente(
        "settle", "finalise", run, "--home", settled.home, "--live", tmp_path / "unsigned.json", "--dry-run"
    )
    assert shown.code == 8
    assert shown.out == "", "numbers that nobody attested are not shown"
    live = settled.live(tmp_path / "live.json", sat=0.015, card=-0.5)
    dry = entente("settle", "finalise", run[:9], "--home", settled.home, "--live", live, "--dry-run")
    assert dry.code == 0
    assert not list(settled.home.glob("settlements/final-*"))
    nothing = entente("settle", "finalise", run, "--home", settled.home, "--dry-run").out
    assert "Not yet: the agreement wants live data of 2 or more resolved periods" in nothing
    sent = settled.home / "settlements" / "live" / f"{run}.json"
    sent.parent.mkdir(parents=True)
    sent.write_bytes(live.read_bytes())
    held = entente("settle", "finalise", run, "--home", settled.home, "--dry-run").out
    assert held == "Live data as bank attested it: 4 periods.\n" + dry.out, "what came over its line needs no file"
    proposed = entente("settle", "finalise", run, "--home", settled.home, *signing(settled, "admin"))
    assert proposed.code == 0, proposed.err
    assert "1 of 2 approvals" in proposed.out
    file = only_dossier(settled, "final")
    again = entente("settle", "approve", file, "--home", settled.home, "--yes", *signing(settled, "admin"))
    assert "1 of 2 approvals" in again.out, "the proposer cannot approve alone"
    assert posted(settled, "sat", "Payable") == 0
    # an approver elsewhere signs the file; the coordinator takes it back
    away = tmp_path / "away.json"
    away.write_bytes(file.read_bytes())
    assert entente("settle", "approve", away, "--yes", *signing(settled, "bank")).code == 0
    done = entente("settle", "approve", away, "--home", settled.home, "--yes", *signing(settled, "bank"))
    assert "Posted: 1 new entry, approved by admin, bank" in done.out
    # the close paid sat 2000 for a score of 0.03: half of it live is worth half
    assert posted(settled, "sat", "Payable") == 1_000
    assert posted(settled, "sat", "Stake") == 8_000
    assert posted(settled, "card", "Stake") == 1_500, "card harmed live and lost its whole pledge"
    with settled.ledger() as ledger:
        assert ledger.balances()[POT].posted == 10_000 - 1_000 + 500
        entry = ledger.entry(f"settlement/{run}/final")
        assert entry is not None
        assert entry.transaction.evidence == Dossiers.load(file).digest
        assert ledger.check().ok
    assert "posted" in entente("settle", "list", "--home", settled.home).out
    assert entente("settle", "check", "--home", settled.home).code == 0
    repeated = entente("settle", "approve", away, "--home", settled.home, "--yes", *signing(settled, "sat"))
    assert "Posted: 0 new entries" in repeated.out


def test_void_correct_dispute_and_pay(entente: Entente, settled: SettledHome, tmp_path: Path) -> None:
    run, home = settled.run_id, settled.home

    def approve(kind: str, name: str = "bank") -> Ran:
        return entente(
            "settle", "approve", only_dossier(settled, kind), "--home", home, "--yes", *signing(settled, name)
        )

    accused = entente("settle", "dispute", run, "--party", "card", "--why", "late", "--home", home,
                      "--credentials", settled.keys("card"))  # fmt: skip
    assert "Posted: 1 new entry, approved by card" in accused.out
    live = settled.live(tmp_path / "live.json", sat=0.03, card=0.01)
    finalise = ("settle", "finalise", run, "--home", home, "--live", live, *signing(settled, "admin"))
    assert "is not judged yet" in entente(*finalise).err
    entente("settle", "judge", run, "--party", "card", "--reject", "--why", "in time", "--home", home,
            *signing(settled, "admin"))  # fmt: skip
    own = entente("settle", "approve", only_dossier(settled, "judgement"), "--home", home, "--yes",
                  *signing(settled, "card"))  # fmt: skip
    assert own.code == 8
    assert "'card' may not approve this" in own.err
    assert approve("judgement").code == 0
    assert posted(settled, "card", "Stake") == 1_900
    assert entente(*finalise).code == 0
    assert approve("final").code == 0
    assert posted(settled, "sat", "Payable") == 2_000
    corrected = entente("settle", "correct", run, "--pay", "sat=-5.00", "--pay", "card=1.25", "--why", "restated",
                        "--home", home, *signing(settled, "admin"))  # fmt: skip
    assert corrected.code == 0, corrected.err
    assert approve("correction").code == 0
    assert posted(settled, "sat", "Payable") == 1_500
    assert entente("settle", "correct", run, "--pay", "sat=0.001", "--why", "x", "--home", home,
                   *signing(settled, "admin")).code == 2  # fmt: skip
    entente("settle", "exit", "sat", "10.00", "--home", home, "--credentials", settled.keys("sat"))
    entente("settle", "release", "sat", "--home", home, *signing(settled, "admin"))
    assert approve("release", "sat").code == 0
    assert posted(settled, "sat", "Payable") == 2_500
    entente("settle", "receive", "sat", "3.00", "--reference", "b1", "--stake", "--home", home,
            *signing(settled, "admin"))  # fmt: skip
    assert approve("receipt", "sat").code == 0
    assert posted(settled, "sat", "Stake") == 7_300
    entente("settle", "pay", "--reference", "2026-06", "--party", "sat", "--home", home, *signing(settled, "admin"))
    assert "2 of 2 approvals; it concerns sat, who must approve" in approve("pay").out
    assert posted(settled, "sat", "Payable") == 2_500
    assert approve("pay", "sat").code == 0
    assert posted(settled, "sat", "Payable") == 0
    with settled.ledger() as ledger:
        shown = {posting.transaction for posting in LedgerReader(ledger, Bookkeeper(ledger)).view(run, 100, 0).postings}
    assert shown == {f"settlement/{run}{end}" for end in ("", "/final", "/correction/1")} | {f"dispute/{run}/card"}
    void = entente("settle", "void", run, "--why", "x", "--home", home, *signing(settled, "admin"))
    assert "is resolved already" in void.err
    assert entente("settle", "check", "--home", home).code == 0


@pytest.mark.parametrize(
    ("step", "code", "says"),
    [
        (("receive", "sat", "--reference", "r", "--", "-5.00"), 8, "what came in is above zero"),
        (
            ("receive", "sat", "5.00", "--reference", "virement 42"),
            8,
            "reference 'virement 42': the books take 1 to 80",
        ),
        (("pay", "--party", "sat", "--reference", "SEPA é"), 8, "reference 'SEPA é': the books take 1 to 80"),
        (("receive", "stranger", "5.00", "--reference", "r", "--stake"), 8, "check the party's name, or open"),
        (("exit", "sat", "--", "-5.00"), 8, "ask more than zero back"),
        (("correct", "RUN", "--pay", "sat", "--why", "x"), 2, "write it as PARTY=AMOUNT"),
    ],
)
def test_a_step_that_cannot_be_is_refused_before_anybody_signs(
    entente: Entente, settled: SettledHome, step: tuple[str, ...], code: int, says: str
) -> None:
    before = set(settled.home.glob("settlements/*"))
    who = signing(settled, "admin") if step[0] != "exit" else ("--credentials", settled.keys("sat"))
    words = [settled.run_id if word == "RUN" else word for word in step]
    ran = entente("settle", words[0], "--home", settled.home, *who, *words[1:])
    assert (ran.code, says in ran.err) == (code, True), ran.err
    assert set(settled.home.glob("settlements/*")) == before


def test_a_void_says_what_is_owed_no_more(entente: Entente, settled: SettledHome) -> None:
    ran = entente("settle", "void", settled.run_id, "--why", "late", "--home", settled.home, *signing(settled, "admin"))
    assert "sat: 20.00 USD is owed no more" in ran.out


def test_an_attested_record_that_cannot_be_written(entente: Entente, settled: SettledHome, tmp_path: Path) -> None:
    live = settled.live(tmp_path / "live.json", sat=0.01)
    out = tmp_path / "no" / "live.json"
    ran = entente("settle", "attest", live, "--out", out, "--as", "bank", "--credentials", settled.keys("bank"))
    assert ran.code == 7
    assert "cannot be written" in ran.err


def test_a_statement_shows_what_is_pending(entente: Entente, settled: SettledHome, tmp_path: Path) -> None:
    ran = entente("ledger", "statement", "sat", "--home", settled.home, "--out", tmp_path / "s.csv")
    assert "pending 20.00 USD" in ran.out


def test_a_close_that_needs_approval(entente: Entente, tmp_path: Path) -> None:
    people = SettledHome(tmp_path / "a", None).consortium.identities
    approvers = {name: people[name].public_key for name in ("admin", "sat")}
    rules = RULES | {"at_close": "approved"}
    settled = SettledHome(tmp_path / "b", rules)
    assert approvers  # the keys of another consortium are nobody's here
    proposed = entente("settle", settled.run_id, "--home", settled.home, *signing(settled, "admin"))
    assert proposed.code == 0, proposed.err
    with settled.ledger() as ledger:
        assert ledger.entry(f"settlement/{settled.run_id}") is None
    thief = entente("settle", "approve", only_dossier(settled, "close"), "--home", settled.home, "--yes",
                    "--credentials", tmp_path / "a" / "bank", "--as", "bank")  # fmt: skip
    assert thief.code == 8
    assert "the approval of 'bank' does not fit" in thief.err
    done = entente("settle", "approve", only_dossier(settled, "close"), "--home", settled.home, "--yes",
                   *signing(settled, "card"))  # fmt: skip
    assert done.code == 0, done.err
    with settled.ledger() as ledger:
        assert ledger.balances()[party_account("sat", "Pending")].pending == 2_000


def test_without_agreed_rules_the_final_settlement_returns_to_the_expense(settled: SettledHome, tmp_path: Path) -> None:
    plain = SettledHome(tmp_path / "plain", None)
    run = find_run(plain.home, "")
    live = plain.live(tmp_path / "live.json", sat=0.015, card=0.01)
    from parties.settlement.live_record import LiveRecord

    record = LiveRecord.model_validate_json(live.read_bytes())
    with plain.ledger() as ledger:
        dossier = propose_final(ledger, run, record, "admin", NOW)
    assert ("Expenses:Reward", -3_750) in dossier.transactions[0].postings


class Forged(NamedTuple):
    what: str
    change: Callable[[Dossier], Dossier]


def test_what_was_changed_after_approval_is_not_posted(settled: SettledHome, tmp_path: Path) -> None:
    run, roster = find_run(settled.home, ""), Roster.load(settled.home / "roster.json")
    keys = settled.consortium.identities
    with settled.ledger() as ledger:
        good = propose_void(ledger, run, "restated", "admin", NOW)
        signed = good.approved_by("admin", keys["admin"].key, NOW).approved_by("bank", keys["bank"].key, NOW)
        head = ledger.head()
        forgeries = {
            "does not fit this dossier": signed.model_copy(update={"reasons": ("another reason",)}),
            "1 more approval needed": signed.model_copy(update={"approvals": signed.approvals[:1] * 2}),
            "may: propose the step again": signed.model_copy(update={"kind": "exit", "run_id": "", "party": "sat"}),
            "in the future": propose_void(ledger, run, "x", "admin", NOW.replace(year=2190))
            .approved_by("admin", keys["admin"].key, NOW)
            .approved_by("bank", keys["bank"].key, NOW),
        }
        for says, forged in forgeries.items():
            with pytest.raises(LedgerError, match=says):
                post(ledger, Dossiers(settled.home), forged, None if not forged.run_id else run, roster, NOW)
        with pytest.raises(LedgerError, match="does not know"):
            requirement(good, None, roster)
        assert ledger.head() == head
        assert len(post(ledger, Dossiers(settled.home), signed, run, roster, NOW)) == 1


def test_a_party_cannot_pay_itself_under_the_name_of_an_exit(settled: SettledHome) -> None:
    roster = Roster.load(settled.home / "roster.json")
    with settled.ledger() as ledger:
        honest = propose_receipt("sat", 5, "x", "sat", NOW, stake=True)
        theft = honest.model_copy(
            update={
                "kind": "exit",
                "transactions": (
                    honest.transactions[0].model_copy(
                        update={
                            "id": "stake-exit/sat/20260101T000000Z/1",
                            "postings": ((POT, 5_000), (party_account("sat", "Payable"), -5_000)),
                            "state": State.PENDING,
                        }
                    ),
                ),
            }
        )
        signed = theft.approved_by("sat", settled.consortium.identities["sat"].key, NOW)
        with pytest.raises(LedgerError, match="posts something else than a exit may"):
            post(ledger, Dossiers(settled.home), signed, None, roster, NOW)


def test_amounts_of_a_final_settlement_are_computed_again(settled: SettledHome, tmp_path: Path) -> None:
    from parties.settlement.live_record import LiveRecord

    run, roster = find_run(settled.home, ""), Roster.load(settled.home / "roster.json")
    live = LiveRecord.model_validate_json(settled.live(tmp_path / "l.json", sat=0.015, card=0.01).read_bytes())
    keys = settled.consortium.identities
    with settled.ledger() as ledger:
        honest = propose_final(ledger, run, live, "admin", NOW)
        body = json.loads(honest.model_dump_json())
        for posting in body["transactions"][0]["postings"]:
            if posting[0] == party_account("sat", "Payable"):
                posting[1] -= 100
            if posting[0] == POT:
                posting[1] += 100
        forged = Dossier.model_validate(body | {"transactions": tuple(body["transactions"])})
        for name in ("admin", "bank"):
            forged = forged.approved_by(name, keys[name].key, NOW)
        with pytest.raises(LedgerError, match="not what the rules and the books give"):
            post(ledger, Dossiers(settled.home), forged, run, roster, NOW)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"run_id": "ab" * 32}, "is of run abababababab"),
        ({"periods": ("2020Q3", "2020Q4")}, "counts 2020Q3"),
        ({"periods": ("2020Q4", "2020Q4")}, "a period twice"),
        ({"periods": ("2020Q4",)}, "1 live periods have resolved, the agreement needs 2"),
        ({"periods": ("2021Q3", "2021Q4")}, "does not carry the signature of 'bank'"),
    ],
)
def test_live_records_that_do_not_count(settled: SettledHome, tmp_path: Path, change: dict, says: str) -> None:
    from parties.settlement.live_record import LiveRecord

    record = LiveRecord.model_validate_json(settled.live(tmp_path / "l.json", sat=0.1, card=0.1).read_bytes())
    record.verify(settled.run_id, settled.agreement, 2)
    with pytest.raises(LedgerError, match=says):
        record.model_copy(update=change).verify(settled.run_id, settled.agreement, 2)


def test_a_stake_that_nobody_saw_arrive_is_found(entente: Entente, settled: SettledHome) -> None:
    assert entente("settle", "check", "--home", settled.home).code == 0
    with settled.ledger() as ledger:
        ledger.append(stake_deposit("gift", "sat", 5, NOW))
    assert "'stake/gift' was posted without a dossier" in entente("settle", "check", "--home", settled.home).err


def test_a_posting_without_approvals_is_found(entente: Entente, settled: SettledHome) -> None:
    with settled.ledger() as ledger:
        dossier = propose_payouts(ledger, ["sat"], "x", "admin", NOW) if posted(settled, "sat", "Payable") else None
        assert dossier is None
        from parties.ledger.settlement import void_settlement

        entry = ledger.entry(f"settlement/{settled.run_id}")
        assert entry is not None
        ledger.append(void_settlement(entry.transaction, NOW, "by night"))
    ran = entente("settle", "check", "--home", settled.home)
    assert ran.code == 8
    assert "/void' was posted without a dossier" in ran.err


def test_a_run_that_an_earlier_version_proposed_keeps_its_id(entente: Entente, tmp_path: Path) -> None:
    settled = SettledHome(tmp_path / "home", RULES, unwritten=("silence_seconds",))
    assert settled.run_id != settled.agreement.run_id
    assert find_run(settled.home, settled.run_id).run_id == settled.run_id
    live = settled.live(tmp_path / "live.json", sat=0.03, card=0.01)
    ran = entente("settle", "finalise", settled.run_id, "--home", settled.home, "--live", live,
                  *signing(settled, "admin"))  # fmt: skip
    assert ran.code == 0, ran.err
    assert f"settlement/{settled.run_id}/final" in ran.out


def test_a_step_recorded_but_not_posted_is_posted_once(
    entente: Entente, settled: SettledHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    entente("settle", "void", settled.run_id, "--why", "x", "--home", settled.home, *signing(settled, "admin"))
    file = only_dossier(settled, "void")
    approve = ("settle", "approve", file, "--home", settled.home, "--yes", *signing(settled, "bank"))
    with monkeypatch.context() as crash:
        crash.setattr(LedgerStore, "append_all", lambda *_: (_ for _ in ()).throw(StorageError("the disk is gone")))
        assert entente(*approve).code == 7
    assert len(Dossiers.load(file).approvals) == 2, "what was approved is on disk before anything is posted"
    assert "Posted: 1 new entry" in entente(*approve).out
    assert "Posted: 0 new entries" in entente(*approve).out
    with settled.ledger() as ledger:
        assert ledger.check().ok


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_dossier_is_named_or_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    made = propose_receipt("sat", 5, "x", "admin", NOW, stake=True).model_dump_json()
    start = data.draw(st.integers(0, len(made)))
    end = data.draw(st.integers(start, min(len(made), start + 30)))
    odd = st.sampled_from(["NaN", "1e999", "99999999999999999999", "null", '"\\ud800"', "[]", "{", "\x00"])
    changed = made[:start] + data.draw(st.one_of(odd, st.text(max_size=5))) + made[end:]
    file = tmp_path_factory.mktemp("fuzz") / "dossier.json"
    file.write_text(changed, encoding="utf-8", errors="replace")
    with contextlib.suppress(ConfigError):  # anything else would be a fault in the program
        assert len(Dossiers.load(file).digest) == 64


def test_numbers_that_cannot_be_signed_are_refused(tmp_path: Path) -> None:
    made = propose_receipt("sat", 5, "x", "admin", NOW, stake=True).model_dump_json()
    (tmp_path / "d.json").write_text(made.replace('"basis":{', '"basis":{"n":9007199254740993,', 1))
    with pytest.raises(ConfigError, match="no canonical JSON"):
        Dossiers.load(tmp_path / "d.json")
