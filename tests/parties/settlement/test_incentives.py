"""The numbers in docs/incentives.md, computed again from the tables they stand in."""

from __future__ import annotations

import re

import numpy as np
import pytest

from parties.ledger.split import score, split_reward
from tests.places import ROOT
from vfl.contribution import coalitions, exact_shapley
from vfl.protocols.fee_reports import usage_fee

TEXT = (ROOT / "docs" / "incentives.md").read_text(encoding="utf-8")
NAMES = ("satellite", "social", "card")


def table(*head: str) -> list[list[str]]:
    """The body of the table with these headings."""
    lines = TEXT.splitlines()
    start = lines.index("| " + " | ".join(head) + " |") + 2
    body = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        body.append([cell.strip() for cell in line.strip("|").split("|")])
    return body


def game() -> dict[frozenset[str], np.ndarray]:
    rows = table("coalition", "v")
    values = {frozenset() if who == "nobody" else frozenset(who.split(", ")): int(v) for who, v in rows}
    return {members: np.array([value / 1000]) for members, value in values.items()}


def test_the_pot_is_divided_as_the_example_says() -> None:
    assert set(game()) == set(coalitions(NAMES))
    report = exact_shapley(game(), parties=NAMES)
    rows = {row[0]: row[1:] for row in table("party", "phi", "standard error", "score", "share of the pot")}
    scores = {}
    for name in NAMES:
        phi, error, shown, _ = rows[name]
        mean = report.estimates[name].mean
        assert f"{1000 * mean:.2f}" == phi
        scores[name] = score(mean, float(error) / 1000, 0.5)
        assert f"{1000 * scores[name]:.2f}" == shown
    assert rows["sum"] == [f"{1000 * report.total:.2f}", "", f"{1000 * sum(scores.values()):.2f}", "10000.00"]
    shares = split_reward(10_000_00, scores).shares
    assert {name: f"{shares[name] / 100:.2f}" for name in NAMES} == {name: rows[name][3] for name in NAMES}
    assert sum(shares.values()) == 10_000_00
    assert "(2 x 20 + 16 + 19 + 2 x 16) / 6 = 17.83" in TEXT
    by_hand = (2 * 20 + 16 + 19 + 2 * 16) / 6
    assert by_hand == pytest.approx(1000 * report.estimates["satellite"].mean)


def test_a_company_with_two_parties_gets_what_the_text_says() -> None:
    united = exact_shapley(game(), parties=NAMES, entities={"social": "Company", "card": "Company"})
    apart = exact_shapley(game(), parties=NAMES)
    both = apart.by_entity["social"] + apart.by_entity["card"]
    numbers = [united.by_entity["Company"], united.by_entity["satellite"], both, apart.by_entity["satellite"]]
    shown = [f"{1000 * number:.2f}" for number in numbers]
    said = re.search(
        r"would get ([\d.]+) and satellite ([\d.]+), instead of ([\d.]+) and ([\d.]+)\.", " ".join(TEXT.split())
    )
    assert said is not None
    assert list(said.groups()) == shown


def test_an_unknown_sister_gains_what_the_text_says() -> None:
    def each(names: tuple[str, ...], entities: dict[str, str]) -> dict[str, float]:
        values = {members: np.array([0.012 if members else 0.0]) for members in coalitions(names)}
        return exact_shapley(values, parties=names, entities=entities).by_entity

    assert each(("a", "b"), {}) == pytest.approx({"a": 0.006, "b": 0.006})
    strangers = each(("a", "a2", "b"), {})
    assert strangers["a"] + strangers["a2"] == pytest.approx(0.008)
    assert each(("a", "a2", "b"), {"a": "A", "a2": "A"}) == pytest.approx({"A": 0.006, "b": 0.006})
    flat = " ".join(TEXT.split())
    assert "worth 12 together or alone, get 6 each" in flat
    assert "three get 4 each, and the company has 8" in flat


def minor(amount: str) -> int:
    return int(amount.replace(".", ""))


def test_fees_are_what_the_example_says() -> None:
    rows = table("party", "assets", "fee")
    *parties, total = rows
    fees = [usage_fee(minor(assets), 20) for _, assets, _ in parties]
    assert [f"{fee / 100:.2f}" for fee in fees] == [fee for _, _, fee in parties]
    assert total == ["total", "", f"{sum(fees) / 100:.2f}"]
    rest = f"{(sum(fees) - fees[0]) / 100:.2f}"
    assert f"owe {rest} together" in " ".join(TEXT.split())
