"""The command line: ``entente``. Each command is a thin door to the library; faults are one line and an exit code."""

from __future__ import annotations

import parties.cli.own_packages  # first: it ends what would run with another distribution's modules

# isort: split
import errno
import locale
import os
import platform
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.exceptions import TyperException

import parties.cli.approving
import parties.cli.known
import parties.cli.portfolios
import parties.cli.replaying  # noqa: F401 adds its commands to audit's
from parties import __version__
from parties.cli import (
    audit,
    bench,
    books,
    checks,
    continuing,
    contributing,
    deliveries,
    demo,
    doctor,
    evidence,
    fees,
    importance,
    joining,
    notifying,
    overlaps,
    page,
    runs,
    scoring,
    screening,
    searching,
    services,
    settling,
    templates,
)
from parties.cli.help_group import RootGroup
from parties.errors import ConfigError, EntenteError, StorageError
from parties.private_files import FREE_SPACE, own_files_only
from parties.terminal.console import complain, plain, state
from psi.flow import ProtocolError

__all__ = ["app", "main", "run"]

INTERRUPTED = 130
_PROTOCOL_FAULT = 5
_NO_SPACE = frozenset((errno.ENOSPC, errno.EDQUOT))

app = typer.Typer(
    name="entente",
    help="Funds mine one joint alpha factor from their private data without showing each other a single feature.",
    cls=RootGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo")(demo.demo)
app.command("simulate")(demo.simulate)
app.command("compare", hidden=True)(demo.compare)
app.command("invite")(joining.invite)
app.command("doctor")(doctor.doctor)
app.command("notices")(notifying.notices)
app.add_typer(services.coordinator, name="coordinator")
app.add_typer(services.party, name="party")
app.add_typer(page.app, name="ui")
app.add_typer(runs.app, name="run")
app.add_typer(checks.data, name="data")
app.add_typer(checks.entities, name="entities")
app.add_typer(overlaps.app, name="overlap")
app.add_typer(deliveries.app, name="factors")
app.add_typer(books.app, name="ledger")
app.add_typer(settling.app, name="settle")
app.add_typer(fees.app, name="fees")
app.add_typer(audit.app, name="audit")
app.add_typer(evidence.app, name="evidence")
app.add_typer(contributing.app, name="contribution")
app.add_typer(bench.app, name="bench")
runs.app.command("continue")(continuing.run_continue)
runs.app.command("score")(scoring.run_score)
runs.app.command("search")(searching.run_search)
runs.app.command("importance")(importance.run_importance)
runs.app.command("screen")(screening.run_screen)
runs.app.command("template")(templates.run_template)


def _show_version(wanted: bool) -> None:
    if wanted:
        commit = _source_commit()
        typer.echo(
            f"entente {__version__}" + (f" ({commit})" if commit else "") + f", Python {platform.python_version()}"
        )
        raise typer.Exit


def _source_commit() -> str:
    """The commit of the checkout that this runs from, marked where it was changed; "" for an installed wheel."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    command = ("git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12")
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", hidden=True, help="Show where an error was raised; log how connections end.")
    ] = False,
    trace: Annotated[bool, typer.Option("--trace", hidden=True, help="Show where an error was raised.")] = False,
) -> None:
    state.debug, state.trace = debug, debug or trace


def run(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line; returns the exit code. Nothing but :class:`SystemExit` gets out."""
    state.debug = state.trace = False
    command: Any = typer.main.get_command(app)
    try:
        _refuse_unreadable(sys.argv[1:] if arguments is None else arguments)
        result = command.main(args=arguments, prog_name="entente", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except EntenteError as error:
        return _failed(error, str(error), error.exit_code)
    except ProtocolError as error:
        return _failed(error, str(error), _PROTOCOL_FAULT)
    except TyperException as error:
        return _misused(error)
    except (KeyboardInterrupt, typer.Abort):
        complain("stopped")
        return INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has gone; the interpreter must not try to flush it again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno not in _NO_SPACE and error.errno != errno.EROFS:
            return _failed(error, _own_fault(error), 1)
        place = error.filename or "the disk"
        remedy = FREE_SPACE if error.errno in _NO_SPACE else "name another place, or mount it to be written"
        return _failed(error, f"{place}: cannot be written ({error.strerror}); {remedy}", StorageError.exit_code)
    except Exception as error:
        return _failed(error, _own_fault(error), 1)


def _own_fault(error: Exception) -> str:
    said = f": {error}" if str(error) else ""
    return f"a fault in the program ({type(error).__name__}{said}); add --debug to see where"


def _refuse_unreadable(arguments: Sequence[str]) -> None:
    """A path that the locale's encoding has no signs for comes in with stand-ins for its bytes, and breaks later."""
    for given in arguments:
        if any("\ud800" <= sign <= "\udfff" for sign in given):
            name = os.fsencode(given).decode("utf-8", errors="replace")
            now = locale.setlocale(locale.LC_CTYPE)
            raise ConfigError(f"{name}: this path cannot be read under the locale {now}; set LC_ALL=C.UTF-8")


def _failed(error: BaseException, text: str, code: int) -> int:
    if state.trace:
        traceback.print_exception(error)
    complain(f"error: {text}")
    return code


def _misused(error: TyperException) -> int:
    """A command line that does not parse."""
    text = plain(error.format_message()).strip().replace("Value error, ", "")
    text = text.replace("does not match the formats '%Y-%m-%d'", "is no day written as YYYY-MM-DD")
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        typer.echo(context.get_help(), err=True)
        return error.exit_code
    hint = f"; see {context.command_path} --help" if context is not None else ""
    complain(f"error: {text.rstrip('.')}{hint}")
    return error.exit_code


def main() -> NoReturn:
    """Run the command line of this process. What it writes is its owner's alone."""
    own_files_only()
    sys.exit(run())
