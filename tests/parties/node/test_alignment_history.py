"""How often a counterparty is answered, and what of its sets shows in the log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from parties.errors import AgreementError, StorageError
from parties.node.alignment_history import (
    HeldSet,
    Shown,
    alignments,
    check_repeats,
    large_sets,
    noted,
    record_alignment,
)
from psi.commitment import AlignmentLimits, OwnSetRefused, PreviousAlignment
from psi.flow import Message, RemoteProtocolError, run_local
from psi.messages import AlignmentConfirmation
from tests.psi.rig import LIMITS, Wire, align, flows
from tests.psi.transfer_rig import transfer_flows, without_base_transfers

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def took_place(folder: Path, days: int, **changed: int | None) -> None:
    shown = Shown(100, {name: HeldSet(size=700, changed=ids) for name, ids in changed.items()})
    record_alignment(folder, "ab" * 32, "psi", shown, 2, NOW - timedelta(days=days))


def test_a_counterparty_that_comes_with_changed_sets_is_answered_so_often_and_no_more(tmp_path: Path) -> None:
    check_repeats(tmp_path, {"sat", "web"}, 1, NOW)
    took_place(tmp_path, 40, sat=3)
    took_place(tmp_path, 20, sat=None, web=None)
    for days in (9, 8, 7):
        took_place(tmp_path, days, sat=0)
    took_place(tmp_path, 6, sat=2)
    check_repeats(tmp_path, {"sat"}, 3, NOW)
    check_repeats(tmp_path, {"web"}, 2, NOW)
    check_repeats(tmp_path, {"sat"}, 2, NOW + timedelta(days=11))
    with pytest.raises(AgreementError, match=r"sat was aligned with 2 times in 30 days.*limits.alignments\) is 2"):
        check_repeats(tmp_path, {"sat", "web"}, 2, NOW)
    found = alignments(tmp_path)
    assert [one.peers["sat"].changed for one in found] == [3, None, 0, 0, 0, 2]
    assert (tmp_path / "alignments.jsonl").stat().st_mode & 0o077 == 0


def test_a_whole_universe_is_named_and_a_damaged_file_stops_the_run(tmp_path: Path) -> None:
    took_place(tmp_path, 1, web=None)
    [entry] = alignments(tmp_path)
    assert large_sets(entry) == (
        "web brings 700 entities, 7.0 times this party's 100: whoever submits a whole universe learns which of it all "
        "others hold (alignment.maximum_set_size caps it)",
    )
    (tmp_path / "alignments.jsonl").write_text('{"at": 5}\n')
    with pytest.raises(StorageError, match=r"alignments.jsonl: damaged"):
        check_repeats(tmp_path, {"web"}, 1, NOW)


def test_two_runs_that_differ_by_few_ids_are_refused_at_home_and_by_others() -> None:
    sets = {"bank": [f"A{i}" for i in range(12)], "sky": [f"A{i}" for i in range(12)]}
    few = AlignmentLimits(1, 10_000, 0.5, smallest_change=3)
    first = align(sets, limits=few)
    before = {
        name: PreviousAlignment(first[name].salted, {other: frozenset({first[other].salted.root})})
        for name, other in (("bank", "sky"), ("sky", "bank"))
    }
    assert align(sets, limits=few, previous=before)["bank"].changed == {"bank": 0, "sky": 0}
    for ids, fits in ((["B0", "B1"], False), (["B0", "B1", "B2"], True)):
        moved = {**sets, "sky": [*sets["sky"][: -len(ids)], *ids]}
        if fits:
            assert align(moved, limits=few, previous=before)["bank"].changed == {"bank": 0, "sky": 3}
            continue
        wire = Wire()
        with pytest.raises(OwnSetRefused, match="2 of this party's 12 entities changed since its last run, fewer"):
            align(moved, limits=few, previous=before, wire=wire)
        made = flows(moved, limits=LIMITS, previous=before)
        made["bank"] = flows(moved, limits=few, previous=before)["bank"]
        with pytest.raises(RemoteProtocolError, match="sky: declares that 2 entities changed"):
            run_local(made)


@pytest.mark.parametrize("protocol", ["ring", "ot"])
def test_a_counterparty_that_stops_once_it_has_its_answer_is_noted(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_base_transfers(monkeypatch)
    sets = {"bank": ["A", "B", "C"], "sky": ["A", "B"]}
    victim, made = ("bank", flows(sets)) if protocol == "ring" else ("sky", transfer_flows(sets))
    other, shown = ("sky" if victim == "bank" else "bank"), Shown()
    made[victim] = noted(made[victim], shown)

    def stopping(sender: str, receiver: str, message: Message) -> Message:
        if sender == other and isinstance(message, AlignmentConfirmation):
            raise RemoteProtocolError("stopped", sender)
        return message

    with pytest.raises(RemoteProtocolError, match="stopped"):
        run_local(made, relay=stopping)
    assert shown == Shown(len(sets[victim]), {other: HeldSet(size=len(sets[other]))}, answered=True)
    unasked = Shown()
    begun = noted(flows(sets)["bank"], unasked)
    next(begun)
    with pytest.raises(RemoteProtocolError, match="gone"):
        begun.throw(RemoteProtocolError("gone", "sky"))
    assert unasked == Shown(3)
