"""The factor bundle: what a fund takes home from a run, as file name -> bytes.

Nothing is written here and no clock is read: the same bundle gives the same bytes. The files:

    factor.parquet    score (and f0.. where agreed) by (datetime, instrument)
    pit.parquet       point-in-time facts of each score
    adapters/         the latest or whole factor as alphalens, Numerai Signals and zipline read it
    metadata.json     what the factor is and how it was made
    validation.json   out-of-sample numbers, each with its definition
    report.html       the same to read, with charts; where the battery of checks was run
    trials.parquet    every configuration tried; where they were recorded
    SHA256SUMS        hashes of all of these; signatures/ holds Ed25519 signatures over it
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from numpy.typing import NDArray

from vfl.factors.adapters import (
    SIGNALS_ID_COLUMNS,
    NotApplicable,
    alphalens_csv,
    parquet,
    signals_csv,
    zipline_wide,
)
from vfl.factors.bundle_metadata import FactorMetadata, Supersedes
from vfl.factors.evaluate import Evaluation, IcSummary, Uplift
from vfl.factors.findings import Findings
from vfl.factors.hac import CONFIDENCE
from vfl.factors.panel import Calendar
from vfl.factors.report import render_report
from vfl.factors.trials import FILE as TRIALS
from vfl.factors.trials import Trial, write_trials
from vfl.factors.verify import MANIFEST, METADATA, SIGNATURES, manifest_of

__all__ = [
    "FactorBundle",
    "Signer",
    "export_bundle",
    "file_facts",
    "json_bytes",
    "reissue_bundle",
    "sign_bundle",
    "size_band",
]

Floats = NDArray[np.float64]
Times = NDArray[np.datetime64]


@dataclass(frozen=True)
class FactorBundle:
    """All that goes into a bundle, over T calendar periods and n instruments.

    scores: float64 (T, n), NaN where the model made none. n_parties: int64 (T, n), or one number, of parties behind
    each score. computing_lag: from the cutoff until the score was there. asof: datetime64[ns] (T, n), latest date
    of an observation used; by default the cutoff, which bounds it. embeddings: float64 (T, n, h), exported only
    where the agreement says so. in_sample: bool (T,), by default False, as prequential scores are. findings: of the
    battery, for ``validation.json`` and ``report.html``. trials: every configuration tried, one of them selected.
    """

    calendar: Calendar
    instruments: tuple[str, ...]
    scores: Floats
    n_parties: NDArray[np.int64] | int
    computing_lag: timedelta
    metadata: FactorMetadata
    validation: Evaluation
    asof: Times | None = None
    embeddings: Floats | None = None
    in_sample: NDArray[np.bool_] | None = None
    vintage: int = 1
    id_column: str = SIGNALS_ID_COLUMNS[0]
    findings: Findings | None = None
    trials: tuple[Trial, ...] = ()


@dataclass(frozen=True)
class Signer:
    """Who signs: a name, the raw Ed25519 public key (32 bytes) and a function that signs with its private key."""

    name: str
    public_key: bytes
    sign: Callable[[bytes], bytes]


def export_bundle(bundle: FactorBundle, signer: Signer | None = None) -> dict[str, bytes]:
    """The bundle's files, sorted by name. Without a signer it has no signatures, and verification will say so.

    Raises ValueError, naming the place, on shapes that do not fit, infinite scores, repeated instruments, periods that
    share a decision session, no score at all, or an observation dated after its cutoff.
    """
    factor, pit = _tables(bundle)
    files = {"factor.parquet": parquet(factor), "pit.parquet": parquet(pit)}
    adapters: dict[str, str] = {}
    files["adapters/alphalens.csv"] = alphalens_csv(factor)
    files["adapters/zipline_wide.parquet"] = zipline_wide(factor, pit["available_at"])
    try:
        name, content = signals_csv(factor, bundle.id_column)
        files[f"adapters/{name}"] = content
    except NotApplicable as reason:
        adapters["signals"] = f"left out: {reason}"
    adapters |= {name.removeprefix("adapters/"): "written" for name in files if name.startswith("adapters/")}
    validation = _validation(bundle.validation, in_sample=bool(pit["in_sample"].any()))
    days = dict(zip(bundle.calendar.periods, _sessions(bundle.calendar), strict=True))
    validation["sessions"] = [str(days[period]) for period in bundle.validation.periods]
    if bundle.findings is not None:
        validation["battery"] = bundle.findings.record()
        title = f"{bundle.metadata.factor_id} {bundle.metadata.version}"
        files["report.html"] = render_report(title, _told(bundle.metadata, bundle.findings, signer), bundle.findings)
    if bundle.trials:
        files[TRIALS] = write_trials(bundle.trials)
    files["validation.json"] = json_bytes(validation)
    record = bundle.metadata.model_dump(mode="json") | _derived(bundle, factor) | {"adapters": adapters}
    record["files"] = {name: file_facts(name, content) for name, content in files.items()}
    files[METADATA] = json_bytes(record)
    files[MANIFEST] = manifest_of(files)
    if signer is not None:
        files = sign_bundle(files, signer)
    return dict(sorted(files.items()))


def reissue_bundle(
    files: Mapping[str, bytes],
    signer: Signer,
    *,
    version: str,
    why: str,
    run_id: str = "",
    found: Findings | None = None,
) -> dict[str, bytes]:
    """A verified bundle again under a new version: the same scores, and metadata that say what it supersedes and why.

    ``found``: further findings, for ``validation.json`` and ``report.html``; ``run_id``: the run that gave cause.
    Raises ValueError where the bundle is not one that this version writes.
    """
    record, validation = json.loads(files[METADATA]), json.loads(files["validation.json"])
    before = hashlib.sha256(files[MANIFEST]).hexdigest()
    supersedes = Supersedes(version=record["version"], sha256=before, why=why, run_id=run_id)
    told = {name: record[name] for name in FactorMetadata.model_fields if name in record}
    metadata = FactorMetadata.model_validate(told | {"version": version, "supersedes": supersedes})
    made = {name: content for name, content in files.items() if name != MANIFEST and not name.startswith(SIGNATURES)}
    if found is not None:
        battery = validation.get("battery")
        findings = found if battery is None else Findings.read(battery) | found
        validation["battery"] = findings.record()
        made["report.html"] = render_report(
            f"{metadata.factor_id} {version}", _told(metadata, findings, signer), findings
        )
        made["validation.json"] = json_bytes(validation)
    record |= metadata.model_dump(mode="json")
    del made[METADATA]
    record["files"] = {name: file_facts(name, content) for name, content in sorted(made.items())}
    made[METADATA] = json_bytes(record)
    made[MANIFEST] = manifest_of(made)
    return dict(sorted(sign_bundle(made, signer).items()))


def sign_bundle(files: Mapping[str, bytes], signer: Signer) -> dict[str, bytes]:
    """The files with one more detached signature over ``SHA256SUMS`` and the signer's public key in PEM.

    The manifest is signed as it is, so ``openssl pkeyutl`` can check it. It starts with a hex digit and can be read as
    no other document a node signs: those start with a domain tag. Raises ValueError where signature and key do not fit.
    """
    if not signer.name.isascii() or not signer.name.replace("-", "_").replace("_", "a").isalnum():
        raise ValueError(f"signer {signer.name!r} cannot be a file name: use letters, digits, - and _")
    key = Ed25519PublicKey.from_public_bytes(signer.public_key)
    signature = signer.sign(files[MANIFEST])
    try:
        key.verify(signature, files[MANIFEST])
    except InvalidSignature:
        raise ValueError(f"the signature of {signer.name!r} does not fit its public key: check the key pair") from None
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {**files, f"{SIGNATURES}{signer.name}.sig": signature, f"{SIGNATURES}{signer.name}.pub": pem}


def size_band(count: int) -> str:
    """A set size to the nearest power of two either side, such as ``512-1023``; what the metadata tells of it."""
    if count < 0:
        raise ValueError(f"a set cannot have {count} members")
    if count == 0:
        return "0"
    low: int = 1 << (count.bit_length() - 1)
    return f"{low}-{2 * low - 1}"


def _tables(bundle: FactorBundle) -> tuple[pd.DataFrame, pd.DataFrame]:
    """factor and pit, both indexed by (datetime, instrument), sorted and unique."""
    scores = _checked_scores(bundle)
    periods, count = scores.shape
    sessions = _sessions(bundle.calendar)
    order = np.array(sorted(range(count), key=bundle.instruments.__getitem__), dtype=np.int64)
    cutoffs = bundle.calendar.cutoffs.astype("datetime64[ns]")
    available = cutoffs + np.timedelta64(bundle.computing_lag)
    bound: Times = np.broadcast_to(cutoffs[:, None], scores.shape)
    asof = bound if bundle.asof is None else bundle.asof
    if asof.shape != scores.shape:
        raise ValueError(f"asof has shape {asof.shape}, the scores {scores.shape}")
    present = ~np.isnan(scores)
    late = present & ~(asof <= bound)
    if late.any():
        period, entity = (int(i) for i in np.argwhere(late)[0])
        raise ValueError(
            f"period {bundle.calendar.periods[period]}, instrument {bundle.instruments[entity]}: asof is missing "
            "or after the cutoff, so the score would look ahead"
        )
    covering = np.broadcast_to(np.asarray(bundle.n_parties, dtype=np.int64), scores.shape)
    flags = np.zeros(periods, dtype=bool) if bundle.in_sample is None else np.asarray(bundle.in_sample, dtype=bool)
    if flags.shape != (periods,):
        raise ValueError(f"in_sample has shape {flags.shape}; it needs one flag for each of {periods} periods")
    row, column = np.nonzero(present[:, order])
    who = order[column]
    index = pd.MultiIndex.from_arrays(
        [
            pd.DatetimeIndex(sessions[row].astype("datetime64[ns]")),
            pd.Index(np.array(bundle.instruments, dtype=object)[who], dtype="str"),
        ],
        names=["datetime", "instrument"],
    )
    columns: dict[str, Any] = {"score": scores[row, who]}
    if bundle.embeddings is not None:
        columns |= {f"f{j}": bundle.embeddings[row, who, j] for j in range(bundle.embeddings.shape[2])}
    factor = pd.DataFrame(columns, index=index, dtype=np.float64)
    pit = pd.DataFrame(
        {
            "asof_date": asof[row, who].astype("datetime64[D]").astype("datetime64[ns]"),
            "available_at": pd.DatetimeIndex(available[row]).tz_localize("UTC"),
            "vintage": np.full(len(row), bundle.vintage, dtype=np.int64),
            "fold": row.astype(np.int64),
            "in_sample": flags[row],
            "n_parties": covering[row, who],
        },
        index=index,
    )
    assert factor.index.is_monotonic_increasing
    assert factor.index.is_unique
    return factor, pit


def _checked_scores(bundle: FactorBundle) -> Floats:
    """The scores once everything that must fit them does."""
    scores = np.asarray(bundle.scores, dtype=np.float64)
    shape = (len(bundle.calendar), len(bundle.instruments))
    if scores.shape != shape:
        raise ValueError(f"scores have shape {scores.shape}; the calendar and instruments ask for {shape}")
    seen: set[str] = set()
    for name in bundle.instruments:
        if not name or name in seen:
            raise ValueError(f"instrument {name!r} is empty or repeated: align the entities first")
        seen.add(name)
    if np.isinf(scores).any():
        period, entity = (int(i) for i in np.argwhere(np.isinf(scores))[0])
        raise ValueError(
            f"the score of {bundle.instruments[entity]} in period {bundle.calendar.periods[period]} is infinite: "
            "leave it NaN to leave it out"
        )
    if np.isnan(scores).all():
        raise ValueError("there is no score to export: the walk-forward made no prediction")
    width = None if bundle.embeddings is None else bundle.embeddings.shape
    if width is not None and (len(width) != 3 or width[:2] != shape):
        raise ValueError(f"embeddings have shape {width}; they need (T, n, h) with {shape}")
    if bundle.embeddings is not None and not np.isfinite(bundle.embeddings[~np.isnan(scores)]).all():
        raise ValueError("an exported embedding is not finite where there is a score")
    if bundle.computing_lag < timedelta(0):
        raise ValueError(f"computing_lag is {bundle.computing_lag}; a score cannot be ready before its cutoff")
    return scores


def _sessions(calendar: Calendar) -> Times:
    """Decision sessions, datetime64[D] (T,): the cutoffs' UTC dates, one per period."""
    sessions = calendar.cutoffs.astype("datetime64[D]")
    same = np.flatnonzero(sessions[1:] <= sessions[:-1])
    if len(same):
        at = int(same[0])
        raise ValueError(
            f"periods {calendar.periods[at]} and {calendar.periods[at + 1]} do not have rising decision sessions "
            f"({sessions[at]}, {sessions[at + 1]}): a factor holds one cutoff per date"
        )
    return sessions


