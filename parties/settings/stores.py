"""Stores that a party's SQL may read beside its folder: PostgreSQL and S3."""

from __future__ import annotations

import re

from pydantic import Field, model_validator

from vfl.terms import Terms

__all__ = ["PostgresSettings", "S3Settings"]


class PostgresSettings(Terms):
    """Tables of the party's PostgreSQL, for its own node only. No password here: use ~/.pgpass or PGPASSFILE."""

    url: str = Field(description="postgresql://USER@HOST/DATABASE")
    tables: dict[str, str] = Field(description="name in the party's SQL = query that PostgreSQL runs, read only")

    @model_validator(mode="after")
    def _named(self) -> PostgresSettings:
        strange = [name for name in self.tables if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)]
        if strange or not self.tables:
            raise ValueError(f"tables need plain names: letters, digits, _ ({', '.join(strange) or 'none is given'})")
        return self


class S3Settings(Terms):
    """Objects that the party's SQL may read as s3://BUCKET/KEY. Credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY
    and, where there is one, AWS_SESSION_TOKEN in the node's environment."""

    allowed: tuple[str, ...] = Field(description="places that SQL may read below, such as s3://BUCKET/FOLDER/")
    region: str = Field(default="us-east-1", description="of the store")
    endpoint: str = Field(default="", description="https://HOST:PORT of a store other than AWS; http on loopback only")

    @model_validator(mode="after")
    def _narrow(self) -> S3Settings:
        strange = [p for p in self.allowed if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]+/([^*?\[\]/]+/)*", p)]
        if not self.allowed or strange or any(part in (".", "..") for p in self.allowed for part in p.split("/")):
            raise ValueError(f"allowed needs places such as s3://BUCKET/FOLDER/, with the last slash ({strange})")
        plain = re.fullmatch(r"http://(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?", self.endpoint)
        if self.endpoint and not plain and not re.fullmatch(r"https://[^\s/@]+", self.endpoint):
            raise ValueError("endpoint must be https://HOST or https://HOST:PORT")
        return self
