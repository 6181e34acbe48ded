"""Founding a consortium, inviting, joining, renewing and revoking."""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from parties.errors import ConfigError, StorageError
from parties.plurals import things
from parties.private_files import FREE_SPACE, whole_or_nothing, write_new, write_private
from parties.terminal.console import pasted, say, table

if TYPE_CHECKING:
    from parties.cli.first_settings import FirstSettings, OwnFiles
    from parties.joining.token import Token

__all__ = [
    "KeyFile",
    "coordinator_init",
    "coordinator_revoke",
    "coordinator_roster",
    "coordinator_rotate",
    "invite",
    "party_commit",
    "party_join",
    "party_roster",
    "party_rotate",
    "duration",
    "use_key_file",
]

Home = Annotated[Path, typer.Option("--home", help="Folder of the node: its settings, keys, roster and state.")]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", envvar="ENTENTE_KEY_FILE", help="File with the passphrase that opens the keys (0600)."),
]
PlainKeys = Annotated[bool, typer.Option("--plain-keys", help="Leave the private keys unencrypted on disk.")]
Host = Annotated[list[str] | None, typer.Option("--host", help="A further host name or address for the certificate.")]

Reached = Annotated[
    str,
    typer.Option("--address", metavar="HOST:PORT", help="Where the others reach it, if that is not where it listens."),
]

_UNITS = {"m": 60, "h": 3600, "d": 86400}
_LONGEST_VALID = timedelta(days=30)


def use_key_file(path: Path | None) -> None:
    """From now on this process opens and protects keys with this file's secret."""
    if path is not None:
        from parties.members.passphrase import KEY_FILE

        os.environ[KEY_FILE] = str(path.resolve())


def coordinator_init(
    home: Home,
    name: Annotated[str, typer.Option("--name", help="The consortium's name.")],
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where to listen.")],
    address: Reached = "",
    key_file: KeyFile = None,
    plain_keys: PlainKeys = False,
    host: Host = None,
) -> None:
    """Found a consortium: the coordinator's keys, settings and roster, and credentials in HOME/admin, HOME/desk."""
    from parties.client import ADMIN
    from parties.coordinator.desk.enrol import enrol_desk
    from parties.coordinator.settings import CoordinatorSettings
    from parties.members.keys import create_identity
    from parties.members.passphrase import new_passphrase
    from parties.members.roster import Roster
    from parties.names import COORDINATOR
    from parties.settings.toml_text import to_toml

    use_key_file(key_file)
    if (home / "roster.json").exists() or (home / "keys").exists():
        raise ConfigError(f"{home}: holds a coordinator already; choose another folder")
    reached = _reached(address, listen)
    passphrase = new_passphrase(plain=plain_keys)
    settings = CoordinatorSettings(name=name, listen=listen)
    try:
        with whole_or_nothing(home):
            _folder(home)
            identity = create_identity(COORDINATOR, home / "keys", hosts=host or (), passphrase=passphrase)
            admin = create_identity(ADMIN, home / "admin" / "keys", passphrase=passphrase)
            write_private(home / "coordinator.toml", to_toml(settings.model_dump(exclude_unset=True)).encode())
            coordinator = identity.member(reached)
            # nobody ever calls the admin, so its port is none
            Roster({COORDINATOR: coordinator, ADMIN: admin.member("127.0.0.1:0")}).save(home / "roster.json")
            Roster({COORDINATOR: coordinator}).save(home / "admin" / "roster.json")
            desk = enrol_desk(home)
    except OSError as error:
        raise StorageError(f"{home}: cannot be written ({error.strerror}); {FREE_SPACE}") from None
    say(
        f"{name} is founded in {home}.",
        f"certificate SHA-256: {identity.certificate_sha256} (until {identity.expires:%Y-%m-%d})",
        f"Start it: entente coordinator start --home {pasted(home)}",
        f"Invite a party: entente invite NAME --home {pasted(home)}",
        f"Admin's credentials, to be kept apart: {home / 'admin'}",
        f"The web page's credentials, which sign nothing: {desk}",
    )


def invite(
    name: Annotated[str, typer.Argument(help="The party's name: small letters, digits, - and _.")],
    home: Annotated[Path, typer.Option("--home", help="Folder of the coordinator.")],
    role: Annotated[Literal["feature", "label"], typer.Option("--role", help="What the party brings.")] = "feature",
    valid: Annotated[str, typer.Option("--valid", help="How long it can be used: 30m, 1h, 2d.")] = "1h",
    file: Annotated[Path | None, typer.Option("--file", help="Write the token here (0600) instead.")] = None,
) -> None:
    """Print a token of one use with which a party joins. Hand it over on a private channel."""
    from pydantic import TypeAdapter, ValidationError

    from parties.coordinator.membership import new_invitation
    from parties.joining.invitations import member_lock
    from parties.members.roster import Roster
    from parties.names import PartyName

    try:
        TypeAdapter(PartyName).validate_python(name)
    except ValidationError:
        raise ConfigError(f"{name!r} is no name for a party: small letters, digits, - and _, a letter first") from None
    with member_lock(home):
        token = new_invitation(home, Roster.load(home / "roster.json"), name, role, duration(valid))
    if file is None:
        say(token.encode())
        return
    try:
        write_new(file, f"{token.encode()}\n".encode("ascii"))
    except OSError as error:
        raise StorageError(f"{file}: the token cannot be written ({error.strerror}); name a new file") from None
    say(f"{file} holds the token for {name}, good once until {token.expires:%Y-%m-%d %H:%M} UTC.")


