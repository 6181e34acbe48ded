"""What a node keeps of its alignments, so that a set that changes too fast is noticed: one small file."""

from __future__ import annotations

import json
from pathlib import Path

from parties.errors import StorageError
from psi.commitment import PreviousAlignment
from psi.merkle import SaltedSet
from psi.ring import Alignment

__all__ = ["load_previous", "remember"]


def load_previous(path: Path) -> PreviousAlignment:
    """The last alignment's salted set and every root seen of each party; empty when there was none."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        salted = SaltedSet(bytes.fromhex(raw["salt"]), tuple(bytes.fromhex(leaf) for leaf in raw["leaves"]))
        seen = {name: frozenset(bytes.fromhex(root) for root in roots) for name, roots in raw["seen"].items()}
    except FileNotFoundError:
        return PreviousAlignment()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise StorageError(f"{path}: damaged; restore it from a backup, or remove it and tell the others") from None
    return PreviousAlignment(salted, seen)


def remember(path: Path, me: str, alignment: Alignment, before: PreviousAlignment) -> None:
    """Replace the file with this alignment. The salt stays on this machine, in a file for the owner alone."""
    seen = {name: set(roots) for name, roots in before.seen.items()}
    for name, root in alignment.roots.items():
        if name != me:
            seen.setdefault(name, set()).add(root)
    body = {
        "salt": alignment.salted.salt.hex(),
        "leaves": [leaf.hex() for leaf in alignment.salted.leaves],
        "seen": {name: sorted(root.hex() for root in roots) for name, roots in sorted(seen.items())},
    }
    partial = path.with_name(path.name + ".part")
    try:
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(body), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); check disk and permissions") from None
