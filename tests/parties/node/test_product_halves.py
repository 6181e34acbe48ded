"""An owner's half of a product: found in what the screen told it, made at home again, and refused where it is not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from parties.data.terminals import named_terminals, terminals_of
from parties.errors import AgreementError, ConfigError, DataError
from parties.node import product_halves
from parties.node.product_halves import check_halves
from parties.node.screen_won import Part, Parts, keep_won
from parties.settings.terminals import TerminalSettings
from tests.parties.agreement.test_model_terms import agreement
from tests.parties.agreement.test_product_terms import SCREEN, made
from vfl.terms import ScreenModel

NAMES = ("x", "y", "change of x over 3 periods", "change of y over 3 periods")
TERMS = TerminalSettings(windows=(3,), operators=("difference",))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Party a's, which was told that its terminal 2, in a turned order, won with terminals 7 and 9 of b."""
    parts = [Part(number=2, other="b", other_number=n, mean=0.1, t_first=5, t_second=4) for n in (7, 9)]
    folder = tmp_path / "runs" / SCREEN
    folder.mkdir(parents=True)
    order, signs = np.array([1, 0, 3, 2]), np.array([1, 1, -1, 1])
    keep_won(folder, Parts(trials=10, parts=tuple(parts)), NAMES, order, signs)
    screen = SimpleNamespace(model=ScreenModel(), label=SimpleNamespace(party="l"))
    monkeypatch.setattr(product_halves, "proposed_before", lambda _, run: screen if run == SCREEN else None)
    return tmp_path


def check(home: Path, terms: Any, settings: TerminalSettings = TERMS) -> None:
    check_halves(terms, home, "a", SimpleNamespace(own_columns=("x", "y"), terminals=settings))  # type: ignore[arg-type]


def test_an_owner_finds_its_terminal_whatever_order_and_sign_it_had(home: Path) -> None:
    terms = made("a#2 x b#7", "b#9 x a#2")
    check(home, terms)
    products = terms.model.products  # type: ignore[union-attr]
    assert product_halves._names(products, home, "a") == ("change of y over 3 periods",)  # type: ignore[arg-type]
    check(home, made("b#1 x c#1"))  # others' products need nothing here
    check(home, agreement({"kind": "sealed", "anchor": "b"}, contribution="none", limit_per_row=1))


def test_what_an_owner_was_not_told_or_cannot_make_is_refused_before_it_signs(home: Path) -> None:
    with pytest.raises(DataError, match="told a of no named formula a#2 x b#8"):
        check(home, made("a#2 x b#8"))
    with pytest.raises(DataError, match=r"which \[party.terminals\] and the columns of today do not make any more"):
        check(home, made("a#2 x b#7"), TerminalSettings(windows=(5,), operators=("difference",)))
    kept = home / "runs" / SCREEN / "screen-won.json"
    kept.write_text(kept.read_text().replace('"number": 2', '"number": -1'))
    with pytest.raises(ConfigError, match="under an earlier version"):
        check(home, made("a#2 x b#7"))
    kept.unlink()
    with pytest.raises(AgreementError, match="a keeps nothing of the screen abababababab"):
        check(home, made("a#2 x b#7"))
    elsewhere = made("a#2 x b#7").model_dump(mode="json")
    elsewhere["model"]["products"]["screen"] = "cd" * 32
    with pytest.raises(AgreementError, match="a knows of no screen of formulas cdcdcdcdcdcd for a label of l"):
        check(home, type(made("a#2 x b#7")).model_validate(elsewhere))


def test_another_label_partys_screen_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = SimpleNamespace(model=ScreenModel(), label=SimpleNamespace(party="m"))
    monkeypatch.setattr(product_halves, "proposed_before", lambda *_: theirs)
    with pytest.raises(AgreementError, match="a knows of no screen of formulas abababababab for a label of l"):
        check(home, made("a#2 x b#7"))


def test_names_of_terminals_are_those_that_a_screen_makes() -> None:
    raw = np.random.default_rng(0).normal(size=(30, 40, 2))
    assert (
        named_terminals(("x", "y"), TerminalSettings()) == terminals_of(raw, ("x", "y"), TerminalSettings(), 99).names
    )
