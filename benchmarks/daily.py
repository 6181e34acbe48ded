"""How long a day's scores take, the label party and feature parties each in a process of its own.

python -m benchmarks.daily [--rows 500 --features 10 --parties 3 --hidden 4 --own 5]
"""

from __future__ import annotations

import argparse

from parties.bench.sealed import SealedShape, bench_scores

_DEFAULTS = {"rows": 500, "features": 10, "parties": 3, "hidden": 4, "own": 5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in _DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = vars(parser.parse_args())
    found = bench_scores(SealedShape(batch=asked["rows"], steps=0, **asked))
    sent = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in found["bytes"].items())
    spent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found["cpu_seconds"].items())
    print(f"{asked['rows']} rows in {found['seconds']:.1f} s; of processors: {spent}; sent: {sent}")


if __name__ == "__main__":
    main()
