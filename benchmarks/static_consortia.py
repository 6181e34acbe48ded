"""a9a as a consortium for the command line: ``python -m benchmarks.static_consortia DIR OUT``, then what it prints.

DIR holds FedTree's vertical split of a9a. OUT gets the two parties' columns as Parquet, the label with the part of
each row (the test file is the test), queries and consortium.toml. The terms were chosen on a quarter of the training
file, held out from the rest; nobody looked at the test file.

``python -m benchmarks.static_consortia --vehicle DIR OUT`` does the same with FATE's vertical split of vehicle, of four
classes, of which a hash puts 30 % of the rows into the test.

``python -m benchmarks.static_consortia --reference CONFIG DATA`` fits scikit-learn's HistGradientBoosting on all
parties' columns of a static consortium in one place, of as many trees and leaves as its terms have.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks._a9a import WIDTHS, vertical_files
from parties.data.agreed_rows import UndatedRows
from parties.errors import ConfigError, EntenteError
from parties.settings.consortium import load_consortium
from vfl.terms import TreesModel

__all__ = ["main", "reference_auc", "write_a9a", "write_vehicle"]

_TOML = """# Two parties of FedTree's vertical split of a9a (UCI Adult, one-hot).
name = "a9a"
purpose = "Whether a person earns more than 50,000 dollars a year"
recipients = ["holder"]

[static]
label = "binary"

[label]
name = "income"
definition = "1 above 50,000 dollars a year"
query = "label.sql"

[model]
kind = "sealed"
warmup_steps = 64

[[party]]
name = "other"
role = "feature"
query = "other.sql"
whiten = false
columns = [{one}]

[[party]]
name = "holder"
role = "label"
query = "holder.sql"
whiten = false
columns = [{two}]
"""


def write_a9a(folder: Path, out: Path) -> None:
    """Parquet, SQL and consortium.toml. Raises FileNotFoundError without data, FileExistsError where OUT has some."""
    from sklearn.datasets import load_svmlight_file

    files = vertical_files(folder)
    if (out / "data").exists():
        raise FileExistsError(f"{out} has data already: name a new folder")
    read = [load_svmlight_file(str(f), n_features=n) for f, n in zip(files, (*WIDTHS, sum(WIDTHS)), strict=True)]
    (one, label), (two, _), (both, tested) = [(np.asarray(x.todense()), y) for x, y in read]
    names = [f"train-{i:05d}" for i in range(len(label))] + [f"test-{i:05d}" for i in range(len(tested))]
    columns = [f"c{i}" for i in range(sum(WIDTHS))]
    whole = np.concatenate([np.concatenate([one, two], axis=1), both]).astype(np.int8)
    frame = pd.DataFrame(whole, columns=columns)
    part = np.where(np.arange(len(names)) < len(label), "training", "test")
    (out / "data").mkdir(parents=True)
    sides = {"other": columns[: WIDTHS[0]], "holder": columns[WIDTHS[0] :]}
    for name, mine in sides.items():
        frame[mine].assign(entity=names).to_parquet(out / "data" / f"{name}.parquet")
        (out / f"{name}.sql").write_text(f"SELECT * FROM read_parquet('${{data}}/{name}.parquet')\n")
    labels = pd.DataFrame({"entity": names, "label": (np.concatenate([label, tested]) > 0).astype(int), "part": part})
    labels.to_parquet(out / "data" / "label.parquet")
    (out / "label.sql").write_text("SELECT * FROM read_parquet('${data}/label.parquet')\n")
    one_listed, two_listed = (", ".join(f'"{c}"' for c in mine) for mine in sides.values())
    (out / "consortium.toml").write_text(_TOML.format(one=one_listed, two=two_listed))
    print(f"entente demo --config {out / 'consortium.toml'} --data {out / 'data'}")


_VEHICLE = """# Two parties of FATE's vertical split of vehicle: four classes.
name = "vehicle"
purpose = "Which of four vehicles a silhouette is of"
recipients = ["guest"]

[static]
label = "classes"
classes = 4
test_share = 0.3
seed = 1

