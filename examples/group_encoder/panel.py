"""A simulated panel for this example: four lenders, accounts of their own, and a fund with a label of every account.

Each account has a slow hidden state. A lender's columns see it through noise, and so do the fund's one column and that
of a bureau, which only tied.toml has; the label is next month's state. Lenders differ: one column says little at each,
and one lender's columns are noisier than another's. Run: python examples/group_encoder/panel.py FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

LENDERS = ("north", "south", "east", "west")
COLUMNS = ("balance", "spend", "arrears", "visits")


def write(folder: Path, accounts: int, months: int, seed: int) -> None:
    """One CSV of columns a lender, the fund's, the bureau's, and one of labels."""
    draw, bureau = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    labels, fund, ratings = [], [], []
    when = pd.period_range("2019-01", periods=months, freq="M").end_time.date
    for place, lender in enumerate(LENDERS):
        state = np.zeros((months + 1, accounts))
        for month in range(1, months + 1):
            state[month] = 0.95 * state[month - 1] + 0.3 * draw.normal(size=accounts)
        loadings = np.array([1.0, 0.7, -0.8, 0.6])
        loadings[place] *= 0.2
        noise = 1.6 + 0.3 * place
        names = [f"{lender}{number:03}" for number in range(accounts)]
        index = pd.MultiIndex.from_product([when, names], names=["period", "entity"])
        seen = state[:-1, :, None] * loadings + noise * draw.normal(size=(months, accounts, len(COLUMNS)))
        pd.DataFrame(seen.reshape(-1, len(COLUMNS)), index, COLUMNS).to_csv(folder / f"{lender}.csv")
        labels.append(pd.Series(state[1:].reshape(-1), index, name="label"))
        fund.append(pd.Series((state[:-1] + 3 * draw.normal(size=(months, accounts))).reshape(-1), index, name="index"))
        rated = state[:-1] + 4 * bureau.normal(size=(months, accounts))
        ratings.append(pd.Series(rated.reshape(-1), index, name="rating"))
    pd.concat(ratings).to_csv(folder / "bureau.csv")
    pd.concat(labels).to_csv(folder / "labels.csv")
    pd.concat(fund).to_csv(folder / "fund.csv")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path)
    asked.add_argument("--accounts", type=int, default=20, help="of each lender")
    asked.add_argument("--months", type=int, default=60)
    asked.add_argument("--seed", type=int, default=0)
    given = asked.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    write(given.folder, given.accounts, given.months, given.seed)


if __name__ == "__main__":
    main()