def _derived(bundle: FactorBundle, factor: pd.DataFrame) -> dict[str, Any]:
    """Metadata that follows from the data."""
    dates = factor.index.get_level_values("datetime")
    waits = bundle.calendar.cutoffs - bundle.calendar.ends
    return {
        "date_range": {"first": f"{dates.min():%Y-%m-%d}", "last": f"{dates.max():%Y-%m-%d}"},
        "n_rows": len(factor),
        "n_dates": int(dates.nunique()),
        "n_instruments": int(factor.index.get_level_values("instrument").nunique()),
        "columns": list(factor.columns),
        "decision_lag_days": float(np.max(waits / np.timedelta64(1, "D"))),
        "computing_lag_seconds": bundle.computing_lag.total_seconds(),
        "definitions": {
            "datetime": "decision session: UTC date of the cutoff up to which data may be used; no time zone",
            "asof_date": "date of the latest observation used"
            if bundle.asof is not None
            else "the cutoff's date, which no observation used is later than; parties do not tell each other row dates",
            "available_at": "cutoff plus computing lag (UTC); all features were available at the cutoff or before",
            "vintage": "1 for the first issue of these scores; a revision is a new vintage",
            "fold": "index of the walk-forward period; scores of one fold come from one model state",
            "in_sample": "whether labels of that period had been used in training",
            "n_parties": "number of parties behind the score; which ones is not told",
        },
    }


