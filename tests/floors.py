"""The floors: which room of the house imports which, counted and drawn from the source.

``python -m tests.floors`` prints how many imports lead upward and how many circles there are between rooms, and fails
unless there are none; ``--draw FILE`` writes the picture of docs/design.md. The floors' order is the import contracts'.
"""

from __future__ import annotations

import argparse
import ast
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path

from tests.places import ROOT

PACKAGES = ("psi", "vfl", "parties", "ui")
WHOLE = ("psi", "ui")  # packages that are one room
PICTURE = ROOT / "docs" / "img" / "floors.svg"

Imports = Mapping[str, frozenset[str]]
"""Room -> the rooms that it imports."""


def room_of(module: str) -> str | None:
    """The room a module stands in: ``parties.ledger`` for ``parties.ledger.rules``; None for what is not ours."""
    package, *inside = module.split(".")
    if package in WHOLE:
        return package
    place = ROOT / package / inside[0] if package in PACKAGES and inside else None
    # what a package itself holds, as its version, is no room
    return f"{package}.{inside[0]}" if place and (place.is_dir() or place.with_suffix(".py").is_file()) else None


@cache
def imports() -> Imports:
    """Every import between rooms, wherever it is written, inside functions too."""
    found: dict[str, set[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            room = room_of(module)
            if room is None:
                continue
            mine = found.setdefault(room, set())
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names: list[str] = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.module:
                    # "from parties import client" names its room in the alias
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
                mine.update(other for other in map(room_of, names) if other and other != room)
    return {room: frozenset(mine) for room, mine in sorted(found.items())}


def floors() -> list[list[str]]:
    """The rooms by floor, the lowest first, as the contracts of pyproject.toml order them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = {one["id"]: one["layers"] for one in settings["contracts"] if one["type"] == "layers"}
    inside = {"vfl": layers["vfl"], "parties": layers["floors"]}
    stack: list[list[str]] = []
    for package in reversed(layers["layers"]):
        if package in WHOLE:
            stack.append([package])
            continue
        named = [layer.replace("|", ":").split(":") for layer in reversed(inside[package])]
        stack.extend([f"{package}.{name.strip()}" for name in names] for names in named)
    return stack


def upward(found: Imports, stack: list[list[str]]) -> list[tuple[str, str]]:
    """Imports from a lower floor to a higher one."""
    floor = {room: number for number, rooms in enumerate(stack) for room in rooms}
    return [(room, other) for room, others in found.items() for other in sorted(others) if floor[room] < floor[other]]


def circles(found: Imports) -> list[list[str]]:
    """Sets of rooms that import each other, however indirectly."""
    reached = {room: _reach(room, found) for room in found}
    groups = {frozenset(other for other in reached[room] if room in reached[other]) for room in found}
    return sorted(sorted(group) for group in groups if group)


def _reach(room: str, found: Imports) -> frozenset[str]:
    seen: set[str] = set()
    pending = [*found[room]]
    while pending:
        other = pending.pop()
        if other not in seen:
            seen.add(other)
            pending.extend(found.get(other, ()))
    return frozenset(seen)


def needed(found: Imports) -> list[tuple[str, str]]:
    """The imports that no path over other rooms implies: few enough to draw."""
    return [
        (room, other)
        for room, others in found.items()
        for other in sorted(others)
        if not any(other in _reach(between, found) for between in others - {other})
    ]


_BOX, _GAP, _HIGH, _ROW, _LEFT = 118, 14, 30, 66, 20
_COLOURS = {"psi": "#7a5c00", "vfl": "#1f6f43", "parties": "#1b5e93", "ui": "#8a3b7d"}


def picture() -> str:
    """The floors as SVG: a row of rooms per floor, a line for each import that no other path implies."""
    found, stack = imports(), floors()
    widest = max(map(len, stack))
    width = 2 * _LEFT + widest * (_BOX + _GAP) - _GAP
    height = _ROW * len(stack) + 10
    place: dict[str, tuple[float, float]] = {}
    for number, rooms in enumerate(reversed(stack)):
        start = (width - len(rooms) * (_BOX + _GAP) + _GAP) / 2
        for at, room in enumerate(rooms):
            place[room] = (start + at * (_BOX + _GAP), 10 + number * _ROW)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for room, other in needed(found):
        (x1, y1), (x2, y2) = place[room], place[other]
        drawn.append(
            f'<line x1="{x1 + _BOX / 2:g}" y1="{y1 + _HIGH:g}" x2="{x2 + _BOX / 2:g}" y2="{y2:g}" '
            'stroke="#888888" stroke-opacity="0.45"/>'
        )
    for room, (x, y) in place.items():
        package, _, name = room.partition(".")
        drawn.append(f'<rect x="{x:g}" y="{y:g}" width="{_BOX}" height="{_HIGH}" rx="4" fill="{_COLOURS[package]}"/>')
        middle = f'x="{x + _BOX / 2:g}" y="{y + 20:g}" text-anchor="middle"'
        drawn.append(f'<text {middle} fill="#ffffff">{escape(name or package)}</text>')
    return "\n".join([*drawn, "</svg>", ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", type=Path, metavar="FILE", help="write the picture there")
    chosen = parser.parse_args()
    found, stack = imports(), floors()
    if chosen.draw:
        chosen.draw.write_text(picture(), encoding="utf-8")
    against, round_ = upward(found, stack), circles(found)
    print(f"{len(found)} rooms on {len(stack)} floors: {len(against)} imports upward, {len(round_)} circles")
    for room, other in against:
        print(f"upward: {room} imports {other}")
    for group in round_:
        print(f"circle: {', '.join(group)}")
    return int(bool(against or round_))


if __name__ == "__main__":
    sys.exit(main())
