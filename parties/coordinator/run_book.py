"""The runs that a coordinator knows, by id, and what is kept of their progress. The caller serialises access."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from parties.agreement.daily_terms import ScoringTerms, scored_periods
from parties.agreement.document import Agreement
from parties.control.phase_reports import PartReport
from parties.control.phases import PhaseName
from parties.control.reports import ProgressBody
from parties.coordinator.known_run import KnownRun
from parties.coordinator.own_phases import told
from parties.coordinator.run import RunState
from parties.coordinator.state import EventRefused, step
from parties.coordinator.store import EventLog
from parties.errors import AgreementError, ConfigError, StorageError
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.proposing.continuing import STANDS, check_continuation
from parties.proposing.scoring import check_scoring
from psi.flow import Progress

__all__ = ["RunBook", "check_proposal"]

_LOG = logging.getLogger(__name__)


class RunBook:
    """Every run, in the order of their proposals."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._runs: dict[str, KnownRun] = {}
        self._unsaved: set[str] = set()

    def restore(self) -> None:
        """Rebuild every run from the log, with the progress that was kept."""
        for logged in self._log.read():
            state, _ = step(self.state(logged.event.run), logged.event)
            self.enter(state)
        for run_id, known in self._runs.items():
            known.progress.restore(self._log.load_progress(run_id))
            if known.state.phase in ("encode", "train", "value") and not known.noised:
                known.progress.rounds_missed()

    def enter(self, state: RunState) -> KnownRun:
        """A run's new state."""
        known = self._runs.get(state.run)
        entered = self._runs[state.run] = KnownRun.proposed(state) if known is None else known.at(state)
        return entered

    def get(self, run_id: str) -> KnownRun | None:
        return self._runs.get(run_id)

    def state(self, run_id: str) -> RunState | None:
        known = self._runs.get(run_id)
        return known.state if known is not None else None

    def known(self, run_id: str) -> KnownRun:
        """The run. Raises :class:`ConfigError` when there is none."""
        known = self._runs.get(run_id)
        if known is None:
            raise ConfigError(f"there is no run {run_id[:64]!r} here: list the runs for their ids")
        return known

    def newest_first(self) -> list[KnownRun]:
        return list(reversed(self._runs.values()))

    def live(self) -> list[KnownRun]:
        """Those that have not ended."""
        return [known for known in self._runs.values() if not known.state.ended]

    def live_of(self, parties: Iterable[str]) -> list[KnownRun]:
        """Those that have not ended, and that all of these take part in."""
        wanted = set(parties)
        return [known for known in self.live() if wanted <= set(known.state.plan.parties)]

    def check_earlier(self, agreement: Agreement) -> None:
        """A run that goes on from another needs one that is not settled, and goes on from it as it says.

        A session that scores new periods needs one that is, whose parties are all there, and each period once.
        """
        if agreement.scores is not None:
            self._check_scored(agreement, agreement.scores)
        terms = agreement.continues
        if terms is None:
            return
        earlier = self.known(terms.run_id)
        if earlier.state.stands:
            raise AgreementError(f"run {terms.run_id[:12]} is {STANDS}")
        check_continuation(agreement, earlier.agreement)

    def _check_scored(self, agreement: Agreement, terms: ScoringTerms) -> None:
        trained = self.known(terms.of)
        if trained.state.status != "settled":
            raise AgreementError(f"run {terms.of[:12]} is not settled: its weights score nothing yet")
        check_scoring(agreement, trained.agreement, datetime.now(UTC))
        for run_id, known in self._runs.items():
            other = known.agreement.scores
            if other is None or other.of != terms.of or run_id == agreement.run_id or known.state.status == "aborted":
                continue
            twice = set(scored_periods(agreement)) & set(scored_periods(known.agreement))
            if twice:
                raise AgreementError(
                    f"{min(twice)} is scored by run {run_id[:12]} already: its scores stand, and nothing opens twice"
                )

    def progressed(self, party: str, run_id: str, body: ProgressBody, at: datetime, clock: float) -> bool:
        """How far a party is. False: it is not of the attempt under way."""
        known = self.known(run_id)
        state = known.state
        if party not in state.plan.parties:
            raise EventRefused(f"{party} has no part in run {run_id[:12]}")
        if state.phase != body.phase or state.span.attempt != body.attempt or party in state.span.done:
            return False
        known.progress.heard(party, body, at, clock)
        self._unsaved.add(run_id)
        return True

    def watched(
        self, run_id: str, phase: PhaseName, attempt: int, progress: Progress, at: datetime, clock: float
    ) -> None:
        """How far the coordinator's own part is. Raises :class:`StorageError` where a round that begins is not kept."""
        known = self.known(run_id)
        if progress.begins:
            known.progress.round_begins(phase, attempt, progress.names)
            if not self._log.save_progress(run_id, known.progress.to_json()):
                raise StorageError("the rounds that cost privacy are too many to count: agree on fewer model.rounds")
            return
        known.progress.heard(COORDINATOR, told(phase, attempt, progress), at, clock)
        if progress.names:
            known.progress.round_opened(phase, attempt, progress.names)
        self._unsaved.add(run_id)

    def closed(self, run_id: str, party: str, phase: PhaseName, costs: PartReport, at: datetime) -> None:
        """Somebody's part of a phase is finished; ``costs`` is what its report says of them."""
        self.known(run_id).progress.closed(party, phase, costs, at)
        self._unsaved.add(run_id)

    def relayed(self, passed: Mapping[tuple[str, str], int]) -> None:
        """Bytes that went from one member to another through the coordinator."""
        for (sender, receiver), size in passed.items():
            for known in self.live_of({sender, receiver} - {COORDINATOR}):
                known.progress.relayed(sender, receiver, size)
                self._unsaved.add(known.state.run)

    def save(self, *, everything: bool = False) -> None:
        """Keep progress; when that fails nothing is lost that decides anything."""
        chosen = self._unsaved | ({known.state.run for known in self.live()} if everything else set())
        for run_id in sorted(chosen):
            try:
                self._log.save_progress(run_id, self._runs[run_id].progress.to_json())
            except StorageError as error:
                _LOG.warning("run %s: %s", run_id[:12], error)
                return
            self._unsaved.discard(run_id)


def check_proposal(agreement: Agreement, roster: Roster, now: datetime) -> None:
    """Raise :class:`AgreementError` unless the agreement's keys are those of this roster, and it has not expired."""
    for party in agreement.parties:
        member = roster.get(party.name)
        if member is None:
            raise AgreementError(f"{party.name} is not in the coordinator's roster: add it before proposing a run")
        pinned = (party.certificate_sha256, party.identity_key)
        if pinned != (member.certificate_sha256, member.identity_key):
            raise AgreementError(f"the agreement's keys of {party.name} are not those in the coordinator's roster")
    if agreement.coordinator_certificate_sha256 != roster.member(COORDINATOR).certificate_sha256:
        raise AgreementError("the agreement names another coordinator certificate than this coordinator's")
    if agreement.expires_at.tzinfo is None or agreement.expires_at <= now:
        raise AgreementError("the agreement has expired, or its expires_at has no time zone: set a later one")
