"""A whole consortium as real processes: one demo, and everything it must leave behind."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from parties.agreement.document import Agreement
from parties.agreement.text import agreement_lines
from parties.cli import run as entente
from parties.client import Client
from parties.data.simulate import simulate
from parties.demo.compare import Pooled
from parties.demo.homes import DemoHomes, free_addresses
from parties.demo.parity import FAR, found_parity, largest_difference, told
from parties.demo.processes import Processes, environment
from parties.demo.run import start_coordinator
from parties.errors import DataError, PeerError
from parties.evidence.pack import packed, unpacked
from parties.evidence.parts import read_parts
from parties.evidence.report import render_report
from parties.ledger.settlement import party_account
from parties.ledger.store import LedgerStore
from parties.node.home import NodeHome
from parties.settings.toml_text import to_toml
from parties.settlement.closing import reward_split
from parties.settlement.pay_rule import gate
from parties.settlement.signed_contribution import SignedContribution
from tests.parties.demo_rig import PATIENCE, alive, demo, logged, pids_of, until
from vfl.factors.export import Signer, sign_bundle
from vfl.factors.verify import manifest_of

ENTENTE = (sys.executable, "-m", "parties.cli")
FIELDS = {
    "run_id",
    "parties",
    "processes",
    "alignment",
    "rows",
    "openings",
    "ic",
    "parity",
    "parity_rounded",
    "parity_cause",
    "shapley",
    "choice",
    "ledger",
    "bytes_by_message_type",
    "seconds",
    "peak_rss_mb",
    "factor_dir",
}
PHASES = {"approve", "align", "train", "evaluate", "value", "export", "settle"}


ALL = {"fund", "satellite", "social"}


def _up(out: Path) -> bool:
    """Whether every process of the demo runs, and every party is attached to the coordinator."""
    if alive(pids_of(out)) != {"coordinator"} | ALL:
        return False
    try:
        with Client("", DemoHomes.load(out).admin) as client:
            return {party.name for party in client.parties() if party.health != "offline"} == ALL
    except PeerError:  # a coordinator on a busy machine may answer the next time
        return False


@dataclass
class Finished:
    out: Path
    said: str
    pids: dict[str, int]
    kept: set[str]
    runs_seen: int

    @property
    def summary(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.out / "summary.json").read_text())
        return record

    @property
    def factor(self) -> Path:
        return Path(self.summary["factor_dir"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One demo that ran through, stayed up as it was asked to, and was then interrupted."""
    out = tmp_path_factory.mktemp("demo") / "out"
    with demo(out, "--keep-running") as process:
        until(lambda: process.poll() is not None or (out / "summary.json").is_file(), "the summary")
        until(lambda: process.poll() is not None or _up(out), "the parties' nodes to be there again")
        assert process.poll() is None, process.communicate()[1]
        with Client("", DemoHomes.load(out).admin) as client:
            runs = client.coordinator().runs
        kept = alive(pids_of(out))
        process.send_signal(signal.SIGINT)
        said, complaints = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, complaints
    assert complaints == ""
    return Finished(out, said, pids_of(out), kept, runs)


@pytest.mark.system
def test_the_summary_tells_the_whole_run(finished: Finished) -> None:
    summary = finished.summary
    assert set(summary) == FIELDS
    assert summary["parties"] == ["fund", "satellite", "social"]
    processes = {process["name"]: process["pid"] for process in summary["processes"]}
    assert set(processes) == {"coordinator", *summary["parties"]}
    assert len(set(processes.values())) == 4, "each is a process of its own"
    assert summary["alignment"] == {"policy": "psi", "n_common": 60}
    assert summary["rows"] == 60 * 24
    assert set(summary["seconds"]) == PHASES
    assert set(summary["peak_rss_mb"]) == set(processes)
    assert min(summary["peak_rss_mb"].values()) > 10
    agreement = Agreement.model_validate_json((finished.out / "agreement.json").read_bytes())
    assert summary["run_id"] == agreement.run_id
    assert summary["openings"]["limit"] == agreement.row_limit
    assert 1 + agreement.model.epochs <= summary["openings"]["max_used"] <= agreement.row_limit
    told_everywhere(summary["openings"], finished.factor)


