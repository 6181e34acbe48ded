"""The pay rule: what of a run's recorded contributions may be paid. Pure; the coordinator and every node compute it.

Nothing is paid on a label party's word alone. The record must agree with itself (phi is the mean of its periods, the
phis share out v(all) - v(nobody), standard errors follow from the periods, kin earn nothing), and the uplift of joining
must be above zero at the agreed one-sided level, by the contributions' own sum and by IC(joint) - IC(own) where
the label party has a model of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.errors import LedgerError
from parties.ledger.rewards import Claim
from parties.names import entity_key
from parties.settlement.contribution import ContributionRecord, PartyContribution
from vfl.factors.hac import HacMean, hac_mean, one_sided_p

__all__ = ["check_record", "claims_of", "gate"]

F64 = NDArray[np.float64]

_SLACK = 1e-9
"""Correlations are at most 1 and means of at most 4000: sums of doubles differ by less, whoever adds them up."""


def check_record(agreement: Agreement, record: ContributionRecord, *, live: bool = False, whole: bool = False) -> None:
    """Raise :class:`LedgerError` naming what in the record contradicts itself or the agreement.

    ``live``: its periods are not those of the run's calendar, but later ones; v(all) and v(nobody) may be unsaid, as
    they are known of whole runs only. ``whole``: it must name its periods, as all do that this version makes.
    """
    if whole and not record.periods:
        raise _fault("names no periods")
    _check_parties(agreement, record)
    counted = len(record.periods)
    if any(len(said.phi_by_period) != counted for said in record.parties.values()):
        raise _fault("names another number of periods than its parties have contributions of")
    unknown = set() if live else set(record.periods) - set(agreement.periods)
    if unknown or len(set(record.periods)) != counted:
        raise _fault(f"counts {min(unknown) if unknown else 'a period twice'}: name each agreed period once")
    if record.uplift_by_period and len(record.uplift_by_period) != counted:
        raise _fault("has an uplift for another number of periods than it names")
    series = {party: _series(said.phi_by_period) for party, said in record.parties.items()}
    for party, said in record.parties.items():
        _check_mean(agreement, party, said, series[party])
    _check_gain(record, live=live)
    missing = {party: np.isnan(values) for party, values in series.items()}
    if any((one != other).any() for one in missing.values() for other in missing.values()):
        raise _fault("has contributions of different periods for different parties")
    if record.n_periods != int((~next(iter(missing.values()))).sum()):
        raise _fault(f"says {record.n_periods} periods and has values of another number")


def _check_gain(record: ContributionRecord, *, live: bool) -> None:
    if record.v_everyone is None or record.v_nobody is None:
        if live and record.v_everyone is record.v_nobody:
            return
        raise _fault("does not say v(all) and v(nobody)")
    gain = record.v_everyone - record.v_nobody
    shared = sum(said.phi for said in record.parties.values())
    if not math.isclose(gain, shared, abs_tol=_SLACK):
        raise _fault(f"shares out {shared:.6f}, and v(all) - v(nobody) is {gain:.6f}")


def _check_parties(agreement: Agreement, record: ContributionRecord) -> None:
    parties = {party.name: party.legal_entity for party in agreement.features}
    if set(record.parties) != set(parties):
        raise LedgerError(
            f"contributions are of {', '.join(sorted(record.parties)) or 'nobody'}, "
            f"the run's feature parties are {', '.join(sorted(parties))}: value the run again"
        )
    own = entity_key(agreement.party(agreement.label.party).legal_entity)
    for party, entity in parties.items():
        said = record.parties[party]
        if own and entity_key(entity) == own and max(map(abs, (said.phi, *_series(said.phi_by_period)))) > _SLACK:
            raise _fault(f"pays {party!r}, who is of the label party's own legal entity")


def _check_mean(agreement: Agreement, party: str, said: PartyContribution, series: F64) -> None:
    found = hac_mean(series, horizon=max(agreement.walk_forward.horizon, 1))
    if not math.isclose(found.mean, said.phi, abs_tol=_SLACK):
        raise _fault(f"says phi {said.phi:.6f} of {party!r}, and the mean of its periods is {found.mean:.6f}")
    error = math.hypot(found.standard_error, said.sampling_error or 0.0)
    told = math.nan if said.standard_error is None else said.standard_error
    if not math.isclose(error, told, rel_tol=1e-6, abs_tol=_SLACK) and not (math.isnan(error) and math.isnan(told)):
        raise _fault(f"says standard error {told:.6f} of {party!r}, and its periods give {error:.6f}")


def claims_of(
    agreement: Agreement,
    contribution: ContributionRecord | None,
    stakes: Mapping[str, int] | None = None,
    *,
    live: bool = False,
) -> dict[str, Claim]:
    """What each feature party contributed and stakes, and why it may not be paid where it may not.

    ``live``: the record is of periods after the run's calendar; it confirms what the close has tested. Without
    contributions nobody contributed. Raises :class:`LedgerError` when they are not of exactly the run's feature
    parties, or contradict themselves.
    """
    held = stakes or {}
    if contribution is None:
        return {party.name: Claim(0.0, math.nan, held.get(party.name, 0)) for party in agreement.features}
    _check_parties(agreement, contribution)
    if contribution.periods:
        check_record(agreement, contribution, live=live)
    if agreement.reward.rows == "committed":
        contribution = _committed_only(agreement, contribution)
    barred = gate(agreement, contribution, live=live)
    claims: dict[str, Claim] = {}
    for party in agreement.features:
        said = contribution.parties[party.name]
        error = math.nan if said.standard_error is None else said.standard_error
        claims[party.name] = Claim(said.phi, error, held.get(party.name, 0), barred)
    return claims


def _committed_only(agreement: Agreement, record: ContributionRecord) -> ContributionRecord:
    """The record with 0 for each party in the periods whose rows it had not committed in time.

    A period in which nobody had is not counted. Without any that counts there is nothing to pay for.
    """
    flags = {party: np.array(record.committed.get(party, ()), dtype=bool) for party in record.parties}
    if any(len(one) != len(record.periods) for one in flags.values()):
        flags = {party: np.zeros(len(record.periods), dtype=bool) for party in record.parties}
    counted = np.any([*flags.values()], axis=0)
    parties, kept = {}, [period for period, counts in zip(record.periods, counted, strict=True) if counts]
    for party, said in record.parties.items():
        series = np.where(flags[party], _series(said.phi_by_period), 0.0)[counted] if len(counted) else np.zeros(0)
        found = hac_mean(series, horizon=max(agreement.walk_forward.horizon, 1))
        error = math.hypot(found.standard_error, said.sampling_error or 0.0)
        parties[party] = said.model_copy(
            update={
                "phi": 0.0 if math.isnan(found.mean) else found.mean,
                "standard_error": None if math.isnan(error) else error,
                "phi_by_period": tuple(None if math.isnan(value) else float(value) for value in series),
            }
        )
    gaps = tuple(gap for gap, counts in zip(record.uplift_by_period, counted, strict=False) if counts)
    return record.model_copy(update={"periods": tuple(kept), "parties": parties, "uplift_by_period": gaps})


def gate(agreement: Agreement, record: ContributionRecord, *, live: bool = False) -> str:
    """Why the uplift of joining pays nobody, or "": it is above zero at the agreed level.

    A few live periods can show nothing at such a level. There the uplift has to be above zero, and each party's own
    standard error decides the rest.
    """
    level, horizon = agreement.reward.uplift_level, max(agreement.walk_forward.horizon, 1)
    if level >= 1 and (record.periods or agreement.reward.rows == "any"):
        return ""
    if not record.periods:
        if agreement.reward.rows == "committed":
            return f"no period's rows were committed within {agreement.reward.rows_within_hours} hours of its cutoff"
        return "the uplift cannot be tested: there are no contributions by period"
    shared = np.sum([_series(said.phi_by_period) for said in record.parties.values()], axis=0)
    tests: dict[str, F64] = {"the uplift": shared}
    if record.uplift_by_period:
        tests["the uplift over the label party's own model"] = _series(record.uplift_by_period)
    for what, series in tests.items():
        found = hac_mean(series, horizon=horizon)
        shown = found.mean > 0 if live else one_sided_p(found) < level
        if not shown:
            return _not_shown(what, found, level)
    return ""


def _not_shown(what: str, found: HacMean, level: float) -> str:
    if found.n_periods < 2 or math.isnan(found.t):
        return f"{what} cannot be tested on {found.n_periods} periods"
    if found.mean <= 0:
        return f"{what} is {found.mean:+.4f}, not above zero"
    return f"{what} of {found.mean:+.4f} is not significant: t {found.t:.1f}, p {one_sided_p(found):.2f} of {level:g}"


def _series(values: tuple[float | None, ...]) -> F64:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _fault(why: str) -> LedgerError:
    return LedgerError(f"the record of contributions {why}: the label party has to value the run again")
