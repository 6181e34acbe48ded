"""The fuzzer: every property test on examples that nobody has seen, round after round, each under a seed of its own.

``python -m tests.fuzz --minutes 5`` prints the seed of each round before it runs; ``--seed N`` runs that round again.
What is left of the command line goes to pytest, as in ``-k codec``.
"""

from __future__ import annotations

import argparse
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

NOTHING_SELECTED = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="no round begins after so many")
    parser.add_argument("--seed", type=int, help="run this one round")
    chosen, rest = parser.parse_known_args()
    began = time.monotonic()
    rounds = 0
    while rounds == 0 or time.monotonic() - began < 60 * chosen.minutes:
        seed = secrets.randbelow(2**32) if chosen.seed is None else chosen.seed
        print(f"fuzz: round {rounds + 1}, again with: make fuzz SEED={seed}", flush=True)
        found = subprocess.run([*command(seed), *rest, *property_tests(rest)], check=False).returncode
        if found:
            print("fuzz: no test was selected" if found == NOTHING_SELECTED else f"fuzz: failed under SEED={seed}")
            return found
        rounds += 1
        if chosen.seed is not None:
            break
    print(f"fuzz: {rounds} rounds in {(time.monotonic() - began) / 60:.1f} minutes, and nothing found")
    return 0


def property_tests(rest: Sequence[str]) -> list[str]:
    """The files that have any, unless some are named: a round then imports no other."""
    if any(Path(one.partition("::")[0]).exists() for one in rest):
        return []
    files = sorted(Path(__file__).parent.rglob("test_*.py"))
    return [str(file) for file in files if "hypothesis" in file.read_text(encoding="utf-8")]


def command(seed: int) -> list[str]:
    """One round: the property tests alone, with the profile that draws."""
    return [
        *(sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-m", "hypothesis"),
        *("--hypothesis-profile=fresh", f"--hypothesis-seed={seed}"),
    ]


if __name__ == "__main__":
    sys.exit(main())
