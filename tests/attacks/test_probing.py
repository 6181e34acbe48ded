"""Proposals that nobody signs: what an admin reads of a party by proposing one limit, or one share, after the other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parties.agreement.document import Agreement
from parties.data import static_panel
from parties.data.simulate import simulate
from parties.demo.homes import DemoHomes, lay_out
from parties.errors import DataError, EntenteError
from parties.node import own_data, readiness
from parties.node.home import NodeHome
from parties.node.openings import OpeningStore
from parties.node.readiness import check_ready
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import ConsortiumSettings, load_consortium

Ask = Callable[[int], bool]


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoHomes, ConsortiumSettings]:
    made = simulate(tmp_path_factory.mktemp("data"), entities=40, periods=16, parties=2, seed=7)
    settings = load_consortium(made.config)
    return lay_out(tmp_path_factory.mktemp("homes") / "out", settings, made.config.parent, made.data, 7), settings


def probed(refused: Ask, most: int = 4096) -> int | None:
    """The largest limit at which the node does not refuse, by bisection; None where no limit makes a difference."""
    if refused(1) or not refused(most):
        return None
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if refused(middle) else (middle, high)
    return low


def says_no(node: NodeHome, agreement: Agreement) -> bool:
    store = OpeningStore("sqlite://")
    try:
        check_ready(agreement, node, store, datetime.now(UTC))
    except EntenteError:
        return True
    finally:
        store.close()
    return False


def test_a_proposer_does_not_find_out_how_many_entities_a_party_has(
    laid: tuple[DemoHomes, ConsortiumSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a node refused a minimum that it cannot reach, twelve proposals gave the exact number."""
    place, settings = laid
    node = NodeHome(place.party("satellite"))
    made = agreement_of(settings, place.roster, datetime.now(UTC), timedelta(minutes=5)).model_dump(mode="json")

    def refused(limit: int) -> bool:
        made["alignment"].update(minimum_common=limit, maximum_set_size=100_000)
        return says_no(node, Agreement.model_validate(made))

    assert probed(refused) is None
    read, sizes = own_data.read_own_data, set[int]()

    def strict(agreement: Agreement, *rest: Any) -> own_data.OwnData:
        found = read(agreement, *rest)
        sizes.add(len(found.entities))
        if len(found.entities) < agreement.alignment.minimum_common:
            raise DataError("too few")
        return found

    monkeypatch.setattr(readiness, "read_own_data", strict)
    assert {probed(refused)} == sizes


def test_nor_by_varying_the_share_that_is_put_into_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part below twenty rows stops a run; refused before signing, the share at which it does tells the size."""
    count = 700
    names = [f"p{i:04d}" for i in range(count)]
    numbers = np.random.default_rng(2).normal(size=(count, 2))
    (tmp_path / "rows.csv").write_text(
        "entity,x,label\n"
        + "".join(f"{name},{x:.3f},{int(y > 0)}\n" for name, (x, y) in zip(names, numbers, strict=True))
    )
    (tmp_path / "x.sql").write_text("SELECT entity, x FROM read_csv('${data}/rows.csv')")
    (tmp_path / "y.sql").write_text("SELECT entity, label FROM read_csv('${data}/rows.csv')")
    (tmp_path / "consortium.toml").write_text(
        'name = "s"\n[static]\nlabel = "binary"\ntest_share = 0.3\n'
        '[label]\nname = "y"\ndefinition = "d"\nquery = "y.sql"\n'
        '[model]\nkind = "sealed"\n'
        '[[party]]\nname = "a"\nrole = "feature"\nquery = "x.sql"\ncolumns = ["x"]\n'
        '[[party]]\nname = "l"\nrole = "label"\n'
    )
    settings = load_consortium(tmp_path / "consortium.toml")
    place = lay_out(tmp_path / "out", settings, tmp_path, tmp_path, 7)
    node = NodeHome(place.party("l"))
    made = agreement_of(settings, place.roster, datetime.now(UTC), timedelta(minutes=5)).model_dump(mode="json")

    def refused(limit: int) -> bool:
        made["static"].update(test_share=1 / (limit + 1))
        return says_no(node, Agreement.model_validate(made))

    assert probed(refused, 400) is None

    class Never(DataError):
        pass

    monkeypatch.setattr(own_data, "TooFewRows", Never)
    found = probed(refused, 400)
    assert found is not None
    assert 0.5 * count < static_panel._FEWEST * found < 2 * count, "the share tells the size, closer with more seeds"
