"""The run agreement: one canonical-JSON document that every party signs before any byte moves.

Its SHA-256 is the run id, and every message carries it.
"""

from __future__ import annotations

import hashlib
import math
from typing import Annotated, Any, Literal

import rfc8785
from pydantic import (
    AwareDatetime,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from parties.agreement.daily_terms import DailyTerms, ScoringTerms, check_daily
from parties.agreement.federated_terms import check_no_members
from parties.agreement.group_terms import GroupTerms, check_groups
from parties.agreement.residual_terms import check_residual
from parties.agreement.sealed_terms import check_sealed, with_kind_defaults
from parties.agreement.static_terms import PARTS, check_static, with_static_defaults
from parties.agreement.terms import (
    AlignmentTerms,
    CalendarTerms,
    ContinuationTerms,
    EvaluationTerms,
    FeeUseTerms,
    LabelTerms,
    PartyTerms,
    PlaceboTerms,
    RewardTerms,
    StaticTerms,
)
from parties.errors import AgreementError
from parties.names import COORDINATOR, PartyName, entity_key
from psi.flow import Payload
from vfl.terms import AnchoredModel, FixedPoint, Model, OpeningTerms, SealedModel, SplitModel, Terms, WalkForward
from vfl.walk.configurations import AnySearch, SealedSearchTerms
from vfl.walk.search import SearchTerms

__all__ = ["Agreement"]

_MOST_MASKED = 8
"""Feature parties up to which all coalitions are opened."""


class Agreement(Terms):
    """Everything the parties agree on for one run."""

    version: Literal[1] = 1
    consortium: str
    purpose: str
    proposed_at: AwareDatetime
    expires_at: AwareDatetime
    nonce: str = Field(description="makes two runs of the same terms different")
    coordinator_certificate_sha256: str
    coordinator_address: str
    parties: tuple[PartyTerms, ...]
    groups: tuple[GroupTerms, ...] = Field(default=(), description="members that train one encoder together")
    label: LabelTerms
    calendar: CalendarTerms | None = Field(default=None, description="None: data without one")
    static: StaticTerms | None = Field(default=None, description="in place of a calendar; None: there is one")
    alignment: AlignmentTerms = AlignmentTerms()
    fixed_point: FixedPoint = FixedPoint()
    parameter_set: str = "bfv-8192"
    model: Model = SplitModel()
    walk_forward: WalkForward = WalkForward()
    openings: OpeningTerms = OpeningTerms()
    evaluation: EvaluationTerms = EvaluationTerms()
    reward: RewardTerms = RewardTerms()
    fees: FeeUseTerms | None = Field(default=None, description="None: no usage fees")
    silence_seconds: int = Field(default=60, ge=1, description="a party silent for longer ends the run")
    recipients: tuple[PartyName, ...]
    readers: dict[PartyName, Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]] = Field(
        default_factory=dict, description="recipients that run no node: X25519 public keys, hex, by name"
    )
    placebo: PlaceboTerms | None = Field(default=None, description="None: no placebo")
    search: AnySearch | None = Field(default=None, description="None: the model is what it is")
    payloads: tuple[Payload, ...] = tuple(Payload)
    code_version: str
    continues: ContinuationTerms | None = Field(default=None, description="None: a run of its own")
    daily: DailyTerms | None = Field(default=None, description="None: the weights are forgotten when the run ends")
    scores: ScoringTerms | None = Field(default=None, description="None: this run trains")

    @model_serializer(mode="wrap")
    def _only_what_is_agreed(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Terms without readers, a placebo, a search or an earlier run keep the hash they had before there were any."""
        body: dict[str, Any] = handler(self)
        for name in ("calendar", "static", "readers", "placebo", "search", "continues", "daily", "scores", "groups"):
            if not getattr(self, name):
                body.pop(name, None)
        return body

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_kind(cls, given: Any) -> Any:
        return with_static_defaults(with_kind_defaults(given))

    @model_validator(mode="after")
    def _consistent(self) -> Agreement:
        names = [p.name for p in self.parties]
        if len(set(names)) != len(names):
            raise ValueError("two parties share a name")
        if COORDINATOR in names:
            raise ValueError(f"no party may be called {COORDINATOR!r}")
        if (self.alignment.policy == "universe") != bool(self.alignment.universe_sha256):
            raise ValueError("alignment.universe_sha256 belongs to the universe policy, and to no other")
        labels = [p.name for p in self.parties if p.role == "label"]
        if labels != [self.label.party]:
            raise ValueError(f"exactly one label party is needed, and it must be {self.label.party!r}")
        if not self.features:
            raise ValueError("at least one feature party is needed")
        check_residual(self)
        if (self.calendar is None) == (self.static is None):
            raise ValueError("name calendar or static: the periods of the data, or that it has none")
        if self.static is not None:
            check_static(self)
        check_no_members(self)
        check_groups(self)
        if isinstance(self.model, AnchoredModel):
            check_sealed(self)
        else:
            self._check_opened_sums()
        unknown = set(self.recipients) - set(names) - {COORDINATOR}
        if unknown:
            raise ValueError(f"recipients {sorted(unknown)} take no part in the run")
        if set(self.readers) & {*names, COORDINATOR} or len(set(self.readers.values())) < len(self.readers):
            raise ValueError("readers need names and keys of their own: who runs a node belongs under recipients")
        if self.placebo is not None and (
            self.openings.contribution != "none" or self.openings.attribution or self.reward.pot
        ):
            raise ValueError('a placebo pays nothing: set openings.contribution = "none", and no attribution or pot')
        if self.reward.licence is not None and (
            self.openings.contribution == "none" or len(self.periods) < 2 or not self.reward.pot
        ):
            raise ValueError(
                "a licence is shared by what a reward became: it needs contributions, a reward.pot, and a calendar of "
                "two periods or more"
            )
        if self.search is not None:
            self._check_search(self.search)
        if self.fees is not None and (self.fees.key_holder not in names or len(names) < 3):
            raise ValueError("fees need three parties or more, and fees.key_holder must be one of them")
        if self.continues is not None:
            self._check_continuation(self.continues)
        check_daily(self)
        rules = self.reward.settlement
        strangers = set(rules.stakes) - {p.name for p in self.features} if rules is not None else set()
        if strangers:
            raise ValueError(f"reward.settlement.stakes names {sorted(strangers)}, who are no feature parties")
        try:
            self.canonical()
        except (ValueError, RecursionError):
            raise ValueError("a number or text has no canonical JSON: keep it finite, below 2**53, Unicode") from None
        return self

    def _check_opened_sums(self) -> None:
        """What holds where sums of embeddings open."""
        if self.openings.contribution == "moments":
            raise ValueError(
                'openings.contribution = "moments" values coalitions of a sealed model: set it to "masked" or "none", '
                'or model.kind = "sealed"'
            )
        if len(self.features) == 1 and not self.openings.single_party:
            raise ValueError(
                "with one feature party its embedding is opened alone: set openings.single_party = true to consent"
            )
        self._check_horizons()
        exposed = self.openings.limit_per_row * self.model.embedding_width
        if exposed > self.openings.largest_fraction * self.counted_features:
            raise ValueError(
                f"a row could be opened {self.openings.limit_per_row} times at width {self.model.embedding_width}, "
                f"which is {exposed} linear forms of {self.counted_features} features, above the agreed fraction "
                f"{self.openings.largest_fraction}: lower openings.limit_per_row or model.embedding_width"
            )
        fitting = self.fixed_point.fitting(self.total_features)
        if fitting != self.fixed_point:
            raise ValueError(
                f"fixed point: {self.total_features} columns leave no room in the ring for weights: set "
                f"fixed_point.gradient_bits = {fitting.gradient_bits} or lower"
            )
        if self.openings.contribution == "masked" and len(self.features) > _MOST_MASKED:
            raise ValueError(
                f"masked contributions open every coalition's sums, too many above {_MOST_MASKED} feature parties: set "
                'openings.contribution = "none", and estimate from runs of sampled coalitions (docs/incentives.md)'
            )

    def _check_horizons(self) -> None:
        if not self.walk_forward.horizons:
            return
        if not isinstance(self.model, SplitModel) or self.model.outputs > 1:
            raise ValueError("walk_forward.horizons need the split network with one output per label, not this model")
        if self.model.correlation_share == 1 and self.walk_forward.shares[0] < 1:
            raise ValueError(
                "horizons cannot share a score whose outputs have no common unit: choose a model.loss with some "
                "squared error in it, or leave every share 0"
            )

    def _check_search(self, terms: SearchTerms | SealedSearchTerms) -> None:
        sealed = isinstance(terms, SealedSearchTerms)
        if not isinstance(self.model, SealedModel if sealed else SplitModel) or self.placebo is not None:
            raise ValueError(
                f"a search tries settings of the {'sealed' if sealed else 'split'} network: drop it for another model "
                "or a placebo"
            )
        if self.evaluation.first not in self.periods[1:]:
            raise ValueError(
                "a search chooses by periods before evaluation.first and reports those from it on: name that period"
            )
        if isinstance(terms, SealedSearchTerms):
            tried = len(self.configurations)
            if tried > self.openings_left:
                raise ValueError(
                    f"a row enters the numbers of each trial once, {tried} times in all, and {self.openings_left} are "
                    "left of openings.limit_per_row: list fewer search.configurations, or raise it"
                )
        elif terms.source_trials > self.possible_source_trials:
            raise ValueError(
                f"the opening budget allows {self.possible_source_trials} trials of the source layer, at "
                f"{1 + self.model.epochs} openings of a row each, and search.source_trials is {terms.source_trials}: "
                "lower it, or raise openings.limit_per_row"
            )

    def _check_continuation(self, terms: ContinuationTerms) -> None:
        still = sorted(set(terms.without) & {p.name for p in self.parties})
        if still:
            raise ValueError(f"continues.without names {still}, who take part in the run")
        if self.placebo is not None:
            raise ValueError("a placebo does not go on from another run: propose it anew")
        if terms.rows == "kept" and self.alignment.policy != "psi":
            raise ValueError('rows are kept of a private intersection alone (psi): set continues.rows = "fresh"')
        needed = self.opened_scores if isinstance(self.model, AnchoredModel) else 2
        words = {1: "one", 2: "two"}.get(needed, str(needed))
        if self.openings_left < needed:
            raise ValueError(
                f"{terms.opened} of {self.row_limit} openings of a row may be used already, and a run needs {words} "
                "or more: raise openings.limit_per_row"
            )

    @property
    def periods(self) -> tuple[str, ...]:
        """Names of the decision periods; without a calendar the two parts stand in their place."""
        return PARTS if self.calendar is None else self.calendar.periods

    @property
    def dated(self) -> CalendarTerms:
        """The calendar, where something needs one. Raises :class:`AgreementError` where there is none."""
        if self.calendar is None:
            raise AgreementError("this run has no calendar: its data is static, one row an entity")
        return self.calendar

    @property
    def features(self) -> tuple[PartyTerms, ...]:
        """The feature parties, in agreed order."""
        return tuple(p for p in self.parties if p.role == "feature")

    @property
    def legal_entities(self) -> dict[str, str]:
        """To whom each feature party that says so belongs; one entity has one spelling, the first."""
        spelled: dict[str, str] = {}
        for party in self.features:
            spelled.setdefault(entity_key(party.legal_entity), party.legal_entity)
        return {p.name: spelled[entity_key(p.legal_entity)] for p in self.features if p.legal_entity}

    @property
    def kin(self) -> frozenset[str]:
        """Feature parties of the label party's own legal entity: always in, like its features, so they earn nothing."""
        own = entity_key(self.party(self.label.party).legal_entity)
        return frozenset(name for name, entity in self.legal_entities.items() if entity_key(entity) == own)

    @property
    def total_features(self) -> int:
        """Columns of all feature parties."""
        return sum(len(p.columns) for p in self.features)

    @property
    def counted_features(self) -> int:
        """Columns that openings are measured against: all but those an encoder or an expansion made of others."""
        return sum(not p.makes(column) for p in self.features for column in p.columns)

    @property
    def needed_openings(self) -> int:
        """Openings that the plan needs of a predicted row: its scores, the epochs, the coalitions, the attribution.

        Rows before the first prediction are only trained on: ``warmup_epochs`` times, as far as ``row_limit`` allows
        after the one opening of a warm start, which no predicted row has.
        """
        parties = len(self.features)
        coalitions = 2 ** (parties - 1) - 1 if self.openings.contribution == "masked" and parties > 1 else 0
        return self.predicted_openings + coalitions + int(self.openings.attribution)

    @property
    def opened_scores(self) -> int:
        """Scores of a predicted row that open: of each model that is trained, and there is one for each class."""
        scores = self.model.opened_scores if isinstance(self.model, AnchoredModel) else 1
        return scores * (1 if self.static is None else self.static.models)

    @property
    def predicted_openings(self) -> int:
        """Openings of a predicted row without those of valuation and attribution: its scores, and the epochs."""
        return self.opened_scores + self.model.epochs

    @property
    def schedule_limit(self) -> int:
        """Openings of a row that the schedule plans with: a placebo keeps the schedule of the run it tests.

        A search's own trainings come before, and leave it the rest.
        """
        return self.openings_left - self.search_openings if self.placebo is None else self.placebo.row_limit

    @property
    def split_search(self) -> SearchTerms | None:
        """The search of a split network; None without one."""
        return self.search if isinstance(self.search, SearchTerms) else None

    @property
    def configurations(self) -> tuple[SealedModel, ...]:
        """What a sealed run tries before its own training; nothing without a search."""
        if not isinstance(self.search, SealedSearchTerms):
            return ()
        assert isinstance(self.model, SealedModel)
        return self.search.models(self.model)

    @property
    def search_openings(self) -> int:
        """Openings of a row that the source layer's trials need, before the schedule's own."""
        terms = self.split_search
        return terms.openings(self.model) if terms is not None and isinstance(self.model, SplitModel) else 0

    @property
    def possible_source_trials(self) -> int:
        """Trials of the source layer for which the budget has room beside the run itself."""
        return max(0, (self.openings_left - self.needed_openings) // (1 + self.model.epochs))

    @property
    def reported_from(self) -> int:
        """Index of the first reported period of a searched run."""
        return self.periods.index(self.evaluation.first)

    @property
    def reserved_openings(self) -> int:
        """Openings of a predicted row that the schedule leaves for valuation."""
        return self.needed_openings - self.predicted_openings if self.placebo is None else self.placebo.reserved

    def party(self, name: str) -> PartyTerms:
        for terms in self.parties:
            if terms.name == name:
                return terms
        raise AgreementError(f"party {name!r} is not in this agreement")

    def canonical(self) -> bytes:
        """RFC 8785 bytes: what is hashed and signed."""
        return rfc8785.dumps(self.model_dump(mode="json"))

    @property
    def run_id(self) -> str:
        return hashlib.sha256(self.canonical()).hexdigest()

    @property
    def row_limit(self) -> int:
        """Openings per row every feature node enforces; of a sealed model scores, which the anchor counts."""
        if isinstance(self.model, AnchoredModel):
            return self.openings.limit_per_row
        return min(
            self.openings.limit_per_row,
            math.floor(self.openings.largest_fraction * self.counted_features / self.model.embedding_width),
        )

    @property
    def openings_left(self) -> int:
        """Openings per row to plan with: the limit, less what earlier runs that this goes on from may have made."""
        return self.row_limit - (self.continues.opened if self.continues is not None else 0)

    @property
    def rows_kept(self) -> bool:
        """Whether the rows are those of an earlier run, so that nothing is intersected."""
        return self.scores is not None or (self.continues is not None and self.continues.rows == "kept")

    @property
    def initial_purpose(self) -> str:
        """What a node derives its initial weights for.

        The same in every run of these terms, so that a seed gives the same factor; another where a party is missing.
        Were the others' weights the same as before, the difference of two opened sums would be the missing party's own.
        """
        coalition = self.nonce.rpartition(":")[0]
        anew = f"/{coalition}" if coalition else ""
        if self.continues is not None:
            anew += f"/{self.continues.run_id}/{'+'.join(self.continues.without)}"
        return f"initial/{self.model.seed}{anew}"
