"""The label party's valuation: over real flows of coalition openings and sealed attribution, against plain sums."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.agreement.text import agreement_lines
from parties.control.phase_reports import ValueReport, phase_report
from parties.node.context import RunContext
from parties.node.contribution_evidence import SentParts
from parties.node.sessions import session_terms
from parties.node.valuation import Valuation, value_run
from parties.settlement.contribution import ContributionRecord
from parties.settlement.pay_rule import check_record
from parties.settlement.signed_contribution import SignedContribution
from psi.flow import Flow, run_local
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring
from vfl.arithmetic.share import Share
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.split.top import LabelHead
from vfl.models.split.twin import PlainSource, initial_weights, train_in_the_clear
from vfl.protocols.attribution import serve_attribution
from vfl.protocols.coalitions import serve_coalitions
from vfl.protocols.committed_values import hear_basis
from vfl.protocols.contribution_record import hear_contributions, tell_rows
from vfl.protocols.feature_session import FeatureSession
from vfl.protocols.opened_numbers import RowNoise
from vfl.protocols.opening import agree_masks
from vfl.protocols.opening_budget import OpeningBudget
from vfl.protocols.session import Kept
from vfl.terms import FixedPoint, SplitModel, WalkForward
from vfl.walk.result import TrainingResult

PERIODS, ENTITIES = 16, 60
KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
OWN = KEY.public_key().public_bytes_raw().hex()
TERMS = SplitModel(embedding_width=2, hidden=4, members=1, epochs=1, warmup_epochs=1, batch_rows=256)
WALK = WalkForward(horizon=1, warmup=4)
NAMES = ("card", "sat", "social")
RING = Ring(FixedPoint().ring_bits)


def secret(name: str) -> SecretStream:
    return SecretStream(hashlib.sha256(name.encode()).digest())


def agreement(entities: dict[str, str] | None = None, **openings: Any) -> Agreement:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    ends = [now + timedelta(days=7 * i) for i in range(PERIODS)]

    def party(name: str, role: str) -> dict[str, Any]:
        return {
            "name": name, "role": role, "legal_entity": (entities or {}).get(name, ""), "address": "127.0.0.1:1",
            "identity_key": OWN, "certificate_sha256": "00" * 32, "columns": [f"{name}_{i}" for i in range(12)],
        }  # fmt: skip

    return Agreement.model_validate({
        "consortium": "c", "purpose": "p", "proposed_at": now, "expires_at": now, "nonce": "1",
        "coordinator_certificate_sha256": "00" * 32, "coordinator_address": "127.0.0.1:1",
        "parties": [party("fund", "label"), *(party(name, "feature") for name in NAMES)],
        "label": {"name": "y", "definition": "d", "party": "fund"},
        "calendar": {
            "frequency": "W", "periods": [str(i) for i in range(PERIODS)], "period_ends": ends, "cutoffs": ends,
        },
        "model": TERMS.model_dump(), "walk_forward": WALK.model_dump(), "alignment": {"policy": "psi"},
        "openings": {"limit_per_row": 8, **openings}, "recipients": ["fund"], "code_version": "0",
    })  # fmt: skip


def panel(values: np.ndarray) -> FeaturePanel:
    shape = values.shape[:2]
    never = np.full(shape, np.datetime64("NaT"), dtype="datetime64[ns]")
    names = tuple(f"c{i}" for i in range(values.shape[2]))
    return FeaturePanel(names, values, np.ones(shape, dtype=bool), never, never)


@dataclass
class World:
    """A trained joint model whose kept predictions lie in shares."""

    label: LabelPanel
    result: TrainingResult
    head: LabelHead
    kept: dict[str, Kept]
    theirs: dict[str, Kept]
    parts: dict[str, np.ndarray]
    steps: tuple[Any, ...] = ()
    sums: dict[int, np.ndarray] = field(default_factory=dict)


@cache
def world() -> World:
    rng = np.random.default_rng(0)
    shape = (PERIODS, ENTITIES)
    own = rng.normal(size=(*shape, 2))
    features = {name: rng.normal(size=(*shape, 3)) for name in NAMES}
    label = 0.3 * own[..., 0] + 0.5 * features["sat"][..., 0] + 0.3 * features["card"][..., 1] + rng.normal(size=shape)
    known = np.repeat(np.arange(1, PERIODS + 1)[:, None], ENTITIES, axis=1)
    held = LabelPanel(panel(own), label, known, np.ones(shape, dtype=bool))
    weights = initial_weights([(bytes([k]) * 32, bytes([k + 9]) * 32) for k in range(3)], [3] * 3, 2, FixedPoint())
    result, source = train_in_the_clear(
        [panel(x) for x in features.values()], held, TERMS, WALK, row_limit=3, reserved=0, weights=weights
    )
    assert isinstance(source, PlainSource)
    rows = np.concatenate([step.rows for step in result.predictions])
    bits = FixedPoint().output_bits
    kept, theirs, parts = {}, {}, {}
    for place, name in enumerate(NAMES):
        parts[name] = source.coalition([place], result.predictions)
        share = Share(RING, RING.uniform(secret(name), parts[name].shape))
        theirs[name] = Kept(rows, share)
        kept[name] = Kept(rows, Share(RING, RING.encode(parts[name], bits)) - share)
    return World(held, result, LabelHead(TERMS, 2), kept, theirs, parts)


class Rig:
    """A run context that performs the value phase with the feature parties in this process."""

    def __init__(self, agreed: Agreement, folder: Path) -> None:
        self.agreement = agreed
        self.run_id, self.run_folder = agreed.run_id, folder
        self.identity = SimpleNamespace(key=KEY)
        self.logged: list[Any] = []
        self.audit = SimpleNamespace(append=lambda *entry: self.logged.append(entry))
        self.kept: dict[str, bytes] = {}
        self.me = "fund"
        self.sent: dict[str, SentParts] = {}
        self.budgets = {name: OpeningBudget(PERIODS * ENTITIES, agreed.row_limit) for name in NAMES}

    def secret(self, purpose: str) -> bytes:
        return hashlib.sha256(purpose.encode()).digest()

    def perform(self, phase: str, attempt: int, flow: Flow[Any]) -> Any:
        assert phase == "value"
        return run_local({"fund": flow, **{name: self.serve(name) for name in NAMES}})["fund"]

    def serve(self, me: str) -> Flow[None]:
        agreed, kept, stream = self.agreement, world().theirs[me], secret(f"stream/{me}")
        masks = yield from agree_masks(me, NAMES, "00" * 32, RING, stream)
        terms = session_terms(agreed, me, "v")
        noise = RowNoise(me.encode().ljust(32), terms["numbers"])
        session = FeatureSession(**terms, masks=masks, noise=noise, budget=self.budgets[me], stream=stream)
        if agreed.openings.contribution == "masked":
            self.sent[me] = SentParts("v", (yield from hear_basis("fund")))
            yield from serve_coalitions(session, kept, consent=True, sent=self.sent[me].part)
        if agreed.openings.attribution:
            yield from serve_attribution(session, kept, ENTITIES, consent=True)
        if agreed.openings.contribution == "masked":
            yield from tell_rows("fund", [me == "sat"] * PERIODS)
            yield from hear_contributions("fund", partial(self.kept.__setitem__, me))


def value(agreed: Agreement) -> tuple[Valuation, Rig]:
    rig, held = Rig(agreed, Path(tempfile.mkdtemp(prefix="valuation-"))), world()
    periods = tuple(agreed.calendar.periods)
    model = cast("Any", held)
    return value_run(cast("RunContext", rig), model, held.result, held.label, periods, 1), rig


def test_masked_values_come_conditioned_and_plain_with_attribution_at_home() -> None:
    found, rig = value(agreement())
    assert found.conditioned is not None
    assert found.plain is not None
    assert found.attribution is not None
    record = phase_report("value", found.record(), "fund")
    parsed = ContributionRecord.model_validate(record["contribution"])
    assert "in every coalition" in parsed.definition
    assert "fits its blend" in parsed.definition
    assert "in no coalition" in parsed.plain_definition
    assert parsed.parties["sat"].phi > parsed.parties["card"].phi > parsed.parties["social"].phi
    assert parsed.parties["sat"].plain == found.plain.estimates["sat"].mean
    total = sum(said.phi for said in parsed.parties.values())
    assert parsed.v_everyone is not None
    assert parsed.v_nobody is not None
    assert total == pytest.approx(parsed.v_everyone - parsed.v_nobody)
    assert sum(record["attribution"]["parties"].values()) == pytest.approx(record["attribution"]["total"], rel=1e-9)
    assert rig.budgets["sat"].largest == 3
    # every feature party was sent what the label party signed, reports and keeps itself
    (document,) = {*rig.kept.values(), (rig.run_folder / "contribution.json").read_bytes()}
    assert set(rig.kept) == set(NAMES)
    signed = SignedContribution.read(document)
    signed.verify(rig.run_id, rig.agreement)
    check_record(rig.agreement, signed.record, whole=True)
    assert signed.record == parsed
    assert {name: set(flags) for name, flags in parsed.committed.items()} == {
        "card": {False}, "sat": {True}, "social": {False},
    }  # fmt: skip
    assert record["contribution_signature"] == signed.signature
    assert [entry[0] for entry in rig.logged] == ["contribution"]
    # before anything opened everybody was told the same digest, and each logs what it sent
    (basis,) = {one.basis for one in rig.sent.values()}
    assert len(basis) == 32
    assert set(rig.sent["sat"].sent) == {"sat", "card+sat", "sat+social"}


def test_sealed_attribution_needs_no_coalition_and_equals_what_lies_open() -> None:
    sealed, rig = value(agreement(contribution="none", attribution=True))
    open_, _ = value(agreement())
    assert sealed.conditioned is None
    assert sealed.plain is None
    assert sealed.attribution is not None
    assert open_.attribution is not None
    record = ValueReport.model_validate(sealed.record())
    assert record.contribution is None
    assert record.attribution is not None
    scale = np.abs(open_.attribution.total).max()
    for name in NAMES:
        difference = np.abs(sealed.attribution.values[name] - open_.attribution.values[name])
        assert difference.max() < 1e-5 * scale
    assert sum(record.attribution.parties.values()) == pytest.approx(record.attribution.total, rel=1e-6)
    assert rig.budgets["sat"].largest == 1


def test_a_party_of_the_label_partys_own_entity_earns_nothing() -> None:
    found, _ = value(agreement({"fund": "Fund Ltd", "sat": "Fund Ltd"}))
    assert found.conditioned is not None
    assert not np.nan_to_num(found.conditioned.phi["sat"]).any()
    assert found.conditioned.estimates["card"].mean > 0


def test_parties_of_one_entity_are_reported_together() -> None:
    found, _ = value(agreement({"card": "Data Ltd", "social": "Data Ltd", "fund": "Fund Ltd"}))
    assert found.conditioned is not None
    record = found.record()["contribution"]
    assert record["entities"].keys() == {"Data Ltd", "sat"}
    phi = found.conditioned.estimates
    assert record["entities"]["Data Ltd"] == pytest.approx(phi["card"].mean + phi["social"].mean)
    ContributionRecord.model_validate(record)


def test_what_signing_means_names_attribution_and_its_opening_is_counted() -> None:
    without, with_ = agreement(), agreement(attribution=True)
    assert with_.needed_openings == without.needed_openings + 1
    assert any("one number per feature party and period" in line for line in agreement_lines(with_))
    assert not any("one number per feature party and period" in line for line in agreement_lines(without))


def test_more_than_eight_feature_parties_cannot_be_valued_the_masked_way() -> None:
    body = agreement().model_dump(mode="json")
    body["parties"] += [{**body["parties"][1], "name": f"more{i}", "columns": ["x"]} for i in range(6)]
    with pytest.raises(ValidationError, match="too many above 8 feature parties"):
        Agreement.model_validate(body)
    body["openings"]["contribution"] = "none"
    assert len(Agreement.model_validate(body).features) == 9
