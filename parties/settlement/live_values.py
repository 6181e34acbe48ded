"""What a later run says of periods after an earlier one's calendar: the live contributions of a final settlement. Pure.

A later run of the same label, parties, columns and model values these periods as every run values its own. Its record
is cut to the periods after the earlier calendar; means and standard errors follow from what is left. What all parties
and the label party alone had is known of the whole later run only, so the live record does not say it.
"""

from __future__ import annotations

import math

import numpy as np

from parties.agreement.document import Agreement
from parties.agreement.sameness import differing
from parties.errors import LedgerError
from parties.settlement.contribution import ContributionRecord, PartyContribution
from parties.settlement.live_record import LiveRecord
from vfl.factors.hac import hac_mean

__all__ = ["live_values"]

_SAME = ("consortium", "label", "model", "search")


def live_values(
    run_id: str, agreement: Agreement, later_id: str, later: Agreement, valued: ContributionRecord
) -> LiveRecord:
    """The unsigned record of ``run_id`` from the contributions of a later run, ``later_id``.

    Raises :class:`LedgerError` saying why the later run is no continuation, or that no period of it counts.
    """
    _check_alike(agreement, later_id, later)
    ends = dict(zip(later.dated.periods, later.dated.cutoffs, strict=True))
    last = agreement.dated.cutoffs[-1]
    places = [
        place
        for place, period in enumerate(valued.periods)
        if period in ends and ends[period] > last and period not in agreement.periods and _counts(valued, place)
    ]
    if not places:
        raise LedgerError(
            f"run {later_id[:12]} values no period after {agreement.periods[-1]}, the last of run {run_id[:12]}: "
            "wait until labels of later periods have resolved, and propose a run over a longer calendar"
        )
    periods = tuple(valued.periods[place] for place in places)
    record = ContributionRecord(
        method=valued.method,
        definition=f"{valued.definition} Of run {later_id[:12]}, over the periods after run {run_id[:12]}.".strip(),
        entities=valued.entities,
        n_periods=len(places),
        periods=periods,
        uplift_by_period=tuple(valued.uplift_by_period[place] for place in places) if valued.uplift_by_period else (),
        committed={
            party: tuple(flags[place] for place in places)
            for party, flags in valued.committed.items()
            if len(flags) == len(valued.periods)
        },
        parties={
            party: _mean(said, places, max(agreement.walk_forward.horizon, 1)) for party, said in valued.parties.items()
        },
    )
    cutoffs = tuple(ends[period] for period in periods)
    return LiveRecord(
        run_id=run_id, periods=periods, contribution=record, horizon=agreement.walk_forward.horizon, cutoffs=cutoffs
    )


def _check_alike(agreement: Agreement, later_id: str, later: Agreement) -> None:
    """The same label, brought by the same parties with the same columns, learned by the same model."""
    if agreement.calendar is None or later.calendar is None:
        raise LedgerError("static data has no later periods: its reward is final without live data, or by --live FILE")
    unlike = differing(agreement, later, _SAME)
    if agreement.walk_forward.horizon != later.walk_forward.horizon:
        unlike.append("walk_forward.horizon")
    if agreement.openings.contribution != later.openings.contribution:
        unlike.append("openings.contribution")
    brought = [{p.name: (p.columns, p.legal_entity, p.role) for p in one.parties} for one in (agreement, later)]
    if brought[0] != brought[1]:
        unlike.append("parties and their columns")
    if unlike:
        raise LedgerError(f"run {later_id[:12]} has another {unlike[0]}: its contributions are not of this run")


def _counts(valued: ContributionRecord, place: int) -> bool:
    return all(
        len(said.phi_by_period) > place and said.phi_by_period[place] is not None for said in valued.parties.values()
    )


def _mean(said: PartyContribution, places: list[int], horizon: int) -> PartyContribution:
    if said.sampling_error:
        raise LedgerError(
            "the later run drew orders of joining, whose error is known of all its periods together only: value fewer "
            "parties, whose contributions are exact"
        )
    series = np.array([said.phi_by_period[place] for place in places], dtype=np.float64)
    found = hac_mean(series, horizon=horizon)
    error = None if math.isnan(found.standard_error) else found.standard_error
    return PartyContribution(phi=found.mean, standard_error=error, phi_by_period=tuple(series.tolist()))
