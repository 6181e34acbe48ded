"""A party's own rows against a plan: what they hold, how often they repeat, and whether the plan may tell that much.

Measured before this party signs, on all entities that it has over the agreed calendar, and kept with the run: what was
measured then is what holds when rows open.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from parties.agreement.bit_plan import BitPlan, bit_plan
from parties.agreement.document import Agreement
from parties.data.row_contents import RowContents, imputed, withheld_rows
from parties.errors import AgreementError, StorageError
from parties.node.openings import OpeningStore
from parties.node.own_data import OwnData
from parties.node.settings import NodeSettings, StandingLimits
from parties.private_files import write_private
from vfl.arithmetic.randomness import SecretStream
from vfl.factors.panel import FeaturePanel
from vfl.models.disclosure import Caution
from vfl.protocols.opened_numbers import DISCRETE_NOISE
from vfl.terms import AnchoredModel

__all__ = [
    "DISCRETE_BITS",
    "MOST_WITHHELD",
    "OwnRows",
    "ServedRows",
    "bits_allowed",
    "check_own_rows",
    "keep_own_rows",
    "kept_own_rows",
    "own_cautions",
    "own_lines",
    "served_rows",
    "served_values",
    "withheld_of",
]

DISCRETE_BITS = 4.0
"""Bits of a value below which one opened number tells it whole."""

MOST_WITHHELD = 0.2
"""Share of a party's rows that may take the place of absent ones, since what they hold was shown often enough."""

_OFTEN = 1.5
_FILE, _WITHHELD = "own_rows.json", "withheld_rows.json"

Flags = NDArray[np.bool_]


