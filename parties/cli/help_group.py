"""Groups of commands whose help says each command's summary whole, the first of all by who uses them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from typer.core import TyperGroup

__all__ = ["HelpGroup", "RootGroup"]

_NARROWEST = 20


class HelpGroup(TyperGroup):
    """One list of commands. Summaries wrap; nothing is cut in the middle of its meaning."""

    headings: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, under their headings where there are any; what has none comes last."""
        found = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        shown = {name: command for name, command in found.items() if command is not None and not command.hidden}
        named = {name for names in self.headings.values() for name in names}
        rest = tuple(name for name in shown if name not in named)
        longest = max(map(len, shown), default=0)
        for heading, names in (*self.headings.items(), ("Others" if named else "Commands", rest)):
            rows = [(name.ljust(longest), _summary(shown[name])) for name in names if name in shown]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows, col_max=max(longest, _NARROWEST))


class RootGroup(HelpGroup):
    """``entente``: its commands by who uses them."""

    headings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "Try it": ("demo", "simulate", "ui", "bench"),
        "A party's operator": ("party", "data", "entities", "run", "overlap", "doctor", "notices"),
        "The consortium's admin": ("coordinator", "invite", "contribution"),
        "Who reads factors": ("factors",),
        "Money": ("settle", "ledger", "fees"),
        "Checks": ("audit", "evidence"),
    }


def _summary(command: Any) -> str:
    """The first sentence of a command's help."""
    text = " ".join((command.short_help or command.help or "").split("\n\n")[0].split())
    return str(text).split(". ", 1)[0].removesuffix(".")