def _validation(evaluation: Evaluation, *, in_sample: bool) -> dict[str, Any]:
    """validation.json: every number with its definition, unit and sample size."""
    joint = evaluation.ics["joint"]["rank"]
    counted = [name for name, value in zip(evaluation.periods, joint, strict=True) if not math.isnan(value)]
    return {
        "schema_version": 1,
        "unit": "correlation (no unit)",
        "out_of_sample": "no: pit.parquet flags scores whose labels had been used in training"
        if in_sample
        else "yes: each period was scored by a model that had seen no label of that period or later",
        "horizon": evaluation.horizon,
        "confidence": CONFIDENCE,
        "window": {"first": counted[0] if counted else None, "last": counted[-1] if counted else None},
        "n_periods": len(counted),
        "n_rows": int(evaluation.rows.sum()),
        "periods": list(evaluation.periods),
        "rows_by_period": evaluation.rows.tolist(),
        "models": {
            name: {
                method: _plain(summary) | {"by_period": evaluation.ics[name][method].tolist()}
                for method, summary in by.items()
            }
            for name, by in evaluation.summaries.items()
        },
        "uplift_of_joint_over": {
            name: {method: _plain(gain) for method, gain in by.items()} for name, by in evaluation.uplifts.items()
        },
    }


def _plain(result: IcSummary | Uplift) -> dict[str, Any]:
    return dataclasses.asdict(result) | {"definition": dict(result.definition)}


