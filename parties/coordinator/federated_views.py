"""The rounds of a federated run as the coordinator shows them: who took part, who was dropped, epsilon spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from parties.agreement.federated_terms import federated_rounds
from parties.calls.run_parts import FederatedView, RoundsView
from parties.coordinator.known_run import KnownRun
from parties.names import COORDINATOR
from vfl.federated.privacy import spent, spent_in
from vfl.federated.rounds import Rounds
from vfl.models.federated_opens import trainings
from vfl.terms import FederatedModel

__all__ = ["federated_view"]


def federated_view(known: KnownRun) -> FederatedView | None:
    """None of runs of other kinds, and of one that has not begun to train."""
    model, state = known.agreement.model, known.state
    span = next((one for one in state.spans if one.phase == "train"), None)
    if not isinstance(model, FederatedModel) or span is None:
        return None
    rounds, record = federated_rounds(known.agreement), known.progress.rounds()
    # the log has what a training that is through came to; what was kept beside it has the rest
    through = (span.reports or {}).get(COORDINATOR, {})
    kept = record.training(span.attempt)
    took = [tuple(names) for names in through.get("rounds", kept)]
    counted = Counter(record.taken())
    counted.subtract(name for names in kept for name in names)
    counted.update(name for names in took for name in names)
    taken = {name: counted[name] for name in rounds.members}
    gone = {*state.dropped, *through.get("gone", ())}
    view = FederatedView(
        rounds=model.rounds,
        members=rounds.members,
        threshold=model.threshold,
        stretches=_stretches(rounds, took),
        dropped=tuple(name for name in rounds.members if name in gone),
        taken=taken,
        noise=model.noise,
        delta=model.delta,
        missed=record.missed,
    )
    if not model.noise:
        return view
    valued = known.agreement.openings.contribution == "retrain"
    try:
        told = {
            "spent": {name: spent_in(model, count) for name, count in taken.items()},
            "agreed_epsilon": spent(model, 1 + (trainings(model, len(rounds.members)) if valued else 0)),
        }
    except ValueError as error:
        return view.model_copy(update={"untold": str(error)})
    return view.model_copy(update=told)


def _stretches(rounds: Rounds, took: Sequence[tuple[str, ...]]) -> tuple[RoundsView, ...]:
    """Rounds one after the other that had, and lacked, the same members."""
    found: list[RoundsView] = []
    for number, members in enumerate(took):
        missed = tuple(name for name in rounds.wanted(number) if name not in members)
        last = found[-1] if found else None
        if last is not None and (last.members, last.missed) == (members, missed):
            found[-1] = last.model_copy(update={"last": number + 1})
        else:
            found.append(RoundsView(first=number + 1, last=number + 1, members=members, missed=missed))
    return tuple(found)
