"""The text of an agreement: nothing that is signed can change without a line of it changing."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from parties.agreement.cautions import agreement_cautions, weaker_than_before
from parties.agreement.document import Agreement
from parties.agreement.every_term import differences, every_term
from parties.agreement.plain_meanings import PLAIN_MEANINGS
from parties.agreement.text import agreement_lines, agreement_text, terms_section

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
PERIODS = [f"2024-W{week:02d}" for week in range(1, 28)]
ENDS = [AT - timedelta(days=7 * (60 - i)) for i in range(len(PERIODS))]


def party(name: str, role: str = "feature", columns: int = 20, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "role": role, "legal_entity": f"{name.title()} Ltd", "address": f"{name}:1",
        "identity_key": "ab" * 32, "certificate_sha256": "cd" * 32,
        "columns": [f"{name}_{i}" for i in range(columns)], **more,
    }  # fmt: skip


def document(**changes: Any) -> dict[str, Any]:
    """An agreement with everything in it that goes together."""
    return {
        "consortium": "Test funds", "purpose": "a weekly factor", "proposed_at": AT,
        "expires_at": AT + timedelta(days=1), "nonce": "1", "coordinator_certificate_sha256": "00" * 32,
        "coordinator_address": "hub:1",
        "parties": [
            party("bank", "label", 2), party("sat", encoder="a map of 3 columns", expansion="products of 2"),
            party("card"), party("web"),
        ],
        "label": {"name": "y", "definition": "next week's return", "party": "bank"},
        "calendar": {"frequency": "W-FRI", "periods": PERIODS, "period_ends": ENDS, "cutoffs": ENDS},
        "model": {"kind": "split", "hidden": 8, "warm_start": "ridge", "loss": "rank_ic"},
        "walk_forward": {"horizons": [{"name": "month", "definition": "a month's return", "periods": 4, "share": 0.2}]},
        "openings": {"limit_per_row": 8, "attribution": True},
        "evaluation": {"first": PERIODS[20], "last": PERIODS[25]},
        "search": {"trials": 5, "space": {"hidden": {"low": 4, "high": 9}, "weight_decay": {"low": 0.1, "high": 1}}},
        "reward": {
            "pot": 1_000_001,
            "settlement": {
                "stakes": {"sat": 500}, "dispute_deposit": 10,
                "approvers": {"ann": "01" * 32, "ben": "02" * 32, "cid": "03" * 32},
            },
        },
        "fees": {"key_holder": "sat", "modulus": "f" * 768},
        "recipients": ["sat", "coordinator"], "readers": {"quant": "04" * 32}, "code_version": "0.1.0", **changes,
    }  # fmt: skip


RIDGE: dict[str, Any] = {"model": {"kind": "ridge"}, "search": None, "walk_forward": {}}
PLACEBO: dict[str, Any] = {
    "placebo": {"of": "05" * 32, "seed": 3, "row_limit": 4, "reserved": 1}, "search": None,
    "openings": {"contribution": "none"}, "reward": {},
}  # fmt: skip
CONTINUED: dict[str, Any] = {
    "continues": {"run_id": "06" * 32, "without": ["sea"], "rows": "kept", "opened": 2}, "search": None,
}  # fmt: skip
PRODUCTS: dict[str, Any] = {"products": {"screen": "0a" * 32, "formulas": ["sat#1 x card#2", "card#4 x sat#3"]}}
DAILY: dict[str, Any] = {"daily": {"scores": 20, "expires": "2027-01-31"}}
SCORED: dict[str, Any] = {
    "model": {"kind": "sealed", "anchor": "sat"}, "walk_forward": {}, "search": None, "reward": {}, "fees": None,
    "openings": {"limit_per_row": 1, "contribution": "none"}, "evaluation": {},
    "scores": {"of": "08" * 32, "first": PERIODS[26]},
}  # fmt: skip
GROUPED = ["x", "z", "enc_0", "enc_1", *(f"exp_{k}" for k in range(11))]
TAUGHT = {"encoder": "group us together", "expansion": "group us together"}
MEMBERS = {"bank": "label", "sat": "feature", "card": "feature", "web": "feature"}
BASES: dict[str, dict[str, Any]] = {
    "everything": {},
    "little": {"fees": None, "search": None, "openings": {"contribution": "none"}, "reward": {}},
    "softmax": {"model": {"loss": "softmax", "classes": 3}, "walk_forward": {}, "search": None},
    "source search": {
        "search": {
            "source_trials": 1,
            "space": {"source_decay": {"low": 0.1, "high": 0.9}, "hidden": {"low": 4, "high": 8}},
        },
        "openings": {"limit_per_row": 18, "contribution": "none"},
        "model": {"embedding_width": 1},
    },
    "a licence": {"reward": {"pot": 1_000_001, "licence": {"per_period": 500, "periods": 12}}},
    "choices": {"search": {"space": {"top": {"values": ["linear", "residual"]}}}},
    "ridge": RIDGE,
    "placebo": PLACEBO,
    "continued": CONTINUED,
    "daily": {
        "model": {"kind": "sealed", "anchor": "sat", **PRODUCTS},
        "walk_forward": {},
        "search": None,
        "openings": {"limit_per_row": 2, "contribution": "none"},
        **DAILY,
    },
    "scored": SCORED,
    "to be scored": SCORED | {"scores": None},
    "a public list": {"alignment": {"policy": "universe", "universe_sha256": "07" * 32}},
    "oblivious transfer": {"alignment": {"protocol": "ot"}},
    "sealed": {
        "model": {
            "kind": "sealed",
            "anchor": "sat",
            "momentum": 0.5,
            "embedding_limit": 2.0,
            "seed": 3,
            "score_limit": 2,
        },
        "walk_forward": {},
        "search": None,
        "openings": {"limit_per_row": 2, "contribution": "none"},
    },
    "static": {
        "calendar": None,
        "static": {"label": "binary", "test_share": 0.25, "seed": 3},
        "parties": [party("bank", "label", 2), party("sat"), party("card"), party("web")],
        "model": {"kind": "sealed", "anchor": "sat", "score_limit": 2},
        "walk_forward": {"horizon": 1, "embargo": 0, "warmup": 1},
        "evaluation": {},
        "openings": {},
        "reward": {},
        "fees": None,
        "search": None,
    },
    "classes": {
        "calendar": None,
        "static": {"label": "classes", "classes": 4},
        "parties": [party("bank", "label", 2), party("sat")],
        "model": {"kind": "sealed", "anchor": "sat"},
        "walk_forward": {"horizon": 1, "embargo": 0, "warmup": 1},
        "evaluation": {},
        "openings": {"limit_per_row": 8},
        "reward": {},
        "fees": None,
        "search": None,
    },
    "narrow": {"fixed_point": {"gradient_bits": 15}, "search": None},
    "trees": {
        "model": {
            "kind": "trees",
            "seed": 5,
            "label_clip": 6.0,
            "anchor": "web",
            "smallest_leaf": 10,
            "reg_lambda": 5.0,
            "blocks": 2,
            "fits_kept": 3,
        },
        "openings": {"contribution": "none"},
        "walk_forward": {},
        "search": None,
        "parameter_set": "bfv-8192-prime",
    },
    "screen": {
        "model": {"kind": "screen", "terminals": 40, "hurdle": 2.5, "level": 0.1},
        "openings": {"limit_per_row": 2},
        "walk_forward": {},
        "search": None,
        "parameter_set": "bfv-8192-prime",
        "reward": {},
        "fees": None,
        "readers": {},
    },
    "a group": {
        "parties": [
            party("bank", "label", 2),
            *({**party(name), "columns": GROUPED, **TAUGHT} for name in ("sat", "card", "web")),
        ],
        "model": {"kind": "sealed", "anchor": "sat"},
        "walk_forward": {},
        "search": None,
        "openings": {"contribution": "none"},
        "alignment": {"policy": "union"},
        "groups": [
            {
                "name": "us",
                "members": ["sat", "card", "web"],
                "encoder": {"kind": "transformer", "window": 7, "columns": ["x", "z"], "outputs": 2, "fit_periods": 9},
                "expand": {"fourier": 9, "bins": 3, "hinges": True, "columns": ["x", "z"], "outputs": 7},
                "threshold": 3,
                "sampled": 0.95,
                "weights": "equal",
            }
        ],
    },
    "one head": {
        "parties": [
            party("bank", "label", 2),
            *({**party(name), "columns": GROUPED, "encoder": "group us together"} for name in ("sat", "card", "web")),
            party("sea", columns=1),
        ],
        "model": {"kind": "sealed", "anchor": "sea"},
        "walk_forward": {},
        "search": None,
        "openings": {"contribution": "none"},
        "alignment": {"policy": "union"},
        "groups": [
            {
                "name": "us",
                "members": ["sat", "card", "web"],
                "encoder": {"kind": "transformer", "window": 7, "columns": ["x", "z"], "outputs": 2, "fit_periods": 9},
                "threshold": 3,
                "absent": "zeros",
                "head": "tied",
            }
        ],
    },
    "federated": {
        "parties": [{**party(name, role, 2), "columns": ["x", "z"]} for name, role in MEMBERS.items()],
        "model": {
            "kind": "federated",
            "threshold": 3,
            "weights": "equal",
            "sampled": 0.95,
            "hidden": 7,
            "batch_rows": 300,
            "weight_decay": 0.002,
            "learning_rate": 0.02,
            "seed": 9,
        },
        "openings": {"contribution": "none"},
        "recipients": list(MEMBERS),
        "walk_forward": {},
        "search": None,
        "reward": {},
        "fees": None,
        "readers": {},
    },
    "trees from a line": {
        "model": {"kind": "trees", "anchor": "web", "init_score": "linear", "init_alpha": 20.0},
        "openings": {"contribution": "none"},
        "walk_forward": {},
        "search": None,
        "parameter_set": "bfv-8192-prime",
    },
    "ensemble": {
        "model": {"kind": "ensemble", "anchor": "card", "seed": 16, "trees_share": [0.3, 0.6]},
        "openings": {"limit_per_row": 3, "contribution": "none"},
        "walk_forward": {},
        "search": None,
        "parameter_set": "bfv-8192-prime",
    },
    "averages": {
        "model": {"kind": "ensemble", "anchor": "card", "weights": [{"linear": 1.0}, {"network": 1.0}, {"trees": 1.0}]},
        "openings": {"limit_per_row": 3, "contribution": "none"},
        "walk_forward": {},
        "search": None,
        "parameter_set": "bfv-8192-prime",
    },
    "a sealed search": {
        "model": {"kind": "sealed", "anchor": "sat"},
        "walk_forward": {},
        "search": {
            "configurations": [
                {
                    "width": 2,
                    "batch_rows": 512,
                    "warmup_steps": 4,
                    "steps": 2,
                    "linear_rate": 0.125,
                    "square_rate": 0.125,
                    "momentum": 0.25,
                    "alpha": 300.0,
                    "threshold": 2.0,
                    "start": 0.25,
                },
                {},
            ],
        },
        "openings": {"limit_per_row": 3, "contribution": "none"},
    },
}
TOGETHER: list[tuple[set[tuple[str, str]], dict[str, Any]]] = [
    ({("AlignmentTerms", "policy")}, BASES["a public list"]),
    ({("GroupTerms", "name"), ("GroupTerms", "threshold")}, BASES["a group"]),  # with its members' encoders
    ({("GroupTerms", "expand")}, BASES["a group"]),  # with its members' expansions
    (
        {("GroupTerms", "noise")},  # without an expansion, whose sums carry none
        {
            **BASES["a group"],
            "parties": [one | {"expansion": ""} for one in BASES["a group"]["parties"]],
            "groups": [{**BASES["a group"]["groups"][0], "expand": None, "noise": 1.0}],
        },
    ),
    ({("Agreement", "calendar"), ("Agreement", "static")}, BASES["static"]),
    (
        {("LabelTerms", "residual")},  # names columns of the label party
        {"label": {"name": "y", "definition": "next week's return", "party": "bank", "residual": ["bank_0"]}},
    ),
    (
        {("LabelTerms", "party"), ("PartyTerms", "role")},
        {
            "parties": [
                party("bank"),
                party("sat", encoder="a map of 3 columns", expansion="products of 2"),
                party("card", "label"),
                party("web"),
            ],
            "label": {"name": "y", "definition": "next week's return", "party": "card"},
        },
    ),
]
CONSTANT = {
    ("Agreement", "version"),
    ("SealedSearchTerms", "kind"),
    ("SplitModel", "kind"),
    ("RidgeModel", "kind"),
    ("SealedModel", "kind"),
    ("TreesModel", "kind"),
    ("EnsembleModel", "kind"),
    ("ScreenModel", "kind"),
    ("FederatedModel", "kind"),
    ("ExpansionShape", "trees"),
}
"""Fields of one possible value: another kind of model is another record, and no sum fits a group's trees."""


