"""The command line: every fault is one line and the right exit code, and what it shows is what is there."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from parties import __version__
from parties.cli import run
from parties.data.simulate import simulate
from parties.demo.homes import DemoHomes, claim, lay_out
from parties.ledger.entries import Unit
from parties.ledger.settlement import CASH, chart_of_accounts, settlement_transactions, subscription
from parties.ledger.store import LedgerStore
from parties.names import COORDINATOR
from parties.node.decisions import decisions
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import load_consortium

AT = datetime(2026, 1, 30, 12, tzinfo=UTC)


class Ran:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def fault(self) -> str:
        """The one line on standard error."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


@pytest.fixture
def entente(capsys: pytest.CaptureFixture[str]):
    def call(*arguments: object) -> Ran:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> DemoHomes:
    """A small consortium that was laid out and never started."""
    out = tmp_path_factory.mktemp("consortium")
    made = simulate(out / "data", entities=40, periods=12, parties=2, seed=3, model="split")
    return lay_out(out / "demo", load_consortium(made.config), made.config.parent, made.data, 3)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A coordinator's home with a subscription and a pending reward."""
    with LedgerStore(tmp_path / "ledger.db") as store:
        store.open_accounts(chart_of_accounts(Unit("USD", 2), ["orbit", "till"]), AT)
        store.append(subscription("2026-01", 10_000, AT))
        store.append_all(settlement_transactions("r" * 64, {"orbit": 6_700, "till": 3_300}, AT))
    return tmp_path


def test_the_version(entente) -> None:
    ran = entente("--version")
    assert ran.code == 0
    commit, python = r"( \([0-9a-f]{7,12}(-dirty)?\))?", r"Python 3\.\d+\.\d+"
    assert re.fullmatch(rf"entente {re.escape(__version__)}{commit}, {python}\n", ran.out)


