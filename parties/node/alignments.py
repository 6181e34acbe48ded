"""What a node keeps of its alignments, so that a set that changes too fast is noticed: one small file."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Collection
from pathlib import Path
from typing import Any

from parties.errors import StorageError
from parties.private_files import write_private
from psi.commitment import PreviousAlignment
from psi.merkle import SaltedSet
from psi.ot.id_blocks import BlockSet
from psi.ring import Alignment

__all__ = ["load_previous", "remember"]


def load_previous(path: Path, peers: Collection[str]) -> PreviousAlignment:
    """Our last salted set that all ``peers`` have seen, and every root seen of each party; empty when there was none.

    Runs of coalitions do not all have the same parties, and who missed one cannot take a set from it as known. Where no
    set was seen by all peers it is the last one.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        sets = [(_held(one), frozenset(one["peers"])) for one in _sets(raw)]
        seen = {name: frozenset(bytes.fromhex(root) for root in roots) for name, roots in raw["seen"].items()}
        last = sets[-1][0]
    except FileNotFoundError:
        return PreviousAlignment()
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise StorageError(f"{path}: damaged; restore it from a backup, or remove it and tell the others") from None
    known = (salted for salted, saw in reversed(sets) if set(peers) <= saw)
    return PreviousAlignment(next(known, last), seen)


def _sets(raw: dict[str, Any]) -> list[dict[str, Any]]:
    """Our sets, oldest first, one for each group of peers; a file of an earlier version holds one, seen by all."""
    if "sets" in raw:
        return list(raw["sets"])
    return [{"salt": raw["salt"], "leaves": raw["leaves"], "peers": list(raw["seen"])}]


def _held(one: dict[str, Any]) -> SaltedSet | BlockSet:
    salt = bytes.fromhex(one["salt"])
    if "blocks" in one:
        return BlockSet(salt, b64decode(one["blocks"], validate=True))
    return SaltedSet(salt, tuple(map(bytes.fromhex, one["leaves"])))


def _entries(held: SaltedSet | BlockSet) -> dict[str, Any]:
    if isinstance(held, BlockSet):
        return {"blocks": b64encode(held.blocks).decode()}
    return {"leaves": [leaf.hex() for leaf in held.leaves]}


def _kept(path: Path) -> list[dict[str, Any]]:
    try:
        return _sets(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise StorageError(f"{path}: damaged; restore it from a backup, or remove it and tell the others") from None


def remember(path: Path, me: str, alignment: Alignment, before: PreviousAlignment) -> None:
    """Add this alignment to the file, in place of the last one among the same parties.

    The salts stay on this machine, in a file for the owner alone.
    """
    seen = {name: set(roots) for name, roots in before.seen.items()}
    for name, root in alignment.roots.items():
        if name != me:
            seen.setdefault(name, set()).add(root)
    peers = sorted(set(alignment.roots) - {me})
    mine = {"salt": alignment.salted.salt.hex(), **_entries(alignment.salted), "peers": peers}
    body = {
        "sets": [*(one for one in _kept(path) if sorted(one["peers"]) != peers), mine],
        "seen": {name: sorted(root.hex() for root in roots) for name, roots in sorted(seen.items())},
    }
    partial = path.with_name(path.name + ".part")
    try:
        partial.touch(mode=0o600)
        write_private(partial, json.dumps(body).encode())
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); check disk and permissions") from None
