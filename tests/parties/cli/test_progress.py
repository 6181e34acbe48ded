"""How fast a phase goes, in the terminal."""

from __future__ import annotations

import pytest

from parties.terminal.progress import speed


@pytest.mark.parametrize(
    ("per_second", "unit", "said"),
    [(4523.4, "rows", "4,523 rows/s"), (1.0, "trees", "1 trees/s"), (0.2, "trees", "5.0 s a tree")],
)
def test_less_than_one_in_a_second_is_told_in_seconds_of_one(per_second: float, unit: str, said: str) -> None:
    assert speed(per_second, unit) == said