def coordinator_revoke(
    name: Annotated[str, typer.Argument(help="The member to put out.")],
    home: Annotated[Path, typer.Option("--home", help="Folder of the coordinator.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Put a member out: its certificate is refused at once, its runs end, and every party is told."""
    from parties.coordinator.membership import revoke

    if not yes and not typer.confirm(f"Put {name} out? Its runs end, and it comes back by a new invitation alone."):
        say("Nothing was changed.")
        return
    revoke(home, name)
    say(f"{name} is no longer a member. A running coordinator takes it in within a second.")


def coordinator_roster(home: Annotated[Path, typer.Option("--home", help="Folder of the coordinator.")]) -> None:
    """List the members and when their certificates end."""
    _show_roster(home)


def party_roster(home: Home) -> None:
    """List the members this node knows, to compare identities with them on another channel."""
    _show_roster(home)


def party_join(
    token: Annotated[str, typer.Argument(help="The file that holds the token, - for standard input, or the token.")],
    home: Home,
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where this node listens.")],
    address: Reached = "",
    config: Annotated[
        Path | None,
        typer.Option("--config", help="consortium.toml to take this party's own tables from, for a first node.toml."),
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Folder that ${data} stands for in SQL.")] = None,
    query: Annotated[
        Path | None, typer.Option("--query", help="Without --config: the party's own SQL file of features.")
    ] = None,
    columns: Annotated[
        str, typer.Option("--columns", metavar="A,B", help="Of --query; by default every number that it yields.")
    ] = "",
    label_query: Annotated[
        Path | None, typer.Option("--label-query", help="Label party: the SQL file of what is predicted.")
    ] = None,
    label_name: Annotated[str, typer.Option("--label-name", help="Label party: what is predicted, in a word.")] = "",
    definition: Annotated[str, typer.Option("--definition", help="Label party: what is predicted, in words.")] = "",
    lag_days: Annotated[
        int | None, typer.Option("--lag-days", min=0, help="Days until a row is known, where the query does not say.")
    ] = None,
    legal_entity: Annotated[
        str, typer.Option("--legal-entity", metavar="NAME", help="To whom this party belongs, if not as --config says.")
    ] = "",
    key_file: KeyFile = None,
    plain_keys: PlainKeys = False,
    host: Host = None,
) -> None:
    """Join a consortium: make this party's keys, meet the coordinator that the token names, and be enrolled.

    node.toml is made from the party's own SQL, from --config, or as a commented template:

        entente party join sat.token --home sat --listen 10.0.0.6:7401 --query features.sql --data /srv/sat
    """
    from parties.cli.first_settings import OwnFiles
    from parties.joining.join import join
    from parties.joining.token import Token
    from parties.members.passphrase import new_passphrase

    use_key_file(key_file)
    given = Token.decode(_token_text(token))
    reached = _reached(address, listen)
    named = tuple(filter(None, (name.strip() for name in columns.split(","))))
    own = OwnFiles(data, query, named, label_query, label_name, definition, lag_days)
    first = _first(given, listen, config, own, _entity(legal_entity))
    made = (home / "keys" / "tls.crt").exists()
    passphrase = None if made else new_passphrase(plain=plain_keys)
    identity, roster = join(given, home, reached, legal_entity=first.entity, passphrase=passphrase, hosts=host or ())
    _write_first(home, first, with_data=data is None and config is None)
    say(
        f"{given.name} has joined as {given.role} party; members: {', '.join(roster)}.",
        f"identity: {identity.public_key} (read it to the others on another channel)",
        f"certificate until {identity.expires:%Y-%m-%d}",
        f"Settings: {home / 'node.toml'}. Look at your data, with the dates that you mean:",
        f"  entente data check --home {pasted(home)} --frequency W-FRI --from 2023-01-06 --to 2024-12-27",
        f"Start it: entente party start --home {pasted(home)}",
    )


def _first(given: Token, listen: str, config: Path | None, own: OwnFiles, entity: str) -> FirstSettings:
    """Of a consortium file, or of what is said of the party's own files."""
    from parties.cli.first_settings import from_consortium, from_own_files
    from parties.settings.consortium import load_consortium

    if config is None:
        return from_own_files(given.name, given.role, listen, own, entity)
    if own.query or own.label_query or own.columns:
        raise ConfigError("--config names queries and columns: leave --query, --label-query and --columns out")
    return from_consortium(given.name, given.role, listen, load_consortium(config), config, own.data, entity)


def _write_first(home: Path, first: FirstSettings, *, with_data: bool) -> None:
    """Write node.toml and what belongs to it, unless a try before has."""
    if (home / "node.toml").exists():
        return
    try:
        for name, text in first.beside.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            if not (home / name).exists():
                write_private(home / name, text.encode())
        if with_data:
            (home / "data").mkdir(exist_ok=True)
        write_private(home / "node.toml", first.text.encode())
    except OSError as error:
        raise StorageError(f"{home / 'node.toml'}: cannot be written ({error.strerror}); check the disk") from None


def coordinator_rotate(
    home: Annotated[Path, typer.Option("--home", help="Folder of the coordinator.")],
    key_file: KeyFile = None,
    host: Host = None,
) -> None:
    """Make a new certificate for the coordinator. Start it again; members recognise it by its identity key."""
    from parties.joining.join import rotate_coordinator

    use_key_file(key_file)
    new = rotate_coordinator(home, hosts=host or ())
    say(
        f"The coordinator has a new certificate until {new.expires:%Y-%m-%d}; start it again to use it.",
        f"certificate SHA-256: {new.certificate_sha256}",
        "Open invitations name the old one: invite again.",
    )


def party_rotate(home: Home, key_file: KeyFile = None, host: Host = None) -> None:
    """Make a new certificate under the same identity and tell the coordinator. Start the node again afterwards."""
    from parties.joining.join import rotate
    from parties.node.settings import load_node_settings

    use_key_file(key_file)
    party = load_node_settings(home / "node.toml").party
    name = party.name
    new = rotate(name, home, party.legal_entity, hosts=host or ())
    say(f"{name} has a new certificate until {new.expires:%Y-%m-%d}; start the node again to use it.")


def _entity(text: str) -> str:
    from parties.names import normal_entity

    try:
        return normal_entity(text)
    except ValueError as error:
        raise ConfigError(f"--legal-entity: {error}") from None


def _token_text(given: str) -> str:
    from parties.files.text import read_text

    path = Path(given)
    if given.startswith("entente1-"):
        return given
    if given == "-":
        return sys.stdin.read(4096)
    try:
        return read_text(path)
    except (OSError, ConfigError):
        raise ConfigError(f"{given[:40]!r} is neither a token nor a file that holds one") from None


def _show_roster(home: Path) -> None:
    from parties.members.roster import Roster, expiry_warnings

    roster = Roster.load(home / "roster.json")
    table(
        "",
        ("member", "address", "identity", "certificate until", "legal entity"),
        (
            (name, member.address, member.identity_key, f"{member.expires:%Y-%m-%d}", member.legal_entity or "-")
            for name, member in sorted(roster.items())
        ),
    )
    say(*(f"warning: {told}" for told in expiry_warnings(roster, datetime.now(UTC))))


def _address(text: str) -> None:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"{text!r} is no address: give host:port, such as 10.0.0.5:7400")


def _reached(address: str, listen: str) -> str:
    """The address that the roster gives to others: ``address``, or where it listens if that names one interface."""
    _address(listen)
    reached = address or listen
    _address(reached)
    if reached.rpartition(":")[0].strip("[]") in ("0.0.0.0", "::", "*"):
        raise ConfigError(f"nobody can call {reached}: name with --address the HOST:PORT at which others reach it")
    return reached


def duration(text: str) -> timedelta:
    """The length that ``30m``, ``1h`` or ``2d`` stands for, at most 30 days."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    length = timedelta(seconds=int(found[1]) * _UNITS[found[2]]) if found else timedelta(0)
    if not timedelta(0) < length <= _LONGEST_VALID:
        raise ConfigError(
            f"{text!r} is no length of time: give minutes, hours or days up to 30d, such as 30m, 1h or 2d"
        )
    return length


def _folder(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        home.chmod(0o700)
    except OSError as error:
        raise StorageError(f"{home}: cannot be made ({error.strerror}); choose another folder") from None


def party_commit(home: Home) -> None:
    """Commit to the rows that this node's queries yield for the first time; the running node tells the coordinator."""
    from datetime import UTC, datetime

    from parties.node.home import NodeHome
    from parties.node.row_commitments import commit_rows

    place = NodeHome(home)
    with place.audit() as audit:
        batch = commit_rows(place, audit, datetime.now(UTC).replace(microsecond=0))
    say(f"Committed to {things(batch.rows, 'new rows')} as of {batch.through:%Y-%m-%d %H:%M} UTC; root {batch.root}")