class OwnRows(BaseModel):
    """What a party's rows hold, over an agreement's calendar.

    columns: how many it has itself, without made ones. held: bits of a row beside the entity's row before. discrete:
    columns of few values, indicators among them, with the bits of one value. repeats: periods in which the same raw
    values stand, on average over what the rows hold. withheld: share of the covered rows that would not open.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: int
    held: float
    discrete: dict[str, float]
    repeats: float
    withheld: float


def check_own_rows(
    agreement: Agreement, settings: NodeSettings, data: OwnData, openings: OpeningStore, key: bytes
) -> OwnRows | None:
    """Measure this party's rows and hold the plan against them, before anything is signed; None where no row opens.

    key: the secret under which contents are stored. Raises :class:`AgreementError` for a plan that tells more than
    may be told, and for columns that may not open.
    """
    if isinstance(agreement.model, AnchoredModel) or settings.party.role != "feature":
        return None
    panel, periods = data.panel, agreement.periods
    assert panel is not None
    assert panel.contents is not None
    told = openings.told(agreement.run_id, data.entities, periods, RowContents(panel.contents).keyed(key))
    found = _measured(panel, settings)
    withheld = _withheld(panel, told, _plan_within(found, agreement, settings.limits), bit_plan(agreement))
    found = found.model_copy(update={"withheld": _share(panel, withheld)})
    _check_withheld(found, MOST_WITHHELD, agreement, settings.limits)
    return found


@dataclass(frozen=True, eq=False)
class ServedRows:
    """What of a party's rows opens in a run: what they hold, bits that may be told of each, and which stay closed.

    withheld: bool (T * n,). contents: of all rows, those that stay closed having one of their own.
    """

    own: OwnRows
    most: float
    withheld: Flags
    contents: RowContents


def served_rows(
    agreement: Agreement,
    settings: NodeSettings,
    run_folder: Path,
    panel: FeaturePanel,
    told: Callable[[bytes], NDArray[np.float64]],
    key: bytes,
) -> ServedRows:
    """What opens of the rows of a run that begins, or goes on as it began.

    told: bits that other runs told of rows, given their keyed contents. Raises :class:`AgreementError` where the plan
    tells more than may be told.
    """
    assert panel.contents is not None
    own = kept_own_rows(run_folder) or _measured(panel, settings)
    most, contents = _plan_within(own, agreement, settings.limits), RowContents(panel.contents)
    withheld = _kept_withheld(run_folder, panel)
    if withheld is None:
        withheld = _withheld(panel, told(contents.keyed(key)), most, bit_plan(agreement))
        # the common rows may repeat more often than all that this party has
        found = own.model_copy(update={"withheld": _share(panel, withheld)})
        _check_withheld(found, 2 * MOST_WITHHELD, agreement, settings.limits)
        _keep(run_folder / _WITHHELD, json.dumps(np.flatnonzero(withheld).tolist()).encode())
    return ServedRows(own, most, withheld, contents.apart(withheld))


def served_values(panel: FeaturePanel, withheld: Flags, secret: bytes) -> NDArray[np.float64]:
    """What a party serves, float64 (T * n, d): rows that are absent or stay closed are drawn by its ``secret``.

    The same in every attempt, since what was recorded before belongs to it.
    """
    shown = panel.covered & ~withheld.reshape(panel.covered.shape)
    return imputed(panel.values, shown, SecretStream(secret)).reshape(panel.rows.shape)


def withheld_of(run_folder: Path, panel: FeaturePanel) -> Flags:
    """Which rows of a run that began stay closed."""
    found = _kept_withheld(run_folder, panel)
    return np.zeros(panel.covered.size, dtype=np.bool_) if found is None else found


def _kept_withheld(run_folder: Path, panel: FeaturePanel) -> Flags | None:
    try:
        rows = json.loads((run_folder / _WITHHELD).read_bytes())
    except (OSError, ValueError):
        return None
    found = np.zeros(panel.covered.size, dtype=np.bool_)
    found[rows] = True
    return found


def _plan_within(own: OwnRows, agreement: Agreement, limits: StandingLimits) -> float:
    """Bits that may be told of a row; raises where the plan tells more, or columns may not open."""
    _check_discrete(own, agreement, limits)
    _check_bits(own, agreement, limits)
    return bits_allowed(own.held, agreement, limits)


def _measured(panel: FeaturePanel, settings: NodeSettings) -> OwnRows:
    """What the rows of a panel hold."""
    assert panel.contents is not None
    groups = RowContents(panel.contents).groups[panel.covered.reshape(-1)]
    return OwnRows(
        columns=len(settings.party.columns),
        held=panel.row_bits,
        discrete={
            name: bits for name, bits in zip(panel.columns, panel.value_bits, strict=True) if 0 < bits < DISCRETE_BITS
        },
        repeats=len(groups) / max(len(np.unique(groups)), 1),
        withheld=0.0,
    )


def bits_allowed(held: float, agreement: Agreement, limits: StandingLimits) -> float:
    """Bits that may be told of a row which holds ``held``, over all runs."""
    return limits.bits_per_row or min(limits.largest_fraction, agreement.openings.largest_fraction) * held


def _withheld(panel: FeaturePanel, told: NDArray[np.float64], most: float, plan: BitPlan) -> Flags:
    """Rows (T * n,) of a panel that do not open, of whose contents ``told`` bits were told before.

    A content that would open more than once keeps room for one opening more: a step that is made again after a crash
    is counted again.
    """
    assert panel.contents is not None
    room = max(most - plan.width * plan.per_number, plan.bits)
    return withheld_rows(RowContents(panel.contents).groups, panel.covered.reshape(-1), told, room, plan.bits)


def _share(panel: FeaturePanel, withheld: Flags) -> float:
    """Of the covered rows."""
    return float(withheld.sum()) / max(int(panel.covered.sum()), 1)


def _check_bits(own: OwnRows, agreement: Agreement, limits: StandingLimits) -> None:
    """Raise unless the plan of one row stays within what may be told of it."""
    plan, most = bit_plan(agreement), bits_allowed(own.held, agreement, limits)
    if plan.bits > most + 1e-9:
        raise AgreementError(
            f"this party's {own.columns} columns hold {own.held:.0f} bits of a row beside the entity's row before, of "
            f"which {most:.0f} may be told over all runs; the plan tells {plan.bits:.0f} ({plan.numbers} numbers of "
            f"{plan.per_number:.1f} bits, backward products among them). {_remedy(plan, most)}"
        )


def _remedy(plan: BitPlan, most: float) -> str:
    fits = [
        f"model.embedding_width = {width} with model.epochs = {passes} and model.warmup_epochs = "
        f"{min(plan.early, passes)}"
        for width, passes in plan.fitting(most)
    ]
    if not fits:
        return "No width fits: choose a sealed model, raise openings.noise, or leave this party out"
    return f"It would fit with {', or '.join(fits)}; or choose a sealed model"


def _check_withheld(own: OwnRows, share: float, agreement: Agreement, limits: StandingLimits) -> None:
    """Raise where more than this share of the rows would not open, since their like was shown often enough."""
    if own.withheld <= share:
        return
    plan, most = bit_plan(agreement), bits_allowed(own.held, agreement, limits)
    often = int(most / plan.bits + 1e-9)
    raise AgreementError(
        f"{own.withheld:.0%} of this party's rows have told what they may, in earlier runs or since the same values "
        f"stand in {own.repeats:.1f} periods on average: its {own.columns} columns hold {own.held:.0f} bits of a row, "
        f"of which {most:.0f} may be told, and the plan tells {plan.bits:.0f} each time, so {often} times at most. "
        "Propose a calendar as coarse as the data, later periods, fewer model.epochs or a smaller "
        "model.embedding_width, or a sealed model"
    )


def _check_discrete(own: OwnRows, agreement: Agreement, limits: StandingLimits) -> None:
    """Raise where columns of few values would open and may not."""
    if not own.discrete:
        return
    names = _named(own.discrete)
    if limits.discrete == "refuse":
        raise AgreementError(
            f"columns of few values may not open (limits.discrete): {names}. One opened number can tell such a value "
            "whole. Leave them out of node.toml, choose a sealed model, or read what can be told and set "
            'limits.discrete = "accept"'
        )
    if agreement.openings.noise < DISCRETE_NOISE:
        raise AgreementError(
            f"columns of few values open under noise of {DISCRETE_NOISE} or more, and openings.noise is "
            f"{agreement.openings.noise}: {names}. Raise openings.noise, or choose a sealed model"
        )


def _named(discrete: dict[str, float]) -> str:
    first = [f"{name} ({bits:.1f} bits)" for name, bits in list(discrete.items())[:6]]
    return ", ".join(first) + (f" and {len(discrete) - 6} more" if len(discrete) > 6 else "")


def own_cautions(own: OwnRows | None) -> tuple[Caution, ...]:
    """What this party's own data makes of an agreement, to be looked at twice."""
    return () if own is None else tuple(_cautions(own))


