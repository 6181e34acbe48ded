"""A coordinator's home with one run that came to its settlement, made from events; nothing is started."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import rfc8785

from parties.agreement.signing import sign_agreement
from parties.coordinator.closed_runs import find_run
from parties.coordinator.events import CoordinatorDone, PhaseDone, Proposed, Signed
from parties.coordinator.run import RunState
from parties.coordinator.state import step
from parties.coordinator.store import EventLog
from parties.ledger.core import Unit
from parties.ledger.settlement import chart_of_accounts
from parties.ledger.store import LedgerStore
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.process.database import open_engine
from parties.settlement.cash import propose_receipt
from parties.settlement.closing import settle_run
from parties.settlement.contribution import ContributionRecord
from parties.settlement.dossier import Dossier
from parties.settlement.dossier_store import Dossiers, post
from parties.settlement.live_record import LiveRecord
from parties.settlement.signed_contribution import SignedContribution
from tests.parties.coordinator_rig import FEATURES, LABEL, REPORTS, UNTESTED, Consortium, contribution

__all__ = ["RULES", "SettledHome"]

RULES: dict[str, Any] = {
    "stakes": {"sat": 8_000, "card": 2_000},
    "clip": 0.25,
    "live_periods": 2,
    "dispute_deposit": 100,
    "cooling_days": 0,
}


class SettledHome:
    """``Consortium`` whose coordinator recorded one run of the given rules (None: none agreed)."""

    def __init__(
        self, folder: Path, rules: dict[str, Any] | None, *, unwritten: tuple[str, ...] = (), **more: Any
    ) -> None:
        """``more``: further reward terms.

        ``unwritten``: terms that the version which proposed the run did not know, and left out of its document.
        """
        self.consortium = Consortium(folder)
        self.home = self.consortium.home(COORDINATOR)
        self.closed_at = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
        reward: dict[str, Any] = {"pot": 10_000, "unit": "USD", "scale": 2, **UNTESTED, "risk_aversion": 1.0, **more}
        if rules is not None:
            reward["settlement"] = rules
        self.agreement = self.consortium.agreement(reward=reward)
        body = self.agreement.model_dump(mode="json")
        self.document = rfc8785.dumps({name: value for name, value in body.items() if name not in unwritten}).decode()
        self.run_id = hashlib.sha256(self.document.encode()).hexdigest()
        self._record({"sat": 0.04, "card": 0.02})
        with self.ledger() as ledger:
            at = self.closed_at - timedelta(days=9)
            ledger.open_accounts(chart_of_accounts(Unit("USD", 2), (LABEL, *FEATURES)), at)
            self._receive(ledger, propose_receipt("bank", 50_000, "1", "admin", at, stake=False))
            self._receive(ledger, propose_receipt("sat", 8_000, "sat", "admin", at, stake=True))
            self._receive(ledger, propose_receipt("card", 2_000, "card", "admin", at, stake=True))
            run = find_run(self.home, "")
            settle_run(ledger, self.agreement, run.contribution, self.closed_at, run_id=run.run_id)

    def ledger(self) -> LedgerStore:
        return LedgerStore(self.home / "ledger.db")

    def keys(self, name: str) -> Path:
        """The folder to give as --credentials."""
        return self.consortium.home(name)

    def live(self, path: Path, **phi: float) -> Path:
        """Live contributions attested by the label party."""
        parties = {name: {"phi": value, "standard_error": 0.0} for name, value in phi.items()}
        body = {"run_id": self.run_id, "periods": ["2020Q4", "2021Q1", "2021Q2", "2021Q3"]}
        record = LiveRecord.model_validate_json(
            json.dumps(body | {"contribution": {"method": "masked", "parties": parties}})
        )
        path.write_text(record.signed(self.consortium.identities[LABEL].key).model_dump_json(), encoding="utf-8")
        return path

    def _receive(self, ledger: LedgerStore, dossier: Dossier) -> None:
        for name in ("admin", dossier.party):
            dossier = dossier.approved_by(name, self.consortium.identities[name].key, dossier.made_at)
        post(ledger, Dossiers(self.home), dossier, None, Roster.load(self.home / "roster.json"), self.closed_at)

    def _record(self, phi: dict[str, float]) -> None:
        log = EventLog(open_engine(f"sqlite:///{self.home / 'coordinator.db'}"))
        run, at = self.run_id, self.closed_at
        state: RunState | None = None

        def take(event: Any) -> RunState:
            nonlocal state
            state, _ = step(state, event)
            log.append(event)
            return state

        take(Proposed(run, at, self.document))
        for name in (LABEL, *FEATURES):
            state = take(Signed(run, at, name, sign_agreement(self.consortium.identities[name].key, self.agreement)))
        said = contribution(**phi)
        self.signed = SignedContribution.made(
            self.consortium.identities[LABEL].key, self.run_id, ContributionRecord.model_validate(said)
        )
        while state is not None and state.phase not in (None, "settle"):
            phase = state.phase
            assert phase is not None
            for name in state.plan.participants(phase):
                if name == COORDINATOR:
                    state = take(CoordinatorDone(run, at, phase, 1, {"n_common": 40}))
                    continue
                report = REPORTS[phase](name)
                if phase == "value" and name == LABEL:
                    report["contribution"] = said
                state = take(PhaseDone(run, at, name, phase, 1, report))
        log.close()
