"""``[notices]`` in coordinator.toml and node.toml: who is told what, and by which way."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from vfl.terms import Terms

__all__ = ["ABOUT", "About", "MailSettings", "NoticeSettings", "WebhookSettings"]

About = Literal["sign", "approve", "money", "failed", "finished", "away"]
ABOUT: tuple[About, ...] = ("sign", "approve", "money", "failed", "finished", "away")
_ADDRESS = re.compile(r"[^\s<>,;@]+@[^\s<>,;@]+\.[^\s<>,;@]+")


class WebhookSettings(Terms):
    """An address that gets each notice as JSON by POST; Slack, Mattermost and Teams show its ``text``."""

    url: str = Field(description="https and a host; who knows a chat's address can write there, so guard this file")
    secret_file: str = Field(
        default="",
        description="key, base64, by which the receiver checks who wrote (Standard Webhooks); empty: unsigned",
    )
    about: tuple[About, ...] = Field(default=ABOUT, description="sign, approve, money, failed, finished, away")

    @field_validator("url")
    @classmethod
    def _named_and_encrypted(cls, url: str) -> str:
        place = urlsplit(url)
        if place.scheme != "https" or not place.hostname or place.username or place.password:
            raise ValueError("a webhook needs an https address with a host, and no user or password in it")
        return url

    @property
    def host(self) -> str:
        """What logs call it: the rest of the address may be a secret."""
        return urlsplit(self.url).hostname or ""


class MailSettings(Terms):
    """A mail server that takes notices over TLS."""

    host: str = Field(pattern=r"^[A-Za-z0-9.-]+$", description="the mail server; its certificate must have this name")
    port: int = Field(default=587, ge=1, le=65535, description="465: TLS at once; else STARTTLS, never without")
    sender: str = Field(description="address that the mail is from")
    to: tuple[str, ...] = Field(min_length=1, max_length=20, description="addresses that are told")
    user: str = Field(default="", description="empty: the server asks nobody who they are")
    password_file: str = Field(default="", description="file with the password of user")
    about: tuple[About, ...] = Field(default=ABOUT, description="sign, approve, money, failed, finished, away")

    @field_validator("sender")
    @classmethod
    def _one_address(cls, address: str) -> str:
        if not _ADDRESS.fullmatch(address):
            raise ValueError(f"{address!r} is no e-mail address")
        return address

    @field_validator("to")
    @classmethod
    def _addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(cls._one_address(address) for address in addresses)


class NoticeSettings(Terms):
    """Who is told. Nobody, unless it says so."""

    names: bool = Field(
        default=True,
        description="purposes, reasons and amounts in the text; false: only what is to be done, and ids",
    )
    away_minutes: int = Field(default=10, ge=1, le=10080, description="how long a party is silent before it is told")
    webhook: tuple[WebhookSettings, ...] = ()
    mail: MailSettings | None = None

    @property
    def any(self) -> bool:
        """Whether anybody is to be told."""
        return bool(self.webhook or self.mail)
