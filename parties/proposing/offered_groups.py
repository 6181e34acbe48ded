"""The groups of which members' nodes say that they train their encoders, as terms to begin with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from vfl.encoder_terms import declared_group
from vfl.expansion_terms import declared_expansion

__all__ = ["offered_groups"]


class _Offer(Protocol):
    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def encoder(self) -> str: ...

    @property
    def expansion(self) -> str: ...


def offered_groups(offers: Mapping[str, _Offer]) -> list[dict[str, Any]]:
    """A raw ``[[group]]`` for each that nodes name, with who names it and the shapes that the first of them says: of
    the encoder, and of the expansion where they fit one together.

    Without these no such node would sign. How the group trains is not said by anybody, and stays to be chosen.
    """
    groups: dict[str, dict[str, Any]] = {}
    for member, offer in offers.items():
        found = declared_group(offer.encoder)
        if found is None:
            continue
        name, shape = found
        told = shape.model_dump(mode="json")
        if shape.columns == _own(offer.columns):
            told["columns"] = []
        group = groups.setdefault(name, {"name": name, "members": [], "encoder": told} | _expand(name, offer))
        group["members"].append(member)
    return list(groups.values())


def _expand(name: str, offer: _Offer) -> dict[str, Any]:
    """The table of a group's expansion, where this member says that the group fits one."""
    found = declared_expansion(offer.expansion)
    if found is None or found[0] != name:
        return {}
    told = found[1].model_dump(mode="json")
    return {"expand": told | {"columns": []} if found[1].columns == _own(offer.columns) else told}


def _own(columns: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that nobody made of others, indicators left out."""
    made = {f"{name}_missing" for name in columns}
    return tuple(name for name in columns if name not in made and not name.startswith(("enc_", "exp_", "term_")))
