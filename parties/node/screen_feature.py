"""A feature party's part in a screen: it makes its terminals at home, counts what opens, and is told what won."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
from numpy.typing import NDArray

from parties.agreement.screen_terms import screen_members
from parties.data.calendar import calendar_of
from parties.data.terminals import Terminals, read_terminals
from parties.errors import AgreementError, ConfigError
from parties.node.anchored_feature import AnchoredFeatureParty
from parties.node.context import RunContext
from parties.node.contribution_evidence import SentParts
from parties.node.openings import NUMBERS
from parties.node.screen_evidence import keep_terminals
from parties.node.screen_won import keep_won, read_won
from parties.node.sealed_records import SealedRecords
from parties.node.zero_supply import PreparedZeros
from parties.terminal.console import pasted
from psi.flow import Flow, LocalProtocolError, RemoteProtocolError
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError
from vfl.models.screen.feature import ScreenFeature, secret_order
from vfl.models.screen.room import check_room
from vfl.protocols.opening_budget import asked_by
from vfl.terms import ScreenModel

__all__ = ["ScreenFeatureParty"]

_LOG = logging.getLogger(__name__)

_TOO_MANY = (
    "a period's sums would be more than this party's rows hide, and its operator finds the detail in the node's log: "
    "lower model.terminals, or screen more entities"
)
"""What others hear: how much is new in its ranks is the party's own."""


class ScreenFeatureParty(AnchoredFeatureParty):
    """Serves its terminals to a screen. A row enters the sums of one label vector in each attempt, and counts so."""

    def __init__(self, context: RunContext, entities: tuple[str, ...]) -> None:
        super().__init__(context, entities)
        self._names, self.budget = entities, self.numbers

    def _terminals(self) -> Terminals:
        context, agreement = self.context, self.context.agreement
        assert isinstance(agreement.model, ScreenModel)
        absent = None
        if agreement.alignment.hides_coverage:
            absent = SecretStream(context.secret(f"absent/{context.run_id}"))
        made = read_terminals(
            context.settings.party,
            context.queries,
            context.data,
            calendar_of(agreement.dated),
            self._names,
            agreement.model.terminals,
            absent=absent,
        )
        if not made.names:
            raise ConfigError("none of this party's columns varies over the run's rows: a screen has nothing to try")
        if made.left_out:
            _LOG.warning(
                "run %s: %d terminals beyond the %d of model.terminals are left out; choose by [party.terminals]",
                context.run_id[:12],
                made.left_out,
                len(made.names),
            )
        return made

    def _served_through(self, name: str) -> Flow[None]:
        context, made = self.context, self._terminals()
        label, members = context.agreement.label.party, screen_members(context.agreement, len(self._names))
        order, signs = secret_order(SecretStream(context.secret(f"screen/{context.run_id}")), len(made.names))
        numbered = made.ranks[:, :, order] * signs
        keep_terminals(context, numbered)
        side = ScreenFeature(
            context.me,
            members,
            numbered,
            self.stream,
            opening=partial(self._charge, name, made.held),
            supply=PreparedZeros,
            workers=context.workers,
        )
        document = yield from side.serve()
        try:
            told = read_won(document, len(made.names))
        except MalformedError as error:
            raise RemoteProtocolError(str(error), label) from None
        lines = keep_won(context.run_folder, told, made.names, order, signs)
        _LOG.info(
            "run %s: %d of %d formulas are named with terminals of ours: entente run screen %s --home %s",
            context.run_id[:12],
            len(lines),
            told.trials,
            context.run_id[:12],
            pasted(context.folder),
        )

    def _charge(self, name: str, ranks: NDArray[np.int64], own: int, others: int) -> None:
        """Refuse more sums than the rows hide; count every row once, and the numbers of a period that terminals are in.

        own, others: terminals of the label party and of the other feature parties.
        """
        entities, numbers = len(self._names), ranks.shape[2] * (1 + own + others)
        try:
            check_room(ranks, own, others, int(self.numbers.counts.max(initial=0)))
        except LocalProtocolError as error:
            _LOG.error("run %s: %s", self.context.run_id[:12], error)
            raise LocalProtocolError(_TOO_MANY) from None
        with asked_by(self.context.agreement.label.party):
            for period in range(len(self.context.agreement.periods)):
                rows = np.arange(period * entities, (period + 1) * entities, dtype=np.int64)
                self.numbers.charge(f"{NUMBERS}{name}/screen/{period}", rows, numbers)

    def _kept_records(self) -> SealedRecords:
        raise AgreementError("a screen keeps no model: its agreement says so")

    def _coalitions(self, name: str, sent: SentParts) -> Flow[None]:
        raise AgreementError("a screen values no coalitions: its agreement says so")
