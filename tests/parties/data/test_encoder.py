"""A party's sequence encoder: it finds what single periods do not show, sees nothing ahead, and repeats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from parties.agreement.terms import PartyTerms
from parties.data.encoder import encoded
from parties.data.panel import feature_panel_of
from parties.data.query import Observations
from parties.errors import ConfigError
from parties.proposing.drafting import load_proposal
from parties.settings.consortium import EncoderSettings, PartySettings
from tests.parties.agreement.test_model_terms import agreement
from vfl.factors.evaluate import ic_by_period
from vfl.factors.panel import Calendar, FeaturePanel
from vfl.factors.placebo import refit

T, N = 60, 120
F64 = NDArray[np.float64]


def regimes(seed: int = 1) -> tuple[F64, F64]:
    """x (T, N) whose autocorrelation has the sign (T, N), which single values say nothing of."""
    rng = np.random.default_rng(seed)
    sign, x, signs = rng.choice([-1.0, 1.0], N), np.zeros((T, N)), np.zeros((T, N))
    for t in range(T):
        sign = np.where(rng.random(N) < 0.03, -sign, sign)
        signs[t] = sign
        x[t] = 0.8 * sign * x[t - 1] + 0.6 * rng.normal(size=N)
    return x, signs


def party(**encoder: Any) -> PartySettings:
    told: dict[str, Any] = {"name": "sat", "role": "feature", "query": "q.sql", "columns": ("x", "noise")}
    if encoder:
        told["encoder"] = {"window": 10, "fit_periods": 24, "outputs": 3, "columns": ("x",), **encoder}
    return PartySettings.model_validate(told)


def panel_of(settings: PartySettings, x: F64) -> FeaturePanel:
    days = np.datetime64("2020-01-03", "ns") + 7 * np.arange(T) * np.timedelta64(1, "D")
    calendar = Calendar(tuple(str(t) for t in range(T)), days, days)
    noise = np.random.default_rng(9).normal(size=x.shape)
    names = np.array([f"E{i}" for i in range(N)], dtype=object)
    observed = Observations(
        "q.sql",
        np.tile(names, T),
        np.repeat(days, N),
        np.repeat(days, N),
        ("x", "noise"),
        np.stack([x, noise], axis=2).reshape(-1, 2),
    )
    return feature_panel_of(settings, observed, observed.entity, calendar, tuple(names))


def test_a_planted_sequence_signal_is_found_where_raw_columns_miss_it() -> None:
    x, signs = regimes()
    label = signs + np.random.default_rng(2).normal(size=(T, N))
    known = np.repeat(np.arange(1, T + 1)[:, None], N, axis=1)
    ics: dict[str, float] = {}
    cheap: dict[str, Any] = {"steps": 250, "batch_rows": 128}
    chosen = {"raw": party(), "next": party(task="next", **cheap), "masked": party(task="masked", **cheap)}
    for name, settings in chosen.items():
        panel = panel_of(settings, x)
        assert panel.columns == settings.output_columns
        assert not panel.values[:24, :, 2:].any()
        ics[name] = float(np.nanmean(ic_by_period(refit(panel.values, label, known), label)[32:]))
    assert abs(ics["raw"]) < 0.06
    assert min(ics["next"], ics["masked"]) > 0.35


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
@pytest.mark.parametrize("task", ["masked", "next"])
@pytest.mark.parametrize("refit_every", [0, 7])
def test_the_future_moves_no_code(kind: str, task: str, refit_every: int) -> None:
    settings = party(kind=kind, task=task, refit_every=refit_every, steps=15, batch_rows=32)
    x, _ = regimes()
    changed = x.copy()
    changed[41:] = np.random.default_rng(3).normal(size=changed[41:].shape)
    one, two, again = (panel_of(settings, values).values for values in (x, changed, x))
    np.testing.assert_array_equal(one[:41], two[:41])
    assert (one[41:, :, 2:] != two[41:, :, 2:]).any()
    assert one[24:, :, 2:].any()
    np.testing.assert_array_equal(one, again)


def test_a_fit_uses_nothing_of_the_block_it_serves() -> None:
    terms = EncoderSettings(window=5, fit_periods=20, refit_every=10, steps=15, batch_rows=32)
    x, _ = regimes()
    changed = x.copy()
    changed[20:30] += np.random.default_rng(3).normal(size=changed[20:30].shape)
    one, two = (encoded(v[:, :, None], terms, ("x",), winsorise=0.0, who="sat") for v in (x, changed))
    # the window of period 29 is changed and that of period 35 is not; at 35 only the weights can tell
    assert (one[35] != two[35]).any()
    frozen = terms.model_copy(update={"refit_every": 0})
    one, two = (encoded(v[:, :, None], frozen, ("x",), winsorise=0.0, who="sat") for v in (x, changed))
    assert (one[29] != two[29]).any()
    np.testing.assert_array_equal(one[34:], two[34:])
    assert np.isnan(one[:20]).all()


def test_seeds_differ_and_torch_is_left_as_it_was() -> None:
    x, _ = regimes()
    raw = x[:, :, None].copy()
    raw[:, 3] = np.nan
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    terms = EncoderSettings(window=5, fit_periods=20, steps=5, batch_rows=32)
    first = encoded(raw, terms, ("x",), winsorise=0.01, who="sat")
    assert torch.equal(torch.rand(3), expected)
    assert np.isnan(first[:, 3]).all()
    assert np.isfinite(np.delete(first[20:], 3, axis=1)).all()
    other = encoded(raw, terms.model_copy(update={"seed": 1}), ("x",), winsorise=0.01, who="sat")
    assert (first[20:, 0] != other[20:, 0]).any()
    short = encoded(raw[:10], terms, ("x",), winsorise=0.01, who="sat")
    assert np.isnan(short).all()
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no GPU"):
            encoded(raw, terms.model_copy(update={"device": "cuda"}), ("x",), winsorise=0.01, who="sat")


def test_what_the_others_sign_names_the_source() -> None:
    settings = party(task="next", refit_every=13)
    assert settings.output_columns == ("x", "noise", "enc_0", "enc_1", "enc_2")
    told = settings.encoder_declared
    assert told.startswith("enc_0 to enc_2: lstm encoder (next task) over 10 periods of x; fitted without labels")
    assert "refitted every 13" in told
    assert party().encoder_declared == ""
    plain = PartyTerms(
        name="sat", role="feature", address="h:1", identity_key="", certificate_sha256="", columns=("x",)
    )  # fmt: skip
    assert "encoder" not in plain.model_dump()
    assert plain.model_copy(update={"encoder": told}).model_dump()["encoder"] == told
    with pytest.raises(ValidationError, match="unknown columns"):
        party(columns=("y",))
    with pytest.raises(ValidationError, match="own columns need"):
        PartySettings.model_validate(party(task="next").model_dump() | {"columns": ("x", "enc_0")})


def test_a_proposal_takes_the_encoder_that_the_node_offers(tmp_path: Path) -> None:
    class Offer:
        role, legal_entity, label_name, label_definition = "feature", "", "", ""

        def __init__(self, role: str, columns: tuple[str, ...]) -> None:
            self.role, self.columns = role, columns

    file = tmp_path / "terms.toml"
    file.write_text(
        'name = "c"\n[calendar]\nfrequency = "Q"\nfirst = 2020-01-01\nlast = 2020-12-31\n[label]\nname = "y"\n'
        'definition = "y"\n[[party]]\nname = "l"\n[[party]]\nname = "sat"\ncolumns = ["x"]\n'
        "[party.encoder]\noutputs = 2\n"
    )
    offers = {"l": Offer("label", ("own",)), "sat": Offer("feature", ("x", "enc_0", "enc_1"))}
    assert load_proposal(file, offers).party[1].columns == ("x", "enc_0", "enc_1")
    offers["sat"] = Offer("feature", ("x",))
    with pytest.raises(ConfigError, match="other columns"):
        load_proposal(file, offers)


def test_made_columns_add_no_room_to_the_opening_budget() -> None:
    base = agreement({"embedding_width": 2}, limit_per_row=4, contribution="none")
    assert base.counted_features == base.total_features == 16
    first, sat, *others = base.parties
    made = sat.model_copy(update={"columns": (*sat.columns, "enc_0", "enc_1"), "encoder": "enc_0 to enc_1: lstm"})
    more = base.model_copy(update={"parties": (first, made, *others)})
    assert (more.total_features, more.counted_features, more.row_limit) == (18, 16, base.row_limit)
    bare = made.model_copy(update={"encoder": ""})
    assert base.model_copy(update={"parties": (first, bare, *others)}).counted_features == 18
