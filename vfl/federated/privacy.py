"""What members spend of their differential privacy: by the accountant of opacus, an optional extra.

The mechanism is Gaussian noise in each opened average, of a deviation of ``noise`` clips; what is private is whether a
member took part at all, with all its rows. Who is drawn is public, so sampling gains nothing and is not counted.

Source: Mironov, "Renyi Differential Privacy", CSF 2017; ``opacus.accountants.analysis.rdp``.
"""

from __future__ import annotations

import math
from functools import lru_cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import PurePath
from typing import Any

from vfl.federated_terms import FederatedRounds

__all__ = ["spent", "spent_in"]

_ORDERS = (*(1 + tenth / 10 for tenth in range(1, 100)), *range(12, 64))
"""Of the Renyi divergence: those that opacus tries where nobody names others."""


def spent(model: FederatedRounds, trainings: int = 1) -> float:
    """Epsilon at ``model.delta`` after so many trainings of ``model.rounds`` rounds; infinite without noise.

    Raises ValueError where opacus is not installed.
    """
    return spent_in(model, model.rounds * trainings)


def spent_in(model: FederatedRounds, rounds: int) -> float:
    """The same of a member that has been in so many rounds."""
    if not model.noise:
        return math.inf
    try:
        return _epsilon(model.noise, model.delta, rounds) if rounds else 0.0
    except LookupError:
        raise ValueError(
            f"{model.section}.noise needs the accountant of opacus: pip install 'entente[privacy]', or set "
            f"{model.section}.noise = 0"
        ) from None


@lru_cache(maxsize=1024)
def _epsilon(noise: float, delta: float, rounds: int) -> float:
    accountant = _accountant()
    divergences = accountant.compute_rdp(q=1.0, noise_multiplier=noise, steps=rounds, orders=_ORDERS)
    epsilon, _ = accountant.get_privacy_spent(orders=_ORDERS, rdp=divergences, delta=delta)
    return float(epsilon)


@lru_cache(maxsize=1)
def _accountant() -> Any:
    """The module of opacus that computes epsilon, alone: with the whole of opacus comes torch, of which a coordinator
    that shows epsilon needs nothing: seconds, in which it answers nobody, and 300 MiB.
    """
    package = find_spec("opacus")
    if package is None or package.origin is None:
        raise LookupError
    file = PurePath(package.origin).parent / "accountants" / "analysis" / "rdp.py"
    alone = spec_from_file_location("opacus_accountant", str(file))
    assert alone is not None
    assert alone.loader is not None
    module = module_from_spec(alone)
    alone.loader.exec_module(module)
    return module
