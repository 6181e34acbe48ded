"""Openings that a node stored before there were bits: what they count is never less than it was."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np

from parties.data.row_contents import row_contents
from parties.node.openings import OpeningStore
from vfl.protocols.row_bits import LEGACY_BITS

ENTITIES, PERIODS = ["a", "b", "c"], ["p", "q"]
EARLIER = """
CREATE TABLE opening_rows (run_id VARCHAR(64) NOT NULL, entities JSON NOT NULL, periods JSON NOT NULL,
  PRIMARY KEY (run_id));
CREATE TABLE opening_charges (number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, run_id VARCHAR(64) NOT NULL,
  label VARCHAR(400) NOT NULL, width INTEGER NOT NULL, rows BLOB NOT NULL, at VARCHAR(40) NOT NULL,
  UNIQUE (run_id, label));
CREATE INDEX ix_opening_charges_run_id ON opening_charges (run_id);
INSERT INTO opening_rows VALUES ('old', '["a", "b", "c"]', '["p", "q"]');
"""
CHARGES = [("train-1/0", 3, [0, 1, 2]), ("train-1/1", 3, [1, 4]), ("value/x/0", 3, [1]), ("warm-start/t", 1, [0])]


def earlier_state(path: Path) -> np.ndarray[Any, Any]:
    """A database as it was written before contents were kept; the linear forms of each row in it."""
    forms = np.zeros(6, dtype=np.int64)
    with sqlite3.connect(path) as connection:
        connection.executescript(EARLIER)
        for label, width, rows in CHARGES:
            blob = np.array(rows, dtype="<u4").tobytes()
            connection.execute(
                "INSERT INTO opening_charges (run_id, label, width, rows, at) VALUES ('old', ?, ?, ?, '2025')",
                (label, width, blob),
            )
            forms[rows] += width
    return forms


def test_what_was_stored_before_counts_no_less_by_number_and_all_bits_by_content(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    forms = earlier_state(path)
    digests = row_contents(np.random.default_rng(0).normal(size=(2, 3, 2)), np.ones((2, 3), dtype=bool)).keyed(
        bytes(32)
    )
    for _ in range(2):
        store = OpeningStore(f"sqlite:///{path}")
        for width in (1, 2, 3, 5):
            assert (store.before("new", ENTITIES, PERIODS, width) * width >= forms).all()
        assert (store.before("new", ENTITIES, PERIODS, 1) == forms).all()
        told = store.told("new", ENTITIES, PERIODS, digests)
        assert (told == forms * LEGACY_BITS).all()
        # the run goes on under this version: what it opened before still counts in full
        store.hold_contents("new", digests, 5.0)
        store.begin("new", ENTITIES, PERIODS)
        assert (store.told("third", ENTITIES, PERIODS, digests) >= forms * LEGACY_BITS).all()
        store.close()


def test_a_run_that_began_before_and_goes_on_now_is_not_counted_down(tmp_path: Path) -> None:
    """Its contents become known late, and numbers that it opened without noise must not turn into five bits each."""
    path = tmp_path / "state.db"
    forms = earlier_state(path)
    digests = row_contents(np.ones((2, 3, 2)), np.ones((2, 3), dtype=bool)).keyed(bytes(32))
    store = OpeningStore(f"sqlite:///{path}")
    before = store.told("new", ENTITIES, PERIODS, digests)
    assert store.hold_contents("old", digests, 5.0) == LEGACY_BITS
    assert (store.told("new", ENTITIES, PERIODS, digests) >= before).all()
    assert (before == forms * LEGACY_BITS).all()
    store.close()