[label]
name = "vehicle"
definition = "0 to 3"
query = "label.sql"

[model]
kind = "sealed"
batch_rows = 1024
warmup_steps = 32
linear_rate = 0.0625
alpha = 10
threshold = 0.75

[[party]]
name = "host"
role = "feature"
query = "host.sql"
columns = [{columns}]

[[party]]
name = "guest"
role = "label"
query = "guest.sql"
columns = [{columns}]
"""


def write_vehicle(folder: Path, out: Path) -> None:
    """CSV, SQL and consortium.toml. Raises FileNotFoundError without data, FileExistsError where OUT has some."""
    files = {side: folder / f"vehicle_scale_hetero_{side}.csv.gz" for side in ("guest", "host")}
    missing = next((file.name for file in files.values() if not file.is_file()), None)
    if missing is not None:
        raise FileNotFoundError(f"{folder} has no {missing}: name the folder of FATE's vertical splits")
    if (out / "data").exists():
        raise FileExistsError(f"{out} has data already: name a new folder")
    (out / "data").mkdir(parents=True)
    for side, file in files.items():
        pd.read_csv(file).rename(columns={"id": "entity", "y": "label"}).to_csv(
            out / "data" / f"{side}.csv", index=False
        )
        source = f"read_csv('${{data}}/{side}.csv')"
        (out / f"{side}.sql").write_text(f"SELECT 'vehicle ' || entity AS entity, * EXCLUDE (entity) FROM {source}\n")
    source = "read_csv('${data}/guest.csv')"
    (out / "label.sql").write_text(f"SELECT 'vehicle ' || entity AS entity, label FROM {source}\n")
    (out / "consortium.toml").write_text(_VEHICLE.format(columns=", ".join(f'"x{i}"' for i in range(9))))
    print(f"entente demo --config {out / 'consortium.toml'} --data {out / 'data'}")


def reference_auc(config: Path, data: Path) -> float:
    """AUC on the test rows of boosted trees in the clear, on the same rows and columns."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    settings, folder = load_consortium(config), config.parent
    if settings.static is None:
        raise ConfigError(f"{config}: names a calendar; give the consortium.toml of data without one")
    rows, label = UndatedRows(settings.static), settings.label
    listed = [rows.entities(p, folder, data, label if p.role == "label" else None) for p in settings.party]
    common = sorted(set.intersection(*map(set, listed)))
    held = next(rows.labels(p, label, folder, data, common) for p in settings.party if p.role == "label")
    others = [rows.features(p, folder, data, common) for p in settings.party if p.role == "feature"]
    columns = np.concatenate([panel.values[0] for panel in (*others, held.features)], axis=1)
    trained, tested = (inside & np.isfinite(y) for inside, y in zip(held.universe, held.label, strict=True))
    trees, depth = 100, 5
    if isinstance(settings.model, TreesModel):
        trees, depth = settings.model.trees, settings.model.depth
    model = HistGradientBoostingClassifier(
        max_iter=trees, max_depth=depth, max_leaf_nodes=2**depth, early_stopping=False, random_state=0
    ).fit(columns[trained], held.label[0, trained] > 0)
    found = model.predict_proba(columns[tested])[:, 1]
    print(f"HistGradientBoosting, {trees} trees of {2**depth} leaves: ", end="")
    return float(roc_auc_score(held.label[1, tested] > 0, found))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", action="store_true", help="fit a reference in the clear instead of writing")
    parser.add_argument("--vehicle", action="store_true", help="write vehicle, of four classes, in place of a9a")
    parser.add_argument("paths", type=Path, nargs="*", metavar="PATH")
    asked = parser.parse_args(arguments)
    if len(asked.paths) != 2:
        print("name the data and a new folder, or with --reference a consortium.toml and its data")
        sys.exit(2)
    try:
        if asked.reference:
            print(f"AUC {reference_auc(*asked.paths):.4f} on the test rows")
        else:
            (write_vehicle if asked.vehicle else write_a9a)(*asked.paths)
    except (OSError, EntenteError) as error:
        print(error)
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
