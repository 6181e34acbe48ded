"""Who may see what of a run, beyond the role a door asks for.

Admins and auditors see every run. An operator sees the runs that its party takes part in, and gets a factor's files
only where its party is an agreed recipient. A reader sees runs and what their reports say, and takes nothing away. Who
contributed what and earns what is for those whom it concerns.
"""

from __future__ import annotations

from parties.control.phases import Plan
from parties.coordinator.desk.doors import Caller
from parties.coordinator.engine import Engine
from parties.coordinator.known_run import KnownRun
from parties.errors import AgreementError

__all__ = ["holds_factor", "run_of", "runs_of", "sees_rewards", "takes_part"]


def takes_part(caller: Caller, plan: Plan) -> bool:
    """Whether the run concerns the caller: everyone but an operator of a party outside it."""
    return caller.role != "operator" or caller.party in plan.parties


def holds_factor(caller: Caller, plan: Plan) -> bool:
    """Whether the factor's files are the caller's to have: the coordinator's own staff, and operators of recipients."""
    if caller.role == "operator":
        return caller.party in (plan.label, *plan.recipients)
    return caller.role in ("admin", "auditor")


def sees_rewards(caller: Caller, plan: Plan) -> bool:
    """Whether contributions and rewards are the caller's to see: not a reader's, nor an operator's outside the run."""
    return caller.role != "reader" and takes_part(caller, plan)


def runs_of(engine: Engine, caller: Caller) -> list[KnownRun]:
    """The runs that concern the caller, newest first."""
    return [known for known in engine.all_runs() if takes_part(caller, known.state.plan)]


def run_of(engine: Engine, run_id: str, caller: Caller) -> KnownRun:
    """The run, for somebody whom it concerns. Raises :class:`AgreementError` otherwise."""
    known = engine.known(run_id)
    if not takes_part(caller, known.state.plan):
        raise AgreementError(f"{caller.party or caller.name} takes no part in run {run_id[:12]}")
    return known
