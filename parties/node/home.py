"""A node's home on disk: settings, keys, roster and state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import ValidationError

from parties.audit.log import AuditLog
from parties.control.parsing import first_fault
from parties.control.reports import IntroductionBody
from parties.errors import ConfigError, StorageError
from parties.members.keys import Identity, load_identity
from parties.members.roster import Member, Roster
from parties.node.openings import OpeningStore
from parties.node.roster_following import followed
from parties.node.settings import NodeSettings, load_node_settings

__all__ = ["NodeHome"]


class NodeHome:
    """What lies in a node's folder: settings, keys, roster and its secret seed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.settings: NodeSettings = load_node_settings(self.folder / "node.toml")
        self.identity: Identity = load_identity(self.settings.party.name, self.folder / "keys")
        self.roster = Roster.load(self.folder / "roster.json")
        self.seed = self._seed()

    def _seed(self) -> bytes:
        path = self.folder / "keys" / "seed"
        if not path.exists():
            # the identity key is secret, never changes and may be encrypted at rest; its raw bytes serve as the seed
            raw = self.identity.key.private_bytes_raw()
            return HKDF(SHA256(), 32, salt=None, info=b"entente/node/seed").derive(raw)
        try:
            if path.stat().st_mode & 0o077:
                raise ConfigError(f"{path}: other users can read this secret; run chmod 600 on it")
            seed = path.read_bytes()
        except OSError:
            raise ConfigError(f"{path}: cannot be read; create this node's keys first") from None
        if len(seed) != 32:
            raise ConfigError(f"{path}: must hold 32 bytes, not {len(seed)}; create this node's keys again")
        return seed

    def follow(self, told: Mapping[str, Member]) -> None:
        """Take in the roster that the coordinator tells, as far as it may change what is known here."""
        if not self.settings.follow_roster:
            return
        members = followed(self.identity.name, self.roster, told)
        if members == dict(self.roster):
            return
        self.roster.replace(members)
        try:
            self.roster.save(self.folder / "roster.json")
        except OSError as error:
            raise StorageError(f"{self.folder}: roster.json cannot be written ({error.strerror})") from None

    def introduction(self) -> IntroductionBody:
        """What this node offers to runs: its part of an agreement, before anyone proposes one.

        Raises :class:`ConfigError` for settings that cannot be told.
        """
        party, label = self.settings.party, self.settings.label
        offer = {
            "role": party.role,
            "legal_entity": party.legal_entity,
            "columns": list(party.output_columns),
            "text": party.text_declared,
            "encoder": party.encoder_declared,
            "expansion": party.expansion_declared,
            "units": {name: rules.unit for name, rules in party.column_schema.items() if rules.unit},
            "label_name": label.name if label else "",
            "label_definition": label.definition if label else "",
            **self._published(),
        }
        try:
            return IntroductionBody.model_validate(offer)
        except ValidationError as error:
            raise ConfigError(
                f"{self.folder / 'node.toml'}: the coordinator cannot be told {first_fault(error)}; shorten it"
            ) from None

    def _published(self) -> dict[str, object]:
        limits = self.settings.limits
        if not self.settings.publish_limits:
            return {}
        return {"limits": limits.model_dump(include={"openings_per_row", "largest_fraction", "hours"})}

    def openings(self) -> OpeningStore:
        return OpeningStore(self.settings.state or f"sqlite:///{self.folder / 'state.db'}")

    def audit(self) -> AuditLog:
        return AuditLog.at(self.identity.name, self.settings.state, self.folder / "state.db", self.identity.key.sign)
