"""The agreement on which the others go on: what it keeps, what it refuses, and what its weights must not show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from parties.agreement.document import Agreement
from parties.agreement.group_terms import GroupTerms
from parties.agreement.text import agreement_lines
from parties.control.phases import PhaseName, Plan
from parties.coordinator.engine import Engine
from parties.coordinator.events import PartyLost, PhaseDone, Signed
from parties.coordinator.store import EventLog
from parties.data.row_contents import row_contents
from parties.errors import AgreementError, ConfigError
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.node.feature import FeatureParty
from parties.node.openings import OpeningStore
from parties.node.settings import StandingLimits
from parties.process.database import open_engine
from parties.proposing.continuing import check_continuation, check_weights, continued_without
from tests.parties.coordinator_rig import (
    FEATURES,
    LABEL,
    PARTIES,
    REPORTS,
    Consortium,
    FakeNode,
    contribution,
    signed_report,
    wait_for_status,
)
from vfl.models.split.initial import initial_share
from vfl.product_terms import ProductTerms
from vfl.terms import FixedPoint, SealedModel

NOW = datetime.now(UTC)
ROOM = {"limit_per_row": 4, "largest_fraction": 2.5}


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return Consortium(tmp_path_factory.mktemp("consortium"))


def terms(consortium: Consortium, **changes: Any) -> Agreement:
    reward = {"pot": 100, "settlement": {"stakes": {"sat": 50, "card": 70}}}
    return consortium.agreement(
        **{"alignment": {"policy": "psi"}, "openings": ROOM, "reward": reward, "recipients": (*PARTIES, COORDINATOR)}
        | changes
    )


def go_on(consortium: Consortium, earlier: Agreement, *without: str, began: bool = True, **changes: Any) -> Agreement:
    nodes = {name: identity.member("127.0.0.1:9") for name, identity in consortium.identities.items()}
    return continued_without(earlier, without, nodes, NOW, timedelta(hours=1), began=began, **changes)


def test_it_keeps_the_terms_less_what_belongs_to_the_party_that_left(consortium: Consortium) -> None:
    earlier = terms(consortium)
    made = go_on(consortium, earlier, "card", single_party=True)
    assert [party.name for party in made.parties] == [LABEL, "sat"]
    assert made.recipients == (LABEL, "sat", COORDINATOR)
    assert made.reward.settlement is not None
    assert made.reward.settlement.stakes == {"sat": 50}
    assert made.party("sat").address == "127.0.0.1:9", "where it is now"
    assert (made.label, made.calendar, made.alignment) == (earlier.label, earlier.calendar, earlier.alignment)
    assert made.continues is not None
    assert (made.continues.run_id, made.continues.without) == (earlier.run_id, ("card",))
    check_continuation(made, earlier)
    assert not Plan.of(made).matching, "rows are kept: the coordinator matches nothing"
    assert Plan.of(go_on(consortium, earlier, "card", rows="fresh", single_party=True)).matching
    said = " ".join(agreement_lines(made))
    assert "without card" in said
    assert "nobody learns any entity" in said
    fresh = " ".join(agreement_lines(go_on(consortium, earlier, "card", rows="fresh", single_party=True)))
    assert "ones that card does not hold" in fresh


def test_openings_of_the_earlier_run_count_and_are_left_out_of_the_plan(consortium: Consortium) -> None:
    earlier = terms(consortium)
    made = go_on(consortium, earlier, "card", single_party=True)
    assert made.continues is not None
    assert (made.continues.opened, made.openings_left) == (4, made.needed_openings)
    assert made.openings.limit_per_row == 4 + made.needed_openings
    unbegun = go_on(consortium, earlier, "card", began=False, single_party=True)
    assert unbegun.openings.limit_per_row == unbegun.needed_openings
    with pytest.raises(ConfigError, match=r"above the agreed fraction.*4 openings of a row count as used"):
        go_on(consortium, terms(consortium, openings=ROOM | {"largest_fraction": 0.6}), "card", single_party=True)
    with pytest.raises(ConfigError, match="a run needs two or more"):
        go_on(consortium, earlier, "card", limit_per_row=5, single_party=True)


def test_a_second_loss_counts_the_openings_of_both_runs(consortium: Consortium) -> None:
    earlier = terms(consortium, openings={"limit_per_row": 4, "largest_fraction": 9.0})
    parties = [party.model_dump() for party in earlier.parties]
    third = parties[1] | {"name": "third", "columns": [f"third_{i}" for i in range(10)]}
    wide = Agreement.model_validate(earlier.model_dump() | {"parties": [*parties, third]})
    nodes = {name: identity.member("127.0.0.1:9") for name, identity in consortium.identities.items()}
    nodes["third"] = nodes["sat"]
    once = continued_without(wide, ["third"], nodes, NOW, timedelta(hours=1), began=True)
    twice = continued_without(once, ["card"], nodes, NOW, timedelta(hours=1), began=True, single_party=True)
    assert once.continues is not None
    assert twice.continues is not None
    assert twice.continues.opened == once.row_limit >= once.continues.opened + once.needed_openings


@pytest.mark.parametrize(
    ("without", "words"),
    [
        (("stranger",), "stranger took no part in that run: choose from bank, sat, card"),
        ((), "nobody took no part"),
        (("bank",), "holds the labels"),
        (("sat", "card"), "no feature party would be left"),
        (("card",), "set openings.single_party = true to consent"),
    ],
)
def test_what_cannot_go_on_is_refused_with_the_reason(
    consortium: Consortium, without: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        go_on(consortium, terms(consortium), *without)


def test_a_party_that_others_are_bound_to_is_not_left_out(consortium: Consortium) -> None:
    """By its group's encoder, or by halves of products: the remedy is a run of its own."""
    earlier = terms(consortium)
    group = GroupTerms(name="shops", members=("card", "sat"))
    with pytest.raises(ConfigError, match=r"group 'shops' train one encoder together: .*own without card"):
        go_on(consortium, earlier.model_copy(update={"groups": (group,)}), "card", single_party=True)
    products = ProductTerms(screen="a" * 64, formulas=("card#1 x sat#2",))
    multiplied = earlier.model_copy(update={"model": SealedModel(anchor="sat", products=products)})
    with pytest.raises(ConfigError, match="halves at card: propose a run of its own without these formulas"):
        go_on(consortium, multiplied, "card", single_party=True)


