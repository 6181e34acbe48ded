"""A template of terms can be proposed as it is, whatever the kind, and says who is missing."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import get_args

import pytest

from parties.client import PartyView
from parties.errors import ConfigError
from parties.names import COORDINATOR
from parties.proposing.drafting import agreement_of, load_proposal
from parties.proposing.template import Kind, terms_template

KEY = "ab" * 32


def replace_columns(one: PartyView, columns: tuple[str, ...]) -> PartyView:
    return one.model_copy(update={"columns": columns})


def member(name: str, role: str, columns: int) -> PartyView:
    label = {"label_name": "next_return", "label_definition": "of the week after"} if role == "label" else {}
    return PartyView(
        name=name, role=role, address="127.0.0.1:1", identity_key=KEY, certificate_sha256=KEY,
        columns=tuple(f"{name}_{i}" for i in range(columns)), legal_entity=f"Fund of {name}", **label,
    )  # fmt: skip


LIKE = [
    replace_columns(one, ("volume", "spread"))
    for one in (member("sat", "feature", 2), member("bank", "label", 2), member("web", "feature", 2))
]
MEMBERS = [member("sat", "feature", 5), member("bank", "label", 0), member("web", "feature", 3)]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_it_can_be_proposed_as_it_is(tmp_path: Path, kind: Kind) -> None:
    offered = LIKE if kind == "federated" else MEMBERS
    text = terms_template("Fonds “A”", offered, kind, "W-FRI", date(2023, 1, 6), date(2024, 12, 27))
    (tmp_path / "terms.toml").write_text(text, encoding="utf-8")
    members = {one.name: one for one in offered}
    settings = load_proposal(tmp_path / "terms.toml", members)
    nodes = {COORDINATOR: member(COORDINATOR, "feature", 0), **members}
    agreement = agreement_of(settings, nodes, datetime(2026, 1, 1, tzinfo=UTC))
    assert agreement.model.kind == kind
    assert agreement.consortium == "Fonds “A”"
    assert {party.name: party.columns for party in agreement.parties} == {one.name: one.columns for one in offered}
    assert (agreement.calendar.frequency, len(agreement.calendar.periods)) == ("W-FRI", 104)


def proposed(tmp_path: Path, text: str) -> None:
    (tmp_path / "terms.toml").write_text(text, encoding="utf-8")
    members = {one.name: one for one in MEMBERS}
    settings = load_proposal(tmp_path / "terms.toml", members)
    agreement_of(
        settings, {COORDINATOR: member(COORDINATOR, "feature", 0), **members}, datetime(2026, 1, 1, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    ("written", "instead", "told"),
    [
        ('kind = "sealed"', 'kind = "seeled"', r"terms\.toml: model: kind is 'seeled', which is none of sealed, "),
        ("limit_per_row", "limit_pro_row", r"terms\.toml: openings\.limit_pro_row: no such key: correct its name"),
        (
            "warmup = 12",
            "warmup = 104",
            r"walk_forward\.warmup: nothing .* has 104 periods, and the first prediction needs 105 .*: lower",
        ),
        ("limit_per_row = 4", "limit_per_row = 0", "limit_per_row: must be greater than or equal to 1, and is 0$"),
        ("warmup = 12", "warmup = 2.5", r"walk_forward\.warmup: must be a whole number, and is 2\.5$"),
        ('policy = "psi"', 'policy = "pse"', "alignment.policy: must be .*'psi'.*, and is 'pse'$"),
        ("horizon = 1", "horizon = 93", r"walk_forward\.warmup: nothing can .* needs 105 "),
    ],
)
def test_a_slip_in_the_terms_is_told_in_words_before_anybody_is_asked(
    tmp_path: Path, written: str, instead: str, told: str
) -> None:
    text = terms_template("T", MEMBERS, "sealed", "W-FRI", date(2023, 1, 6), date(2024, 12, 27))
    with pytest.raises(ConfigError, match=told):
        proposed(tmp_path, text.replace(written, instead))
    proposed(tmp_path, text.replace("warmup = 12", "warmup = 103"))


def test_members_of_a_federated_model_offer_the_same_columns() -> None:
    dates = (date(2023, 1, 6), date(2024, 12, 27))
    with pytest.raises(ConfigError, match="bank offers no columns"):
        terms_template("x", MEMBERS, "federated", "W-FRI", *dates)
    other = replace_columns(LIKE[2], ("volume", "depth"))
    with pytest.raises(ConfigError, match="sat and web offer other columns, depth among them"):
        terms_template("x", [*LIKE[:2], other], "federated", "W-FRI", *dates)


def test_it_says_who_is_missing() -> None:
    away = PartyView(name="card")
    with pytest.raises(
        ConfigError, match="one label party and a feature party or more; here are 0 and 1; card has not"
    ):
        terms_template("x", [MEMBERS[0], away], "sealed", "M", date(2023, 1, 1), date(2024, 1, 1))
    with pytest.raises(ConfigError, match="; card, web have not started yet"):
        terms_template("x", [away, PartyView(name="web")], "sealed", "M", date(2023, 1, 1), date(2024, 1, 1))


def test_a_member_that_is_away_is_in_the_terms_or_left_out_by_name() -> None:
    whole, dates = [*MEMBERS, PartyView(name="card")], (date(2023, 1, 1), date(2024, 1, 1))
    with pytest.raises(ConfigError, match=r"card has not started yet, .* or leave it out with --without card"):
        terms_template("x", whole, "sealed", "M", *dates)
    assert terms_template("x", whole, "sealed", "M", *dates, without=["card"]) == terms_template(
        "x", MEMBERS, "sealed", "M", *dates
    )
    assert '"sat"' not in terms_template("x", MEMBERS, "sealed", "M", *dates, without=["sat"])
    with pytest.raises(ConfigError, match=r"no member is called crad: bank, card, sat, web"):
        terms_template("x", whole, "sealed", "M", *dates, without=["crad"])


def test_too_few_columns_for_a_split_network_name_what_fits() -> None:
    few = [MEMBERS[1], member("web", "feature", 3)]
    with pytest.raises(ConfigError, match=r"3 feature columns leave a split network no opening .*--kind sealed"):
        terms_template("x", few, "split", "M", date(2023, 1, 1), date(2024, 1, 1))
