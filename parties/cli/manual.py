"""The manual page, made from the commands' own help.

python -m parties.cli.manual > docs/entente.1
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer

from parties.cli import app
from parties.cli.help_group import RootGroup

__all__ = ["manual"]

_EXIT_CODES = (
    (0, "done"), (1, "a fault in the program"), (2, "a file, a setting or the command line is wrong"),
    (3, "data are wrong"), (4, "an agreement is invalid or refused"), (5, "a peer is away or misbehaves"),
    (6, "the run has ended, with the reason"), (7, "a disk, file or database"), (8, "the ledger refuses it"),
    (9, "nobody is signed in"), (130, "interrupted"),
)  # fmt: skip


def manual() -> str:
    """The whole page, in the man macros."""
    root: Any = typer.main.get_command(app)
    context = root.make_context("entente", [], resilient_parsing=True)
    purpose = _escaped(_one_line(root.help))
    lines = ['.TH ENTENTE 1 "" "entente" "Entente"', ".SH NAME", f"entente \\- {purpose}", ".SH SYNOPSIS"]
    lines += [".B entente", ".I COMMAND", "[\\fIOPTIONS\\fR]", ".SH DESCRIPTION", purpose]
    lines += ["Each command says more with", ".BR \\-h ."]
    for heading, names in RootGroup.headings.items():
        lines += [f'.SH "{heading.upper()}"']
        for name in names:
            lines += _commands(root.get_command(context, name), f"entente {name}")
    lines += [".SH EXIT STATUS"]
    for code, meaning in _EXIT_CODES:
        lines += [".TP", str(code), meaning + "."]
    return "\n".join(lines) + "\n"


def _commands(command: Any, path: str) -> Iterator[str]:
    """A command, or every command of a group."""
    inner = getattr(command, "commands", None)
    if inner is not None:
        for name in sorted(inner):
            if not inner[name].hidden:
                yield from _commands(inner[name], f"{path} {name}")
        return
    context = command.context_class(command, info_name=path)
    arguments = " ".join(one.metavar or one.name.upper() for one in _parameters(command, "argument"))
    yield f'.SS "{_escaped(f"{path} {arguments}".strip())}"'
    for number, paragraph in enumerate((command.help or "").split("\n\n")):
        if number:
            yield ".PP"
        yield _escaped(_one_line(paragraph))
    for option in _parameters(command, "option"):
        names, meaning = option.get_help_record(context)
        yield from (".TP", f"\\fB{_escaped(names)}\\fR", _escaped(_one_line(meaning)))


def _parameters(command: Any, kind: str) -> list[Any]:
    return [one for one in command.params if one.param_type_name == kind and not getattr(one, "hidden", False)]


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def _escaped(text: str) -> str:
    """As troff shows it as it is: no escape, no minus taken for a hyphen, no request at the start of a line."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text


if __name__ == "__main__":
    sys.stdout.write(manual())