def _told(metadata: FactorMetadata, findings: Findings, signer: Signer | None) -> dict[str, str]:
    """What the report says of the factor. Without a time of its making: the same run gives the same bytes."""
    before = metadata.supersedes
    known = findings.series.get("rank_ic")
    scored = f"{known.x[0]} to {known.x[-1]}, {len(known.x)} out of sample" if known is not None and known.x else ""
    return ({} if before is None else {"supersedes": f"version {before.version}: {before.why}"}) | {
        "label": f"{metadata.label_name}: {metadata.label_definition}",
        "higher scores mean": metadata.sign.rpartition(", ")[2],
        **({"periods": scored} if scored else {}),
        **metadata.proposed,
        "signed by": "nobody yet" if signer is None else signer.name,
        "universe": metadata.universe,
        "calendar": f"{metadata.calendar}; horizon {metadata.horizon}, purge {metadata.purge}, "
        f"embargo {metadata.embargo} periods",
        "parties": ", ".join(metadata.parties),
        "configurations tried": str(metadata.n_trials),
        "openings per row": f"{metadata.openings_used} of {metadata.openings_limit} allowed",
        "run": metadata.run_id,
        "purpose": metadata.terms or "none stated",
    }


def file_facts(name: str, content: bytes) -> dict[str, int]:
    """What verification can tell of a changed file without reading it."""
    facts = {"bytes": len(content)}
    if name.endswith(".csv"):
        facts["lines"] = content.count(b"\n")
    return facts


def json_bytes(record: object) -> bytes:
    """Sorted, indented JSON; an undefined number is null."""
    return (json.dumps(_defined(record), indent=2, sort_keys=True, allow_nan=False) + "\n").encode("ascii")


def _defined(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _defined(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
