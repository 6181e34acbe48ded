"""Signing in at the desk, over real mutual TLS: tokens, sessions, roles, and what is recorded."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from parties.calls.asking import Nothing, Question, Role
from parties.cli import run
from parties.client import ADMIN, DESK, Client, FactorsQuestion
from parties.coordinator.desk.enrol import enrol_desk
from parties.coordinator.desk.sessions import Person, Sessions
from parties.coordinator.store import EventLog
from parties.errors import AgreementError, ConfigError, EntenteError, SignInError
from parties.members.keys import create_tls_keys, load_identity, load_tls_keys
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.process.database import open_engine
from tests.parties.coordinator_rig import LABEL, Consortium, FakeNode, wait_until

T0 = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
ROLES: tuple[Role, ...] = ("admin", "operator", "auditor", "reader")


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def consortium(tmp_path: Path) -> Consortium:
    return Consortium(tmp_path)


@pytest.fixture
def desk(consortium: Consortium) -> Iterator[Client]:
    with consortium.coordinator(), consortium.desk() as client:
        yield client


def signed_in(consortium: Consortium, desk: Client, role: Role = "admin", name: str = "Ada") -> Client:
    party = LABEL if role == "operator" else ""
    return desk.within(desk.sign_in(consortium.token(role, name, party)))


def calls(client: Client, consortium: Consortium) -> dict[str, Callable[[], object]]:
    """Every call a page can make, by name."""
    run_id = "ab" * 32
    return {
        "coordinator": client.coordinator,
        "parties": client.parties,
        "runs": client.runs,
        "run": lambda: client.run(run_id),
        "events": client.events,
        "ledger": client.ledger,
        "factors": lambda: client.factor_page(FactorsQuestion()),
        "download": lambda: client.download_factor(run_id),
        "propose": lambda: client.propose(consortium.agreement()),
        "cancel": lambda: client.cancel(run_id, "why"),
        "viewer": client.viewer,
        "sessions": client.sessions,
        "actions": client.actions,
        "end session": lambda: client.end_session(1),
        "sign out": client.sign_out,
    }


def refused(call: Callable[[], object]) -> type[EntenteError] | None:
    try:
        call()
    except EntenteError as error:
        return type(error)
    return None


def test_without_a_session_the_desk_sees_and_does_nothing(consortium: Consortium, desk: Client) -> None:
    for secret in ("", "made up", "ab" * 32):
        client = desk.within(secret) if secret else desk
        found = {name: refused(call) for name, call in calls(client, consortium).items()}
        assert set(found.values()) == {SignInError}, found
    with consortium.client() as admin:
        assert admin.runs() == []
        assert admin.actions().total == 0


def test_a_token_signs_one_person_in_once(consortium: Consortium, desk: Client) -> None:
    token = consortium.token("auditor", "Ada <b>")
    client = desk.within(desk.sign_in(token))
    viewer = client.viewer()
    assert (viewer.name, viewer.role, viewer.way) == ("Ada <b>", "auditor", "one-time token")
    for again in (token, token[:-1], "", token + "x", consortium.token(valid=-1)):
        with pytest.raises((SignInError, AgreementError)):
            desk.sign_in(again)
    assert [(a.name, a.what, a.outcome[:7]) for a in reversed(client.actions().actions)] == [
        ("Ada <b>", "desk/sign-in", "done"),
        *[("somebody", "desk/sign-in", "refused")] * 5,
    ]


def test_of_many_who_use_one_token_at_once_one_gets_in(consortium: Consortium, desk: Client) -> None:
    token, got, lock = consortium.token(), [], threading.Lock()
    start = threading.Barrier(8)

    def attempt() -> None:
        start.wait()
        with contextlib.suppress(SignInError):
            secret = desk.sign_in(token)
            with lock:
                got.append(secret)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_neither_tokens_nor_secrets_are_stored(consortium: Consortium, desk: Client) -> None:
    token, spare = consortium.token(), consortium.token()
    secret = desk.sign_in(token)
    home = consortium.home(COORDINATOR)
    held = b"".join(path.read_bytes() for path in home.glob("coordinator.db*"))
    assert b"desk_tokens" in held
    assert not any(word.encode() in held for word in (token, spare, secret))


@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_what_it_may(consortium: Consortium, desk: Client, role: Role) -> None:
    client = signed_in(consortium, desk, role)
    found = {name: refused(call) for name, call in calls(client, consortium).items()}
    reads = {"coordinator", "parties", "runs", "events", "factors", "viewer", "sign out"}
    may = {
        "admin": {*reads, "ledger", "sessions", "actions", "propose", "end session"},
        "operator": reads,
        "auditor": {*reads, "ledger", "actions"},
        "reader": reads,
    }[role]
    # its own sign-in is the only session, so an admin who ends it is out
    if role == "admin":
        assert found.pop("sign out") is SignInError
        may -= {"sign out"}
    assert {name for name, error in found.items() if error is None} == may
    none_such = {"admin": {"run", "download", "cancel"}, "reader": {"run"}}.get(role, {"run", "download"})
    none_such ^= {"cancel", "download"} if role == "operator" else set()
    assert {name for name, error in found.items() if error is ConfigError} == none_such
    refusals = {name for name, error in found.items() if error is AgreementError}
    assert refusals == set(calls(client, consortium)) - may - none_such - {"sign out"}


def test_a_caller_cannot_choose_its_role(consortium: Consortium, desk: Client) -> None:
    reader = signed_in(consortium, desk, "reader")

    class Claim(Question):
        role: str = "admin"
        name: str = "admin"

    with pytest.raises(ConfigError):
        reader.ask("viewer", Claim(), object)
    made = reader._line._beside
    reader._line._beside = (("entente-role", "admin"), *made, ("entente-session", "admin"))
    assert reader.viewer().role == "reader"
    with pytest.raises(AgreementError, match="Ada is signed in as reader, and this takes admin"):
        reader.sessions()


def test_a_session_ends_by_sign_out_by_an_admin_and_by_time(consortium: Consortium, desk: Client) -> None:
    admin, other = signed_in(consortium, desk), signed_in(consortium, desk, "reader", "Ben")
    number = next(s.number for s in admin.sessions() if s.name == "Ben")
    admin.end_session(number)
    assert refused(other.viewer) is SignInError
    with pytest.raises(ConfigError, match="ended already"):
        admin.end_session(number)
    admin.sign_out()
    assert refused(admin.viewer) is SignInError
    with consortium.client() as keeper:
        ended = {s.name: s.ended_by for s in keeper.sessions()}
        assert ended == {"Ben": "Ada (admin)", "Ada": "sign-out"}


def test_idle_and_longest_time_are_held(tmp_path: Path) -> None:
    clock = Clock()
    url = f"sqlite:///{tmp_path / 'c.db'}"
    sessions = Sessions(url, clock, idle=timedelta(minutes=30), longest=timedelta(hours=2))
    secret, _ = sessions.begin(Person("Ada", "admin"), "one-time token", "cc")
    clock.now += timedelta(minutes=29)
    sessions.of(secret, "cc")
    clock.now += timedelta(minutes=29)
    sessions.of(secret, "cc")
    with pytest.raises(SignInError):
        sessions.of(secret, "dd")
    clock.now += timedelta(minutes=30)
    with pytest.raises(SignInError, match="ended: sign in again"):
        sessions.of(secret, "cc")
    secret, _ = sessions.begin(Person("Ada", "admin"), "one-time token", "cc")
    for _ in range(5):
        clock.now += timedelta(minutes=20)
        sessions.of(secret, "cc")
    clock.now += timedelta(minutes=20)
    with pytest.raises(SignInError):
        sessions.of(secret, "cc")
    assert [s.ended_by for s in sessions.all()] == ["time", "time"]
    sessions.close()


def test_sessions_outlive_the_coordinator_and_not_their_certificate(consortium: Consortium) -> None:
    with consortium.coordinator(), consortium.desk() as desk:
        secret = desk.sign_in(consortium.token())
    with consortium.coordinator() as running:
        with consortium.desk() as desk:
            assert desk.within(secret).viewer().name == "Ada"
        enrol_desk(consortium.home(COORDINATOR), consortium.home(DESK))
        wait_until(lambda: refused(lambda: reached(consortium, running.address)) is SignInError, "the new certificate")
        with consortium.desk() as desk:
            assert refused(desk.within(secret).viewer) is SignInError


def reached(consortium: Consortium, address: str) -> object:
    with Client(address, consortium.home(DESK), name=DESK) as desk:
        return desk.viewer()


def test_the_desk_holds_no_key_that_signs(consortium: Consortium) -> None:
    folder = consortium.home(DESK) / "keys"
    assert {path.name for path in folder.iterdir()} == {"tls.key", "tls.crt"}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    with pytest.raises(ConfigError, match=r"identity\.key"):
        load_identity(DESK, folder)
    member = consortium.desk_member
    assert member.endorsed(DESK)
    assert load_tls_keys(DESK, folder).certificate.decode() == member.certificate
    assert create_tls_keys(DESK, folder, "127.0.0.1:1").identity_key != member.identity_key
    with pytest.raises(ConfigError, match="another node"):
        load_tls_keys(ADMIN, folder)


def test_the_desk_is_nobody_to_the_parties(consortium: Consortium, desk: Client) -> None:
    client = signed_in(consortium, desk)
    assert {party.name for party in client.parties()} == set(consortium.identities) - {COORDINATOR, ADMIN}
    with FakeNode(consortium, LABEL) as node:
        wait_until(lambda: bool(node.told("roster")), "the roster")
        assert DESK not in node.told("roster")[0].body.members


def test_every_action_is_recorded_with_its_outcome(consortium: Consortium, desk: Client) -> None:
    admin, operator = signed_in(consortium, desk), signed_in(consortium, desk, "operator", "Ola")
    run_id = admin.propose(consortium.agreement())
    other = consortium.agreement("2")
    assert refused(lambda: operator.propose(other)) is AgreementError
    operator.cancel(run_id, "not now")
    assert admin.run(run_id).reason == f"cancelled by Ola (operator of {LABEL}): not now"
    with consortium.client() as own:
        run_2 = own.propose(consortium.agreement("3"))
        found = [(a.name, a.role, a.what, a.about, a.outcome) for a in own.actions().actions]
        refusal = "refused: Ola is signed in as operator, and this takes admin"
        assert found == [
            ("admin", "admin", "propose", run_2, "done"),
            ("Ola", "operator", "cancel", run_id, "done"),
            ("Ola", "operator", "propose", other.run_id, refusal),
            ("Ada", "admin", "propose", run_id, "done"),
            ("Ola", "operator", "desk/sign-in", "one-time token", "done"),
            ("Ada", "admin", "desk/sign-in", "one-time token", "done"),
        ]
        assert own.actions(name="Ola", limit=1, offset=1).actions[0].outcome == refusal
        assert own.actions(what="propose").total == 3
    with sqlite3.connect(consortium.home(COORDINATOR) / "coordinator.db") as database:
        logged = database.execute("SELECT entry FROM audit_entries WHERE kind = 'desk'").fetchall()
    assert len(logged) == 6


def test_an_operator_stops_only_runs_of_its_party(consortium: Consortium, desk: Client) -> None:
    admin = signed_in(consortium, desk)
    run_id = admin.propose(consortium.agreement())
    stranger = desk.within(desk.sign_in(consortium.token("operator", "Ola", "sat")))
    assert stranger.viewer().party == "sat"
    reader = signed_in(consortium, desk, "auditor")
    assert refused(lambda: reader.cancel(run_id, "")) is AgreementError
    assert not admin.run(run_id).ended
    Roster(
        {name: m for name, m in Roster.load(consortium.home(COORDINATOR) / "roster.json").items() if name != "sat"}
    ).save(consortium.home(COORDINATOR) / "roster.json")
    wait_until(lambda: refused(stranger.viewer) is SignInError, "an operator without a party is out")


def test_tokens_are_made_at_the_command_line(consortium: Consortium, capsys: pytest.CaptureFixture[str]) -> None:
    home = str(consortium.home(COORDINATOR))
    for wrong in (
        ["--name", "Ola", "--role", "operator"],
        ["--name", "Ola", "--role", "admin", "--party", LABEL],
        ["--name", "Ola", "--role", "operator", "--party", "nobody"],
        ["--name", "Ola", "--role", "operator", "--party", DESK],
        ["--name", " ", "--role", "admin"],
        ["--name", "Ola", "--role", "admin", "--valid", "never"],
    ):
        assert run(["ui", "token", "--home", home, *wrong]) == ConfigError.exit_code
    capsys.readouterr()
    assert run(["ui", "token", "--home", home, "--name", "Ola", "--role", "operator", "--party", LABEL]) == 0
    token = capsys.readouterr().out.strip()
    with consortium.coordinator(), consortium.desk() as desk:
        viewer = desk.within(desk.sign_in(token)).viewer()
        assert (viewer.name, viewer.role, viewer.party) == ("Ola", "operator", LABEL)
        with consortium.client() as admin, pytest.raises(AgreementError, match="people sign in at the desk"):
            admin.sign_in(consortium.token())
        with pytest.raises(SignInError):
            desk.fetch("viewer", Nothing())


def test_a_founded_consortium_has_a_desk(tmp_path: Path) -> None:
    home = tmp_path / "hub"
    founding = ["coordinator", "init", "--home", str(home), "--name", "X", "--listen", "127.0.0.1:7999", "--plain-keys"]
    assert run(founding) == 0
    assert DESK in Roster.load(home / "roster.json")
    assert set(Roster.load(home / DESK / "roster.json")) == {COORDINATOR}
    before = Roster.load(home / "roster.json")[DESK]
    assert run(["ui", "enrol", "--home", str(home), "--to", str(tmp_path / "elsewhere")]) == 0
    assert Roster.load(home / "roster.json")[DESK] != before
    assert (tmp_path / "elsewhere" / "keys" / "tls.key").is_file()


def test_the_longest_reason_of_a_signed_in_person_fits_the_log_and_the_command(
    consortium: Consortium, desk: Client
) -> None:
    admin = signed_in(consortium, desk)
    with FakeNode(consortium, LABEL, lambda node, command: True) as node:
        run_id = admin.propose(consortium.agreement())
        admin.pause(run_id, "p" * 2000)
        wait_until(lambda: bool(node.told("pause")), "the pause")
        assert node.told("pause")[0].body.why.startswith("Ada (admin): ppp")
        admin.resume(run_id)
        admin.cancel(run_id, "c" * 2000)
        wait_until(lambda: bool(node.told("abort")), "the abort")
    kinds = [logged.event.kind for logged in EventLog(open_engine(f"sqlite:///{coordinator_db(consortium)}")).read()]
    assert kinds[0] == "proposed"
    assert kinds[-1] == "cancelled"


def coordinator_db(consortium: Consortium) -> Path:
    return consortium.home(COORDINATOR) / "coordinator.db"
