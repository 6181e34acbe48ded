"""The scanner over a real run: every byte that each process sent and received, in a consortium of real processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from parties.agreement.document import Agreement
from parties.demo import homes
from parties.demo.compare import Pooled
from parties.demo.run import DemoOptions, run_demo
from parties.node.context import node_secret
from parties.node.openings import OpeningStore
from parties.transport.meter import Record, read_records
from parties.wire.codec import decode
from psi.flow import Message, Payload
from tests.attacks.scanner import find, needles
from vfl.arithmetic.ring import unpack
from vfl.models.split.initial import initial_share
from vfl.protocols.opened_numbers import OpenedNumbers
from vfl.protocols.row_bits import BACKWARD
from vfl.register import REGISTER

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
RECORD = "wire.bin"
LIMIT = 2**32


@dataclass
class Recorded:
    """A finished demo: its agreement, everybody's data, and every party's records."""

    pooled: Pooled
    records: dict[str, list[Record]]
    out: Path

    @property
    def agreement(self) -> Agreement:
        return self.pooled.agreement

    def messages(self, party: str, kind: str, *, peer: str = "") -> Iterator[Message]:
        """What ``party`` sent of a kind."""
        for record in self.records[party]:
            if record.direction == "sent" and record.kind == kind and peer in ("", record.peer):
                yield decode(kind, record.body, limit=LIMIT)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    out = tmp_path_factory.mktemp("recorded") / "demo"
    plain = homes._node_settings

    def recording(*arguments: Any) -> Any:
        return plain(*arguments).model_copy(update={"record": RECORD})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(homes, "_node_settings", recording)
        run_demo(DemoOptions(out=out, entities=60, periods=24, parties=2, seed=5, model="split", check_parity=False))
    pooled = Pooled.load(out)
    names = [party.name for party in pooled.agreement.parties]
    return Recorded(pooled, {n: list(read_records(out / "parties" / n / RECORD)) for n in names}, out)


def private(run: Recorded) -> dict[str, NDArray[np.float64]]:
    """Everything the parties held at the start: features, labels, weight shares and weights."""
    pooled, agreement = run.pooled, run.agreement
    values = {f"features of {n}": panel.rows for n, panel in pooled.panels.items()}
    values["label"] = pooled.label.label
    values["label party's features"] = pooled.label.features.rows
    purpose = f"initial/{agreement.model.seed}"
    for party in agreement.features:
        shape = (len(party.columns), agreement.model.embedding_width)
        seeds = [
            node_secret(run.pooled.homes[holder].seed, at)
            for holder, at in ((party.name, purpose), (agreement.label.party, f"{purpose}/{party.name}"))
        ]
        shares = [initial_share(seed, shape, agreement.fixed_point, agreement.total_features) for seed in seeds]
        scale = 2.0**agreement.fixed_point.weight_bits
        values[f"weight share of {party.name}"], values[f"label party's share for {party.name}"] = (
            share / scale for share in shares
        )
        values[f"weights of {party.name}"] = sum(shares) / scale
    return values


def test_no_value_of_anybody_occurs_in_any_byte(recorded: Recorded) -> None:
    fixed = recorded.agreement.fixed_point
    scales = (fixed.feature_bits, fixed.gradient_bits, fixed.weight_bits, fixed.output_bits)
    secrets = private(recorded)
    options: dict[str, Any] = {"scales": scales, "ring_bits": fixed.ring_bits, "most": 600}
    wanted = [n for name, values in secrets.items() for n in needles(name, values, **options)]
    bodies = [(r.kind, r.body) for records in recorded.records.values() for r in records if r.direction == "sent"]
    assert sum(len(body) for _, body in bodies) > 10 * 2**20
    assert find(wanted, bodies) == {}
    assert len(secrets) == 2 + 4 * len(recorded.agreement.features)
    planted = b"x".join(needle.patterns[-1].tobytes() for needle in wanted)
    assert find(wanted, [("planted", planted)])["planted"] == {needle.what for needle in wanted}


def test_both_ends_recorded_the_same(recorded: Recorded) -> None:
    for name, records in recorded.records.items():
        for peer in recorded.records:
            sent = [(r.session, r.sequence, r.kind, r.body) for r in records if (r.direction, r.peer) == ("sent", peer)]
            there = [
                (r.session, r.sequence, r.kind, r.body)
                for r in recorded.records[peer]
                if (r.direction, r.peer) == ("received", name)
            ]
            assert sent == there


def test_every_message_has_a_class_that_was_agreed(recorded: Recorded) -> None:
    kinds = {r.kind for records in recorded.records.values() for r in records}
    assert {"psi.list", "mask.key", "product.answer", "source.sum", "coalition.sum"} <= kinds
    assert {REGISTER[kind].payload for kind in kinds} <= set(recorded.agreement.payloads)
    opening = {kind for kind in kinds if REGISTER[kind].payload in (Payload.MASKED, Payload.SHARE)}
    assert opening == {"source.sum", "coalition.sum"}


def test_what_opened_is_what_each_node_charged(recorded: Recorded) -> None:
    run_id, label = recorded.agreement.run_id, recorded.agreement.label.party
    rows = len(recorded.pooled.entities) * len(recorded.agreement.periods)
    for party in recorded.agreement.features:
        store = OpeningStore(f"sqlite:///{recorded.out / 'parties' / party.name / 'state.db'}")
        charged = np.zeros(rows, dtype=np.int64)
        for charge in store.history(run_id):
            if BACKWARD not in charge.label:
                charged[charge.rows] += 1
        store.close()
        opened = np.zeros(rows, dtype=np.int64)
        announced: dict[int, Any] = {m.step: m for m in recorded.messages(label, "source.batch", peer=party.name)}  # type: ignore[attr-defined]
        for message in recorded.messages(party.name, "source.sum"):
            opened[np.frombuffer(announced[message.step].rows, "<u4")] += 1  # type: ignore[attr-defined]
        predicted = np.concatenate([np.frombuffer(m.rows, "<u4") for m in announced.values() if not m.train])
        for _ in recorded.messages(party.name, "coalition.sum"):
            opened[predicted] += 1
        assert np.array_equal(opened, charged)
        assert 0 < opened.max() <= recorded.agreement.row_limit


def test_what_the_label_party_receives_is_uniform(recorded: Recorded) -> None:
    ring = OpenedNumbers(recorded.agreement.openings.deviation).ring(recorded.agreement.fixed_point)
    parts = []
    for party in recorded.agreement.features:
        for message in recorded.messages(party.name, "source.sum"):
            raw: bytes = message.values  # type: ignore[attr-defined]
            parts.append(unpack(raw, ring.width, len(raw) // ring.width, ring.modulus))
    values = np.concatenate(parts)
    assert len(values) > 2000
    for shift in (0, ring.bits - 5):
        counts = np.bincount(((values >> np.uint64(shift)) & np.uint64(31)).astype(int), minlength=32)
        assert stats.chisquare(counts).pvalue > 1e-6