def test_a_side_that_knows_the_earlier_run_holds_the_agreement_to_it(consortium: Consortium) -> None:
    earlier = terms(consortium)
    made = go_on(consortium, earlier, "card", single_party=True)

    def changed(**changes: Any) -> Agreement:
        return Agreement.model_validate(made.model_dump() | changes)

    with pytest.raises(AgreementError, match="which is not known here"):
        check_continuation(made, None)
    with pytest.raises(AgreementError, match="which is not known here"):
        check_continuation(made, terms(consortium, nonce="2"))
    assert made.continues is not None
    strangers = made.continues.model_dump() | {"without": ("card", "web")}
    with pytest.raises(AgreementError, match="not those of run"):
        check_continuation(changed(continues=strangers), earlier)
    with pytest.raises(AgreementError, match=r"differs from run .* in label"):
        check_continuation(changed(label={"name": "z", "definition": "another", "party": LABEL}), earlier)
    other = [party.model_dump() | {"columns": [f"x{i}" for i in range(10)]} for party in made.parties]
    with pytest.raises(AgreementError, match="another role, key or columns"):
        check_continuation(changed(parties=other), earlier)


def test_runs_of_their_own_keep_the_hash_they_had(consortium: Consortium) -> None:
    assert b"continues" not in terms(consortium).canonical()
    made = go_on(consortium, terms(consortium), "card", single_party=True)
    assert Agreement.model_validate_json(made.canonical()).run_id == made.run_id


