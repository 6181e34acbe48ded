"""The sample client in each state that a page may be opened in: by role, empty, and without its coordinator."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any
from unittest import mock

from pydantic import BaseModel, TypeAdapter

from parties.calls.views import StaticView
from parties.client import EvaluationView, FactorPage, OverlapView, PhaseView, RunView, StandingView, ViewerView
from parties.errors import PeerError
from tests.ui import sample_contributions, sample_desk, sample_federated, sample_runs, sample_screen, sample_trust
from tests.ui.sample import HOSTILE, PARTIES, PAUSED, RUNNING, SETTLED, T0, SampleClient, sealed_run, settled_run
from tests.ui.sample_lenders import GROUP as GROUP_OF_LENDERS
from tests.ui.sample_lenders import lenders
from vfl.expansion_terms import ExpansionSettings

__all__ = ["FEDERATED", "GROUP", "PROPOSED", "ROUNDS", "SEALED", "STATES", "STATIC", "TREES", "client_in"]

FEDERATED, ROUNDS, SEALED, TREES = "fa" * 32, "fb" * 32, "5e" * 32, "73" * 32
GROUP, PROPOSED, STATIC = "6a" * 32, "9e" * 32, "57" * 32
STATES = ("", "reader", "operator", "auditor", "empty", "away", "lost", "lenders")
_AWAY = "the coordinator at 127.0.0.1:7600 cannot be reached: check the address, and that it runs"
_UNTIL_LOST = 8.0
_SAID = "Weekly factor, mid caps"
_INSTEAD = {
    "consortium": "Harbour consortium", "consortia": "Harbour consortium", "name": "Eve", "asked_by": "Ada (admin)",
    "why": "live contribution below the close's", "reason": "its data is not complete", "facts": "Large caps",
    "answers": "the noise is too small", "narration": "Reward of the run, pending", "text": "that stay the same",
    "reasons": "till: live contribution not above zero",
}  # fmt: skip


class _Tidy(SampleClient):
    """Names that try to be markup are for tests; in a picture they read as names do."""

    def ask(self, what: str, question: Any, shape: Any) -> Any:
        return _tidy(super().ask(what, question, shape))

    def events(self, *args: Any, **kwargs: Any) -> Any:
        return _tidy(super().events(*args, **kwargs))

    def run(self, run_id: str) -> RunView:
        found: RunView = _tidy(super().run(run_id))
        return found


class _Lost(_Tidy):
    """Answers for a moment, and then no longer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = 0.0

    def _answer(self, what: str) -> None:
        self.first = self.first or time.monotonic()
        if time.monotonic() > self.first + _UNTIL_LOST:
            self.error = PeerError(_AWAY)
        super()._answer(what)


def _tidy(answer: Any) -> Any:
    if isinstance(answer, list):
        return [_tidy(one) for one in answer]
    if not isinstance(answer, BaseModel):
        return answer
    told = json.loads(answer.model_dump_json())
    tidied = _tidied(told)
    return answer if tidied == told else TypeAdapter(type(answer)).validate_json(json.dumps(tidied))


def _tidied(told: Any, key: str = "", whose: str = "") -> Any:
    """What is said in the place of a name that tries to be markup, by the field that it stands in."""
    if isinstance(told, dict):
        owner = str(told.get("name") or told.get("party") or "")
        return {
            name: _tidied(value, name if name in (*_INSTEAD, "legal_entity") else key, owner or whose)
            for name, value in told.items()
        }
    if isinstance(told, list):
        return [_tidied(value, key, whose) for value in told]
    if not isinstance(told, str):
        return told
    said = f"{whose.title()} Capital LLC" if key == "legal_entity" else _INSTEAD.get(key, _SAID)
    for name in (HOSTILE, sample_desk.HOSTILE):
        told = told.replace(name, said)
    return told


def client_in(state: str) -> SampleClient:
    """A client of its own for this state."""
    made = _Lost() if state == "lost" else _Tidy()
    _more_runs(made)
    if state in ("reader", "operator", "auditor"):
        made.role = state  # type: ignore[assignment]
        whose = "orbit" if state == "operator" else ""
        made.money.scope = {"reader": "none", "operator": "party"}.get(state, "all")
        made.doors["viewer"] = lambda _: ViewerView(name="Rae", role=made.role, party=whose)
    elif state == "empty":
        _nothing(made)
    elif state == "lenders":
        _lenders(made)
    elif state == "favourites":
        for kind, what in (("run", SETTLED), ("run", TREES), ("factor", SETTLED), ("search", "weekly")):
            made.favour(kind, what, kept=True)  # type: ignore[arg-type]
    elif state == "away":
        made.error = PeerError(_AWAY)
    return made


