"""What a check says as it goes along: proved, asserted, and faults, each a sentence."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Statements"]


@dataclass
class Statements:
    """Sentences in the order they were found."""

    proved: list[str] = field(default_factory=list)
    asserted: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
