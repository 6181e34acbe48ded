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
from vfl.factors.class_estimates import most_likely
from vfl.factors.csv_cells import inert
from vfl.factors.export import Signer, file_facts, json_bytes, sign_bundle
from vfl.factors.report import render_report
from vfl.factors.static_quality import StaticQuality
from vfl.factors.verify import MANIFEST, METADATA, manifest_of

__all__ = ["StaticBundle", "export_static"]

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class StaticBundle:
    """All that goes into a bundle, over n entities. scores: float64 (n,) on the label's scale, NaN where none opened;
    of several classes (n, classes).

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
        "n_rows": int(table[_scores(bundle)[0]].notna().sum()),
        "rows_by_part": {str(part): int(count) for part, count in table["part"].value_counts().items()},
        "columns": list(table.columns),
        "definitions": {
            "entity": "normalised identifier",
            **_definitions(bundle),
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
    }
    title = f"{metadata.factor_id} {metadata.version}"
    files["report.html"] = render_report(title, _told(metadata, signer), quality.findings)
    record["files"] = {name: file_facts(name, content) for name, content in files.items()}
    files[METADATA] = json_bytes(record)
    files[MANIFEST] = manifest_of(files)
    return dict(sorted((files if signer is None else sign_bundle(files, signer)).items()))


def _table(bundle: StaticBundle) -> pd.DataFrame:
    """entity, score or one of each class and the most likely one, part; by entity."""
    if np.isnan(bundle.scores).all() or np.isinf(bundle.scores).any():
        raise ValueError("there is no score to export, or one is infinite: train again")
    names = list(bundle.entities)
    scores = bundle.scores.reshape(len(names), -1).T
    columns = dict(zip(_scores(bundle), scores, strict=True))
    if bundle.scores.ndim == 2:
        columns["class"] = most_likely(bundle.scores)
    table = pd.DataFrame({"entity": names, **columns, "part": list(bundle.parts)})
    made: pd.DataFrame = table.astype({"entity": "str", "part": "str"}).sort_values("entity", ignore_index=True)
    assert made["entity"].is_unique
    return made


def _scores(bundle: StaticBundle) -> list[str]:
    """Names of the columns of scores."""
    if bundle.scores.ndim == 1:
        return ["score"]
    return [f"score_{number}" for number in range(bundle.scores.shape[1])]


def _definitions(bundle: StaticBundle) -> dict[str, str]:
    unit = bundle.metadata.unit
    if bundle.scores.ndim == 1:
        return {"score": f"prediction on the scale of the label ({unit}); empty in training rows"}
    told = {
        name: f"estimate of the share of class {number} ({unit}); empty in training rows"
        for number, name in enumerate(_scores(bundle))
    }
    return told | {"class": "the class with the largest estimate, the first of equals"}


def _told(metadata: StaticMetadata, signer: Signer | None) -> dict[str, str]:
    return {
        "label": f"{metadata.label_name}: {metadata.label_definition}",
        "scores": metadata.unit,
        "parts": metadata.parts,
        **metadata.proposed,
        "signed by": "nobody yet" if signer is None else signer.name,
        "universe": metadata.universe,
        "parties": ", ".join(metadata.parties),
        "configurations tried": str(metadata.n_trials),
        "scores opened per test row": f"{metadata.openings_used} of {metadata.openings_limit} allowed",
        "run": metadata.run_id,
        "purpose": metadata.terms or "none stated",
    }