def test_with_the_old_weights_the_missing_partys_sum_would_show_and_with_new_ones_it_does_not(
    consortium: Consortium,
) -> None:
    """The first sum opened with a party, less the first without it, is that party's own: were the weights the same."""
    earlier = terms(consortium)
    made = go_on(consortium, earlier, "card", single_party=True)
    fixed, draw = FixedPoint(), np.random.default_rng(0)
    rows = {name: draw.normal(size=(64, 10)) for name in FEATURES}

    def weights(name: str, purpose: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        seed = (purpose + name).encode().ljust(32, b"\0")[-32:]
        return initial_share(seed, (10, 3), fixed, 20) / 2**fixed.weight_bits

    joint = sum(rows[name] @ weights(name, earlier.initial_purpose) for name in FEATURES)
    own = rows["card"] @ weights("card", earlier.initial_purpose)
    same = joint - rows["sat"] @ weights("sat", earlier.initial_purpose)
    assert np.abs(same - own).max() < 1e-9, "the attack, with the defence taken out"
    assert made.initial_purpose != earlier.initial_purpose
    other = joint - rows["sat"] @ weights("sat", made.initial_purpose)
    assert np.corrcoef(other.ravel(), own.ravel())[0, 1] < 0.9
    assert np.abs(other - own).std() > own.std() / 2


def test_every_set_of_parties_starts_from_weights_of_its_own(consortium: Consortium) -> None:
    earlier = terms(consortium)
    without_card = go_on(consortium, earlier, "card", single_party=True)
    without_sat = go_on(consortium, earlier, "sat", single_party=True)
    coalition = terms(consortium, nonce="sat:1")
    purposes = [run.initial_purpose for run in (earlier, without_card, without_sat, coalition)]
    assert len(set(purposes)) == 4
    assert terms(consortium, nonce="again").initial_purpose == earlier.initial_purpose, "a seed gives the same factor"


def test_a_plain_run_with_other_parties_needs_another_seed(consortium: Consortium) -> None:
    opened = ROOM | {"contribution": "none", "single_party": False}
    both = terms(consortium, openings=opened, reward={})
    alone = [party.model_dump() for party in both.parties if party.name != "card"]

    def only_sat(**changes: Any) -> Agreement:
        body = both.model_dump() | {"parties": alone, "nonce": "2", "recipients": [LABEL]}
        return Agreement.model_validate(body | {"openings": opened | {"single_party": True}} | changes)

    for new, old in ((only_sat(), both), (both, only_sat())):
        with pytest.raises(AgreementError, match=r"read the sums of card as a difference; set another model\.seed"):
            check_weights(new, old)
    check_weights(only_sat(model=both.model.model_copy(update={"seed": 99}).model_dump()), both)
    check_weights(only_sat(nonce="sat:1"), both)
    check_weights(terms(consortium, nonce="3", openings=opened, reward={}), both)
    agreed = terms(consortium, openings=ROOM | {"contribution": "masked"}, reward={})
    check_weights(only_sat(), agreed)


@pytest.mark.parametrize(
    "change", [{"columns": (*(f"card_{i}" for i in range(9)), "new")}, {"encoder": "another model"}]
)
def test_a_run_with_other_columns_of_one_party_needs_another_seed(
    consortium: Consortium, change: dict[str, Any]
) -> None:
    """What the others bring cancels out: the difference is of that party's columns alone."""
    opened = ROOM | {"contribution": "none", "single_party": False}
    both = terms(consortium, openings=opened, reward={})
    parties = [party.model_dump() | (change if party.name == "card" else {}) for party in both.parties]
    other = Agreement.model_validate(both.model_dump() | {"parties": parties, "nonce": "2"})
    for new, old in ((other, both), (both, other)):
        with pytest.raises(AgreementError, match=r"other parties or columns: .* sums of card as a difference"):
            check_weights(new, old)
    fresh = both.model.model_copy(update={"seed": 99}).model_dump()
    check_weights(Agreement.model_validate(other.model_dump() | {"model": fresh}), both)


def test_of_two_runs_proposed_at_once_only_the_first_to_begin_opens(consortium: Consortium, tmp_path: Path) -> None:
    """Neither had begun when the other was signed, so it is checked once more before anything opens."""
    opened = ROOM | {"contribution": "none", "single_party": False}
    both = terms(consortium, openings=opened, reward={})
    alone = [party.model_dump() for party in both.parties if party.name != "card"]
    body = both.model_dump() | {"parties": alone, "nonce": "2", "recipients": [LABEL]}
    only_sat = Agreement.model_validate(body | {"openings": opened | {"single_party": True}})
    for run in (both, only_sat):
        folder = tmp_path / "runs" / run.run_id
        folder.mkdir(parents=True)
        (folder / "agreement.json").write_bytes(run.canonical())
    store = OpeningStore(f"sqlite:///{tmp_path / 'state.db'}")
    entities, periods = ("AAA", "BBB"), both.calendar.periods

    def begin(run: Agreement) -> None:
        settings = mock.Mock(limits=StandingLimits(bits_per_row=1e6), party=mock.Mock(columns=()))
        context = mock.Mock(agreement=run, run_id=run.run_id, folder=tmp_path, openings=store, settings=settings)
        context.run_folder = tmp_path / "runs" / run.run_id
        context.secret.return_value = bytes(32)
        FeatureParty(context, entities)

    values = np.zeros((len(periods), len(entities), 2))
    contents = row_contents(values, np.ones(values.shape[:2], dtype=bool)).digests
    shown = {"columns": (), "values": values[..., :0], "contents": contents, "row_bits": 99.0, "value_bits": ()}
    covered = np.ones(values.shape[:2], dtype=bool)
    panel = mock.Mock(rows=values.reshape(-1, 2)[:, :0], covered=covered, **shown)
    with mock.patch("parties.node.feature.rows_of") as rows:
        rows.return_value.features.return_value = panel
        begin(both)
        begin(both)
        with pytest.raises(AgreementError, match="card as a difference"):
            begin(only_sat)
    assert store.begun() == [both.run_id]
    store.close()


OPEN = {"alignment": {"policy": "universe", "universe_sha256": "00" * 32}, "recipients": FEATURES}


def test_the_earlier_run_ends_when_all_who_stay_have_signed(consortium: Consortium) -> None:
    earlier = terms(consortium, **OPEN)
    with consortium.coordinator() as running, consortium.client() as admin:

        def stuck(node: FakeNode, command: Any) -> bool:
            return bool(command.kind == "start" and command.run_id == earlier.run_id and node.name == "card")

        def value_alone(node: FakeNode, command: Any) -> bool:
            if command.kind != "start" or command.body.phase != "value":
                return False
            said = {"contribution": contribution(sat=0.03)}
            report = signed_report(said, node.identity, command.run_id, node.periods)
            node.line.done(command.run_id, "value", command.body.attempt, report)
            return True

        with (
            FakeNode(consortium, LABEL, value_alone) as bank,
            FakeNode(consortium, "sat", stuck),
            FakeNode(consortium, "card", stuck),
        ):
            admin.propose(earlier)
            wait_for_status(admin, earlier.run_id, "approved")
            made = go_on(consortium, earlier, "card", began=False, single_party=True)
            made = Agreement.model_validate(
                made.model_dump() | {"coordinator_address": running.address, "silence_seconds": 60}
            )
            admin.propose(made)
            assert wait_for_status(admin, made.run_id, "settled").status == "settled"
            view = admin.run(earlier.run_id)
            assert (view.status, view.culprit) == ("aborted", "card")
            assert view.reason == f"the others go on without card, as run {made.run_id[:12]}"
            ledger = admin.ledger()
            assert ledger.balanced
            assert {posting.run_id for posting in ledger.postings} == {made.run_id}
            order = [command.kind for command in bank.heard if command.run_id in (earlier.run_id, made.run_id)]
            assert order.index("abort") < max(i for i, kind in enumerate(order) if kind == "start")
            with pytest.raises(AgreementError, match="is valued or settled: what it pays stands"):
                admin.propose(_again(made))


def _again(settled: Agreement) -> Agreement:
    """An agreement that would go on from a run that is settled."""
    body = settled.model_dump()
    body["continues"] = body["continues"] | {"run_id": settled.run_id}
    return Agreement.model_validate(body | {"nonce": "again"})


def test_a_run_that_was_valued_is_not_ended_by_those_who_stay(consortium: Consortium, tmp_path: Path) -> None:
    """The missing party's contribution is known by then: it is paid, unless somebody cancels the run openly."""
    earlier = terms(consortium, nonce="valued", **OPEN)
    made = go_on(consortium, earlier, "card", single_party=True)
    log = EventLog(open_engine(f"sqlite:///{tmp_path / 'log.db'}"))
    roster = Roster({name: identity.member("127.0.0.1:1") for name, identity in consortium.identities.items()})
    engine = Engine(log, roster, parts=None, version="0", heartbeat=1.0)  # type: ignore[arg-type]
    engine._parts = type("Parts", (), {"abort": lambda *_: None, "interrupt": lambda *_: None})()  # type: ignore[assignment]
    engine.propose(earlier, "admin")
    for name in PARTIES:
        engine.take(Signed(earlier.run_id, NOW, name, "ab" * 64))
    engine.propose(made, "admin")
    phases: tuple[tuple[PhaseName, tuple[str, ...]], ...] = (
        ("align", PARTIES),
        ("train", PARTIES),
        ("evaluate", (LABEL,)),
        ("value", PARTIES),
    )
    for phase, team in phases:
        for name in team:
            engine.take(PhaseDone(earlier.run_id, NOW, name, phase, 1, {}))
    engine.take(PartyLost(earlier.run_id, NOW, "card", 99.0))
    with pytest.raises(AgreementError, match="or cancel it first, which pays nobody"):
        engine.propose(Agreement.model_validate(made.model_dump() | {"nonce": "late"}), "admin")
    for name in (LABEL, "sat"):
        engine.take(Signed(made.run_id, NOW, name, "ab" * 64))
    assert engine.known(made.run_id).state.reason.startswith("cancelled by coordinator: the run that it goes on from")
    assert engine.known(earlier.run_id).state.phase == "export"
    engine.cancel(earlier.run_id, "admin", "card is gone", admin=True)
    engine.propose(Agreement.model_validate(made.model_dump() | {"nonce": "after"}), "admin")
    log.close()


def test_a_crash_between_the_last_signature_and_the_earlier_runs_end_is_made_up_for(
    consortium: Consortium, tmp_path: Path
) -> None:
    earlier = terms(consortium, nonce="crash", **OPEN)
    made = go_on(consortium, earlier, "card", began=False, single_party=True)
    log = EventLog(open_engine(f"sqlite:///{tmp_path / 'log.db'}"))
    roster = Roster({name: identity.member("127.0.0.1:1") for name, identity in consortium.identities.items()})

    def engine() -> Engine:
        return Engine(log, roster, parts=None, version="0", heartbeat=1.0)  # type: ignore[arg-type]

    first = engine()
    for run in (earlier, made):
        first.propose(run, "admin")
    for name in PARTIES:
        first.take(Signed(earlier.run_id, NOW, name, "ab" * 64))
    first.take(PhaseDone(earlier.run_id, NOW, LABEL, "align", 1, REPORTS["align"](LABEL)))
    first.take(Signed(made.run_id, NOW, LABEL, "ab" * 64))
    log.append(Signed(made.run_id, NOW, "sat", "ab" * 64))  # the process dies here
    second = engine()
    second._parts = type("Parts", (), {"abort": lambda *_: None, "interrupt": lambda *_: None})()  # type: ignore[assignment]
    second.restore()
    assert second.known(earlier.run_id).state.reason == f"the others go on without card, as run {made.run_id[:12]}"
    assert second.known(made.run_id).state.phase == "align"
    log.close()
