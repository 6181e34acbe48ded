"""The pay rule: what a record must agree with, and what of it may be paid."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from parties.agreement.document import Agreement
from parties.errors import LedgerError
from parties.settlement.closing import reward_split
from parties.settlement.contribution import ContributionRecord
from parties.settlement.pay_rule import check_record, claims_of, gate
from tests.parties.contribution_records import record_of, recorded
from tests.parties.coordinator_rig import Consortium

PERIODS = tuple(f"w{number:03}" for number in range(60))
DEFAULTS = {"pot": 10_000, "unit": "USD", "scale": 2, "rows": "any"}


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return Consortium(tmp_path_factory.mktemp("homes"))


@pytest.fixture(scope="module")
def agreement(consortium: Consortium) -> Agreement:
    return agreed(consortium)


def agreed(consortium: Consortium, **changes: Any) -> Agreement:
    ends = [datetime(2024, 1, 5, tzinfo=UTC) + timedelta(weeks=week) for week in range(len(PERIODS))]
    calendar = {"frequency": "W-FRI", "periods": PERIODS, "period_ends": ends, "cutoffs": ends}
    reward = DEFAULTS | changes.pop("reward", {})
    return consortium.agreement(calendar=calendar, reward=reward, **changes)


def said(record: dict[str, Any]) -> ContributionRecord:
    return ContributionRecord.model_validate(record)


def test_what_is_significant_is_paid_less_its_standard_error(agreement: Agreement) -> None:
    claims = claims_of(agreement, said(recorded(PERIODS, {"sat": 0.04, "card": 0.02})))
    assert {party: claim.barred for party, claim in claims.items()} == {"sat": "", "card": ""}
    assert reward_split(agreement, said(recorded(PERIODS, {"sat": 0.04, "card": 0.02}))).shares == {
        "sat": 7_500, "card": 2_500,
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_paid_nothing_and_the_pot_rolls_over(agreement: Agreement, seed: int) -> None:
    rng = np.random.default_rng(seed)
    series = {party: 0.0003 + rng.normal(0, 0.05, len(PERIODS)) for party in ("sat", "card")}
    split = reward_split(agreement, said(record_of(PERIODS, series)))
    assert (split.shares, split.rolled_over) == ({"sat": 0, "card": 0}, 10_000)


def test_a_joint_factor_below_the_label_partys_own_is_paid_nothing(agreement: Agreement) -> None:
    """phi may be above zero and significant while the joint score is worse than the label party's own."""
    record = recorded(PERIODS, {"sat": 0.04, "card": 0.02})
    worse = np.random.default_rng(1).normal(-0.02, 0.03, len(PERIODS))
    told = gate(agreement, said(record | {"uplift_by_period": worse.tolist()}))
    assert told.startswith("the uplift over the label party's own model is -0.0")
    assert reward_split(agreement, said(record | {"uplift_by_period": worse.tolist()})).rolled_over == 10_000
    better = (worse + 0.06).tolist()
    assert gate(agreement, said(record | {"uplift_by_period": better})) == ""


def test_the_level_is_the_agreed_one_and_one_tests_nothing(consortium: Consortium) -> None:
    record = said(recorded(PERIODS, {"sat": 0.012, "card": 0.0}, errors=0.006))
    assert gate(agreed(consortium, reward={"uplift_level": 0.2}), record) == ""
    assert "is not significant: t" in gate(agreed(consortium, reward={"uplift_level": 0.001}), record)
    assert gate(agreed(consortium, reward={"uplift_level": 1}), record) == ""


def test_a_record_without_periods_pays_nobody(agreement: Agreement) -> None:
    parties = {party: {"phi": 0.5, "standard_error": 0.0} for party in ("sat", "card")}
    record = said({"method": "masked", "parties": parties})
    assert "no contributions by period" in gate(agreement, record)
    assert reward_split(agreement, record).rolled_over == 10_000


def test_live_periods_confirm_what_the_close_has_tested(agreement: Agreement) -> None:
    few = said(recorded(("x1", "x2", "x3", "x4"), {"sat": 0.02, "card": -0.01}, errors=0.03))
    claims = claims_of(agreement, few, live=True)
    assert {claim.barred for claim in claims.values()} == {""}, "four periods can show nothing at 5 %"
    worse = said(recorded(("x1", "x2", "x3", "x4"), {"sat": 0.02, "card": -0.05}))
    assert "not above zero" in claims_of(agreement, worse, live=True)["sat"].barred


def changed(record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    made = copy.deepcopy(record)
    for place, value in changes.items():
        *way, last = place.split("__")
        target = made
        for step in way:
            target = target[step]
        target[last] = value
    return made


GOOD = recorded(PERIODS, {"sat": 0.04, "card": 0.02})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (changed(GOOD, parties__sat__phi=0.05), "says phi 0.050000 of 'sat', and the mean of its periods is 0.04"),
        (changed(GOOD, parties__sat__standard_error=0.001), "says standard error 0.001000 of 'sat'"),
        (changed(GOOD, parties__sat__standard_error=None), "says standard error nan of 'sat'"),
        (changed(GOOD, v_everyone=0.3), "shares out 0.060000, and v(all) - v(nobody) is 0.25"),
        (changed(GOOD, v_nobody=None), "does not say v(all) and v(nobody)"),
        (changed(GOOD, n_periods=3), "says 3 periods"),
        (changed(GOOD, periods=list(PERIODS[:-1])), "another number of periods"),
        (changed(GOOD, periods=[*PERIODS[:-1], PERIODS[0]]), "counts a period twice"),
        (changed(GOOD, periods=[*PERIODS[:-1], "w999"]), "counts w999"),
        (changed(GOOD, uplift_by_period=[0.1]), "an uplift for another number of periods"),
        (changed(GOOD, parties__ship=GOOD["parties"]["sat"]), "contributions are of card, sat, ship"),
    ],
)
def test_a_record_that_contradicts_itself_is_named(agreement: Agreement, wrong: dict[str, Any], says: str) -> None:
    check_record(agreement, said(GOOD))
    with pytest.raises(LedgerError) as caught:
        check_record(agreement, said(wrong))
    assert says in str(caught.value)
    with pytest.raises(LedgerError):
        claims_of(agreement, said(wrong))


def test_kin_of_the_label_party_is_paid_nothing(consortium: Consortium) -> None:
    body = agreed(consortium).model_dump(mode="json")
    body["parties"][2]["legal_entity"] = body["parties"][0]["legal_entity"]
    kin = Agreement.model_validate(body)
    with pytest.raises(LedgerError, match="pays 'card', who is of the label party's own legal entity"):
        claims_of(kin, said(GOOD))
    claims_of(kin, said(record_of(PERIODS, {"sat": np.array(GOOD["parties"]["sat"]["phi_by_period"]),
                                            "card": np.zeros(len(PERIODS))})))  # fmt: skip


def test_records_of_an_earlier_version_keep_their_digest_and_their_signature() -> None:
    """An evidence hash in the books, and a live record attested before, were made without the fields of today."""
    import hashlib

    import rfc8785

    from parties.settlement.signed_contribution import canonical_record, contribution_digest

    old = said({"method": "masked", "parties": {"sat": {"phi": 0.1}}})
    body = old.model_dump(mode="json")
    for name in ("periods", "uplift_by_period", "committed"):
        body.pop(name)
    assert contribution_digest(old) == hashlib.sha256(rfc8785.dumps(body)).hexdigest()
    assert canonical_record(old) == body
    assert contribution_digest(said(GOOD)) != contribution_digest(said(GOOD | {"committed": {"sat": [True] * 60}}))
