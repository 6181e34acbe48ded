"""The party's side of joining: keys, a handshake with the announced coordinator, and the roster that comes back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from parties.errors import AgreementError, ConfigError, PeerError, StorageError
from parties.joining.invitations import member_lock
from parties.joining.requests import JoinAnswer, JoinRequest
from parties.joining.token import Token
from parties.members.keys import Identity, create_identity, load_identity, renew_certificate, store_certificate
from parties.members.passphrase import passphrase_for
from parties.members.roster import Member, Roster
from parties.names import COORDINATOR
from parties.transport.pinned import fetch_certificate
from parties.transport.to_coordinator import Connection
from parties.wire.gen import coordinator_pb2 as wire

__all__ = ["join", "rotate", "rotate_coordinator"]

_SECONDS = 20.0


def join(
    token: Token,
    home: Path,
    listen: str,
    *,
    legal_entity: str = "",
    passphrase: bytes | None = None,
    hosts: Iterable[str] = (),
) -> tuple[Identity, Roster]:
    """Become a member: make keys in ``home`` unless they are there from a try before, and enrol with the token.

    ``listen`` is host:port that the other parties will reach this node at, and ``legal_entity`` to whom the party
    belongs, which it signs. Writes ``keys/`` and ``roster.json``.
    Raises :class:`ConfigError` for a token or folder that does not serve, :class:`PeerError` for a coordinator
    that is not the announced one or cannot be reached, and what the coordinator objects.
    """
    token.check_fresh(datetime.now(UTC))
    if (home / "roster.json").exists():
        raise ConfigError(f"{home}: has joined already; use another folder for another membership")
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.chmod(home, 0o700)
    except OSError as error:
        raise StorageError(f"{home}: cannot be made ({error.strerror}); choose another folder") from None
    certificate = fetch_certificate(token.address, token.fingerprint)
    keys = home / "keys"
    if (keys / "tls.crt").exists():
        identity = load_identity(token.name, keys, passphrase)
    else:
        identity = create_identity(token.name, keys, hosts=hosts, passphrase=passphrase)
    try:
        member = identity.member(listen, legal_entity)
    except ValidationError:
        raise ConfigError(f"{listen!r} is no address: give host:port, at which the other parties reach you") from None
    coordinator = Member(
        address=token.address,
        certificate=certificate.decode(),
        certificate_sha256=token.fingerprint,
        # not known yet; the answer, sealed with the invitation's secret, tells it
        identity_key="0" * 64,
    )
    request = JoinRequest.made(token.mac_key(), token.name, token.role, member)
    line = Connection.between(token.identity(), coordinator)
    try:
        document = wire.Document(json=request.model_dump_json().encode())
        answered = line.call("Join", document, wire.Document, timeout=_SECONDS)
    except (ConfigError, PeerError):
        # it answered a moment ago, so it is us that it does not take
        raise AgreementError(
            "the coordinator does not take this invitation: it was used, replaced or is over; ask for a new token"
        ) from None
    finally:
        line.close()
    return identity, _kept(token, answered.json, home, member)


def _kept(token: Token, answered: bytes, home: Path, mine: Member) -> Roster:
    """The roster of the answer, checked and written."""
    try:
        answer = JoinAnswer.model_validate_json(answered)
    except ValidationError as error:
        raise PeerError(
            f"the coordinator's answer is not understood ({error.errors()[0]['msg']}): use one version on both sides",
            COORDINATOR,
        ) from None
    answer.check(token.mac_key())
    coordinator = answer.members.get(COORDINATOR)
    if coordinator is None or coordinator.certificate_sha256 != token.fingerprint:
        raise PeerError("the coordinator's answer names another certificate for it than the token", COORDINATOR)
    if answer.members.get(token.name) != mine:
        raise PeerError("the coordinator's answer does not hold our own entry as we sent it", COORDINATOR)
    # the address by which we reach it is the one that worked
    members = {**answer.members, COORDINATOR: coordinator.model_copy(update={"address": token.address})}
    roster = Roster(members)
    try:
        roster.save(home / "roster.json")
        (home / "roster.json").chmod(0o600)
    except OSError as error:
        raise StorageError(f"{home / 'roster.json'}: cannot be written ({error.strerror}); check the disk") from None
    return roster


def rotate(
    name: str, home: Path, legal_entity: str, *, passphrase: bytes | None = None, hosts: Iterable[str] = ()
) -> Identity:
    """Give this node a new TLS key and certificate under the same identity key, and tell the coordinator.

    Its entry is signed anew, with the legal entity that ``node.toml`` gives now.

    The coordinator refuses while the node is in a run. A running node goes on with the old certificate, which nobody
    accepts any more: start it again. Raises :class:`EntenteError`; the old certificate stays in force then.
    """
    old = load_identity(name, home / "keys", passphrase)
    roster = Roster.load(home / "roster.json")
    new = renew_certificate(old, hosts=hosts)
    member = new.member(roster.member(name).address, legal_entity)
    line = Connection.between(old, roster.member(COORDINATOR))
    try:
        document = wire.Document(json=json.dumps(member.model_dump()).encode())
        line.call("Renew", document, wire.Receipt, timeout=_SECONDS)
    finally:
        line.close()
    encrypted = b"ENCRYPTED" in (home / "keys" / "tls.key").read_bytes()
    if encrypted and passphrase is None:
        passphrase = passphrase_for(home / "keys" / "tls.key")
    store_certificate(new, home / "keys", passphrase if encrypted else None)
    Roster({**roster, name: member}).save(home / "roster.json")
    return new


def rotate_coordinator(home: Path, *, hosts: Iterable[str] = ()) -> Identity:
    """Give the coordinator in ``home`` a new TLS key and certificate under the same identity key.

    It takes effect when the coordinator is started again; members recognise the new certificate by the identity key's
    signature in it.
    """
    keys = home / "keys"
    old = load_identity(COORDINATOR, keys)
    new = renew_certificate(old, hosts=hosts)
    encrypted = b"ENCRYPTED" in (keys / "tls.key").read_bytes()
    with member_lock(home):
        roster = Roster.load(home / "roster.json")
        store_certificate(new, keys, passphrase_for(keys / "tls.key") if encrypted else None)
        Roster({**roster, COORDINATOR: new.member(roster[COORDINATOR].address)}).save(home / "roster.json")
    return new
