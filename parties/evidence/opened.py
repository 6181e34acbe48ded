"""What opened in a run, in bits, as the log of the party that counts it has it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from parties.agreement.document import Agreement
from parties.evidence.parts import Logged
from vfl.federated_terms import RING_BITS
from vfl.models.screen.opens import SCREEN_BITS
from vfl.models.sealed.opens import NUMBER_BITS
from vfl.models.sealed.scales import SCORE_BITS
from vfl.models.sealed.score_range import CHECK_BITS
from vfl.models.trees.scales import SUM_BITS
from vfl.protocols.opened_numbers import OpenedNumbers
from vfl.protocols.row_bits import BACKWARD
from vfl.terms import AnchoredModel, ScreenModel

__all__ = ["OPENING", "SESSION", "Opened", "opened_bits"]

OPENING = "opening"
"""Kind of an opening's entry in the audit log."""

SESSION = "session"
"""Kind of a session's entry, with the bytes of each type of message."""

_CHECKS = "answers whether all scores of a prediction are in range"
"""What opens of a prediction beside its scores."""


_MESSAGES: dict[tuple[str, str], tuple[str, int]] = {
    ("sent", "trees.numbers"): ("counts and sums of trees' anonymous candidates", SUM_BITS),
    ("received", "fed.total"): ("sums over members", RING_BITS),
    ("sent", "fed.plain"): ("updates of this member's own", RING_BITS),
    ("received", "group.passed"): ("numbers of a group's encoder or expansion, in place of its sums", 64),
}
"""What opens and is charged to no row: by way and message what it is, and the bits of a number; as long as it came."""

_ADDED = ("received", "group.added")
"""What every other member sends of one sum that they add up themselves: it opens once, as long as one of these came."""


@dataclass(frozen=True)
class Opened:
    """One kind of opening: how often, how many numbers opened in all, and the bits of one at most."""

    what: str
    openings: int
    numbers: int
    each: float

    @property
    def bits(self) -> float:
        """Bits in all, at most."""
        return self.numbers * self.each


def opened_bits(agreement: Agreement, entries: Iterable[Logged]) -> tuple[Opened, ...]:
    """The openings that the writer's log charged, by kind, and what opens of no row, by the bytes of its messages.

    Raises KeyError, TypeError or ValueError on odd entries.
    """
    anchored = isinstance(agreement.model, AnchoredModel)
    screened = isinstance(agreement.model, ScreenModel)
    each = OpenedNumbers(agreement.openings.deviation).bits
    found: dict[str, tuple[int, int, float]] = {}

    def count(what: str, numbers: int, bits: float, openings: int = 1) -> None:
        had, before, _ = found.get(what, (0, 0, bits))
        found[what] = had + openings, before + numbers, bits

    for entry in entries:
        if entry.kind == SESSION:
            added = [one for one in entry.body["traffic"] if (one["way"], one["message"]) == _ADDED]
            if added:
                most = max(added, key=lambda one: int(one["bytes"]))
                numbers = 8 * int(most["bytes"]) // RING_BITS
                count("counts of a group's rows", numbers, float(RING_BITS), int(most["messages"]))
            for one in entry.body["traffic"]:
                if told := _MESSAGES.get((str(one["way"]), str(one["message"]))):
                    count(told[0], 8 * int(one["bytes"]) // told[1], float(told[1]), int(one["messages"]))
        if entry.kind != OPENING:
            continue
        label, rows, width = str(entry.body["label"]), int(entry.body["rows"]), int(entry.body["width"])
        if screened:
            what, numbers, bits = "sums of a screen, by period", width, float(SCREEN_BITS)
        elif anchored and label.startswith("numbers/"):
            what, numbers, bits = "numbers of coalitions and trials, by period", width, float(NUMBER_BITS)
        elif anchored:
            what, numbers, bits = "scores of rows", rows * width, float(SCORE_BITS)
            count(_CHECKS, 1, float(CHECK_BITS))
        elif BACKWARD in label:
            what, numbers, bits = "backward products, counted as openings", rows * width, each
        else:
            what, numbers, bits = "noisy sums of rows", rows * width, each
        count(what, numbers, bits)
    return tuple(Opened(what, openings, numbers, bits) for what, (openings, numbers, bits) in found.items())