def _cautions(own: OwnRows) -> Iterator[Caution]:
    if own.discrete:
        yield Caution(
            "parties.columns",
            f"columns of few values open: {_named(own.discrete)}. A label party that cheats can read such a value of "
            "any row, and one that does not may tell alike rows from others",
        )
    if own.repeats >= _OFTEN:
        yield Caution(
            "calendar.frequency",
            f"the calendar is finer than this party's data: the same values stand in {own.repeats:.1f} periods on "
            f"average, and each opens them again. {own.withheld:.0%} of the rows stay closed, since they told enough",
        )


def own_lines(own: OwnRows, agreement: Agreement, limits: StandingLimits) -> Iterator[str]:
    """What the plan tells of this party's rows, for whoever signs for it."""
    plan, most = bit_plan(agreement), bits_allowed(own.held, agreement, limits)
    where = "limits.bits_per_row" if limits.bits_per_row else "limits.largest_fraction"
    yield (
        f"This party's {own.columns} columns hold {own.held:.0f} bits of a row beside the entity's row before. Of "
        f"these {most:.0f} may be told over all runs ({where})."
    )
    yield (
        f"This run tells {plan.bits:.0f} of a row at most: {plan.numbers} numbers of {plan.per_number:.1f} bits, "
        "backward products among them."
    )
    yield (
        f"The same values stand in {own.repeats:.2f} periods on average; {own.withheld:.1%} of the rows stay closed, "
        "as if absent, since their values told enough."
    )


def keep_own_rows(folder: Path, own: OwnRows) -> None:
    """Keep what was measured with the run in ``folder``. Raises :class:`StorageError` where the disk refuses."""
    _keep(folder / _FILE, own.model_dump_json().encode())


def _keep(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, content)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); check the disk") from None


def kept_own_rows(folder: Path) -> OwnRows | None:
    """What was measured before the run in ``folder`` was signed; None where nothing was."""
    try:
        return OwnRows.model_validate_json((folder / _FILE).read_bytes())
    except (OSError, ValidationError):
        return None