def told_everywhere(openings: dict[str, int], factor: Path) -> None:
    """The openings that were used are one number in summary, metadata and report."""
    metadata = json.loads((factor / "metadata.json").read_text())
    assert (metadata["openings_used"], metadata["openings_limit"]) == (openings["max_used"], openings["limit"])
    assert f"{openings['max_used']} of {openings['limit']} allowed" in (factor / "report.html").read_text()


@pytest.mark.system
def test_the_encrypted_run_is_its_plaintext_twin(finished: Finished) -> None:
    assert finished.summary["parity"] <= 1e-3


@pytest.mark.system
def test_the_twin_would_notice_another_run(finished: Finished) -> None:
    pooled = Pooled.load(finished.out)
    scores = pooled.scores(finished.factor)
    assert np.isfinite(scores).any()
    assert largest_difference(scores, scores) == 0
    period = int(np.flatnonzero(np.isfinite(scores).all(axis=1))[0])
    moved = scores.copy()
    moved[period] += 0.5 * scores[period].std()
    assert largest_difference(scores, moved) == pytest.approx(0.5)
    with pytest.raises(DataError, match="different rows"):
        largest_difference(scores, np.where(scores == np.nanmax(scores), np.nan, scores))


@pytest.mark.system
def test_ics_are_those_of_the_exported_factor(finished: Finished) -> None:
    pooled, ic = Pooled.load(finished.out), finished.summary["ic"]
    found = pooled.evaluate({"joint": pooled.scores(finished.factor)}).summaries["joint"]["rank"]
    assert ic["joint"] == pytest.approx(found.mean)
    assert ic["t"] == pytest.approx(found.t)
    assert ic["n_periods"] == found.n_periods
    assert set(ic["single"]) == {"satellite", "social"}
    twin = json.loads((finished.out / "twin.json").read_text())
    own = [value for value in twin["rank_ic"]["fund"] if value is not None]
    assert ic["own"] == pytest.approx(np.mean(own))
    for name, value in ic["single"].items():
        assert value == pytest.approx(np.mean([x for x in twin["rank_ic"][name] if x is not None]))


@pytest.mark.system
def test_contributions_are_paid_by_the_signed_record_and_the_books_balance(finished: Finished) -> None:
    summary = finished.summary
    assert set(summary["shapley"]) == {"satellite", "social"}
    assert summary["ledger"]["balanced"] is True
    agreement = Agreement.model_validate_json((finished.out / "agreement.json").read_bytes())
    run = agreement.run_id
    # every party keeps the same document that the fund signed
    (document,) = {
        (finished.out / "parties" / party / "runs" / run / "contribution.json").read_bytes()
        for party in ("fund", "satellite", "social")
    }
    signed = SignedContribution.read(document)
    signed.verify(run, agreement)
    assert {name: said.phi for name, said in signed.record.parties.items()} == pytest.approx(summary["shapley"])
    split = reward_split(agreement, signed.record)
    assert (split.rolled_over == agreement.reward.pot) is bool(gate(agreement, signed.record))
    with LedgerStore(finished.out / "coordinator" / "ledger.db") as store:
        booked = {
            posting.account: -posting.amount for entry in store.journal() for posting in entry.transaction.postings
        }
        assert store.check().ok
    paid = {party_account(party, "Pending"): share for party, share in split.shares.items() if share}
    assert {account: amount for account, amount in booked.items() if amount > 0} == paid
    assert len(booked) == summary["ledger"]["postings"]
    assert entente(["ledger", "check", "--home", str(finished.out / "coordinator")]) == 0


