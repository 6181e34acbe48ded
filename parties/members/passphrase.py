"""What opens a node's encrypted keys: a key file named by ``ENTENTE_KEY_FILE``, or the operator's answer at a terminal.

There is no environment variable for the passphrase itself: environments are inherited, listed and logged.
"""

from __future__ import annotations

import functools
import getpass
import os
import secrets
import sys
from pathlib import Path

from parties.errors import ConfigError
from parties.private_files import write_new

__all__ = ["KEY_FILE", "new_passphrase", "passphrase_for", "read_key_file"]

KEY_FILE = "ENTENTE_KEY_FILE"
_SHORTEST = 12


def read_key_file(path: Path) -> bytes:
    """The passphrase in a key file: its content without surrounding white space.

    Raises :class:`ConfigError` when it cannot be read, is open to other users, or is too short to protect anything.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path}: other users can read this key file; run chmod 600 on it")
        content = path.read_bytes().strip()
    except OSError:
        raise ConfigError(f"{path}: cannot be read; name an existing key file") from None
    if len(content) < _SHORTEST:
        raise ConfigError(f"{path}: holds fewer than {_SHORTEST} characters; write a longer secret into it")
    return content


@functools.cache
def passphrase_for(path: Path) -> bytes:
    """The passphrase of the encrypted key at ``path``, asked for at most once per process.

    Raises :class:`ConfigError` when there is neither a key file nor a terminal to ask at.
    """
    named = os.environ.get(KEY_FILE, "")
    if named:
        return read_key_file(Path(named))
    return _asked(path.parent)


@functools.cache
def _asked(folder: Path) -> bytes:
    if not sys.stdin.isatty():
        raise ConfigError(f"{folder}: these keys are encrypted; name their key file with --key-file or in {KEY_FILE}")
    return getpass.getpass(f"Passphrase for {folder}: ").encode()


def new_passphrase(*, plain: bool = False) -> bytes | None:
    """What new keys are to be encrypted under: the key file, made first when it does not exist, or what is typed twice.

    ``plain`` leaves keys unencrypted. Raises :class:`ConfigError` when nothing says how to protect them.
    """
    if plain:
        return None
    named = os.environ.get(KEY_FILE, "")
    if named:
        path = Path(named)
        if not path.exists():
            _make(path)
        return read_key_file(path)
    if not sys.stdin.isatty():
        raise ConfigError(f"new keys need protection: name a key file, --key-file or {KEY_FILE}, or say --plain-keys")
    typed = getpass.getpass("New passphrase: ")
    if len(typed) < _SHORTEST:
        raise ConfigError(f"the passphrase has fewer than {_SHORTEST} characters; choose a longer one")
    if getpass.getpass("Again: ") != typed:
        raise ConfigError("the two passphrases differ; try again")
    return typed.encode()


def _make(path: Path) -> None:
    try:
        write_new(path, f"{secrets.token_urlsafe(32)}\n".encode("ascii"))
    except OSError as error:
        raise ConfigError(f"{path}: the key file cannot be made ({error.strerror}); name another place") from None