def read(agreement: Agreement) -> set[str]:
    """Every line that whoever signs it reads, but for the run's id, which always changes."""
    lines = (*agreement_lines(agreement), *terms_section(agreement).lines)
    return {line for line in lines if not line.startswith("Run id: ")}


def inside(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a field of this type holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from inside(inner)


def fields() -> set[tuple[str, str]]:
    """Every field of every model that an agreement is made of, but for those that are nothing but other models."""
    found: set[tuple[str, str]] = set()
    waiting: list[type[BaseModel]] = [Agreement]
    known = set(waiting)
    for model in waiting:
        for name, field in model.model_fields.items():
            held = list(inside(field.annotation))
            if not held or type(None) in get_args(field.annotation):
                found.add((model.__name__, name))
            waiting += [one for one in held if one not in known]
            known |= set(held)
    return found


def places(model: BaseModel, path: tuple[Any, ...] = ()) -> Iterator[tuple[type[BaseModel], str, tuple[Any, ...], Any]]:
    """Every field that stands in an agreement: its model, its name, where it is, and its value."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        yield type(model), name, (*path, name), value
        inside = (
            {None: value}
            if isinstance(value, BaseModel)
            else dict(enumerate(value))
            if isinstance(value, tuple)
            else value
        )
        for key, inner in inside.items() if isinstance(inside, dict) else ():
            if isinstance(inner, BaseModel):
                yield from places(inner, (*path, name) if key is None else (*path, name, key))


def others(value: Any) -> Iterator[Any]:
    """Other values to try in the place of one."""
    match value:
        case bool():
            yield not value
        case int():
            yield from (value + 1, value - 1, value * 2 + 1, 3, value * 2)
        case float():
            yield from (value * 1.01 + 0.001, value / 2, value + 1)
        case datetime():
            yield from (value + timedelta(microseconds=1), value - timedelta(microseconds=1))
        case date():
            yield value + timedelta(days=1)
        case str():
            yield from (
                f"{value} ", f"{value}x", f"e{value[1:]}", f"{value[:-1]}0", value.swapcase(),
                "linear", "mlp", "regression", "mse", "none", "random", "burned", "approved", "fresh", "psi", "ot",
                "masked", "bfv-4096", "feature", "label", "card", PERIODS[3], "sat", "", "any", "allowed", "never",
                "median", "rows", "due", "lstm", "next", "zeros", "precedence", "own",
            )  # fmt: skip
        case tuple() | list():
            yield from (list(value[:-1]), list(reversed(value)), [*value, "another"], [*value[:20], *value[21:]])
            if value and isinstance(value[0], datetime):
                yield [*value[:-1], value[-1] + timedelta(seconds=1)]
                yield [*value[:14], value[14] + timedelta(microseconds=1), *value[15:]]
            if value and isinstance(value[0], str):
                yield from ([*value[:-1], "last"], [*value[:15], "middle", *value[16:]])
        case dict():
            yield {}
            yield {f"{key}x": inner for key, inner in value.items()}
        case None:
            yield from (
                1,
                0.5,
                "x",
                {"key_holder": "card", "modulus": "e" * 767 + "f"},
                {},
                {"per_period": 500, "periods": 12},
                PRODUCTS["products"],
                PLACEBO["placebo"],
                CONTINUED["continues"],
                DAILY["daily"],
                SCORED["scores"],
            )


def put(body: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    made = copy.deepcopy(body)
    place: Any = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return made


def whole(model: BaseModel) -> dict[str, Any]:
    """The model with every field, those too that its canonical form leaves out."""
    return {name: _whole(getattr(model, name)) for name in type(model).model_fields}


def _whole(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return whole(value)
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return [_whole(inner) for inner in value]
    return value


def another(agreement: Agreement, body: dict[str, Any]) -> Agreement | None:
    """The changed agreement, if it is one and another than the first."""
    try:
        made = Agreement.model_validate(body)
    except ValidationError:
        return None
    return made if made.run_id != agreement.run_id else None


def test_no_signed_term_changes_without_a_line_changing() -> None:
    """Every field of every model is changed, wherever it can stand; the text has to say so each time."""
    changed: set[tuple[str, str]] = set()
    tried: set[tuple[Any, ...]] = set()
    unseen: list[str] = []
    for base in BASES.values():
        agreement = Agreement.model_validate(document(**base))
        body, lines = whole(agreement), read(agreement)
        for model, name, path, value in places(agreement):
            if (path, repr(value)) in tried:
                continue
            found = (another(agreement, put(body, path, other)) for other in others(_whole(value)))
            for made in islice(filter(None, found), 3):
                tried.add((path, repr(value)))
                changed.add((model.__name__, name))
                if read(made) == lines:
                    unseen.append(f"{'.'.join(map(str, path))}: another value than {value!r}")
    assert not unseen, "\n".join(unseen)
    assert fields() - changed - {name for names, _ in TOGETHER for name in names} == CONSTANT


def test_every_term_says_what_it_means() -> None:
    """By its declaration or by its name; a meaning for a name that no such term has is left over."""
    silent = set[str]()

    def walk(model: type[BaseModel], seen: set[type[BaseModel]]) -> None:
        seen.add(model)
        for name, field in model.model_fields.items():
            inner = [one for one in _parts(field.annotation) if isinstance(one, type) and issubclass(one, BaseModel)]
            if not inner and not field.description:
                silent.add(name)
            for one in inner:
                if one not in seen:
                    walk(one, seen)

    walk(Agreement, set())
    assert silent == set(PLAIN_MEANINGS)
    assert all(term.meaning for term in every_term(Agreement.model_validate(document())))


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for one in get_args(annotation):
        yield from _parts(one)


def test_terms_that_only_change_together_show_too() -> None:
    base = read(Agreement.model_validate(document()))
    for names, changes in TOGETHER:
        assert read(Agreement.model_validate(document(**changes))) != base, names


def test_every_kind_of_model_says_what_it_opens() -> None:
    split, ridge = (Agreement.model_validate(document(**BASES[name])) for name in ("softmax", "ridge"))
    assert any(line.startswith("Model: the split network") for line in read(split))
    assert any(line.startswith("Model: the joint ridge") for line in read(ridge))
    assert any("blocks of at least 315 rows" in line for line in read(ridge))


def test_the_text_says_when_what_and_how_much() -> None:
    """What an operator once signed without reading it: the period, the horizon, the warm-up, the model, the money."""
    said = "\n".join(agreement_lines(Agreement.model_validate(document())))
    for words in (
        f"27 periods, {PERIODS[0]} to {PERIODS[-1]}, frequency W-FRI", "known 1 period after", "waits for 4 periods",
        "Model: the split network, an embedding of width 2", f"Reported from {PERIODS[20]} to {PERIODS[25]}",
        "Legal entities: bank Bank Ltd; sat Sat Ltd", "Reward pot: 10000.01 USD", "At stake: sat 5.00 USD.",
        "puts 0.10 USD at risk", "20 millionths of the assets", "Expires: 2026-03-03 09:30 UTC", "sealed for quant",
    ):  # fmt: skip
        assert words in said
    assert [part.title for part in agreement_text(Agreement.model_validate(document()))] == [
        "The run", "What opens", "The factor", "Money", "Validity",
    ]  # fmt: skip


def test_values_that_look_alike_read_apart() -> None:
    base = Agreement.model_validate(document())

    def entity(text: str) -> Agreement:
        made = document()
        made["parties"][2]["legal_entity"] = text
        return Agreement.model_validate(made)

    for one, other in (("A Ltd", "A Ltd "), ("A Ltd", "A  Ltd"), ("AB", "A\u200bB"), ("A B", "A\u202eB"), ("", "none")):
        assert differences(entity(one), entity(other)), (one, other)
        terms = (terms_section(entity(text)).lines for text in (one, other))
        assert len({"".join(c if c.isprintable() else " " for c in "\n".join(lines)) for lines in terms}) == 2
    assert differences(base, base) == ()


def test_a_difference_to_the_last_agreement_is_one_line_and_worse_ones_are_named() -> None:
    before = Agreement.model_validate(document())
    after = Agreement.model_validate(
        document(
            nonce="2", proposed_at=AT + timedelta(hours=1), alignment={"minimum_common": 10},
            reward={"pot": 5, "risk_aversion": 2.0},
        )
    )  # fmt: skip
    assert differences(before, Agreement.model_validate(document(nonce="3"))) == ()
    changed = differences(before, after)
    assert "alignment: minimum common: 30 -> 10" in changed
    assert "reward: pot: 10000.01 USD (1000001 minor units) -> 0.05 USD (5 minor units)" in changed
    assert "reward, settlement: clip: 0.25 -> not there" in changed
    worse = weaker_than_before(before, after)
    assert [line.partition(" was ")[0] for line in worse] == [
        "alignment.minimum_common", "reward.pot", "reward.risk_aversion",
    ]  # fmt: skip
    assert [line.partition(" was ")[0] for line in weaker_than_before(after, before)] == []


def test_what_lowers_protection_or_pay_is_a_caution_of_the_term_it_is_about() -> None:
    def terms(me: str = "", **changes: Any) -> set[str]:
        return {one.term for one in agreement_cautions(Agreement.model_validate(document(**changes)), me)}

    assert {"openings.contribution", "openings.attribution", "openings.limit_per_row", "model.warm_start"} <= terms()
    assert {"recipients", "readers", "fees"} <= terms()
    calm: dict[str, Any] = {
        "openings": {"contribution": "none", "limit_per_row": 4}, "fees": None, "readers": {}, "search": None,
        "model": {}, "recipients": ["sat", "card", "web"], "reward": {}, "walk_forward": {},
    }  # fmt: skip
    assert terms(**calm) == {"reward.pot"}
    assert terms("card", **calm | {"recipients": ["sat"]}) == {"reward.pot", "recipients"}
    assert "reward.settlement.stakes" in terms("sat")
    assert "reward.settlement.stakes" not in terms("card")
    assert "reward.settlement.approvers" in terms("card")
    assert "alignment.minimum_common" in terms(alignment={"minimum_common": 5})
    assert "alignment.policy" in terms(alignment={"policy": "universe", "universe_sha256": "07" * 32})
    assert "alignment.protocol" in terms(alignment={"protocol": "ot"})
    assert "expires_at" in terms(expires_at=AT + timedelta(days=90))


def test_a_party_of_the_label_partys_own_firm_is_named_however_it_is_spelt() -> None:
    for text in ("Bank Ltd", "bank  LTD ", "Bank Ltd.", "BANK, Ltd", "\uff22ank Ltd"):
        made = document()
        made["parties"][2]["legal_entity"] = text
        told = agreement_cautions(Agreement.model_validate(made), "card")
        assert any(one.term == "parties.legal_entity" and "earns nothing" in one.words for one in told), text
    shared = document()
    shared["parties"][3]["legal_entity"] = "CARD LTD"
    told = agreement_cautions(Agreement.model_validate(shared))
    assert any("card, web are one legal entity" in one.words for one in told)


@pytest.mark.parametrize("columns", [9, 300])
def test_a_column_added_to_a_long_list_stands_in_the_text_by_its_name(columns: int) -> None:
    made = document(fixed_point={"gradient_bits": 15})
    made["parties"][3]["columns"] = [f"junk_{i}" for i in range(columns)]
    assert f"junk_{columns - 2}" in "\n".join(read(Agreement.model_validate(made)))
