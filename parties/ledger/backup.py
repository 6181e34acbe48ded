"""The whole journal in one file, and back: into SQLite or PostgreSQL, verified entry by entry.

JSON lines, gzip. The first names the format, the last the head; each of the others is an entry's hash and its
canonical content, from which everything else (balances, resolutions) follows by replay. Nothing is restored unless
every entry is accepted by the rules and hashes to what the file says, up to the head.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from parties.errors import StorageError
from parties.ledger.entries import (
    Account,
    Content,
    Head,
    Lock,
    Opening,
    Posting,
    State,
    Transaction,
    Unit,
    canonical,
)
from parties.ledger.rules import Refused
from parties.ledger.store import LedgerStore
from parties.private_files import open_private

__all__ = ["restore_backup", "write_backup"]

_FORMAT = "entente ledger backup 1"
_LONGEST_LINE = 1 << 20


def write_backup(store: LedgerStore, path: Path) -> Head:
    """Write every entry to ``path``, which must not exist; returns the head it ends at.

    Raises :class:`StorageError` when the journal is damaged or the file cannot be written.
    """
    partial = path.with_name(path.name + ".part")
    if path.exists():
        raise StorageError(f"{path}: exists already; a backup is never overwritten, choose another name")
    try:
        with (
            open(partial, "wb", opener=open_private) as whole,
            gzip.open(whole, "wt", encoding="utf-8", newline="\n") as file,
        ):
            head = Head(0, "")
            for recorded in store.recorded():
                if recorded.content is None:
                    raise StorageError(f"entry {recorded.sequence} has lost its content; restore an earlier backup")
                if recorded.sequence == 1:
                    file.write(json.dumps({"format": _FORMAT}) + "\n")
                body = json.loads(canonical(recorded.content))
                head = Head(recorded.sequence, recorded.digest)
                file.write(json.dumps({"digest": recorded.digest, "content": body}) + "\n")
            file.write(json.dumps({"entries": head.sequence, "head": head.digest}) + "\n")
        if not head.sequence:
            raise StorageError("the ledger is empty: there is nothing to back up")
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); check disk and permissions") from None
    finally:
        partial.unlink(missing_ok=True)
    return head


def restore_backup(path: Path, store: LedgerStore) -> Head:
    """Put a backup into an empty ledger, all of it or nothing; returns the head.

    Raises :class:`StorageError` when the file is damaged or incomplete, or the ledger is not empty.
    """
    try:
        return store.load(_entries(path))
    except Refused as refusal:
        raise StorageError(f"{path}: breaks the ledger's rules ({refusal}); use another copy") from None
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path}: not a whole backup ({error}); use another copy") from None


def _entries(path: Path) -> Iterator[tuple[str, Content]]:
    """Digest and content of each entry; raises when the file does not end as it should."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        if json.loads(file.readline(_LONGEST_LINE)) != {"format": _FORMAT}:
            raise ValueError("it does not begin as one")
        count, last = 0, ""
        while True:
            body: dict[str, Any] = json.loads(file.readline(_LONGEST_LINE))
            if "entries" in body:
                if body != {"entries": count, "head": last} or file.read(1):
                    raise ValueError("its end does not fit")
                return
            count, last = count + 1, body["digest"]
            yield last, _content(body["content"])


def _content(body: dict[str, Any]) -> Content:
    """The entry a canonical form stands for."""
    at = datetime.fromisoformat(body["timestamp"])
    if body["kind"] == "account":
        unit = Unit(body["unit"], body["scale"])
        return Opening(Account(body["name"], unit, body["least"], body["most"]), at)
    if body["kind"] == "lock":
        return Lock(datetime.fromisoformat(body["through"]), at)
    return Transaction(
        body["id"],
        at,
        body["narration"],
        tuple(Posting(account, amount) for account, amount in body["postings"]),
        State(body["state"]),
        body["resolves"],
        body["run_id"],
        body["evidence"],
    )
