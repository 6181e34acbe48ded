"""Sums of a group's expansion: a coordinator that tells members other counts, and what two runs tell of a member."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from psi.flow import Message, RemoteProtocolError
from tests.vfl.federated.test_expansion import NAMES, ROWS, fitted, plan
from vfl.federated import expansion
from vfl.federated.expansion import CELLS, ExpansionPlan, counts_of, moments_of
from vfl.federated.messages import SumPart, SumTotal
from vfl.federated.updates import RING

BINS = plan(fourier=0, bins=4, outputs=5)


def telling_others_that_all_rows_are_alike(sender: str, to: str, message: Message) -> Message:
    """Whoever is not the victim e bins all its rows into one bin, so that e's are what varies in the second sum."""
    if not (isinstance(message, SumTotal) and message.number == 7 and to != "e"):
        return message
    counts = RING.unpack(message.values, BINS.counted)
    made = np.zeros((3, CELLS), dtype=np.uint64)
    made[:, -1] = counts[0]
    return replace(message, values=RING.pack(np.concatenate([counts[:1], made.reshape(-1)])))


def test_a_coordinator_that_tells_each_other_counts_reads_one_members_bins(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any) -> Any:
        return
        yield

    edges = BINS.edges(sum((counts_of(BINS, rows) for rows in ROWS.values()), np.zeros(BINS.counted)))
    own = moments_of(BINS, ROWS["e"], edges)[:12].reshape(3, 4)[:, 1:3]
    with monkeypatch.context() as patched:
        patched.setattr(expansion, "_compared", nothing)
        _, sent = fitted(BINS, change=telling_others_that_all_rows_are_alike)
    [opened] = {message.values for _, _, message in sent if isinstance(message, SumTotal) and message.number == 8}
    read = RING.decode(RING.unpack(opened, BINS.moments), 24)[:12].reshape(3, 4)[:, 1:3]
    np.testing.assert_allclose(read, own, atol=1e-5)
    found, sent = fitted(BINS, change=telling_others_that_all_rows_are_alike)
    assert not any(isinstance(message, SumPart) and message.number == 8 for _, _, message in sent)
    assert isinstance(found["e"], RemoteProtocolError)
    assert "other counts of the members' rows than e: no moment is told" in str(found["e"])


def test_two_runs_of_which_one_has_a_member_more_show_its_counts_and_not_its_features() -> None:
    def opened(terms: ExpansionPlan, names: tuple[str, ...]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        counts = sum((counts_of(terms, ROWS[name]) for name in names), np.zeros(terms.counted))
        edges = terms.edges(counts)
        return counts, sum((moments_of(terms, ROWS[name], edges) for name in names), np.zeros(terms.moments))

    one, two = plan(), plan("00" * 32)
    with_, without = opened(one, NAMES), opened(two, NAMES[:3])
    np.testing.assert_array_equal(with_[0] - without[0], counts_of(one, ROWS["w"]))
    waves, _ = plan(bins=0), plan("00" * 32, bins=0)
    own = moments_of(waves, ROWS["w"], np.zeros((3, 0)))
    same = opened(waves, NAMES)[1] - opened(waves, NAMES[:3])[1]
    np.testing.assert_allclose(same, own, atol=1e-9)
    other = opened(waves, NAMES)[1] - opened(plan("00" * 32, bins=0), NAMES[:3])[1]
    assert np.abs(other - own).max() > 10
