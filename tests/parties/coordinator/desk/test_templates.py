"""A new run's dates are those of the run that settled last: what its members' data are known to cover."""

from __future__ import annotations

from datetime import UTC, date, datetime

from parties.agreement.group_terms import GroupTerms
from parties.control.reports import IntroductionBody
from parties.coordinator.desk.templates import Before, templates
from parties.proposing.drafting import agreement_of, offered_terms
from parties.settings.consortium import EncoderSettings
from vfl.encoder_terms import EncoderShape

TODAY = date(2026, 11, 29)
NOW = datetime(2026, 11, 29, tzinfo=UTC)


class Known:
    """A member of the consortium, as its roster and its node say it."""

    address, identity_key, certificate_sha256, text, expansion = "h:1", "00", "00", "", ""

    def __init__(self, encoder: str) -> None:
        self.encoder = encoder


def test_dates_follow_the_last_settled_run_and_are_called_a_guess_without_one() -> None:
    calendar = {"frequency": "W-FRI", "first": "2024-01-05", "last": "2024-12-27", "decision_lag_days": 1}
    for made in templates({}, "", TODAY, Before("ab" * 32, calendar, 60)):
        assert made.terms["calendar"] == calendar
        assert made.entities == 60
        assert "run abababababab, which settled" in made.words
    for made in templates({}, "", TODAY):
        assert made.terms["calendar"]["last"] == "2026-11-27"
        assert "a guess" in made.words


def test_groups_that_nodes_train_their_encoders_in_are_in_the_terms_as_they_declare_them() -> None:
    shape = {"kind": "transformer", "window": 6, "hidden": 6, "outputs": 2, "fit_periods": 28, "masked_share": 0.4}
    own = ("balance", "spend")
    read = EncoderSettings(**shape, group="lenders", columns=("spend",)).declared(own)
    said = {
        "fund": IntroductionBody(role="label", columns=("score",), label_name="state", label_definition="later"),
        **{
            name: IntroductionBody(role="feature", columns=(*own, "spend_missing", "enc_0", "enc_1"), encoder=read)
            for name in ("north", "south", "east")
        },
        "shop": IntroductionBody(
            role="feature", columns=("a", "enc_0"), encoder=EncoderSettings(outputs=1).declared(("a",))
        ),
    }
    made = {one.key: one.terms for one in templates(said, "", TODAY)}
    assert "group" not in made["screen"]
    for kind in made.keys() - {"screen"}:
        settings = offered_terms(made[kind], said)
        (group,) = settings.group
        assert group == GroupTerms(
            name="lenders", members=("north", "south", "east"), encoder=EncoderShape(**shape, columns=("spend",))
        )
        assert settings.alignment.policy == "union"
        if kind != "split":  # whose openings so few columns do not allow
            assert agreement_of(settings, dict.fromkeys([*said, "coordinator"], Known(read)), NOW).groups, kind
    whole = EncoderSettings(**shape, group="lenders").declared(own)
    said |= {name: said[name].model_copy(update={"encoder": whole}) for name in ("north", "south", "east")}
    assert templates(said, "", TODAY)[0].terms["group"][0]["encoder"]["columns"] == []
