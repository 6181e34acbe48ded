"""examples/india_regions: the four lenders' files differ in the states that they name, and share none."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "examples" / "india_regions"
LENDERS = ("north", "south", "east", "west")
_LIST = re.compile(r"IN \((.*?)\n  \)", re.DOTALL)


def states(name: str) -> list[str]:
    [found] = _LIST.findall((FOLDER / f"{name}.sql").read_text())
    return re.findall(r"'([^']*)'", found)


def body(name: str) -> str:
    """A file without its comments and its states."""
    lines = (FOLDER / f"{name}.sql").read_text().splitlines()
    return _LIST.sub("IN ()", "\n".join(line for line in lines if not line.startswith("--")))


def test_each_state_is_one_lenders_in_both_of_its_files() -> None:
    every = [state for name in LENDERS for state in states(name)]
    assert len(set(every)) == len(every)
    assert all(re.fullmatch(r"[a-z]+( [a-z]+)*", state) for state in every)
    assert all(states(name) == states(f"{name}_label") for name in LENDERS)


def test_nothing_else_differs() -> None:
    for suffix in ("", "_label"):
        assert len({body(name + suffix) for name in LENDERS}) == 1
