"""Every error an operator, admin or quant can meet. The message is the text they read.

EntenteError
├── ConfigError       a file, setting or command line is wrong
├── DataError         a query, column, row or identifier is wrong
├── AgreementError    an agreement is invalid, unsigned, or refused by this node's policy
├── PeerError         a peer is unreachable, silent, wrongly identified or misbehaves
├── RunAborted        the run has ended for everyone, with the reason
├── StorageError      a disk, database or file cannot be written or read
├── LedgerError       a transaction is refused
├── SignInError       nobody is signed in, or no longer: sign in again
└── ParityError       a demo's run differs from the same run without encryption
"""

from __future__ import annotations

__all__ = [
    "AgreementError",
    "ConfigError",
    "DataError",
    "EntenteError",
    "LedgerError",
    "ParityError",
    "PeerError",
    "RunAborted",
    "SignInError",
    "StorageError",
]


class EntenteError(Exception):
    """Root of all errors shown to people. One sentence: what is wrong, where, and the remedy."""

    exit_code = 1


class ConfigError(EntenteError):
    exit_code = 2


class DataError(EntenteError):
    """``column`` is the agreed column that is not as it was declared, if that is what is wrong."""

    exit_code = 3

    def __init__(self, message: str, column: str = "") -> None:
        super().__init__(message)
        self.column = column


class AgreementError(EntenteError):
    exit_code = 4


class PeerError(EntenteError):
    """``peer`` names the other side. ``anew``: nothing is wrong with it, and another attempt follows."""

    exit_code = 5

    def __init__(self, message: str, peer: str = "", *, anew: bool = False) -> None:
        super().__init__(message)
        self.peer = peer
        self.anew = anew


class RunAborted(EntenteError):
    exit_code = 6


class StorageError(EntenteError):
    exit_code = 7


class LedgerError(EntenteError):
    exit_code = 8


class SignInError(EntenteError):
    exit_code = 9


class ParityError(EntenteError):
    exit_code = 10