def _more_runs(made: SampleClient) -> None:
    """A run of each kind, and daily use of the settled one."""
    sealed = sealed_run(settled_run()).model_copy(update={"run_id": SEALED, "purpose": "Sealed network, large caps"})
    trees = sealed.model_copy(
        update={
            "run_id": TREES, "purpose": "Sealed trees, large caps",
            "agreement": sealed.agreement | {"model": {"kind": "trees", "refit_every": 13}},
            "series": tuple(
                point.model_copy(update={"gain": 0.05 / (1 + number)}) for number, point in enumerate(sealed.series)
            ),
        }
    )  # fmt: skip
    made.views |= _others(sealed) | {
        SETTLED: made.views[SETTLED].model_copy(update={"daily": sample_screen.DAILY}),
        SEALED: sealed,
        TREES: trees,
        FEDERATED: sample_federated.federated_ended().model_copy(update={"run_id": FEDERATED}),
        ROUNDS: sample_federated.federated_training().model_copy(update={"run_id": ROUNDS}),
        sample_screen.SCREEN: sample_screen.screen_run(),
        sample_screen.SESSION: sample_screen.scoring_run(),
        RUNNING: made.views[RUNNING].model_copy(update={"purpose": _SAID}),
        PAUSED: made.views[RUNNING].model_copy(
            update={"run_id": PAUSED, "purpose": "Daily factor", "status": "paused", "waiting_for": ("till",)}
        ),
    }
    made.doors["trust/agreement"] = lambda asked: sample_trust.agreement_in_words(PARTIES)
    before = made.doors["factors/one"]
    made.doors["factors/one"] = lambda asked: before(asked).model_copy(update={"daily": sample_screen.DAILY})


def _others(sealed: RunView) -> dict[str, RunView]:
    """A run with a group of members, one of static data, and a proposal that waits for signatures."""
    encode = sealed.phases[1].model_copy(update={"name": "encode"})
    group = sealed.model_copy(
        update={
            "run_id": GROUP, "purpose": "One encoder of three brokers",
            "phases": (*sealed.phases[:2], encode, *sealed.phases[2:]),
        }
    )  # fmt: skip
    measures = {"joint": {"auc": 0.9934, "accuracy": 0.9649}, "own": {"auc": 0.9712, "accuracy": 0.9298}}
    static = sealed.model_copy(
        update={
            "run_id": STATIC, "purpose": "Who pays late", "series": (), "ic_joint": None, "ic_own": None,
            "t_joint": None,
            "evaluation": EvaluationView(static=StaticView(label="binary", rows=171, measures=measures)),
            "agreement": sealed.agreement | {"static": {"label": "binary"}},
        }
    )  # fmt: skip
    waits = PhaseView(name="approve", status="running", started_at=T0)
    proposed = settled_run().model_copy(
        update={
            "run_id": PROPOSED, "purpose": "Weekly factor, small caps", "status": "proposed", "phase": "approve",
            "phases": (waits,), "waiting_for": ("orbit", "till"), "ended_at": None, "progress": 0.0, "series": (),
            "evaluation": None, "ic_joint": None, "ic_own": None, "t_joint": None,
            "n_common": None, "contributions": (), "factor": None,
            "openings": (), "bytes_by_message": (), "relayed": (), "peak_rss_mb": {},
            "signatures": settled_run().signatures[:2],
            "agreement": {"expires_at": (T0 + timedelta(days=1)).isoformat()},
        }
    )  # fmt: skip
    return {GROUP: group, STATIC: static, PROPOSED: proposed}


def _lenders(made: SampleClient) -> None:
    """Members with the same columns, whose nodes train an encoder and fit an expansion together."""
    offers = lenders(ExpansionSettings(group=GROUP_OF_LENDERS, fourier=32, outputs=8, fit_periods=28))
    with mock.patch("tests.ui.sample_runs.members", return_value=offers):
        made.doors |= sample_runs.drafts(PARTIES, made.proposed)
        told = made.parties()
    made.parties = lambda: told  # type: ignore[method-assign]


def _nothing(made: SampleClient) -> None:
    """A consortium that has just been made."""
    made.views.clear()
    made.parties = list  # type: ignore[method-assign]
    made.money.accounts, made.money.entries, made.money.runs, made.money.dossiers = [], [], [], []
    made.money.standing = StandingView(
        entries=0, checked=0, complete=True, balanced=True, transactions=0, postings=0, unresolved=0, checked_at=T0
    )
    made.membership.members = []
    none: list[OverlapView] = []
    made.doors |= {
        "desk/house": lambda _: sample_desk.house(warnings=(), log_entries=0),
        "factors/page": lambda asked: FactorPage(total=0, offset=0, cards=()),
        "overlaps/list": lambda _: none,
        **sample_contributions.doors(0),
        **sample_trust.doors(0),
    }
