"""A scoring session's signed files: scores and point-in-time facts of new periods, as a factor's bundle has them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.agreement.daily_terms import DailyTerms, scored_periods
from parties.agreement.document import Agreement
from parties.factor.live_scores import live_version
from parties.factor.naming import factor_id
from vfl.factors.adapters import parquet
from vfl.factors.export import Signer, file_facts, json_bytes, sign_bundle
from vfl.factors.verify import MANIFEST, METADATA, manifest_of

__all__ = ["live_files"]

F64 = NDArray[np.float64]


def live_files(
    agreement: Agreement, entities: Sequence[str], scores: F64, made_at: datetime, daily: DailyTerms, signer: Signer
) -> dict[str, bytes]:
    """A session's signed files. scores: float64 (T, n) over its calendar, NaN where nothing was scored.

    ``available_at`` is when the scores were there, which is after the cutoff.
    """
    assert agreement.scores is not None
    calendar, new = agreement.dated, scored_periods(agreement)
    rows, columns = np.nonzero(np.isfinite(scores))
    names = np.array(entities, dtype=object)[columns]
    cutoffs = pd.DatetimeIndex([cutoff.astimezone(UTC).replace(tzinfo=None) for cutoff in calendar.cutoffs])
    days = cutoffs.normalize().astype("datetime64[ns]")
    index = pd.MultiIndex.from_arrays([days[rows], pd.Index(names, dtype="str")], names=["datetime", "instrument"])
    factor = pd.DataFrame({"score": scores[rows, columns]}, index=index, dtype=np.float64)
    pit = pd.DataFrame(
        {
            "asof_date": days[rows],
            "available_at": pd.DatetimeIndex([made_at] * len(rows)).as_unit("ns"),
            "vintage": np.ones(len(rows), dtype=np.int64),
            "fold": rows.astype(np.int64),
            "in_sample": np.zeros(len(rows), dtype=np.bool_),
            "n_parties": np.full(len(rows), len(agreement.parties), dtype=np.int64),
        },
        index=index,
    )
    files = {"factor.parquet": parquet(factor.sort_index()), "pit.parquet": parquet(pit.sort_index())}
    told = {
        "schema_version": 1,
        "kind": "live",
        "factor_id": factor_id(agreement.consortium, agreement.label.name),
        "version": live_version(agreement),
        "run_id": agreement.run_id,
        "of": agreement.scores.of,
        "periods": list(new),
        "agreed": daily.scores,
        "expires": daily.expires.isoformat(),
        "parties": [party.name for party in agreement.parties],
        "files": {name: file_facts(name, content) for name, content in files.items()},
    }
    files[METADATA] = json_bytes(told)
    files[MANIFEST] = manifest_of(files)
    return sign_bundle(files, signer)
