"""Three real runs, one for each coalition of two feature parties, and the contributions they give."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from parties.cli import run as entente
from parties.client import Client
from parties.data.simulate import Simulated, simulate
from parties.demo.homes import lay_out
from parties.settings.consortium import load_consortium
from tests.parties.demo_rig import let_bits, until
from tests.parties.node_rig import in_this_process


def only_what_all_cover(made: Simulated) -> None:
    """Take from the label party's table what some feature party lacks, so that every coalition has the same rows."""
    folder = made.config.parent
    common = {name.casefold() for name in json.loads((folder / "truth.json").read_text())["common"]}
    aliases = pd.read_csv(folder / "aliases" / "fund.csv", dtype=str, keep_default_na=False)
    former = {alias.casefold() for alias, name in aliases.to_numpy() if name.casefold() in common}
    table = pd.read_parquet(made.data / "fund.parquet")
    table[table["company"].str.casefold().isin(common | former)].to_parquet(made.data / "fund.parquet")


@pytest.mark.system
def test_a_run_for_each_coalition_gives_everyones_contribution(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = simulate(tmp_path / "sim", entities=40, periods=12, parties=2, seed=7, model="split")
    only_what_all_cover(made)
    settings = load_consortium(made.config)
    room = settings.openings.model_copy(update={"limit_per_row": 7, "largest_fraction": 1.8})
    agreed = settings.model_copy(update={"openings": room})
    homes = lay_out((tmp_path / "out").resolve(), agreed, made.config.parent, made.data, 7)
    let_bits(homes, [party.name for party in settings.party])
    admin, ids = ("--credentials", str(homes.admin)), []
    with in_this_process(homes, [party.name for party in settings.party]):
        for members in ("satellite,social", "satellite", "social"):
            consent = () if "," in members else ("--single-party",)
            proposal = ("run", "propose", str(made.config), "--only", members, "--limit-per-row", "7")
            code = entente([*proposal, "--largest-fraction", "1.8", "--wait", "120", "--yes", *consent, *admin])
            said = capsys.readouterr()
            assert code == 0, said.err
            found = re.search(r"Proposed run (\w{64})", said.out)
            assert found is not None
            ids.append(found[1])
            with Client("", homes.admin) as client:
                until(lambda: client.run(ids[-1]).ended, f"the run of {members}")
                view = client.run(ids[-1])
                assert view.status == "settled", view.reason
            assert (view.n_common, view.contributions) == (40, ())
            assert view.agreement["nonce"].startswith(members.replace(",", "+") + ":")
        for wrong, says in (
            (("--only", ","), "is no list of names"),
            (("--only", "moon"), "'moon' is no feature party of these terms"),
            (("--only", "social"), "openings.single_party = true to consent"),
            (("--single-party",), "are for --only and --without"),
        ):
            assert entente(["run", "propose", str(made.config), *wrong, "--yes", *admin]) == 2
            assert says in capsys.readouterr().err
        assert entente(["contribution", "retrain", *ids, *admin, "--json", str(tmp_path / "found.json")]) == 0
        assert entente(["contribution", "retrain", *ids[:2], *admin]) == 2
        with Client("", homes.admin) as client:
            assert client.ledger("").total_transactions == 0, "a retrain run pays nothing"
    assert "no run of the coalition social" in capsys.readouterr().err
    report = json.loads((tmp_path / "found.json").read_text())
    assert report["method"] == "retrain"
    gain = report["v_everyone"] - report["v_nobody"]
    assert np.isclose(sum(party["phi"] for party in report["parties"].values()), gain)
    alone = {name: party["standalone"] for name, party in report["parties"].items()}
    assert report["parties"]["satellite"]["phi"] == pytest.approx((alone["satellite"] + gain - alone["social"]) / 2)
