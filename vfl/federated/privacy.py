"""What members spend of their differential privacy: by the accountant of opacus, an optional extra.

The mechanism is Gaussian noise in each opened average, of a deviation of ``noise`` clips; what is private is whether a
member took part at all, with all its rows. Who is drawn is public, so sampling gains nothing and is not counted.

Source: Mironov, "Renyi Differential Privacy", CSF 2017; ``opacus.accountants.RDPAccountant``.
"""

from __future__ import annotations

import math

from vfl.federated_terms import FederatedModel

__all__ = ["spent"]


def spent(model: FederatedModel, trainings: int = 1) -> float:
    """Epsilon at ``model.delta`` after so many trainings of ``model.rounds`` rounds; infinite without noise.

    Raises ValueError where opacus is not installed.
    """
    if not model.noise:
        return math.inf
    try:
        from opacus.accountants import RDPAccountant
    except ImportError:
        raise ValueError(
            "model.noise needs the accountant of opacus: pip install 'entente[privacy]', or set model.noise = 0"
        ) from None
    accountant = RDPAccountant()
    accountant.history = [(model.noise, 1.0, model.rounds * trainings)]
    return float(accountant.get_epsilon(model.delta))
