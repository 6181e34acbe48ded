"""The bundle of a run on static data, as file name -> bytes: scores by entity and part, and how good they are.

scores.parquet    entity, score, part; training rows have no score, since none of theirs opens
scores.csv        the same as text
metadata.json     what the scores are and how they were made
validation.json   measures on the test rows, each with its definition
report.html       the same to read
SHA256SUMS        hashes of all of these; signatures/ holds Ed25519 signatures over it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vfl.factors.adapters import parquet
from vfl.factors.bundle_metadata import CSV, SCORES, StaticMetadata
from vfl.factors.csv_cells import inert
from vfl.factors.export import Signer, file_facts, json_bytes, sign_bundle
from vfl.factors.report import render_report
from vfl.factors.static_quality import StaticQuality
from vfl.factors.verify import MANIFEST, METADATA, manifest_of

__all__ = ["StaticBundle", "export_static"]

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class StaticBundle:
    """All that goes into a bundle, over n entities. scores: float64 (n,) on the label's scale, NaN where none opened.

    parts: "training" or "test" of each entity, "" of one that is in neither.
    """

    entities: Sequence[str]
    scores: F64
    parts: Sequence[str]
    metadata: StaticMetadata
    quality: StaticQuality


def export_static(bundle: StaticBundle, signer: Signer | None = None) -> dict[str, bytes]:
    """The bundle's files, sorted by name. Raises ValueError where there is no score, or one is infinite."""
    table = _table(bundle)
    text = table.assign(entity=[inert(name) for name in table["entity"]])
    quality, metadata = bundle.quality, bundle.metadata
    record = metadata.model_dump(mode="json") | {
        "n_rows": int(table["score"].notna().sum()),
        "rows_by_part": {str(part): int(count) for part, count in table["part"].value_counts().items()},
        "columns": list(table.columns),
        "definitions": {
            "entity": "normalised identifier",
            "score": f"prediction on the scale of the label ({metadata.unit}); empty in training rows",
            "part": "training: its label was trained on; test: its label entered nothing",
        },
    }
    files = {
        SCORES: parquet(table),
        CSV: text.to_csv(index=False, lineterminator="\n").encode("utf-8"),
        "validation.json": json_bytes(
            {
                "schema_version": 1,
                "kind": "static",
                "label_kind": quality.kind,
                "out_of_sample": "yes: no label of a test row entered training or any choice",
                "n_rows": quality.rows,
                "models": quality.measures,
                "battery": quality.findings.record(),
            }
        ),
        "report.html": render_report(f"{metadata.factor_id} {metadata.version}", _told(metadata), quality.findings),
    }
    record["files"] = {name: file_facts(name, content) for name, content in files.items()}
    files[METADATA] = json_bytes(record)
    files[MANIFEST] = manifest_of(files)
    return dict(sorted((files if signer is None else sign_bundle(files, signer)).items()))


def _table(bundle: StaticBundle) -> pd.DataFrame:
    """entity, score, part, by entity."""
    if np.isnan(bundle.scores).all() or np.isinf(bundle.scores).any():
        raise ValueError("there is no score to export, or one is infinite: train again")
    names = list(bundle.entities)
    table = pd.DataFrame({"entity": names, "score": bundle.scores, "part": list(bundle.parts)})
    made: pd.DataFrame = table.astype({"entity": "str", "part": "str"}).sort_values("entity", ignore_index=True)
    assert made["entity"].is_unique
    return made


def _told(metadata: StaticMetadata) -> dict[str, str]:
    return {
        "label": f"{metadata.label_name}: {metadata.label_definition}",
        "scores": metadata.unit,
        "parts": metadata.parts,
        "universe": metadata.universe,
        "parties": ", ".join(metadata.parties),
        "configurations tried": str(metadata.n_trials),
        "scores opened per test row": f"{metadata.openings_used} of {metadata.openings_limit} allowed",
        "run": metadata.run_id,
        "terms": metadata.terms or "none stated",
    }
