"""Messages of a screen beside those of products and slots, and who takes part."""

from __future__ import annotations

from dataclasses import dataclass

from psi.flow import Message, Payload, Role, message

__all__ = [
    "ScreenBegins",
    "ScreenGoesOn",
    "ScreenMembers",
    "ScreenNumbers",
    "ScreenShare",
    "ScreenWon",
    "TerminalCount",
]

_SOURCE = "docs/protocols/screen.md#the-protocol"


@message(
    "screen.begins",
    sender=Role.LABEL,
    receiver=Role.FEATURE,
    payload=Payload.PUBLIC,
    reveals="how many terminals the label party made of its own columns",
    source=_SOURCE,
)
class ScreenBegins(Message):
    """Announces the screen: terminals of the label party's own."""

    own: int


@message(
    "screen.terminals",
    sender=Role.FEATURE,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="how many terminals a party made",
    source=_SOURCE,
)
class TerminalCount(Message):
    """How many terminals the sender has."""

    count: int


@message(
    "screen.share",
    sender=Role.FEATURE,
    receiver=Role.FEATURE,
    payload=Payload.SHARE,
    reveals="nothing alone; with the label party's share the label times the sender's terminal",
    source=_SOURCE,
)
class ScreenShare(Message):
    """The sender's share of label times its terminal of this number, 59 bits a row."""

    number: int
    values: bytes


@message(
    "screen.numbers",
    sender=Role.FEATURE,
    receiver=Role.LABEL,
    payload=Payload.SHARE,
    reveals="with the label party's share: 24 bits of each sum over a period of label times one terminal or two",
    source="docs/protocols/screen.md#what-opens",
)
class ScreenNumbers(Message):
    """The sender's share of sums, cut to what opens: of ``other``'s terminals times its own, "" of its own alone."""

    other: str
    period: int
    values: bytes


@message(
    "screen.goes-on",
    sender=Role.LABEL,
    receiver=Role.FEATURE,
    payload=Payload.PUBLIC,
    reveals="that the screen goes on",
    source=_SOURCE,
)
class ScreenGoesOn(Message):
    """To a party that has done its part and waits for the end."""


@message(
    "screen.won",
    sender=Role.LABEL,
    receiver=Role.FEATURE,
    payload=Payload.RESULT,
    reveals="which formulas were named, by their owner's own numbers, with mean and t",
    source="docs/protocols/screen.md#what-owners-are-told",
)
class ScreenWon(Message):
    """JSON: the named formulas that the receiver has a part in."""

    document: bytes


@dataclass(frozen=True)
class ScreenMembers:
    """label; features: feature parties in agreed order; periods and entities: the panel's shape.

    terminals: most of a party. own: whether the label party may have terminals.
    """

    label: str
    features: tuple[str, ...]
    periods: int
    entities: int
    terminals: int
    own: bool

    def earlier(self, party: str) -> tuple[str, ...]:
        """Feature parties whose terminals this one multiplies by its own."""
        return self.features[: self.features.index(party)]

    def later(self, party: str) -> tuple[str, ...]:
        """Feature parties that multiply this one's terminals by theirs."""
        return self.features[self.features.index(party) + 1 :]
