"""Daily use through the nodes' own code: the twin, a cut at any message, one count a row, and what a cheat gets."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from parties.agreement.daily_terms import DailyTerms
from parties.agreement.document import Agreement
from parties.agreement.sealed_terms import sealed_members
from parties.control.phases import session_roles
from parties.coordinator.bundles import BundleStore
from parties.data.calendar import calendar_terms
from parties.errors import AgreementError
from parties.factor.delivery import open_sealed, opener, read_bundle
from parties.factor.live_scores import live_folder, live_scores, live_status, live_version
from parties.factor.naming import factor_id
from parties.factor.sealing import reading_key, reading_public_key
from parties.members.keys import create_identity, create_reading_key
from parties.names import COORDINATOR
from parties.node.align import AlignedRows
from parties.node.kept_watch import KeptWatch
from parties.node.kept_weights import KeptRun, erase_kept, keep_weights, kept_run, kept_runs
from parties.node.openings import SCORES, OpeningStore
from parties.node.scoring_feature import ScoringFeatureParty
from parties.node.scoring_label import LabelScoring
from parties.node.scoring_run import IncompleteError, check_complete, check_universe
from parties.node.sealed_feature import SealedFeatureParty
from parties.proposing.scoring import check_scoring, due_periods, left, scoring_of
from parties.settings.consortium import CalendarSettings
from psi.flow import Flow, Message, RemoteProtocolError, Role, run_local
from tests.faults.consortium import Crash
from tests.faults.test_resume import cut
from tests.faults.test_sealed_products import PRODUCTS, Multiplied
from tests.faults.test_sealed_run import FEATURES, TERMS, Sealed
from tests.parties.node.test_warm_start import ENTITIES, PERIODS, panel
from tests.vfl.models.sealed.product_rig import halves_of
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.sealed.columns import fitted_labels, sealed_columns
from vfl.models.sealed.initial import sealed_draw
from vfl.models.sealed.label import SealedLabel
from vfl.models.sealed.messages import MaskedEmbedding, Scores, SealedStep
from vfl.models.sealed.pairs import products_of
from vfl.models.sealed.scales import WEIGHT_BITS
from vfl.models.sealed.scoring import scoring_steps
from vfl.models.sealed.twin import IntegerTwin
from vfl.protocols.delivery import receive_bundle
from vfl.protocols.opening_budget import BudgetExceededError, OpeningBudget
from vfl.terms import SealedModel
from vfl.walk.cycles import cyclic

NOW = datetime(2026, 9, 1, tzinfo=UTC)
NAMES = tuple(f"e{i}" for i in range(ENTITIES))
CALENDAR = calendar_terms(CalendarSettings(frequency="Q", first=date(2024, 3, 1), last=date(2025, 6, 1)))
NEW = "2025Q3"


@dataclass
class Daily(Sealed):
    """The same nodes after training, with data of one more period, in ``folder``."""

    folder: Path = field(default_factory=Path)
    trained: Agreement | None = None
    session: Agreement | None = None
    relayed: list[Message] = field(default_factory=list)

    def train(self) -> None:
        """Train, keep what daily use keeps, and forget the rest, as nodes do when a run ends."""
        self.trained = self.terms
        self.attempt()
        rows = AlignedRows(NAMES, ENTITIES, {})
        for name in ("l", *FEATURES):
            part: Any = self.labels[-1] if name == "l" else self.party(name)
            assert name == "l" or isinstance(part, SealedFeatureParty)
            keep_weights(self.folder / name, self._secret(name), name, self.terms.run_id, part.last_weights(), rows)
            self.stores[name].kept.clear()
        self.values = {
            name: np.concatenate([known, np.random.default_rng(len(name) + place).normal(size=known[:1].shape)])
            for place, (name, known) in enumerate(self.values.items())
        }
        before = self.panel
        own = np.concatenate([before.features.values, np.random.default_rng(5).normal(size=(1, ENTITIES, 1))])
        self.panel = LabelPanel(
            panel(own),
            np.concatenate([before.label, np.full((1, ENTITIES), np.nan)]),
            np.concatenate([before.known_from, np.full((1, ENTITIES), PERIODS + 1)]),
            np.concatenate([before.universe, np.random.default_rng(6).random((1, ENTITIES)) < 0.9]),
        )
        self.session = self.propose()

    def propose(self, period: str = NEW) -> Agreement:
        assert self.trained is not None
        nodes: Any = {party.name: party for party in self.trained.parties}
        hub = SimpleNamespace(address="h:2", certificate_sha256="00", identity_key="")
        return scoring_of(self.trained, nodes | {"coordinator": hub}, NOW, timedelta(hours=1), period)

    def _secret(self, name: str) -> Any:
        return lambda purpose: self.secret(name, purpose)

    def kept(self, name: str) -> KeptRun:
        assert self.trained is not None
        found = kept_run(self.folder / name, self._secret(name), name, self.trained.run_id)
        assert found is not None
        return found

    def scoring_context(self, name: str) -> Any:
        context = super().context(name)
        context.agreement, context.run_id = self.session, self.session.run_id  # type: ignore[union-attr]
        context.folder, context.identity, context.roster = self.folder / name, IDENTITIES.get(name), {}
        context.audit = SimpleNamespace(append=lambda *entry: None)
        context.openings = self.openings
        return context

    @property
    def openings(self) -> OpeningStore:
        return OpeningStore(f"sqlite:///{self.folder / 'state.db'}")

    def scoring_party(self, name: str) -> ScoringFeatureParty:
        party = ScoringFeatureParty.__new__(ScoringFeatureParty)
        party.context, party._values = self.scoring_context(name), self.values[name].reshape(-1, self.columns(name))
        party._entities, party._kept_run, party._daily = ENTITIES, self.kept(name), cast("DailyTerms", self.terms.daily)
        party._terms, party._members = party._kept_run.terms, sealed_members(self.terms)
        party._stream = SecretStream(self.secret(name, f"stream/{self.attempts}"))
        store, session = self.openings, cast("Agreement", self.session)
        party.budget = OpeningBudget(
            len(party._values),
            session.row_limit,
            others=store.others(session.run_id, NAMES, session.periods, 1, counted="scores"),
            history=store.history(session.run_id) if name == "b" else (),
            record=party._record,
            closed=party._closed,
        )
        return party

    def columns(self, name: str) -> int:
        return int(self.values[name].shape[2])

    def label_party(self) -> LabelScoring:
        label = LabelScoring.__new__(LabelScoring)
        label.context, label._kept, label._entities = self.scoring_context("l"), self.kept("l"), NAMES
        label._daily, label.panel, label._first = cast("DailyTerms", self.terms.daily), self.panel, PERIODS
        label.steps = scoring_steps(self.panel.universe, PERIODS)
        return label

    def score(self, relay: Any = None) -> None:
        """One attempt at the session."""
        self.attempts += 1
        session = cast("Agreement", self.session)
        self.openings.begin(session.run_id, NAMES, session.periods)
        flows: dict[str, Flow[Any]] = {
            name: self.scoring_party(name)._served_through(f"train-{self.attempts}") for name in FEATURES
        }
        run_local({"l": self.label_party()._scored(), **flows}, relay=relay)

    def watched(self, after: int) -> Any:
        stop = cut(after)

        def relay(sender: str, receiver: str, message: Message) -> Message:
            self.relayed.append(message)
            return stop(sender, receiver, message)

        return relay

    def found(self) -> np.ndarray:
        """The live scores of the new period, by entity; NaN where there is none."""
        trained = cast("Agreement", self.trained)
        bundle = self.folder / "l" / "factors" / factor_id(trained.consortium, "y") / trained.run_id[:12]
        scores = live_scores(bundle)["score"]
        placed = np.full(ENTITIES, np.nan)
        for (_, name), value in scores.items():
            placed[NAMES.index(name)] = value
        return placed

    def twin(self) -> np.ndarray:
        """The new period's scores by the integer twin: the same steps on the run's periods, then one prediction."""
        model, purpose, members = (
            cast("SealedModel", self.terms.model), self.terms.initial_purpose, sealed_members(self.terms)
        )  # fmt: skip
        parts, beside = [], {pair.name: pair.holder for pair in members.products}
        for name, count in SealedLabel.columns_held(members).items():
            holders = ("l", {"l": members.anchor, **beside}.get(name, name))
            seeds = [self.secret(holder, f"sealed/{purpose}/{name}") for holder in holders]
            parts.append(sum(sealed_draw(seed, count, model, members.columns) for seed in seeds))
        fixed, walk = self.terms.fixed_point, self.terms.walk_forward
        sides = [*(self.values[name].reshape(-1, self.columns(name)) for name in FEATURES), self.panel.features.rows]
        columns = [sealed_columns(side, model, fixed) for side in sides]
        if members.products:
            columns.append(products_of(members.products, halves_of(members.products, len(columns[0]))))
        whole = np.concatenate(columns, axis=1)
        twin = IntegerTwin(whole, np.concatenate(parts), model, fixed)
        old = LabelPanel(
            panel(self.panel.features.values[:PERIODS]), self.panel.label[:PERIODS], self.panel.known_from[:PERIODS],
            self.panel.universe[:PERIODS],
        )  # fmt: skip
        labels = fitted_labels(old, walk)
        for step in cyclic(model, walk, old.known_from, old.label, old.universe):
            if step.kind == "train":
                twin.train(step, labels.at(step.period, step.rows))
        [step] = scoring_steps(self.panel.universe, PERIODS)
        scores = twin.predict(step)
        placed = np.full(ENTITIES, np.nan)
        placed[step.rows - PERIODS * ENTITIES] = scores - scores.mean()
        return placed


@dataclass
class DailyProducts(Multiplied, Daily):
    """The same with product columns."""

    def scoring_party(self, name: str) -> ScoringFeatureParty:
        party = super().scoring_party(name)
        party._halves = self.halves(name)
        return party


IDENTITIES: dict[str, Any] = {}


@pytest.fixture(scope="module")
def terms(tmp_path_factory: pytest.TempPathFactory) -> Agreement:
    IDENTITIES["l"] = create_identity("l", tmp_path_factory.mktemp("keys"))
    daily = DailyTerms(scores=2, expires=date(2027, 1, 1))
    parties = [party.model_dump() for party in TERMS.parties]
    for party in parties:
        party["identity_key"] = IDENTITIES["l"].public_key if party["name"] == "l" else party["name"] * 64
    IDENTITIES["coordinator"] = create_identity(COORDINATOR, tmp_path_factory.mktemp("hub"))
    IDENTITIES["quant"] = create_reading_key(tmp_path_factory.mktemp("quant") / "quant.key")
    readers = {"quant": reading_public_key(IDENTITIES["quant"])}
    body = TERMS.model_dump() | {"daily": daily, "calendar": CALENDAR, "parties": parties, "readers": readers}
    body["recipients"] = ("l", COORDINATOR)
    body["openings"] |= {"limit_per_row": 1}
    return Agreement.model_validate(body)


@pytest.fixture(scope="module")
def once(terms: Agreement, tmp_path_factory: pytest.TempPathFactory) -> Daily:
    found = Daily(terms, folder=tmp_path_factory.mktemp("trained"))
    found.train()
    return found


@pytest.fixture
def daily(once: Daily, tmp_path: Path) -> Daily:
    """The nodes as training left them."""
    shutil.copytree(once.folder, tmp_path, dirs_exist_ok=True)
    found = Daily(once.terms, folder=tmp_path, trained=once.trained, session=once.session)
    found.values, found.panel = once.values, once.panel
    return found


def test_a_new_period_is_its_twin_after_cuts_and_opens_once(daily: Daily) -> None:
    """Cut in the forward pass, at the opening, and just before the end: the same shares open, under fresh masks."""
    count = 0
    while True:
        try:
            daily.score(daily.watched(6 + 13 * count))
            break
        except Crash:
            count += 1
    assert count > 2
    found, twin = daily.found(), daily.twin()
    assert np.array_equal(np.isnan(found), np.isnan(twin))
    assert np.nanmax(np.abs(found - twin)) <= 1e-3
    [charge] = daily.openings.history(cast("Agreement", daily.session).run_id)
    assert charge.label.startswith(SCORES)
    assert np.array_equal(charge.rows, PERIODS * ENTITIES + np.flatnonzero(daily.panel.universe[PERIODS]))
    opened = {message.values for message in daily.relayed if isinstance(message, Scores)}
    assert len(opened) == 1, "whenever it was cut, the same shares of the scores went out"
    assert len(opened.pop()) == -(-17 * len(charge.rows) // 8), "17 bits a row"
    masked = [message.values for message in daily.relayed if isinstance(message, MaskedEmbedding)]
    assert len(masked) == len(set(masked)) > 2, "no mask serves twice"
    daily.score()  # a repeated session opens what was recorded, and writes no record again
    assert np.array_equal(daily.found(), found, equal_nan=True)
    assert len(daily.openings.history(cast("Agreement", daily.session).run_id)) == 1


def test_a_new_period_has_its_products(terms: Agreement, tmp_path: Path) -> None:
    model = terms.model.model_dump() | {"products": PRODUCTS}
    daily = DailyProducts(Agreement.model_validate(terms.model_dump() | {"model": model}), folder=tmp_path)
    daily.train()
    daily.score()
    assert np.nanmax(np.abs(daily.found() - daily.twin())) <= 1e-3
    assert set(daily.kept("a").weights) == {"a", "a*b", "a*c"}


def test_a_period_that_was_scored_and_one_too_many_are_refused(daily: Daily) -> None:
    daily.score()
    status = live_status(
        daily.folder / "l" / "factors" / factor_id("c", "y") / cast("Agreement", daily.trained).run_id[:12]
    )
    assert status is not None
    assert (status.scored, status.agreed, status.ended) == ((NEW,), 2, "")
    for store in daily.stores.values():
        store.kept.clear()
    daily.session = daily.propose()  # the same period, another session
    with pytest.raises(AgreementError, match="2025Q3 was scored in run"):
        daily.score()
    for name in ("l", *FEATURES):
        daily.kept(name).store.drop(["scored"])
    # whatever is forgotten, the anchor's own store of openings counts
    with pytest.raises(BudgetExceededError, match="which is the limit"):
        daily.score()
    anchor = daily.kept("b")
    anchor.store.drop(["scored"])
    for period in ("2025Q4", "2026Q1"):
        anchor.count(period, "ab" * 32, 2)
    with pytest.raises(AgreementError, match=r"2 periods of run .* which is all that was agreed"):
        anchor.count("2026Q2", "ab" * 32, 2)


@pytest.mark.parametrize("asked", ["an old period", "training"])
def test_a_label_party_gets_no_other_row_and_no_step(daily: Daily, asked: str) -> None:
    def relay(sender: str, receiver: str, message: Message) -> Message:
        if not isinstance(message, SealedStep):
            return message
        old = message.rows if asked == "training" else (np.arange(20, dtype="<u4") + 2 * ENTITIES).tobytes()
        return SealedStep(message.step, asked == "training", old, 50, False)

    with pytest.raises(RemoteProtocolError, match=r"only scores|agreed new ones"):
        daily.score(relay)
    assert not daily.openings.history(cast("Agreement", daily.session).run_id)


def test_a_reader_and_the_coordinator_get_the_records_that_were_agreed(daily: Daily) -> None:
    """Neither runs a node of the session: a sealed file waits for the one, the other is sent them afterwards."""
    daily.score()
    session = cast("Agreement", daily.session)
    folder = live_folder(daily.folder / "l", session)
    kept = read_bundle(folder)
    [sealed] = (daily.folder / "l" / "sealed").iterdir()
    _, files = open_sealed(sealed, IDENTITIES["quant"], lambda cover: IDENTITIES["l"].public_key, session, "quant")
    assert files == kept
    taken: dict[str, Any] = {}

    def perform(phase: str, attempt: int, flow: Flow[None]) -> None:
        mine = opener(session, COORDINATOR, reading_key(IDENTITIES["coordinator"].key))
        roles = session_roles(session, "export")
        assert roles == {"l": Role.LABEL, COORDINATOR: Role.COORDINATOR}
        taken.update(run_local({"l": flow, COORDINATOR: receive_bundle("l", Role.COORDINATOR, mine)}))

    label = daily.label_party()
    label.context.perform = perform  # type: ignore[method-assign]
    label.context.roster = {COORDINATOR: IDENTITIES["coordinator"].member("h:2")}
    report = label.deliver(1)
    assert taken[COORDINATOR] == kept
    assert (report["version"], report["bytes"]) == (live_version(session), sum(map(len, kept.values())))
    store = BundleStore(daily.folder / "hub")
    key = bytes.fromhex(IDENTITIES["l"].public_key)
    assert store.save(session.run_id, taken[COORDINATOR], "l", key) == report["sha256"]


@pytest.mark.parametrize("ends", ["a day", "a party leaves"])
def test_weights_end_at_a_node_and_the_factor_says_why(daily: Daily, ends: str) -> None:
    run_id = cast("Agreement", daily.trained).run_id
    last = date(2026, 1, 2) if ends == "a day" else date(2100, 1, 1)
    trained = cast("Agreement", daily.trained).model_copy(update={"daily": DailyTerms(scores=2, expires=last)})
    home, logged = daily.folder / "l", list[str]()
    roster = {party.name: party for party in trained.parties if ends == "a day" or party.name != "c"}
    node: Any = SimpleNamespace(folder=home, roster=roster, identity=IDENTITIES["l"])
    (home / "runs" / run_id).mkdir(parents=True)
    (home / "runs" / run_id / "agreement.json").write_bytes(trained.canonical())
    watch = KeptWatch.__new__(KeptWatch)
    watch._home, watch._audit = node, cast("Any", SimpleNamespace(append=lambda kind, *rest: logged.append(kind)))
    watch.look()
    assert (kept_runs(home), logged) == ([], ["weights-erased"])
    status = live_status(home / "factors" / factor_id(trained.consortium, "y") / trained.run_id[:12])
    assert status is not None
    assert ("daily use ended on 2026-01-02" if ends == "a day" else "c has left and took its share") in status.ended
    assert kept_runs(daily.folder / "a") == [run_id], "each node erases its own"


def test_a_label_party_that_swaps_its_share_gets_17_bits_a_row_and_no_more(daily: Daily) -> None:
    """It adds weights of its choice: the scores say something else, in as many bits, once."""
    honest = daily.kept("l")
    added = 1 << (WEIGHT_BITS - 4)
    moved = {
        name: PRIME_RING.add(share, PRIME_RING.wrap(np.full(share.shape, added)))
        for name, share in honest.weights.items()
    }
    keep_weights(daily.folder / "l", daily._secret("l"), "l", honest.run_id, (honest.terms, moved), honest.rows)
    daily.score(daily.watched(10**9))
    found, twin = daily.found(), daily.twin()
    assert np.nanmax(np.abs(found - twin)) > 1e-3
    sizes = [len(message.values) for message in daily.relayed if isinstance(message, Scores)]
    assert sizes == [-(-17 * int(daily.panel.universe[PERIODS].sum()) // 8)]
    daily.session = daily.propose()
    with pytest.raises(AgreementError, match="was scored in run"):
        daily.score()


def test_a_period_whose_data_is_late_is_refused_before_anybody_signs(daily: Daily) -> None:
    """Where the feed has stopped, periods without news before the new one are no measure of it."""
    session = daily.propose("2025Q4")
    periods, count = len(session.periods), 20
    cutoffs = np.array([cutoff.replace(tzinfo=None) for cutoff in session.dated.cutoffs], "datetime64[ns]")
    known = np.repeat(cutoffs[:, None] - np.timedelta64(1, "D"), count, axis=1)
    full = FeaturePanel((), np.zeros((periods, count, 0)), np.ones((periods, count), dtype=bool), known, known)
    check_complete(session, full, PERIODS, "q.sql")
    stopped = known.copy()
    stopped[PERIODS:] = known[PERIODS - 1]
    with pytest.raises(IncompleteError, match=r"in 2025Q4 0 of 20 entities have data that became known .* 20 is usual"):
        check_complete(session, replace(full, available_at=stopped), PERIODS, "q.sql")
    with pytest.raises(IncompleteError, match="no entity is in the universe in 2025Q4"):
        nobody = LabelPanel(full, np.zeros((periods, count)), np.zeros((periods, count), int), full.covered & False)
        check_universe(session, nobody, "l.sql")


def test_a_session_is_what_the_run_agreed_to(daily: Daily) -> None:
    trained, session = cast("Agreement", daily.trained), cast("Agreement", daily.session)
    assert due_periods(trained, (), NOW) == ("2025Q3", "2025Q4")
    assert due_periods(trained, ("2025Q3",), NOW) == ("2025Q4",)
    check_scoring(session, trained, NOW)
    other = session.model_copy(update={"label": session.label.model_copy(update={"definition": "another"})})
    with pytest.raises(AgreementError, match=r"differs from run .* in label"):
        check_scoring(other, trained, NOW)
    with pytest.raises(AgreementError, match="the cutoff of 2025Q3 is"):
        check_scoring(session, trained, datetime(2025, 8, 1, tzinfo=UTC))
    with pytest.raises(AgreementError, match="ended on 2027-01-01, and every node erased"):
        check_scoring(session, trained, datetime(2027, 1, 1, tzinfo=UTC))
    with pytest.raises(AgreementError, match="agreed to no daily use"):
        due_periods(trained.model_copy(update={"daily": None}), (), NOW)
    nodes: Any = {party.name: party for party in trained.parties}
    assert left(trained, nodes) == ""
    del nodes["c"]
    assert "c has left and took its share of the weights" in left(trained, nodes)
    assert kept_runs(daily.folder / "a") == [trained.run_id]
    assert erase_kept(daily.folder / "a", trained.run_id)
    assert kept_run(daily.folder / "a", daily._secret("a"), "a", trained.run_id) is None
