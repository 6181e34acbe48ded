"""Rounds of a federated run, or of groups, as the coordinator shows them: who took part or was dropped, epsilon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from parties.agreement.federated_terms import federated_rounds
from parties.agreement.group_terms import group_rounds
from parties.calls.run_parts import FederatedView, RoundsView
from parties.coordinator.known_run import KnownRun
from parties.names import COORDINATOR
from vfl.federated.privacy import spent, spent_in
from vfl.federated.rounds import Rounds
from vfl.models.federated_opens import trainings
from vfl.terms import FederatedModel

__all__ = ["federated_view", "group_views"]


def federated_view(known: KnownRun) -> FederatedView | None:
    """None of runs of other kinds, and of one that has not begun to train."""
    model, state = known.agreement.model, known.state
    span = next((one for one in state.spans if one.phase == "train"), None)
    if not isinstance(model, FederatedModel) or span is None:
        return None
    rounds = federated_rounds(known.agreement)
    # the log has what a training that is through came to; what was kept beside it has the rest
    through = (span.reports or {}).get(COORDINATOR, {})
    valued = known.agreement.openings.contribution == "retrain"
    times = 1 + (trainings(model, len(rounds.members)) if valued else 0)
    kept = known.progress.rounds().training(span.attempt)
    view = _view(known, rounds, through, kept, times, ("train", span.attempt))
    gone = {*state.dropped, *through.get("gone", ())}
    return view.model_copy(update={"dropped": tuple(name for name in rounds.members if name in gone)})


def group_views(known: KnownRun) -> tuple[FederatedView, ...]:
    """Of each group of a run that has begun to train encoders. Nobody is dropped: the run waits for who was lost."""
    agreement, state = known.agreement, known.state
    span = next((one for one in state.spans if one.phase == "encode"), None)
    if span is None or not agreement.groups:
        return ()
    through, record = (span.reports or {}).get(COORDINATOR, {}), known.progress.rounds()
    return tuple(
        _view(
            known,
            group_rounds(agreement, group),
            through.get(group.name, {}),
            record.encoding(span.attempt, group.members),
            1,
            ("encode", span.attempt),
        ).model_copy(update={"group": group.name})
        for group in agreement.groups
    )


def _view(
    known: KnownRun,
    rounds: Rounds,
    through: Mapping[str, Any],
    kept: Sequence[tuple[str, ...]],
    times: int,
    latest: tuple[str, int],
) -> FederatedView:
    """Rounds of the latest attempt: what the log has of it where it is through, else what was kept while it went on.

    times: trainings whose privacy was signed for. latest: the phase and its attempt.
    """
    model, record = rounds.model, known.progress.rounds()
    took = [tuple(names) for names in through.get("rounds", kept)]
    counted = Counter(record.taken(but=latest if through else None))
    counted.update(name for names in took for name in names if through)
    taken = {name: counted[name] for name in rounds.members}
    view = FederatedView(
        rounds=model.rounds,
        members=rounds.members,
        threshold=model.threshold,
        stretches=_stretches(rounds, took),
        taken=taken,
        noise=model.noise,
        delta=model.delta,
        missed=record.missed,
    )
    if not model.noise:
        return view
    try:
        told = {
            "spent": {name: spent_in(model, count) for name, count in taken.items()},
            "agreed_epsilon": spent(model, times),
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
