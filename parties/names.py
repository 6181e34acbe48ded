"""Names that everybody uses: of parties, and of those that are none."""

from __future__ import annotations

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

__all__ = [
    "ADMIN",
    "COORDINATOR",
    "DESK",
    "NOBODY",
    "NO_PARTIES",
    "LegalEntity",
    "PartyName",
    "entity_key",
    "normal_entity",
]

_LONGEST_ENTITY = 200

ADMIN = "admin"


DESK = "desk"


COORDINATOR = "coordinator"


NOBODY = "?"
"""In a report of what failed, in place of whom to hold responsible: it was one of several, and nothing shows which."""


NO_PARTIES = frozenset((ADMIN, DESK, COORDINATOR))


PartyName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]


def normal_entity(text: str) -> str:
    """A legal entity's name as it is signed: compatible characters unified, single blanks, none at the ends.

    Raises ValueError for a name with characters that nobody sees, or of more than 200.
    """
    made = " ".join(unicodedata.normalize("NFKC", text).split())
    if not made.isprintable() or len(made) > _LONGEST_ENTITY:
        raise ValueError(f"a legal entity's name has at most {_LONGEST_ENTITY} characters, all of them visible")
    return made


def entity_key(text: str) -> str:
    """What two names of one legal entity have in common: neither case, nor blanks, nor punctuation tell them apart."""
    unified = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c for c in unified if unicodedata.category(c)[0] not in "ZPC")


LegalEntity = Annotated[str, AfterValidator(normal_entity)]
"""A legal entity's name in normal form; "" where none is named."""
