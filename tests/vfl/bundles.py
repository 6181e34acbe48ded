"""A made-up factor bundle for the tests of export, adapters and the quant guide."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vfl.factors.bundle_metadata import FactorMetadata
from vfl.factors.evaluate import evaluate
from vfl.factors.export import FactorBundle, Signer, size_band
from vfl.factors.panel import Calendar

MESSY = ("NA", "NAN", "TRUE", "NULL", "007", "1E5", "BRK.B", 'A,"B', "-", "İŞ")

METADATA = FactorMetadata(
    factor_id="demo-joint",
    version="1",
    universe="made up",
    identifier_scheme="ticker",
    calendar="weekly, UTC",
    frequency="W-FRI",
    horizon=1,
    purge=1,
    embargo=0,
    label_name="next week",
    label_definition="return from one cutoff to the next",
    n_trials=1,
    run_id="ab" * 32,
    parties=("party-1", "party-2"),
    alignment_policy="psi",
    intersection_size_band=size_band(130),
    he_parameters={"set": "bfv-8192", "coeff_modulus_bits": (55, 55, 20)},
    openings_limit=4,
    openings_used=3,
    git_sha="0" * 40,
    lockfile_sha256="0" * 64,
    seed=0,
    proposed_at=datetime(2024, 6, 3, 20, 11, 5, tzinfo=UTC),
)


def calendar(periods: int) -> Calendar:
    """Fridays, with the cutoff at 21:00 UTC."""
    ends = pd.date_range("2024-01-05", periods=periods, freq="W-FRI").to_numpy(dtype="datetime64[ns]")
    names = tuple(str(day)[:10] for day in ends)
    return Calendar(names, ends, ends + np.timedelta64(21, "h"))


def instruments(count: int) -> tuple[str, ...]:
    """Tickers that spreadsheets and readers like to misread, then plain ones; not sorted."""
    return tuple(reversed((MESSY + tuple(f"T{i:03d}" for i in range(count)))[:count]))


def made_up(periods: int = 12, count: int = 130, seed: int = 0, **changes: object) -> FactorBundle:
    """A bundle with gaps, whose scores predict labels a little."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(periods, count))
    labels = 0.3 * scores + rng.normal(size=scores.shape)
    own = 0.3 * scores + rng.normal(size=scores.shape)
    labels[-1] = np.nan
    scores[: min(2, periods - 1)] = np.nan
    scores[-1, 3] = np.nan
    when = calendar(periods)
    values: dict[str, object] = {
        "calendar": when,
        "instruments": instruments(count),
        "scores": scores,
        "n_parties": 3,
        "computing_lag": timedelta(minutes=90),
        "metadata": METADATA,
        "validation": evaluate({"joint": scores, "own": own}, labels, when.periods, horizon=1),
    }
    return FactorBundle(**(values | changes))  # type: ignore[arg-type]


def signer(name: str = "bank", seed: int = 1) -> Signer:
    key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    return Signer(name, key.public_key().public_bytes_raw(), key.sign)
