"""Operating a node: logs that machines read, health and metrics, the doctor, and a reference that stays true."""

from __future__ import annotations

import io
import json
import logging
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from parties import errors
from parties.agreement.document import Agreement
from parties.cli import proposals, run
from parties.cli.configuration_reference import reference
from parties.cli.examining import Check, examine
from parties.cli.manual import manual
from parties.client import Client
from parties.coordinator.service import Coordinator
from parties.coordinator.settings import CoordinatorSettings
from parties.data.simulate import simulate
from parties.demo.homes import DemoHomes, lay_out
from parties.errors import ConfigError
from parties.members.keys import create_identity, renew_certificate, store_certificate
from parties.members.roster import Member, Roster
from parties.names import COORDINATOR
from parties.process.health import HealthServer, Sample, exposition
from parties.process.logs import JsonLines
from parties.process.supervision import EXIT_CODE
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import load_consortium
from parties.transport.grpc import ExchangeServer
from tests.places import ROOT


def test_the_manual_page_is_the_commands_own_help() -> None:
    text = (ROOT / "docs" / "entente.1").read_text(encoding="utf-8")
    assert text == manual(), "run: python -m parties.cli.manual > docs/entente.1"
    assert '.SS "entente run review RUN"' in text


def test_the_configuration_reference_is_the_settings() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert text == reference(), "run: python -m parties.cli.configuration_reference > docs/configuration.md"
    for words in ("`approvals_needed` | integer, >= 1, <= 9 | `1`", "### `[party.schema.NAME]`", "### `[limits]`"):
        assert words in text


def test_every_exit_code_is_documented() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    documented = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", text, re.MULTILINE) for code in row.split(",")}
    raised = {getattr(errors, name).exit_code for name in errors.__all__}
    assert raised | {EXIT_CODE} <= documented


def json_line(message: str, *arguments: object, raised: Exception | None = None) -> dict[str, object]:
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("parties.test")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.handlers = [handler]
    if raised is None:
        logger.info(message, *arguments)
    else:
        try:
            raise raised
        except type(raised):
            logger.exception(message, *arguments)
    [line] = said.getvalue().splitlines()
    found: dict[str, object] = json.loads(line)
    return found


def test_a_json_log_line_is_one_record_and_keeps_an_errors_text_to_itself() -> None:
    plain = json_line("run %s:\nforged line", "abc")
    assert (plain["level"], plain["logger"], plain["message"]) == ("info", "parties.test", "run abc:\nforged line")
    assert datetime.fromisoformat(str(plain["at"])).tzinfo is not None
    caught = json_line("a call failed", raised=ValueError("the value 3.14159 of AAPL"))
    assert caught["error"] == "ValueError"
    assert "test_operating.py" in str(caught["where"])
    assert "3.14159" not in json.dumps(caught)


def test_metrics_are_prometheus_text() -> None:
    samples = [
        Sample("runs", "Runs by status.", 2, {"status": 'a"b\\c\nd'}),
        Sample("disk_free_bytes", "Free space.", 1.5),
        Sample("runs", "Runs by status.", 3, {"status": "settled"}),
    ]
    assert exposition(samples).splitlines() == [
        "# HELP entente_disk_free_bytes Free space.",
        "# TYPE entente_disk_free_bytes gauge",
        "entente_disk_free_bytes 1.5",
        "# HELP entente_runs Runs by status.",
        "# TYPE entente_runs gauge",
        'entente_runs{status="a\\"b\\\\c\\nd"} 2',
        'entente_runs{status="settled"} 3',
    ]


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_is_200_or_503_on_loopback() -> None:
    trouble = [""]
    with HealthServer("0", lambda: trouble[0], lambda: [Sample("up", "Up.", 1)]) as server:
        assert server.address.startswith("127.0.0.1:")
        assert fetch(f"http://{server.address}/health") == (200, "ok\n")
        trouble[0] = "the coordinator is silent"
        assert fetch(f"http://{server.address}/health") == (503, "the coordinator is silent\n")
        assert "entente_up 1" in fetch(f"http://{server.address}/metrics")[1]
        assert fetch(f"http://{server.address}/keys/identity.key")[0] == 404
        with pytest.raises(ConfigError, match="cannot listen there"):
            HealthServer(server.address, str, list)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> DemoHomes:
    folder = tmp_path_factory.mktemp("homes")
    made = simulate(folder / "data", entities=40, periods=16, parties=2, seed=1, model="split")
    return lay_out(folder / "out", load_consortium(made.config), made.config.parent, made.data, 1)


@pytest.fixture
def hub(homes: DemoHomes) -> Iterator[Coordinator]:
    listen = homes.roster[COORDINATOR].address
    with Coordinator(homes.coordinator, CoordinatorSettings(listen=listen, metrics="0")) as running:
        yield running


def found(checks: tuple[Check, ...]) -> dict[str, tuple[str, str]]:
    return {check.what: (check.verdict, check.detail) for check in checks}


def test_the_doctor_finds_a_sound_node_sound(homes: DemoHomes, hub: Coordinator) -> None:
    checks = found(examine(homes.party("social")))
    assert {what for what, (verdict, _) in checks.items() if verdict == "fail"} == set()
    assert checks["packages"][0] == "ok"
    assert checks["coordinator"][0] == "ok"
    assert checks["version"][0] == "ok"
    assert checks["clock"][1].startswith("0.")
    assert checks["permissions"][0] == "ok"
    assert checks["encryption at rest"][0] == "warn", "a demo's keys are open"
    assert checks["peer"][0] == "warn", "the others do not run"
    assert checks["port"][1].startswith("nobody listens")
    coordinator = found(examine(homes.coordinator))
    assert coordinator["own certificate"][0] == "ok"
    assert coordinator["port"] == ("ok", f"this one runs, and listens on {hub.address}")


