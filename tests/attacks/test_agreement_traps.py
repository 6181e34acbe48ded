"""Attack: an agreement whose traps nobody sees, or that a node signs by itself.

Whoever proposes an agreement writes all of it. Three traps: another party declared to be of the label party's legal
entity, so that it earns nothing; openings so wide that a colluder's junk columns make room for reading a victim's; and
terms that no line of what people read shows.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pytest

from parties import __version__
from parties.agreement.document import Agreement
from parties.agreement.text import agreement_lines, terms_section
from parties.errors import AgreementError
from parties.members.roster import Roster
from parties.node import policy
from parties.node.policy import check_agreement, left_to_a_person
from parties.node.settings import NodeSettings, StandingLimits
from parties.settings.consortium import PartySettings
from tests.parties.agreement.test_text import another, document, others, places, put, whole
from tests.parties.coordinator_rig import LABEL, PARTIES, Consortium, entity_of


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return Consortium(tmp_path_factory.mktemp("traps"))


def node(name: str, **limits: Any) -> NodeSettings:
    """A feature party's node that signs by itself, and names whom it signs with."""
    known = {"counterparties": tuple(party for party in PARTIES if party != name), **limits}
    party = PartySettings(
        name=name, role="feature", legal_entity=entity_of(name), query="q.sql",
        columns=tuple(f"{name}_{i}" for i in range(10)),
    )  # fmt: skip
    return NodeSettings(
        listen="127.0.0.1:1", data=".", approve="automatic", limits=StandingLimits(**known), party=party
    )


def signs_alone(consortium: Consortium, agreement: Agreement, settings: NodeSettings) -> bool:
    """Whether the node signs with nobody looking. Raises :class:`AgreementError` where it refuses altogether."""
    name = settings.party.name
    roster = Roster.load(consortium.home(name) / "roster.json")
    check_agreement(agreement, settings, consortium.identities[name], roster, datetime.now(UTC))
    return not left_to_a_person(agreement, settings)


def honest(consortium: Consortium, **changes: Any) -> dict[str, Any]:
    calm = {
        "openings": {"contribution": "none", "limit_per_row": 2},
        "model": {"embedding_width": 2, "epochs": 1, "smallest_batch": 50},
    }
    terms = consortium.agreement(code_version=__version__, **calm, reward={}, recipients=["sat", "card"])
    return whole(terms) | changes


def test_an_honest_agreement_within_what_the_limits_name_is_signed_alone(consortium: Consortium) -> None:
    agreement = Agreement.model_validate(honest(consortium))
    assert signs_alone(consortium, agreement, node("sat", accepts=("reward.pot",)))
    assert not signs_alone(consortium, agreement, node("sat"))
    assert not signs_alone(consortium, agreement, node("sat", accepts=("reward.pot",), counterparties=()))


@pytest.mark.parametrize(("reader", "victim"), [("sat", "sat"), ("sat", "card")])
def test_nobody_else_says_whose_a_party_is(
    consortium: Consortium, monkeypatch: pytest.MonkeyPatch, reader: str, victim: str
) -> None:
    """Declared to be the label party's own, the victim would earn nothing whatever it brings."""
    body = honest(consortium)
    for party in body["parties"]:
        if party["name"] == victim:
            party["legal_entity"] = entity_of(LABEL)
    evil = Agreement.model_validate(body)
    assert evil.kin == {victim}
    for accepts in ((), ("reward.pot", "parties.legal_entity")):
        with pytest.raises(AgreementError, match="belongs to"):
            signs_alone(consortium, evil, node(reader, accepts=accepts))

    monkeypatch.setattr(policy, "_check_entity", lambda *_: None)
    trusting = node(reader, accepts=("reward.pot", "parties.legal_entity"))
    if reader == victim:
        party = trusting.party.model_copy(update={"legal_entity": entity_of(LABEL)})
        trusting = trusting.model_copy(update={"party": party})
    assert signs_alone(consortium, evil, trusting), "without the check the trap is signed"


@pytest.mark.parametrize("spelling", ["{} ", " {}", "{}.", "\u200b{}", "{}\N{NO-BREAK SPACE}"])
def test_nor_does_a_blank_make_a_sister_a_stranger(consortium: Consortium, spelling: str) -> None:
    body = honest(consortium)
    body["parties"][1]["legal_entity"] = spelling.format(entity_of(LABEL).upper())
    assert Agreement.model_validate(body).kin == {body["parties"][1]["name"]}


def test_a_member_signs_its_own_legal_entity_and_nobody_can_change_it(consortium: Consortium) -> None:
    member = consortium.identities["sat"].member("127.0.0.1:1", "  Sat \N{NO-BREAK SPACE} Ltd ")
    assert (member.legal_entity, member.endorsed("sat")) == ("Sat Ltd", True)
    for other in ("Bank Ltd", "", "sat ltd"):
        assert not member.model_copy(update={"legal_entity": other}).endorsed("sat")
    plain = consortium.identities["sat"].member("127.0.0.1:1")
    assert plain.endorsed("sat")
    assert not plain.model_copy(update={"legal_entity": "Bank Ltd"}).endorsed("sat")


def junk(consortium: Consortium, width: int) -> Agreement:
    """A colluder brings 300 columns of nothing, which make room for ``width`` numbers an opening."""
    body = honest(consortium)
    next(party for party in body["parties"] if party["name"] == "card")["columns"] = [f"junk_{i}" for i in range(300)]
    body["model"]["embedding_width"], body["fixed_point"]["gradient_bits"] = width, 15
    return Agreement.model_validate(body)


def test_a_colluders_junk_columns_make_no_room_to_read_a_victims(
    consortium: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two openings of width 64 are within two openings a row and 60 % of 310 columns, and show all of the victim's."""
    evil, accepts = junk(consortium, 64), ("reward.pot",)
    assert evil.row_limit * evil.model.embedding_width > 10 * len(evil.party("sat").columns)
    assert not signs_alone(consortium, evil, node("sat", openings_per_row=2, accepts=accepts))
    with pytest.raises(AgreementError, match="may open 128 numbers of a row"):
        signs_alone(consortium, evil, node("sat", openings_per_row=2, forms_per_row=6, accepts=accepts))
    assert signs_alone(consortium, junk(consortium, 3), node("sat", forms_per_row=6, accepts=accepts))

    monkeypatch.setattr(policy, "agreement_cautions", lambda *_: ())
    assert signs_alone(consortium, evil, node("sat", openings_per_row=2)), "by the old limits alone it is signed"


def test_no_term_is_hidden_from_who_reads_the_whole_text() -> None:
    """The sentences alone leave many a term unsaid; with every term none is."""
    base = Agreement.model_validate(document())
    body, hidden, unseen = whole(base), set(), set()
    for model, name, path, value in places(base):
        found = (another(base, put(body, path, other)) for other in others(value))
        for made in islice(filter(None, found), 1):
            said = [[line for line in agreement_lines(one) if "Run id" not in line] for one in (base, made)]
            every = [terms_section(one).lines for one in (base, made)]
            if said[0] == said[1]:
                hidden.add((model.__name__, name))
                unseen |= {(model.__name__, name)} if every[0] == every[1] else set()
    assert len(hidden) > 25, "what a review showed before it had every term"
    assert not unseen
