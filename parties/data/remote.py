"""Objects in an S3 store as files of a party's DuckDB query: ``read_parquet('s3://bucket/visits/*.parquet')``.

DuckDB's own extension for this is a download, which a fund's machine may not allow; so the AWS client that comes with
pyarrow reads the objects, and DuckDB sees a file system that can only read, and only below the places that node.toml
names. DuckDB holds the query to the same places (``allowed_directories``); the check here does not rely on that.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NoReturn
from urllib.parse import urlsplit

from fsspec.implementations.arrow import ArrowFSWrapper
from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

from parties.errors import ConfigError
from parties.settings.stores import S3Settings

__all__ = ["ReadOnlyObjects", "open_store"]

_KEY, _SECRET, _TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
_CONNECT_SECONDS, _REQUEST_SECONDS, _ATTEMPTS = 10, 60, 3


class ReadOnlyObjects(ArrowFSWrapper):  # type: ignore[misc]
    """What DuckDB reads ``s3://`` paths with. Anything but reading below ``places`` is a :class:`PermissionError`."""

    protocol = "s3"
    cachable = False

    def __init__(self, store: Any, places: Sequence[str]) -> None:
        super().__init__(store)
        self._places = tuple(place.removeprefix("s3://") for place in places)

    def _held(self, path: str, *, folder: bool = False) -> str:
        """The path without its scheme, if it lies below a place."""
        plain = str(self._strip_protocol(path))
        plain = plain.rstrip("/") if folder else plain
        strange = {"", ".", ".."} & set(plain.split("/"))
        below = any(plain.startswith(place) or (folder and f"{plain}/" == place) for place in self._places)
        if strange or not below:
            raise PermissionError("node.toml does not name this place in party.s3.allowed")
        return plain

    def info(self, path: str, **options: Any) -> Any:
        return super().info(self._held(path, folder=True), **options)

    def ls(self, path: str, detail: bool = False, **options: Any) -> Any:
        return super().ls(self._held(path, folder=True), detail=detail, **options)

    def _open(self, path: str, mode: str = "rb", block_size: Any = None, **options: Any) -> Any:
        if mode != "rb":
            self._refused()
        # Parquet is read in pieces from anywhere in the object
        return super()._open(self._held(path), mode, block_size, seekable=True)

    def _refused(self, *_: Any, **__: Any) -> NoReturn:
        raise PermissionError("a query may only read")

    cp_file = mv = rm = rm_file = _rm = mkdir = makedirs = rmdir = touch = pipe_file = put_file = _refused


def open_store(settings: S3Settings) -> ReadOnlyObjects:
    """The objects that ``settings`` allow, read with the credentials in the environment.

    Raises :class:`ConfigError` where these are missing.
    """
    key, secret = os.environ.get(_KEY), os.environ.get(_SECRET)
    if not key or not secret:
        raise ConfigError(f"party.s3 needs {_KEY} and {_SECRET} in this node's environment; nothing else is looked at")
    endpoint = urlsplit(settings.endpoint)
    store = S3FileSystem(
        access_key=key,
        secret_key=secret,
        session_token=os.environ.get(_TOKEN) or None,
        region=settings.region,
        scheme=endpoint.scheme or "https",
        endpoint_override=endpoint.netloc or None,
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_REQUEST_SECONDS,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
    )
    return ReadOnlyObjects(store, settings.allowed)
