"""A federated run of the sample's parties: ten rounds, of which one member was lost after the seventh."""

from __future__ import annotations

from typing import Any

from parties.calls.run_parts import FederatedView, RoundsView
from parties.client import PhaseView, ProgressView, RunView
from tests.ui.sample import PARTIES, T0, settled_run, training_run

__all__ = ["LOST", "STAYED", "federated_ended", "federated_training", "group_encoding", "rounds_of"]

LOST = "till"
STAYED = tuple(name for name in PARTIES if name != LOST)
_MODEL = {"kind": "federated", "rounds": 10, "threshold": 3}


def rounds_of(**changes: Any) -> FederatedView:
    """With noise, and privacy spent."""
    found = FederatedView(
        rounds=10, members=PARTIES, threshold=3, dropped=(LOST,), noise=4.0, delta=1e-5,
        stretches=(
            RoundsView(first=1, last=7, members=PARTIES), RoundsView(first=8, last=9, members=STAYED, missed=(LOST,)),
        ),
        taken=dict.fromkeys(STAYED, 9) | {LOST: 7}, spent=dict.fromkeys(STAYED, 3.3971) | {LOST: 2.9432},
        agreed_epsilon=7.2249,
    )  # fmt: skip
    return found.model_copy(update=changes)


def federated_training(**changes: Any) -> RunView:
    """Its rounds go on."""
    run = training_run()
    parts = tuple(
        ProgressView(party=p, phase="train", done=9, total=10, unit="rounds", per_second=1.4, eta_seconds=0.7, at=T0)
        for p in ("coordinator", *STAYED)
    )
    phases = tuple(
        PhaseView(name=one.name, status="skipped") if one.name == "align" else
        one.model_copy(update={"progress": parts}) if one.name == "train" else one
        for one in run.phases
    )  # fmt: skip
    update = {
        "purpose": "One model of four lenders", "n_common": None, "series": (), "openings": (), "phases": phases,
        "agreement": {"model": _MODEL}, "federated": rounds_of(**changes),
    }  # fmt: skip
    return run.model_copy(update=update)


def federated_ended(**changes: Any) -> RunView:
    """It is settled; the coalitions of its valuation trained too."""
    run, done = settled_run(), (RoundsView(first=1, last=7, members=PARTIES),)
    rest = RoundsView(first=8, last=10, members=STAYED, missed=(LOST,))
    taken = dict.fromkeys(STAYED, 20) | {LOST: 7}
    spent = dict.fromkeys(STAYED, 5.3521) | {LOST: 2.9432}
    found = rounds_of(**{"stretches": (*done, rest), "taken": taken, "spent": spent} | changes)
    update = {
        "purpose": "One model of four lenders", "n_common": None, "openings": (), "contribution_way": "retrain",
        "agreement": {**run.agreement, "model": _MODEL}, "federated": found, "factor": None,
        "contributions": tuple(
            one.model_copy(update={"share": share, "reward": round(run.pot * share)})
            for one, share in zip(run.contributions, (0.6, 0.4), strict=False)  # the last was lost, and is paid nothing
        ),
    }  # fmt: skip
    return run.model_copy(update=update)


def group_encoding() -> RunView:
    """A vertical run whose group trains its encoder, without the member that was lost after the seventh round."""
    run, lenders = training_run(), PARTIES[1:]
    left = tuple(name for name in lenders if name != LOST)
    stretches = (
        RoundsView(first=1, last=7, members=lenders), RoundsView(first=8, last=9, members=left, missed=(LOST,)),
    )  # fmt: skip
    found = FederatedView(
        group="lenders", rounds=10, members=lenders, threshold=2, stretches=stretches,
        taken=dict.fromkeys(left, 9) | {LOST: 7},
    )  # fmt: skip
    states = tuple(
        ProgressView(party=p, phase="encode", done=9, total=10, unit="rounds", per_second=0.31, eta_seconds=3.2, at=T0)
        for p in ("coordinator", *left)
    )
    encode = PhaseView(name="encode", status="running", started_at=T0, participants=lenders, progress=states)
    phases = (*(one for one in run.phases if one.status == "done"), encode, PhaseView(name="train", status="waiting"))
    update = {
        "purpose": "An encoder of three lenders", "phase": "encode", "phases": phases, "series": (), "openings": (),
        "groups": (found,),
    }  # fmt: skip
    return run.model_copy(update=update)