def test_the_doctor_names_what_must_be_mended(homes: DemoHomes, capsys: pytest.CaptureFixture[str]) -> None:
    home = homes.party("satellite")
    key = home / "keys" / "tls.key"
    key.chmod(0o644)
    try:
        checks = found(examine(home))
        assert checks["permissions"][0] == "fail"
        assert "other users can read" in checks["keys and roster"][1]
        assert run(["doctor", "--home", str(home)]) == ConfigError.exit_code
        assert "permissions" in capsys.readouterr().out
    finally:
        key.chmod(0o600)
    checks = found(examine(home))
    assert checks["coordinator"][0] == "fail", "it does not run"
    assert "nobody can be reached" in checks["coordinator"][1]


def test_the_doctor_says_a_fault_of_the_settings_once(tmp_path: Path) -> None:
    create_identity("social", tmp_path / "keys")
    (tmp_path / "node.toml").write_text("listen = 5\n")
    checks = examine(tmp_path)
    assert [check.what for check in checks if "listen" in check.detail] == ["settings"]
    assert found(checks)["keys and roster"] == ("warn", "not tried: the settings have to be mended first")


def test_the_doctor_knows_who_listens_where_this_node_would(homes: DemoHomes, tmp_path: Path, hub: Coordinator) -> None:
    """Of a node whose port is another's, of one that still runs with the certificate before the last, and of no TLS."""
    home = tmp_path / "home"
    identity = create_identity("social", home / "keys")
    settings = (homes.party("social") / "node.toml").read_text()

    def port(listen: str, **members: Member) -> tuple[str, str]:
        (home / "node.toml").write_text(re.sub(r'(?m)^listen = ".*"', f'listen = "{listen}"', settings))
        Roster({**Roster.load(homes.party("social") / "roster.json"), **members}).save(home / "roster.json")
        return found(examine(home))["port"]

    verdict, said = port(hub.address, social=identity.member("127.0.0.1:1"))
    assert verdict == "fail"
    assert f"the coordinator listens on {hub.address} already" in said
    assert "another --listen" in said
    with ExchangeServer(identity, homes.roster, "127.0.0.1:0") as server:
        assert port(server.address) == ("ok", f"this one runs, and listens on {server.address}")
        assert port(server.address.replace("127.0.0.1", "0.0.0.0"))[0] == "ok"
        store_certificate(renew_certificate(identity), home / "keys")
        verdict, said = port(server.address)
        assert (verdict, "with an earlier certificate" in said) == ("fail", True)
    with hub.health() as plain:
        assert isinstance(plain, HealthServer)
        assert "another program listens" in port(plain.address)[1]


def test_the_doctor_warns_of_certificates_and_strangers(homes: DemoHomes, tmp_path: Path, hub: Coordinator) -> None:
    home = tmp_path / "home"
    short = create_identity("social", home / "keys", validity=timedelta(days=10))
    (home / "node.toml").write_text((homes.party("social") / "node.toml").read_text())
    members = {**Roster.load(homes.party("social") / "roster.json"), "social": short.member("127.0.0.1:1")}
    Roster(members).save(home / "roster.json")
    checks = found(examine(home))
    assert checks["own certificate"][0] == "warn"
    assert "rotate" in checks["own certificate"][1]
    assert checks["coordinator"][0] == "fail", "the coordinator does not know this certificate"
    other = create_identity(COORDINATOR, tmp_path / "other").member(hub.address)
    Roster({**members, COORDINATOR: other}).save(home / "roster.json")
    assert "does not show the certificate" in found(examine(home))["coordinator"][1]


def test_a_run_is_proposed_though_the_coordinator_goes_away_right_after(
    homes: DemoHomes, hub: Coordinator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = load_consortium(homes.out.parent / "data" / "consortium.toml")
    propose = Client.propose

    def then_away(client: Client, agreement: Agreement) -> str:
        run_id = propose(client, agreement)
        hub.stop()
        return run_id

    monkeypatch.setattr(Client, "propose", then_away)
    agreement = agreement_of(terms, homes.roster, datetime.now(UTC), timedelta(minutes=5))
    with Client("", homes.admin) as client:
        proposals.put(client, agreement, homes.admin, yes=True)
    said = capsys.readouterr()
    assert f"Proposed run {agreement.run_id}" in said.out
    assert f"Follow it: entente run watch {agreement.run_id[:12]} --credentials {homes.admin}" in said.out
    assert said.err.startswith("The run is proposed, but what nodes answer at once was not heard: the coordinator at")


def test_the_coordinator_tells_lines_runs_and_certificates(hub: Coordinator) -> None:
    with hub.health() as server:
        assert isinstance(server, HealthServer)
        assert fetch(f"http://{server.address}/health") == (200, "ok\n")
        text = fetch(f"http://{server.address}/metrics")[1]
    assert 'entente_party_attached{party="social"} 0' in text
    dates = dict(re.findall(r'certificate_expires_timestamp_seconds\{member="(\w+)"\} (\S+)', text))
    assert float(dates["fund"]) > datetime.now(UTC).timestamp()
    assert 'role="coordinator"' in text
