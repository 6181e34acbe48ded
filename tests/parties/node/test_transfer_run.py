"""Real nodes align by oblivious transfer where the agreement says so, run after run, without the coordinator."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from parties.client import Client
from parties.node.align import spread_over
from parties.node.alignments import load_previous, remember
from parties.node.openings import OpeningStore
from parties.proposing.drafting import agreement_of
from psi.group import InvalidPoint, Scalar, hash_block
from psi.ot.id_blocks import BlockSet, id_blocks
from psi.ring import Alignment
from tests.parties.demo_rig import until
from tests.parties.node.test_runs_leave_nothing import consortium


@pytest.mark.system
def test_two_runs_by_oblivious_transfer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = OpeningStore.before
    # the second run would be refused for the openings of the first, which is not what this is about
    monkeypatch.setattr(OpeningStore, "before", lambda *terms, **kinds: counted(*terms, **kinds) * 0)
    with consortium(tmp_path) as (homes, settings), Client("", homes.admin) as client:
        terms = settings.alignment.model_copy(update={"protocol": "ot"})
        for number in range(2):
            made = agreement_of(settings, homes.roster, datetime.now(UTC), timedelta(minutes=30))
            changed = {"nonce": f"run {number}", "alignment": terms}
            run_id = client.propose(made.model_copy(update=changed))
            until(lambda run_id=run_id: client.run(run_id).n_common is not None, "the alignment")  # type: ignore[misc]
            assert client.run(run_id).n_common == 32
            if number == 1:
                client.cancel(run_id, "aligned is enough")
            until(lambda run_id=run_id: client.run(run_id).ended, "the run's end")  # type: ignore[misc]
        for name in ("a", "fund"):
            kept = json.loads((homes.party(name) / "alignment.json").read_text())
            assert len(kept["sets"]) == 1
            assert len(load_previous(homes.party(name) / "alignment.json", ("a", "b", "fund")).salted or "") == 32
            lines = (homes.party(name) / "alignments.jsonl").read_text().splitlines()
            assert [json.loads(line)["rows"] for line in lines] == [32, 32]
            assert {peer["changed"] for peer in json.loads(lines[1])["peers"].values()} == {0}


def test_a_set_of_blocks_is_kept_and_read_again(tmp_path: Path) -> None:
    path, ids = tmp_path / "alignment.json", ("A", "BRK.B", "X" * 40)
    held = BlockSet.of(b"s" * 32, id_blocks(ids))
    assert held is not None
    alignment = Alignment(ids, {"fund": 3, "sat": 3}, b"", {"fund": held.root, "sat": bytes(32)}, held)
    remember(path, "fund", alignment, load_previous(path, ("sat",)))
    again = load_previous(path, ("sat",)).salted
    assert again == held
    assert again.changed(["A", "BRK.B", "NEW", "NEWER"]) == 2


class Here:
    """Workers that compute in the test's own process."""

    count = 2

    def __call__(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        return [function(*call) for call in calls]


def test_points_are_multiplied_by_the_partys_workers_in_order() -> None:
    scalar = Scalar.random(secrets).multiplier()
    blocks = [hash_block(b"run", [f"ID{n}-{i}" for i in range(3)]) for n in range(19)]
    assert list(spread_over(Here())(scalar, iter(blocks))) == list(map(scalar, blocks))
    with pytest.raises(InvalidPoint):
        list(spread_over(Here())(scalar, [blocks[0], [bytes(32)]]))
    assert spread_over(None) is map