def test_no_command_shows_the_help_and_fails(entente) -> None:
    ran = entente()
    assert ran.code == 2
    assert "A party's operator:" in ran.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("mine",), "No such command 'mine'"),
        (("run", "mine"), "No such command 'mine'"),
        (("demo", "--parities"), "No such option: --parities"),
        (("simulate",), "Missing option '--out'"),
        (("simulate", "--out", "x", "--entities", "many"), "Invalid value for '--entities'"),
        (("demo", "--config", "x.toml"), "--config needs --data beside it"),
        (("demo", "--data", "x"), "--data needs --config beside it"),
        (("demo", "--config", "nowhere.toml", "--data", "x"), "nowhere.toml: no such file"),
        (("coordinator", "start", "--home", "nowhere"), "nowhere: no such folder"),
        (("party", "start", "--home", "nowhere"), "nowhere: no such folder"),
        (("data", "check", "--home", "nowhere"), "nowhere/node.toml: no such file"),
        (("run", "list"), "name the admin's folder with --credentials"),
        (("ledger", "balance"), "--home DIR of the coordinator, or --url URL"),
        (("ledger", "check", "--home", "nowhere"), "nowhere/ledger.db: no such ledger"),
        (("ledger", "check", "--url", "mysql://x"), "this database is not supported"),
        (("factors", "verify", "nowhere"), "nowhere: no such folder"),
        (("ui", "--out", "nowhere"), "no demo was run here"),
        (("ui",), "--out DIR of a demo, or --credentials DIR of the desk"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(
    entente, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ENTENTE_CREDENTIALS", raising=False)
    ran = entente(*arguments)
    assert ran.code == 2
    assert ran.fault.startswith("error: ")
    assert says in ran.fault
    assert list(tmp_path.iterdir()) == [], "a refused command wrote something"


def test_a_wrong_setting_names_file_and_key(entente, tmp_path: Path) -> None:
    made = simulate(tmp_path / "data", entities=30, periods=12, parties=2, seed=1, model="split")
    text = made.config.read_text(encoding="utf-8")
    made.config.write_text(text.replace("embedding_width = 2", 'embedding_width = "wide"'), encoding="utf-8")
    ran = entente("demo", "--config", made.config, "--data", made.data, "--out", tmp_path / "out")
    assert ran.code == 2
    assert re.search(r"consortium\.toml: model\.(split\.)?embedding_width: ", ran.fault)
    made.config.write_text("name = ", encoding="utf-8")
    ran = entente("demo", "--config", made.config, "--data", made.data, "--out", tmp_path / "out")
    assert ran.code == 2
    assert "not valid TOML" in ran.fault


def test_terms_that_contradict_are_refused_before_anything_starts(entente, tmp_path: Path) -> None:
    made = simulate(tmp_path / "data", entities=30, periods=12, parties=2, seed=1, model="split")
    text = made.config.read_text(encoding="utf-8")
    made.config.write_text(re.sub(r"limit_per_row = \d+", "limit_per_row = 60", text), encoding="utf-8")
    ran = entente("demo", "--config", made.config, "--data", made.data, "--out", tmp_path / "out")
    assert ran.code == 2
    assert "linear forms" in ran.fault
    assert list((tmp_path / "out" / "logs").iterdir()) == []


def test_a_folder_of_someone_else_is_left_alone(entente, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    ran = entente("demo", "--out", tmp_path)
    assert ran.code == 2
    assert "no demo made it" in ran.fault
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_demo_in_use_is_left_alone(entente, tmp_path: Path) -> None:
    with claim(tmp_path / "out"):
        (tmp_path / "out" / "state").write_text("live")
        ran = entente("demo", "--out", tmp_path / "out")
        assert ran.code == 2
        assert "another demo is running here" in ran.fault
        assert (tmp_path / "out" / "state").read_text() == "live"
    with claim(tmp_path / "out"):
        assert [path.name for path in (tmp_path / "out").iterdir()] == [".entente-demo"]


def test_faults_of_the_program_are_one_line_and_debug_shows_where(entente, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero\x1b[2J")

    monkeypatch.setattr("parties.data.simulate.simulate", broken)
    ran = entente("simulate", "--out", "x")
    assert ran.code == 1
    assert ran.fault == (
        "error: a fault in the program (ZeroDivisionError: division by zero [2J); add --debug to see where"
    )
    ran = entente("--debug", "simulate", "--out", "x")
    assert ran.code == 1
    assert "Traceback" in ran.err
    assert "Traceback" in entente("--trace", "simulate", "--out", "x").err, "what a demo's processes run with"


def test_an_interrupt_is_a_clean_stop(entente, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("parties.data.simulate.simulate", interrupted)
    assert entente("simulate", "--out", "x").code == 130


def test_simulate_writes_a_consortium(entente, tmp_path: Path) -> None:
    ran = entente("simulate", "--out", tmp_path, "--entities", 30, "--periods", 12, "--parties", 2, "--seed", 5)
    assert ran.code == 0
    settings = load_consortium(tmp_path / "consortium.toml")
    assert sum(party.role == "feature" for party in settings.party) == 2
    assert f"--config {tmp_path / 'consortium.toml'}" in ran.out


def test_data_check_counts_what_a_party_has(entente, homes: DemoHomes) -> None:
    config = homes.out.parent / "data" / "consortium.toml"
    ran = entente("data", "check", "--home", homes.party("satellite"), "--config", config)
    assert ran.code == 0
    assert re.search(r"satellite: \d+ rows of \d+ entities, no revision", ran.out)
    for column in load_consortium(config).party[1].columns:
        assert column in ran.out
    assert "labels" in entente("data", "check", "--home", homes.party("fund"), "--config", config).out
    ran = entente("data", "check", "--home", homes.party("fund"))
    assert ran.code == 2
    assert "--config" in ran.fault


def test_approval_is_asked_for_shown_and_given_once(
    entente, homes: DemoHomes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_consortium(homes.out.parent / "data" / "consortium.toml")
    agreement = agreement_of(settings, homes.roster, datetime.now(UTC))
    folder = tmp_path / "runs" / agreement.run_id
    folder.mkdir(parents=True)
    (folder / "agreement.json").write_bytes(agreement.canonical())
    monkeypatch.setattr("sys.stdin", None)
    party = agreement.features[0].name
    shutil.copy(homes.party(party) / "node.toml", tmp_path / "node.toml")
    ran = entente("party", "approve", "ffff", "--home", tmp_path)
    assert (ran.code, "no run begins with 'ffff'" in ran.fault) == (2, True)
    ran = entente("party", "approve", agreement.run_id[:12], "--home", tmp_path, "--yes")
    assert ran.code == 0
    assert f"entente run review {agreement.run_id[:12]}" in ran.out, "the operator must find what is revealed"
    assert agreement.run_id in ran.out
    [decided] = decisions(folder)
    assert (decided.decision, decided.why) == ("approve", "")
    ran = entente("party", "approve", agreement.run_id[:12], "--home", tmp_path, "--reject", "changed my mind")
    assert ran.code == 4
    assert "decided on already" in ran.fault
    assert decisions(folder) == (decided,)
    shutil.rmtree(folder / "decisions")
    assert entente("run", "reject", agreement.run_id[:12], "--home", tmp_path, "--why", " ").code == 2
    entente("run", "reject", agreement.run_id[:12], "--home", tmp_path, "--why", "too many openings", "--as", "ann")
    [decided] = decisions(folder)
    assert (decided.decision, decided.by, decided.why) == ("reject", "ann", "too many openings")


def test_the_agreement_expires(homes: DemoHomes) -> None:
    settings = load_consortium(homes.out.parent / "data" / "consortium.toml")
    one, two = (agreement_of(settings, homes.roster, AT) for _ in range(2))
    assert one.expires_at - one.proposed_at == timedelta(days=1)
    assert one.run_id != two.run_id, "the same terms again are another run"
    assert one.coordinator_certificate_sha256 == homes.roster[COORDINATOR].certificate_sha256


def test_the_ledger_is_read_and_checked(entente, ledger: Path) -> None:
    ran = entente("ledger", "balance", "--home", ledger)
    assert ran.code == 0
    assert re.search(rf"{CASH}\s+100\.00 USD\s+0\.00 USD", ran.out)
    assert re.search(r"Liabilities:Party:orbit:Pending\s+0\.00 USD\s+67\.00 USD", ran.out)
    ran = entente("ledger", "journal", "--url", f"sqlite:///{ledger / 'ledger.db'}")
    assert ran.out.index("subscription/2026-01") < ran.out.index("settlement/" + "r" * 64)
    ran = entente("ledger", "check", "--home", ledger)
    assert ran.code == 0
    assert "2 transactions, 5 postings, 1 pending; they balance" in ran.out


def test_a_coordinator_that_is_away_is_one_sentence(entente, homes: DemoHomes) -> None:
    ran = entente("run", "list", "--credentials", homes.admin)
    assert ran.code == 5
    assert homes.roster[COORDINATOR].address in ran.fault
    assert "cannot be reached" in ran.fault


def test_a_node_whose_key_others_can_read_does_not_start(entente, homes: DemoHomes, tmp_path: Path) -> None:
    home = tmp_path / "satellite"
    shutil.copytree(homes.party("satellite"), home)
    (home / "keys" / "seed").chmod(0o644)
    ran = entente("party", "start", "--home", home)
    assert ran.code == 2
    assert "chmod 600" in ran.fault
