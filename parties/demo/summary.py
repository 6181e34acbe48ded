"""What a demo leaves behind: ``summary.json``, and a closing table for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parties.agreement.document import Agreement
from parties.client import LedgerView, RunView
from parties.demo.choice import choice_of, show_choice
from parties.demo.parity import told
from parties.demo.processes import Child
from parties.errors import StorageError
from parties.names import COORDINATOR
from parties.plurals import things
from parties.terminal.console import correlation, figure, money, say, table
from parties.terminal.rounds import privacy_spent

__all__ = ["run_summary", "show_summary", "summary_of", "traffic_lines", "write_summary"]


def summary_of(
    agreement: Agreement,
    view: RunView,
    ledger: LedgerView,
    twin: Mapping[str, Any],
    *,
    started: Mapping[str, Child],
    factor_dir: Path,
) -> dict[str, Any]:
    """The record of one settled run.

    ic: mean rank ICs, out of sample; single are feature parties trained alone, in the clear. rows: common entities
    times periods. parity: largest score difference to the plaintext twin, in standard deviations of the period's
    scores; None when it was not checked. parity_rounded: to the twin that rounds alike, where there is one.
    parity_cause: of a parity above 1e-3, else "". seconds: per phase of the run. quality: of static data alone,
    measures on its test rows by model, in place of ICs. choice: of a search, or of an ensemble's averages, what was
    tried and judged by earlier periods.
    """
    evaluation = view.evaluation
    return (
        run_summary(agreement, view, ledger, started)
        | _own_rows(agreement, twin)
        | {
            "ic": {
                "joint": evaluation.ic_joint if evaluation else None,
                "own": evaluation.ic_own if evaluation else None,
                "single": dict(twin["single"]),
                "n_periods": evaluation.n_periods if evaluation else 0,
                "t": evaluation.t_joint if evaluation else None,
            },
            "parity": twin["parity"],
            "parity_rounded": twin["rounded"],
            "parity_cause": twin["cause"],
            "shapley": {part.party: part.shapley for part in view.contributions},
            "factor_dir": str(factor_dir),
            "choice": choice_of(agreement, factor_dir),
            **_quality(agreement, twin),
        }
    )


def run_summary(
    agreement: Agreement, view: RunView, ledger: LedgerView, started: Mapping[str, Child]
) -> dict[str, Any]:
    """What every kind of run leaves in its summary. started: its processes by name."""
    traffic = dict[str, dict[str, int]]()
    for tally in view.bytes_by_message:
        traffic.setdefault(tally.party, {})[tally.message] = tally.bytes
    common = view.n_common or 0
    return {
        "run_id": view.run_id,
        "parties": [party.name for party in agreement.parties],
        "processes": [{"name": name, "pid": child.pid} for name, child in started.items()],
        "alignment": {"policy": agreement.alignment.policy, "n_common": common},
        "rows": common * (len(agreement.periods) if agreement.static is None else 1),
        "openings": {
            "limit": agreement.row_limit,
            "max_used": max((used.max_used for used in view.openings), default=None),
        },
        "ledger": {"balanced": ledger.balanced, "postings": ledger.total_postings},
        "bytes_by_message_type": traffic,
        "seconds": {phase.name: round(phase.seconds, 3) for phase in view.phases if phase.seconds is not None},
        "peak_rss_mb": {
            name: round(max(child.peak_rss_mb, view.peak_rss_mb.get(name, 0.0)), 1) for name, child in started.items()
        },
    }


def _own_rows(agreement: Agreement, twin: Mapping[str, Any]) -> dict[str, Any]:
    """Of members that keep their own entities the coordinator knows no number: all homes of a demo together."""
    if agreement.alignment.policy != "own":
        return {}
    found = {"policy": agreement.alignment.policy, "n_common": twin["n_common"]}
    return {"alignment": found, "rows": twin["n_common"] * len(agreement.periods)}


def _quality(agreement: Agreement, twin: Mapping[str, Any]) -> dict[str, Any]:
    if agreement.static is None:
        return {}
    found = {"label": agreement.static.label, "test_rows": twin["test_rows"], "measures": twin["measures"]}
    return {"quality": found}


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """Write it whole or not at all."""
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); check the disk") from None


def show_summary(summary: Mapping[str, Any], agreement: Agreement, view: RunView, twin: Mapping[str, Any]) -> None:
    """The same for people."""
    (_show_measures if "quality" in summary else _show_ics)(summary, agreement, view, twin)
    show_choice(summary["choice"], agreement)
    used, opened = summary["openings"], "none opened"
    if agreement.alignment.policy != "own":
        opened = f"each opened {things(used['max_used'] or 0, 'times')} at most, {used['limit']} agreed"
    say(*traffic_lines(summary, opened))
    if summary["parity"] is not None:
        say(told(max(summary["parity"], summary.get("parity_rounded") or 0.0), summary["parity_cause"]))
    if view.federated is not None:
        say(privacy_spent(view.federated))
    books = summary["ledger"]
    say(f"Ledger: {things(books['postings'], 'postings')}, {'balanced' if books['balanced'] else 'NOT BALANCED'}")
    if agreement.alignment.policy == "own":
        say("Each member keeps the factor of its own entities; this is the lead's.")
    elif COORDINATOR not in agreement.recipients:
        say("The coordinator is no recipient of the factor, so its web page shows no files.")
    say(f"Factor: {summary['factor_dir']}")


def traffic_lines(summary: Mapping[str, Any], opened: str) -> tuple[str, ...]:
    """Rows, what opened of each, and what it cost."""
    alignment = summary["alignment"]
    how = "of their own" if alignment["policy"] == "own" else f"by {alignment['policy']}"
    sent = sum(sum(kinds.values()) for kinds in summary["bytes_by_message_type"].values())
    return (
        f"{things(alignment['n_common'], 'entities')} {how}, {things(summary['rows'], 'rows')}; {opened}",
        f"{len(summary['processes'])} processes sent {sent / 2**20:.1f} MiB; most memory of one: "
        f"{max(summary['peak_rss_mb'].values()):.0f} MiB",
    )


def _show_measures(summary: Mapping[str, Any], agreement: Agreement, view: RunView, twin: Mapping[str, Any]) -> None:
    """Measures on the test rows of static data: the joint scores, the label party alone, each single party."""
    del twin
    reward, quality = agreement.reward, summary["quality"]
    paid = {part.party: part.reward for part in view.contributions}
    measures = quality["measures"]
    columns = tuple(measures["joint"])
    rows = []
    for name, found in measures.items():
        who = "joint scores" if name == "joint" else f"{name} alone"
        if name == agreement.label.party:
            who = f"{name} (label party) alone"
        shared = (
            (correlation(summary["shapley"][name]), money(paid.get(name, 0), reward.scale, reward.unit))
            if (name in summary["shapley"])
            else ("", "")
        )
        rows.append((who, *(figure(found[column], ".4f") for column in columns), *shared))
    table(
        f"On {quality['test_rows']:,} test rows, whose labels entered nothing",
        ("model", *(f">{column.replace('_', ' ')}" for column in columns), ">Shapley", ">reward, pending"),
        rows,
    )
    if quality["label"] == "classes":
        say(
            "Estimates are least-squares ones of each class's share: clipped to [0.001, 1] and divided by their sum "
            "for log loss and Brier."
        )
    if quality["label"] == "binary":
        say(
            "Scores are least-squares estimates of the probability of 1: clipped to [0, 1] for Brier, and to "
            "[0.001, 0.999] for log loss."
        )


def _show_ics(summary: Mapping[str, Any], agreement: Agreement, view: RunView, twin: Mapping[str, Any]) -> None:
    """Rank ICs: the joint factor, the label party alone, each single party."""
    ic, reward = summary["ic"], agreement.reward
    paid = {part.party: part.reward for part in view.contributions}
    beaten = {name: figure(share, ".0%") for name, share in twin["better_than"].items()}
    label = agreement.label.party
    rows = [("joint factor", correlation(ic["joint"]), "", "", "")]
    if agreement.alignment.policy == "own":
        rows.append(("members alone, mean over rows", correlation(ic["own"]), "", "", ""))
        rows.append((f"{label} (lead) alone", correlation(ic["single"][label]), beaten.get(label, "-"), "", ""))
    elif agreement.party(label).columns:
        rows.append((f"{label} (label party) alone", correlation(ic["own"]), beaten.get(label, "-"), "", ""))
    for party in agreement.features:
        name = party.name
        rows.append(
            (
                f"{name} alone",
                correlation(ic["single"][name]),
                beaten.get(name, "-"),
                correlation(summary["shapley"].get(name)),
                money(paid.get(name, 0), reward.scale, reward.unit),
            )
        )
    t = "" if ic["t"] is None else f", joint t {ic['t']:.1f}"
    table(
        f"Rank IC out of sample over {things(ic['n_periods'], 'periods')}{t}",
        ("model", ">rank IC", ">joint is better in", ">Shapley", ">reward, pending"),
        rows,
    )
