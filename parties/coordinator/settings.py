"""``coordinator.toml``: how a coordinator listens and where it keeps its state."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from parties.errors import ConfigError
from parties.files.toml import read_toml
from parties.notices.settings import NoticeSettings
from parties.settings.consortium import TransportSettings
from parties.settings.faults import first_fault
from vfl.terms import Terms

__all__ = [
    "CoordinatorSettings",
    "DeskSettings",
    "OidcPerson",
    "OidcSettings",
    "RelaySettings",
    "load_coordinator_settings",
]


class RelaySettings(Terms):
    """Leading parties' connections through the coordinator, encrypted between the parties."""

    offer: bool = Field(default=True, description="whether parties of a run may meet here; each decides for itself too")
    bytes_per_second: int = Field(default=0, ge=0, description="how much of each member's bytes passes; 0: no limit")


class OidcPerson(Terms):
    """What one person may do who signs in with an organisation: named by e-mail, or by the issuer's subject."""

    email: str = Field(default="", max_length=200, description="an address that the issuer has verified")
    subject: str = Field(default="", max_length=255, description="instead of email: the issuer's own id of the person")
    name: str = Field(default="", max_length=80, description="how lists call the person; empty: the e-mail or subject")
    role: Literal["admin", "operator", "auditor", "reader"]
    party: str = Field(default="", description="whom an operator works for")

    @model_validator(mode="after")
    def _one_way(self) -> OidcPerson:
        if bool(self.email) == bool(self.subject):
            raise ValueError("name a person by email or by subject")
        if (self.role == "operator") != bool(self.party):
            raise ValueError("an operator works for a party, and nobody else does")
        return self


class OidcSettings(Terms):
    """An OpenID Connect issuer whose word the coordinator takes on who somebody is, checked by its published keys."""

    issuer: str = Field(pattern=r"^https?://", description="as the issuer writes it, such as https://login.example.com")
    audience: str = Field(min_length=1, description="the client id that the web page is registered under")
    people: tuple[OidcPerson, ...] = ()


class DeskSettings(Terms):
    """How long people stay signed in to the web page."""

    idle_minutes: int = Field(default=30, ge=1, le=1440, description="a session that nobody uses ends after this")
    longest_hours: int = Field(default=12, ge=1, le=168, description="every session ends after this")
    oidc: OidcSettings | None = None


class CoordinatorSettings(Terms):
    """The whole of ``coordinator.toml``. Every key has a default, so the file may be absent."""

    name: str = Field(default="Entente", max_length=120, description="the consortium's name, as the UI shows it")
    listen: str = Field(default="127.0.0.1:7400", description="host:port to listen on; port 0 takes a free one")
    database: str = Field(default="", description="event log: SQLAlchemy URL; empty: coordinator.db in the home")
    ledger: str = Field(default="", description="ledger: SQLAlchemy URL; empty: ledger.db in the home")
    heartbeat_seconds: float = Field(default=2.0, gt=0, le=3600, description="how often parties say they are there")
    metrics: str = Field(
        default="", description="port, on loopback, or HOST:PORT of /health and /metrics (Prometheus text); empty: none"
    )
    transport: TransportSettings = TransportSettings()
    relay: RelaySettings = RelaySettings()
    desk: DeskSettings = DeskSettings()
    notices: NoticeSettings = NoticeSettings()

    def database_at(self, home: Path) -> str:
        """SQLAlchemy URL of the coordinator's database."""
        return self.database or f"sqlite:///{home / 'coordinator.db'}"


def load_coordinator_settings(home: Path) -> CoordinatorSettings:
    """Read ``home/coordinator.toml``; defaults where there is none. Raises :class:`ConfigError` naming the fault."""
    path = home / "coordinator.toml"
    if not path.exists():
        return CoordinatorSettings()
    raw = read_toml(path)
    try:
        return CoordinatorSettings.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_fault(error, raw)}") from None
