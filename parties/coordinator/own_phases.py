"""The coordinator's own parts in a run: matching tokens, receiving the factor, settling.

Each is one blocking call, made from a thread of its own. How long peers may be silent is judged by their standing
lines, so the flows here wait until they are aborted.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.control.phase_reports import Traffic
from parties.control.phases import PhaseName, session_name, session_roles
from parties.control.reports import ProgressBody
from parties.coordinator.bundles import BundleStore
from parties.coordinator.events import CoordinatorDone, CoordinatorFailed
from parties.coordinator.federated_sums import add_up_groups, add_up_training, add_up_values
from parties.coordinator.known_run import KnownRun
from parties.drive import drive
from parties.errors import EntenteError, PeerError, RunAborted
from parties.factor.delivery import opener
from parties.factor.sealing import reading_key
from parties.fields import printable
from parties.ledger.store import LedgerStore
from parties.members.keys import Identity
from parties.names import COORDINATOR
from parties.settlement.closing import settle_run
from parties.settlement.contribution import ContributionRecord
from parties.transport.channel import Channel, Endpoint
from psi.commitment import AlignmentLimits
from psi.flow import REGISTER, Flow, Progress, ProtocolError, Role
from psi.ring import IntersectionTooSmall, match_tokens
from psi.union import match_union
from vfl.protocols.delivery import receive_bundle

__all__ = ["FAULT", "OwnPhases", "Work", "played", "told"]

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
FAULT = "a fault in the coordinator's program; its log has the details"

Watch = Callable[[Progress], None]

Work = Callable[[Watch], tuple[dict[str, Any], dict[str, Traffic]]]

PATIENCE = 7 * 24 * 3600.0


class OwnPhases:
    """Carries the coordinator's parts out; :meth:`abort` stops those of a run from any thread."""

    def __init__(self, identity: Identity, endpoint: Endpoint, bundles: BundleStore, ledger: LedgerStore) -> None:
        self._identity = identity
        self._endpoint = endpoint
        self._bundles = bundles
        self._ledger = ledger
        self._lock = threading.Lock()
        self._open: dict[str, Channel] = {}
        self._aborted: dict[str, str] = {}

    def match(self, agreement: Agreement, attempt: int, watch: Watch) -> tuple[dict[str, Any], dict[str, Traffic]]:
        """Entity alignment: the report for the log, and what was sent."""
        terms = agreement.alignment
        limits = AlignmentLimits(terms.minimum_common, terms.maximum_set_size, terms.largest_change, terms.size_bucket)
        names = [party.name for party in agreement.parties]
        if terms.policy == "union":
            flow = match_union(COORDINATOR, names, limits=limits, randomness=secrets)
        else:
            flow = match_tokens(COORDINATOR, names, limits=limits)
        report, traffic = self._play(agreement, "align", attempt, flow, watch)
        return {"n_common": report.n_common, "set_sizes": dict(report.set_sizes)}, traffic

    def add_up(
        self, agreement: Agreement, phase: PhaseName, attempt: int, without: tuple[str, ...], watch: Watch
    ) -> tuple[dict[str, Any], dict[str, Traffic]]:
        """The sums of a federated run's rounds, of the trainings that value its members, or of the groups' encoders."""
        if phase == "encode":
            flow = add_up_groups(agreement)
        elif phase == "train":
            flow = add_up_training(agreement, set(without))
        else:
            flow = add_up_values(agreement, without)
        return self._play(agreement, phase, attempt, flow, watch)

    def receive(self, agreement: Agreement, attempt: int, watch: Watch) -> tuple[dict[str, Any], dict[str, Traffic]]:
        """Factor delivery, verified against the label party's key before it is kept."""
        label = agreement.label.party
        flow = receive_bundle(label, Role.COORDINATOR, opener(agreement, COORDINATOR, reading_key(self._identity.key)))
        files, traffic = self._play(agreement, "export", attempt, flow, watch)
        key = bytes.fromhex(agreement.party(label).identity_key)
        digest = self._bundles.save(agreement.run_id, files, label, key)
        return {"sha256": digest, "bytes": sum(map(len, files.values())), "files": len(files)}, traffic

    def settle(self, known: KnownRun) -> dict[str, Any]:
        """Pending postings of the run's rewards."""
        state = known.state
        valued = next(span for span in state.spans if span.phase == "value")
        said = (valued.reports or {}).get(state.plan.label, {}).get("contribution")
        contribution = None if said is None else ContributionRecord.model_validate(said)
        at = state.span.started_at
        return settle_run(self._ledger, known.agreement, contribution, at, run_id=state.run).model_dump(mode="json")

    def abort(self, run_id: str, reason: str) -> None:
        """Stop what the coordinator does in this run, now and later."""
        with self._lock:
            self._aborted[run_id] = reason
            channel = self._open.get(run_id)
        if channel is not None:
            channel.abort(reason)

    def interrupt(self, run_id: str, reason: str) -> None:
        """Stop what the coordinator does in the attempt under way; another may follow."""
        with self._lock:
            channel = self._open.pop(run_id, None)
        if channel is not None:
            channel.abort(reason, anew=True)

    def _play(
        self, agreement: Agreement, phase: PhaseName, attempt: int, flow: Flow[T], watch: Watch
    ) -> tuple[T, dict[str, Traffic]]:
        run_id = agreement.run_id
        roles = session_roles(agreement, phase)
        channel = self._endpoint.open(run_id, session_name(phase, attempt), roles, agreement.payloads)
        try:
            with self._lock:
                self._open[run_id] = channel
                stopped = self._aborted.get(run_id)
            if stopped is not None:
                raise RunAborted(stopped)
            result = drive(flow, channel, silence=PATIENCE, watch=watch)
        except IntersectionTooSmall:
            raise  # everybody is being told so by a message that must still arrive
        except Exception as error:
            channel.abort(str(error))
            raise
        finally:
            with self._lock:
                if self._open.get(run_id) is channel:
                    del self._open[run_id]
            channel.close()
        sent = channel.meter.by_kind("sent").items()
        traffic = {
            kind: Traffic(
                payload=REGISTER[kind].payload.value,
                bytes=tally.bytes,
                messages=tally.messages,
                to=channel.meter.by_receiver(kind),
            )
            for kind, tally in sent
        }
        return result, traffic


def told(phase: PhaseName, attempt: int, progress: Progress) -> ProgressBody:
    """How far the coordinator's own part is, in the words of a party's report."""
    return ProgressBody(phase=phase, attempt=attempt, done=progress.done, total=progress.total, unit=progress.unit)


def played(
    known: KnownRun,
    phase: PhaseName,
    attempt: int,
    work: Callable[[], tuple[dict[str, Any], dict[str, Traffic]]],
    now: Callable[[], datetime],
) -> tuple[CoordinatorDone | CoordinatorFailed | None, dict[str, Traffic]]:
    """Do one of the coordinator's parts: the event that comes of it, and what was sent. None: the run has ended."""
    run_id = known.state.run
    try:
        report, traffic = work()
    except RunAborted:
        return None, {}
    except (EntenteError, ProtocolError, ValidationError, ValueError, OSError) as error:
        peer, lost = str(getattr(error, "peer", ""))[:32], isinstance(error, PeerError)
        reason = printable(str(error)[:2000])
        return CoordinatorFailed(run_id, now(), phase, attempt, reason, peer, lost), {}
    except Exception:
        _LOG.exception("run %s: %s failed", run_id[:12], phase)
        return CoordinatorFailed(run_id, now(), phase, attempt, FAULT), {}
    return CoordinatorDone(run_id, now(), phase, attempt, report), traffic
