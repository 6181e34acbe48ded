"""A demo of a screen, whole: real data, processes and encryption, its closing table, its twin, and ``run screen``."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import statsmodels.api as sm

from parties.agreement.document import Agreement
from parties.cli import run as entente
from parties.demo.screen_shown import show_screen
from parties.demo.screen_twin import compare_screen
from tests.parties.demo_rig import demo

TERMS = """
name = "births"

[calendar]
frequency = "Y"
first = 1962-12-31
last = 2009-12-31

[label]
name = "change_next_year"
definition = "change of the fertility rate over the next year"
query = "bureau.sql"
lag_days = 366

[model]
kind = "screen"
terminals = 4

[[party]]
name = "census"
role = "feature"
query = "census.sql"
columns = ["turned"]
lag_days = 0

[party.terminals]
windows = [3]
operators = ["decay"]

[[party]]
name = "clinic"
role = "feature"
query = "clinic.sql"
columns = ["earlier"]
lag_days = 0

[party.terminals]
windows = [5]
operators = ["mean", "rank", "difference"]

[[party]]
name = "bureau"
role = "label"
"""

TRIED = 2 + 4 + 2 * 4
WON = "mean of turned decaying over 3 periods"


def consortium(folder: Path) -> None:
    """Fertility rates of the World Bank, 1960 to 2011: how their change changed, this year and twelve years before."""
    whole = sm.datasets.fertility.load_pandas().data.dropna(subset=["1960", "2011"]).head(70)
    rates = whole.set_index("Country Code")[[str(year) for year in range(1960, 2012)]].astype(float)
    change = rates.diff(axis=1)
    turned = change.diff(axis=1)
    for name, column, table in (
        ("census", "turned", turned),
        ("clinic", "earlier", turned.shift(12, axis=1)),
        ("bureau", "label", change.shift(-1, axis=1)),
    ):
        rows = table.melt(ignore_index=False, var_name="year", value_name=column).dropna().reset_index()
        rows.assign(period=rows["year"] + "-12-31").to_csv(folder / f"{name}.csv", index=False)
        (folder / f"{name}.sql").write_text(
            f'SELECT "Country Code" AS entity, CAST(period AS DATE) AS period, {column} '
            f"FROM read_csv('${{data}}/{name}.csv')"
        )
    (folder / "consortium.toml").write_text(TERMS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """The demo's folder, the label party's report, and what it printed."""
    folder = tmp_path_factory.mktemp("screen")
    consortium(folder)
    out = folder / "out"
    with demo(out, "--config", str(folder / "consortium.toml"), "--data", str(folder), size=()) as process:
        printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, printed + errors
    [report] = (out / "parties" / "bureau" / "screens").iterdir()
    return out, report, printed


def summary_of(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "summary.json").read_text()))


def test_what_is_named_is_told_in_its_owners_words_and_is_what_plain_numbers_say(
    finished: tuple[Path, Path, str],
) -> None:
    out, report, printed = finished
    found = summary_of(out)["screen"]
    assert found["formulas"] == TRIED
    assert found["furthest"] < 1e-2
    assert found["cause"] == ""
    [named] = found["named"]
    assert re.fullmatch(rf"census: (minus \()?{WON}\)?", named["formula"])
    # the sign is its owner's: in its own words the mean is above 0
    assert (named["mean_first"] < 0) == ("minus" in named["formula"])
    assert f"1 of {TRIED} formulas is named" in printed
    [told] = json.loads((report / "report.json").read_text())["named"]
    assert told["t_first"] == pytest.approx(named["t_first"])
    under_way = [line for line in printed.splitlines() if " running" in line]
    assert len(under_way) == len(set(under_way)), "each line of progress says something new"


def test_the_twin_finds_a_t_that_is_not_the_datas(finished: tuple[Path, Path, str], tmp_path: Path) -> None:
    out, report, _ = finished
    other = Path(shutil.copytree(report, tmp_path / "other"))
    with (report / "formulas.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    def changed(rows: list[dict[str, str]]) -> dict[str, Any]:
        with (other / "formulas.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return compare_screen(out, other, parity=True)

    moved = [dict(rows[0], t_second=str(float(rows[0]["t_second"]) + 0.2)), *rows[1:]]
    assert "a t differs by 0.2" in changed(moved)["cause"]
    unsaid = [dict(row, named="False") for row in rows]
    assert "would be named in one of the two and not in the other" in changed(unsaid)["cause"]


def test_what_is_shown_says_how_many_are_named_and_which(
    finished: tuple[Path, Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    out, _, _ = finished
    agreement = Agreement.model_validate_json((out / "agreement.json").read_bytes())
    summary = summary_of(out)
    leading = [row | {"named": False} for row in summary["screen"]["leading"]]
    summary["screen"] |= {"named": [], "leading": leading, "furthest": None}
    show_screen(summary, agreement)
    said = capsys.readouterr().out
    assert "0 of 14 formulas are named" in said
    assert "yes" not in said
    assert "Largest difference" not in said
    assert f"entente run screen {summary['run_id'][:12]} --home {out / 'parties' / 'bureau'}" in " ".join(said.split())


def test_each_party_reads_its_own_and_nothing_named_is_one_sentence(
    finished: tuple[Path, Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    out, report, _ = finished
    run_id, homes = summary_of(out)["run_id"], out / "parties"

    def said(home: str) -> str:
        capsys.readouterr()
        code = entente(["run", "screen", run_id[:12], "--home", str(homes / home)])
        shown = capsys.readouterr()
        return " ".join((shown.out if code == 0 else shown.err).split())

    assert f"1 of {TRIED} formulas is named" in said("bureau")
    assert " Named " in said("bureau")
    assert "decaying" not in said("bureau")
    assert f"1 of {TRIED} formulas is named with a terminal of yours" in said("census")
    assert WON in said("census")
    assert said("clinic") == f"None of {TRIED} formulas is named with a terminal of yours."
    # the same screen, had nothing stood the hurdles
    told = json.loads((report / "report.json").read_text()) | {"named": []}
    (report / "report.json").write_text(json.dumps(told))
    assert f"No formula is named of {TRIED} that were tried." in said("bureau")
    assert " Named " not in said("bureau")
    (homes / "clinic" / "runs" / run_id / "screen-won.json").unlink()
    assert "has told this node of no formulas" in said("clinic")
    (report / "report.json").unlink()
    assert "has not come to its end here" in said("bureau")
