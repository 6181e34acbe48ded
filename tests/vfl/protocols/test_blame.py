"""Blame: what a peer's message makes us refuse names the peer, and a fault of our own arithmetic names nobody."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from psi.flow import Flow, RemoteProtocolError, run_local
from tests.places import ROOT
from tests.vfl.protocols import prime_rig
from tests.vfl.protocols.test_product import SIDES, product
from vfl.arithmetic.he import Evaluator, KeyHolder
from vfl.arithmetic.received import MalformedError
from vfl.arithmetic.ring import unpack
from vfl.protocols.opening_budget import BudgetExceededError, Charge, OpeningBudget, asked_by

OURS = "operands could not be broadcast together"


def broken(*_: Any, **__: Any) -> Any:
    """What numpy says where shapes of ours do not fit."""
    raise ValueError(OURS)


def matrices() -> Any:
    ring = SIDES["bfv-8192"][0].context.ring
    return product(np.ones((3, 2), dtype=np.int64), ring.uniform(prime_rig.secret("y"), (2, 2)))


def vectors() -> Any:
    return prime_rig.shares_of_product(prime_rig.uniform("a", 3), prime_rig.uniform("b", 3))


@pytest.mark.parametrize(
    ("run", "owner", "name"),
    [
        (matrices, Evaluator, "combine"),  # the evaluator multiplies
        (matrices, Evaluator, "finish"),
        (matrices, type(SIDES["bfv-8192"][0].context), "answer"),  # the key holder reads its share
        (vectors, Evaluator, "combine"),
        (vectors, type(prime_rig.slot_key().context), "answer"),
    ],
)
def test_a_fault_of_our_own_arithmetic_is_pinned_on_no_peer(
    run: Callable[[], Any], owner: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(ValueError, match=OURS) as caught:
        run()
    assert not isinstance(caught.value, MalformedError)


@pytest.mark.parametrize("method", [Evaluator.load, KeyHolder.decrypt])
def test_what_a_peer_sent_is_malformed_and_not_an_error_of_ours(method: Callable[..., Any]) -> None:
    key, evaluator = SIDES["bfv-8192"]
    with pytest.raises(MalformedError):
        if method is Evaluator.load:
            evaluator.load(b"short")
        else:
            key.decrypt(b"short", b"", np.arange(4))
    with pytest.raises(MalformedError):
        unpack(b"\xff" * 8, 8, 1, 5)


def test_no_flow_catches_every_value_error_and_names_a_peer() -> None:
    """Around what only parses, :class:`MalformedError`; a bare ValueError there could be ours."""
    # in these whatever is inside the try is the peer's own bytes: its key, and its sealed bundle
    allowed = {
        "vfl/protocols/opening.py:agree_masks",
        "vfl/protocols/delivery.py:receive_bundle",
        "vfl/federated/secure_sum.py:_pair_masks",
    }
    found = set()
    for path in [*(ROOT / "psi").rglob("*.py"), *(ROOT / "vfl").rglob("*.py")]:
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.ExceptHandler) and "RemoteProtocolError" in ast.unparse(node):
                    caught = {name.id for name in ast.walk(node.type or node) if isinstance(name, ast.Name)}
                    if node.type is None or caught & {"ValueError", "Exception", "ArithmeticError", "TypeError"}:
                        found.add(f"{path.relative_to(ROOT)}:{function.name}")
    assert found == allowed


ROWS = np.arange(3)


@pytest.mark.parametrize(
    ("rows", "label", "words"),
    [
        (ROWS, "s/0", "was made before"),
        (ROWS, "s/2", "which is the limit"),
        (np.array([0, 0]), "s/2", "names a row twice"),
        (np.array([7]), "s/2", "does not exist"),
    ],
)
def test_who_asks_for_more_than_it_may_have_is_named(rows: np.ndarray, label: str, words: str) -> None:
    """A repeated step and an overdrawn budget are the label party's: not the victim's that counts."""
    budget = OpeningBudget(4, 2, history=[Charge("s/0", ROWS, 1), Charge("s/1", ROWS, 1)])
    with pytest.raises(RemoteProtocolError, match=words) as caught, asked_by("bank"):
        budget.charge(label, rows, 1)
    assert caught.value.peer == "bank"


def test_what_other_runs_took_is_nobodys_fault_in_this_one() -> None:
    budget = OpeningBudget(4, 2, others=lambda: np.full(4, 2))
    with pytest.raises(BudgetExceededError, match="which is the limit"), asked_by("bank"):
        budget.charge("s/0", ROWS, 1)


def test_nothing_else_that_happens_while_charging_is_pinned_on_who_asked() -> None:
    def full(_: Charge) -> None:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"), asked_by("bank"):
        OpeningBudget(4, 2, record=full).charge("s/0", ROWS, 1)


def test_a_refusal_reaches_whoever_runs_the_flow_with_the_name() -> None:
    def feature() -> Flow[None]:
        yield from ()
        with asked_by("label"):
            OpeningBudget(4, 0).charge("s/0", ROWS, 1)

    with pytest.raises(RemoteProtocolError) as caught:
        run_local({"feature": feature()})
    assert caught.value.peer == "label"