@pytest.mark.system
def test_every_party_sent_only_what_its_role_sends(finished: Finished) -> None:
    traffic = finished.summary["bytes_by_message_type"]
    assert {"fund", "satellite", "social"} <= set(traffic)
    assert {"source.sum", "product.answer", "coalition.sum", "mask.key"} <= set(traffic["satellite"])
    assert "source.sum" not in traffic["fund"]
    assert "source.key" not in traffic["satellite"]
    assert min(count for kinds in traffic.values() for count in kinds.values()) > 0


@pytest.mark.system
def test_the_factor_verifies_and_every_recipient_has_the_same(
    finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    roster = str(finished.out / "parties" / "social" / "roster.json")
    assert entente(["factors", "verify", str(finished.factor), "--roster", roster]) == 0
    assert "signed by fund" in capsys.readouterr().out
    sums = (finished.factor / "SHA256SUMS").read_bytes()
    copies = list(finished.out.glob("parties/*/factors/*/*/SHA256SUMS"))
    copies += list(finished.out.glob("coordinator/factors/*/SHA256SUMS"))
    assert len(copies) == 4
    assert all(copy.read_bytes() == sums for copy in copies)
    factor = pd.read_parquet(finished.factor / "factor.parquet")
    assert factor.index.get_level_values(1).nunique() <= 60
    broken = finished.out / "broken"
    broken.mkdir()
    for path in finished.factor.rglob("*"):
        if path.is_file():
            (broken / path.relative_to(finished.factor)).parent.mkdir(parents=True, exist_ok=True)
            (broken / path.relative_to(finished.factor)).write_bytes(path.read_bytes().replace(b"fund", b"fond"))
    assert entente(["factors", "verify", str(broken)]) == 3
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.system
def test_the_evidence_of_all_fits_together_and_shows_who_left_something_out(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, homes = finished.summary["run_id"], DemoHomes.load(finished.out)
    files = {name: tmp_path / f"{name}.zip" for name in (*sorted(ALL), "coordinator")}
    for name, path in files.items():
        home = homes.coordinator if name == "coordinator" else homes.party(name)
        assert entente(["evidence", run[:10], "--home", str(home), "--out", str(path)]) == 0
    roster = str(homes.party("social") / "roster.json")
    assert entente(["evidence", "check", *map(str, files.values()), "--roster", roster]) == 0
    said = capsys.readouterr().out
    assert said.count("Proved: fund, satellite, social signed run") == 4
    assert "Both ends logged the same transcript" in said
    parts = unpacked(files["satellite"].read_bytes())
    page = parts["report.html"].decode()
    assert "noisy sums of rows" in page
    assert "were fixed by signed roots over" in page
    # a party that leaves a session out is named by the others' packs, and labels of another run by its own
    kept = [line for line in parts["log.jsonl"].splitlines(keepends=True) if b"train-1" not in line]
    files["satellite"].write_bytes(_signed_again(homes, "satellite", parts | {"log.jsonl": b"".join(kept)}))
    assert entente(["evidence", "check", str(files["satellite"]), str(files["fund"])]) == 3
    assert "satellite" in capsys.readouterr().err
    other = parts["labels.json"].replace(run.encode(), b"ab" * 32)
    files["satellite"].write_bytes(_signed_again(homes, "satellite", parts | {"labels.json": other}))
    assert entente(["evidence", "check", str(files["satellite"])]) == 3
    assert "labels.json is of run abababababab" in capsys.readouterr().err


def _signed_again(homes: DemoHomes, name: str, parts: dict[str, bytes]) -> bytes:
    """The parts as a pack that the party signs itself, its report made of them."""
    identity = NodeHome(homes.party(name)).identity
    made = {part: content for part, content in parts.items() if not part.startswith("signatures/")}
    made["report.html"] = render_report(read_parts(made))
    made["SHA256SUMS"] = manifest_of(made)
    return packed(sign_bundle(made, Signer(name, bytes.fromhex(identity.public_key), identity.key.sign)))


@pytest.mark.system
def test_nothing_is_left_running_and_people_read_plain_lines(finished: Finished) -> None:
    assert alive(finished.pids) == set()
    assert "\x1b" not in finished.said
    for words in ("train     done", "joint factor", "satellite alone", "Ledger: ", str(finished.factor), "entente ui"):
        assert words in finished.said


@pytest.mark.system
def test_the_coordinator_shows_the_run_after_a_restart(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    homes = DemoHomes.load(finished.out)
    with Processes(homes.logs) as processes:
        start_coordinator(homes, processes)
        with Client("", homes.admin) as client:
            view = client.run(finished.summary["run_id"])
            archive = client.download_factor(view.run_id)
        assert view.status == "settled"
        assert view.ic_joint == pytest.approx(finished.summary["ic"]["joint"])
        assert {point.period for point in view.series}, "the charts' series outlive a restart"
        assert archive[:2] == b"PK"
        credentials = ["--credentials", str(homes.admin)]
        assert entente(["run", "list", *credentials]) == 0
        assert view.run_id[:12] in capsys.readouterr().out
        assert entente(["run", "show", view.run_id[:8], *credentials]) == 0
        shown = capsys.readouterr().out
        assert view.run_id in shown
        assert "satellite" in shown
        assert entente(["run", "cancel", view.run_id[:8], *credentials]) == 0
        assert "has ended already" in capsys.readouterr().out
        assert entente(["run", "show", "ffffffff", *credentials]) == 2
        pack = homes.out / "of-the-admin.zip"
        assert entente(["evidence", view.run_id[:8], *credentials, "--out", str(pack)]) == 0
        assert read_parts(unpacked(pack.read_bytes())).of_coordinator
    assert processes.children["coordinator"].process.returncode == 0


@pytest.mark.system
def test_keep_running_left_the_coordinator_up_until_interrupted(finished: Finished) -> None:
    assert finished.kept == {"coordinator"} | ALL
    assert finished.runs_seen == 1
    assert "stop it with Ctrl-C" in finished.said


@pytest.mark.system
def test_the_page_starts_the_coordinator_and_both_leave_together(finished: Finished) -> None:
    port = free_addresses(1)[0].rpartition(":")[2]
    command = [*ENTENTE, "ui", "--out", str(finished.out), "--port", port, "--no-browser"]
    page = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until(logged(finished.out, "coordinator", "the coordinator listens"), "the coordinator")
        until(lambda: page.poll() is not None or _healthy(port), "the page")
        assert page.poll() is None, page.communicate()[0]
        assert alive(pids_of(finished.out)) == {"coordinator"} | ALL, "New run finds nodes that sign"
    finally:
        page.send_signal(signal.SIGTERM)
        said, _ = page.communicate(timeout=PATIENCE)
    assert page.returncode == 128 + signal.SIGTERM
    assert f"http://127.0.0.1:{port}" in said
    assert alive(pids_of(finished.out)) == set()


def _healthy(port: str) -> bool:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def test_settings_survive_the_way_through_toml() -> None:
    import tomllib

    record = {
        "text": 'a "quoted" \\ name\n\x7f',
        "number": 0.01,
        "flag": True,
        "list": ["a", "b"],
        "nothing": None,
        "table": {"inner": 1, "deeper": {"x": "y"}},
    }
    expected = {key: value for key, value in record.items() if value is not None}
    assert tomllib.loads(to_toml(record)) == expected


def test_addresses_are_free_and_differ() -> None:
    addresses = free_addresses(20)
    assert len(set(addresses)) == 20
    assert all(address.startswith("127.0.0.1:") for address in addresses)


@pytest.mark.system
def test_a_sealed_demo_opens_scores_alone_and_is_its_twin(tmp_path: Path) -> None:
    """Of satellite counts and of posts, which become columns at their node alone."""
    made = simulate(tmp_path / "sim", entities=60, periods=24, parties=2, text=True)
    out = tmp_path / "out"
    with demo(out, "--config", str(made.config), "--data", str(made.data), size=()) as process:
        said, complaints = process.communicate(timeout=2 * PATIENCE)
        assert process.returncode == 0, complaints
    summary = json.loads((out / "summary.json").read_text())
    agreement = Agreement.model_validate_json((out / "agreement.json").read_bytes())
    assert agreement.model.kind == "sealed"
    assert agreement.model.anchor in ("satellite", "social")
    social = agreement.party("social")
    assert social.columns[:2] == ("text_count", "text_surge")
    assert f"Texts of social: {social.text}." in agreement_lines(agreement)
    assert "scored by vaderSentiment 3.3.2, bytes 2db5ab2ef8ae" in social.text
    assert "texts made into columns" in (out / "logs" / "social.log").read_text()
    assert summary["openings"] == {"limit": agreement.row_limit, "max_used": 1}
    kinds = {kind for tallies in summary["bytes_by_message_type"].values() for kind in tallies}
    assert {"sealed.step", "sealed.scores", "slots.answer"} <= kinds
    assert not {kind for kind in kinds if kind.startswith(("source.sum", "source.single", "coalition"))}
    assert max(summary["parity"], summary["parity_rounded"]) <= 3 * FAR
    if summary["parity_cause"]:
        assert "the last bits that an opened score has" in said


@pytest.mark.system
def test_a_label_party_without_columns_has_nothing_alone(tmp_path: Path) -> None:
    """It brings labels alone: nothing is compared with its own model, which there is none of, and nothing is nan."""
    made = simulate(tmp_path / "sim", entities=40, periods=20, parties=2, model="split")
    head, fund, *others = made.config.read_text().split("\n[[party]]\n")
    fund = "\n".join(line for line in fund.splitlines() if line.startswith(("name", "role", "legal_entity", "aliases")))
    terms = head.replace("embedding_width = 2", "embedding_width = 1")
    terms = terms.replace("epochs = 1", "epochs = 1\nwarmup_epochs = 5")
    made.config.write_text("\n[[party]]\n".join([terms, fund, *others]))
    out = tmp_path / "out"
    with demo(out, "--config", str(made.config), "--data", str(made.data), size=()) as process:
        said, complaints = process.communicate(timeout=2 * PATIENCE)
        assert process.returncode == 0, complaints
    summary = json.loads((out / "summary.json").read_text())
    assert summary["ic"]["own"] is None
    assert summary["ic"]["joint"] is not None
    assert "fund (label party) alone" not in said
    assert "satellite alone" in said
    assert not re.search(r"\bnan\b", said, re.IGNORECASE)
    factor = Path(summary["factor_dir"])
    assert '"own"' not in (factor / "validation.json").read_text()
    assert not re.search(r"\bnan\b", (factor / "report.html").read_text(), re.IGNORECASE)
    assert summary["openings"]["max_used"] > 3, "rows of the warm-up, which are opened oftener than predicted ones"
    told_everywhere(summary["openings"], factor)


def test_a_difference_is_named_with_its_cause() -> None:
    scores = np.random.default_rng(3).normal(size=(4, 50))
    near, far = scores + 0.2 * FAR, scores + 5 * FAR
    assert found_parity(scores, near, near).cause == ""
    assert found_parity(scores, far, near).cause.startswith("rounding that the rates of [model] amplify")
    assert found_parity(scores, far, near, clipped=7).cause.startswith("clipping: 7 values")
    assert found_parity(scores, scores + 9, scores + 9).cause.startswith("overflow")
    assert found_parity(scores, far, None, overflow="too large").cause == "overflow: too large"
    small = found_parity(scores, far, near, unit=2 * FAR)
    assert small.within
    assert small.cause == "the last bits that an opened score has"
    assert not found_parity(scores, scores + 50 * FAR, near, unit=2 * FAR).within
    assert "because of" not in told(1e-4, "")
    assert "above 0.001, because of rounding" in told(2e-3, "rounding")
