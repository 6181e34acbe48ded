"""How a subject's calls ask the coordinator, and what all subjects share."""

from __future__ import annotations

from typing import Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

__all__ = ["Asking", "Nothing", "Question", "Role"]

Role = Literal["admin", "operator", "auditor", "reader"]

V = TypeVar("V")


class Question(BaseModel):
    """Arguments of a door: frozen, and a key that the door does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Nothing(Question):
    """A door that takes no arguments."""


class Asking(Protocol):
    """What a subject's calls need of the client."""

    def ask(self, what: str, question: Question, shape: type[V]) -> V:
        """The answer of the door ``what``, validated as ``shape``; raises a subclass of :class:`EntenteError`."""
        ...

    def fetch(self, what: str, question: Question) -> bytes:
        """The answer of a door that hands out a file."""
        ...
