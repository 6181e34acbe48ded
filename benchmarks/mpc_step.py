"""One training step of the sealed network's shape in a general two-party library, for comparison.

SecretFlow-SPU's Cheetah protocol keeps weights, labels, features and gradients in shares of two parties, as the
sealed network does, and opens as little. It runs in an environment of its own (Python below 3.12), both parties in
one process:

    python3.11 -m venv spu && spu/bin/pip install spu==0.9.5 "jax[cpu]"
    spu/bin/python benchmarks/mpc_step.py --rows 512 --features 40 --hidden 8

Wall-clock time, and processor time of both parties together, which other work on the machine changes less.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from typing import Any


def step_seconds(rows: int, features: int, hidden: int, repeats: int) -> list[tuple[float, float]]:
    """Wall-clock and processor seconds of each step after the first, which also compiles."""
    import jax.numpy as jnp
    import numpy as np
    import spu
    import spu.utils.simulation as simulation

    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, features)).astype(np.float32)
    y = generator.normal(size=(rows, 1)).astype(np.float32)
    w = (0.1 * generator.normal(size=(features, hidden + 1))).astype(np.float32)
    sign = np.where(np.arange(hidden) < (hidden + 1) // 2, 1.0, -1.0).astype(np.float32)

    def step(x: Any, y: Any, w: Any) -> Any:
        z = x @ w
        residual = z[:, :1] + ((z[:, 1:] * z[:, 1:]) @ sign)[:, None] - y
        residual = residual - jnp.mean(residual)
        slope = jnp.concatenate([residual, 2.0 * sign * z[:, 1:] * residual], axis=1) / rows
        return w - 0.03 * (x.T @ slope)

    config = spu.RuntimeConfig(protocol=spu.ProtocolKind.CHEETAH, field=spu.FieldType.FM64)
    simulator = simulation.Simulator(2, config)
    run = simulation.sim_jax(simulator, step)
    seconds = []
    for _ in range(repeats + 1):
        began, busy = time.perf_counter(), time.process_time()
        made = run(x, y, w)
        seconds.append((time.perf_counter() - began, time.process_time() - busy))
    largest = float(np.abs(np.asarray(made) - np.asarray(step(x, y, w))).max())
    assert largest < 1e-2, f"the step differs from the plain one by {largest}"
    return seconds[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--features", type=int, default=40)
    parser.add_argument("--hidden", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    if importlib.util.find_spec("spu") is None:
        print('spu is not installed here: it has an environment of its own, pip install spu==0.9.5 "jax[cpu]"')
        return
    seconds = step_seconds(asked.rows, asked.features, asked.hidden, asked.repeats)
    shape = f"{asked.rows} x {asked.features} -> {asked.hidden}"
    clock, busy = ([each[place] for each in seconds] for place in (0, 1))
    print(
        f"two-party step {shape}: {min(clock):.2f} to {max(clock):.2f} s, {asked.rows / min(clock):,.0f} rows/s; "
        f"processor time of both parties {min(busy):.2f} to {max(busy):.2f} s"
    )


if __name__ == "__main__":
    main()
