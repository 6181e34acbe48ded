"""The guides that come with the program, to be read in the page: found beside the code, or where a wheel puts them."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Mapping
from pathlib import Path

__all__ = ["GUIDES", "guide_text", "guides_folder"]

GUIDES: Mapping[str, str] = {
    "admin-guide": "For the admin of a consortium",
    "operator-guide": "For the operator of a node",
    "own-files": "Your own files in ten minutes",
    "quant-guide": "For the quant",
    "incentives": "Contributions and money",
    "ledger": "The ledger",
    "audit": "Audit logs and proofs",
    "threat-model": "Who could learn what",
    "models": "Kinds of model",
    "data": "Data and queries",
    "joining": "Invitations and members",
    "commands": "All commands",
    "configuration": "All settings",
}
"""The guides by file name, with their titles on the page."""

_PICTURE = re.compile(r"[ \t]*!\[[^\]]*\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)([^)#]*?)(?:\.md)?(?:#[^)]*)?\)")


def guides_folder() -> Path | None:
    """Where the guides are; None where the program was installed without them."""
    for folder in (Path(__file__).parents[1] / "docs", Path(sysconfig.get_path("data")) / "share/doc/entente"):
        if (folder / "operator-guide.md").is_file():
            return folder
    return None


def guide_text(name: str) -> str | None:
    """A guide as Markdown, its links to other guides leading to their pages; None for one that is not there."""
    folder = guides_folder()
    if folder is None or name not in GUIDES:
        return None
    try:
        text = (folder / f"{name}.md").read_text(encoding="utf-8")
    except OSError:
        return None
    return _LINK.sub(_led, _PICTURE.sub("", text))


def _led(found: re.Match[str]) -> str:
    """A link within the guides; one to a file that is no guide stays as its words."""
    words, name = found[1], found[2].rpartition("/")[2]
    return f"[{words}](guides?name={name})" if name in GUIDES else words
