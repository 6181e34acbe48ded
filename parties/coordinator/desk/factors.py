"""Finished factors at the desk: from the bundle where the coordinator is a recipient, else from the run's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from parties.calls.factors import (
    ChartView,
    FactorCard,
    FactorCheck,
    FactorDetail,
    FactorFileQuestion,
    FactorForm,
    FactorPage,
    FactorQuestion,
    FactorsQuestion,
    FaultView,
    LiveView,
    LoggedView,
    NumberView,
    SectionView,
    SeriesView,
    SignerView,
    WarnView,
)
from parties.coordinator.daily_views import daily_view
from parties.coordinator.desk.access import holds_factor, run_of, takes_part
from parties.coordinator.desk.doors import Caller, Door, Doors
from parties.coordinator.desk.factor_index import FactorIndex, FactorRow
from parties.coordinator.known_run import KnownRun
from parties.coordinator.run import RunState
from parties.errors import AgreementError, DataError, LedgerError
from parties.settlement.dossier_store import Dossiers
from parties.settlement.live_record import LiveRecord

if TYPE_CHECKING:
    from parties.coordinator.desk.context import DeskContext
    from vfl.factors.findings import Findings, Series

__all__ = ["battery_sections", "doors"]

_SPARK = 120
_NO_FILES = "The coordinator is not among the recipients: the files are at the parties named, and this is their report."
_NOT_YOURS = "The files belong to the agreed recipients; what follows is the run's report."
_SUMMARY = "A reader sees the summary; the battery and the files are for the recipients, the admin and the auditor."
_FACTS: Mapping[str, str] = {
    "label_definition": "Label",
    "sign": "Sign",
    "unit": "Unit of the score",
    "universe": "Universe",
    "identifier_scheme": "Identifiers",
    "calendar": "Calendar",
    "parts": "Training and test",
    "horizon": "Horizon, periods",
    "purge": "Purge, periods",
    "embargo": "Embargo, periods",
    "neutralised_against": "Neutralised against",
    "n_dates": "Dates",
    "n_instruments": "Instruments",
    "n_trials": "Trials counted",
    "intersection_size_band": "Common entities, band",
    "openings_used": "Openings per row, used",
    "openings_limit": "Openings per row, limit",
    "seed": "Seed",
    "git_sha": "Code",
    "terms": "Terms of use",
}


def doors(context: DeskContext) -> Doors:
    """The doors about factors."""
    desk = _Factors(context)
    return {
        "factors/page": Door(desk.page, shape=FactorsQuestion),
        "factors/one": Door(desk.detail, shape=FactorQuestion),
        "factors/check": Door(desk.check, shape=FactorQuestion),
        "factors/file": Door(desk.file, frozenset(("admin", "auditor", "operator")), FactorFileQuestion),
    }


class _Factors:
    """Answers for one coordinator. What the bundles say is read from disk at each question."""

    def __init__(self, context: DeskContext) -> None:
        self._context = context
        self._index = FactorIndex()

    def page(self, asked: FactorsQuestion, caller: Caller) -> FactorPage:
        engine, among = self._context.engine, None
        if asked.favourites:
            among = frozenset(run for _, run in self._context.sessions.favourites(caller.signature, "factor"))

        def admits(state: RunState) -> bool:
            return takes_part(caller, state.plan) and (among is None or state.run in among)

        rows, total = self._index.find(engine.all_runs(), asked, admits)
        cards = [_card(row, self._context) for row in rows]
        told = (card.model_copy(update={"warnings": self._warnings(card) if card.available else ()}) for card in cards)
        return FactorPage(total=total, offset=asked.offset, cards=tuple(told))

    def _warnings(self, card: FactorCard) -> tuple[str, ...]:
        found = self._findings(self._context.bundles.validation(card.run_id))
        return tuple(dict.fromkeys(warning.name for warning in found.warnings)) if found else ()

    def detail(self, asked: FactorQuestion, caller: Caller) -> FactorDetail:
        known = run_of(self._context.engine, asked.run_id, caller)
        plan, periods = known.state.plan, known.progress.series()
        card = _factor(known, self._context)
        live = self._live(asked.run_id, known, shares=caller.role != "reader")
        context = self._context
        daily = daily_view(known, context.engine.all_runs(), context.roster, context.now())
        if not (card.available and holds_factor(caller, plan)):
            why = _SUMMARY if caller.role == "reader" else _NOT_YOURS if card.available else _NO_FILES
            return FactorDetail(card=card, withheld=why, sections=_reported(periods), live=live, daily=daily)
        metadata, validation = (
            self._context.bundles.metadata(card.run_id),
            self._context.bundles.validation(card.run_id),
        )
        found = self._findings(validation)
        withheld = "" if found else "The bundle holds no battery: what follows is the run's report."
        return FactorDetail(
            card=card.model_copy(update={"warnings": tuple(w.name for w in found.warnings) if found else ()}),
            withheld=withheld,
            may_download=True,
            facts=_facts(metadata),
            last_date=str(metadata.get("date_range", {}).get("last", "")),
            sections=battery_sections(found) if found else _reported(periods),
            left_out=dict(found.left_out) if found else {},
            warnings=tuple(WarnView(name=w.name, text=w.text) for w in found.warnings) if found else (),
            files=self._context.bundles.files(card.run_id),
            forms=_forms(metadata, self._context.bundles.files(card.run_id)),
            live=live,
            daily=daily,
        )

    def check(self, asked: FactorQuestion, caller: Caller) -> FactorCheck:
        """As ``entente factors verify`` does, against the keys of the agreement and the hash of the run's report."""
        from parties.factor.bundle_check import check_bundle

        known = run_of(self._context.engine, asked.run_id, caller)
        card, agreement = _factor(known, self._context), known.agreement
        if not card.available:
            raise DataError(_NO_FILES)
        label = agreement.party(agreement.label.party)
        found = check_bundle(
            self._context.bundles.contents(card.run_id), {label.name: bytes.fromhex(label.identity_key)}
        )
        faults = [FaultView(file=fault.file, fact=fault.fact) for fault in found.faults]
        if self._context.bundles.digest(card.run_id) != card.sha256:
            faults.append(FaultView(file="SHA256SUMS", fact=f"is not the one that {label.name} reported in the run"))
        return FactorCheck(
            sound=not faults,
            files=found.report.files,
            faults=tuple(faults),
            signers=tuple(SignerView(signer=s.signer, key=s.key, trusted=s.trusted) for s in found.report.signatures),
            logged=tuple(
                LoggedView(signer=p.signer, index=p.index, size=p.size, at=p.at, fault=p.fault) for p in found.logged
            ),
            checked_at=self._context.now(),
        )

    def file(self, asked: FactorFileQuestion, caller: Caller) -> bytes:
        """A file of a bundle that verifies; one that does not is handed to nobody."""
        known = run_of(self._context.engine, asked.run_id, caller)
        card, plan = _factor(known, self._context), known.state.plan
        if not holds_factor(caller, plan):
            raise AgreementError(f"{caller.party or caller.name} is not among the recipients of this factor")
        state = self.check(FactorQuestion(run_id=asked.run_id), caller)
        if not state.sound:
            first = state.faults[0]
            raise DataError(f"{first.file}: {first.fact}; the coordinator's copy is damaged, ask a recipient for it")
        if asked.form == "zip":
            return self._context.bundles.archive(card.run_id)
        return _written(asked, self._context.bundles.contents(card.run_id))

    def _live(self, run_id: str, known: KnownRun, *, shares: bool) -> tuple[LiveView, ...]:
        """What the label party attested for final settlements, newest first; only what carries its signature."""
        views = []
        for dossier in Dossiers(self._context.home).of_run(run_id):
            said = dossier.basis.get("live") if dossier.kind == "final" else None
            if said is None:
                continue
            try:
                record = LiveRecord.model_validate(said)
                record.verify(run_id, known.agreement, 0)
            except (ValidationError, LedgerError):
                continue
            told = record.contribution
            phi = {name: party.phi for name, party in told.parties.items()} if shares else {}
            views.append(
                LiveView(
                    periods=record.periods, n_periods=told.n_periods, v_everyone=told.v_everyone,
                    v_nobody=told.v_nobody, made_at=dossier.made_at, phi=phi,
                )
            )  # fmt: skip
        return tuple(sorted(views, key=lambda view: view.made_at, reverse=True))

    @staticmethod
    def _findings(validation: Mapping[str, Any]) -> Findings | None:
        from vfl.factors.findings import Findings

        record = validation.get("battery")
        try:
            return None if record is None else Findings.read(record)
        except ValueError:
            return None


def _card(row: FactorRow, context: DeskContext) -> FactorCard:
    state, facts, said = row.state, row.known.facts, row.said
    points = row.known.progress.series()
    return FactorCard(
        run_id=state.run, factor_id=said["factor_id"], version=said["version"], consortium=facts.consortium,
        purpose=facts.purpose, created_at=row.created_at, available=context.bundles.has(state.run),
        recipients=state.plan.recipients, parties=state.plan.parties, label_party=state.plan.label,
        rows=said.get("rows") or 0, bytes=said.get("bytes", 0), sha256=said["sha256"],
        spark=_spark([point.ic_joint for point in points]),
        **row.numbers.model_dump(
            include={"n_periods", "ic_joint", "ic_own", "t_joint", "uplift", "t_uplift", "static"}
        ),
    )  # fmt: skip


def _factor(known: KnownRun, context: DeskContext) -> FactorCard:
    row = FactorRow.of(known)
    if row is None:
        raise DataError(f"run {known.state.run[:12]} has exported no factor: open one from the list of factors")
    return _card(row, context)


def _spark(values: Sequence[float | None]) -> tuple[float, ...]:
    """Running sum of the ICs, thinned to what a sparkline shows."""
    sums = list(accumulate(value for value in values if value is not None))
    step = -(-len(sums) // _SPARK) or 1
    return tuple(round(value, 5) for value in sums[::-1][::step][::-1])


def _facts(metadata: Mapping[str, Any]) -> dict[str, str]:
    told = {}
    for key, title in _FACTS.items():
        value = metadata.get(key)
        if value not in (None, "", []):
            told[title] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    before = metadata.get("supersedes")
    if isinstance(before, dict):
        told["Supersedes"] = f"version {before.get('version', '')}: {before.get('why', '')}"
    days = metadata.get("date_range", {})
    return {"Dates from, to": f"{days['first']}, {days['last']}", **told} if days else told


def battery_sections(found: Findings) -> tuple[SectionView, ...]:
    """The battery as the report orders it."""
    from vfl.factors.report import drawn, section_titles

    charts: dict[str, list[ChartView]] = {}
    for one in drawn(found):
        view = ChartView(key=one.key, title=one.title, kind=one.kind, series=_series(found.series[one.key]))
        charts.setdefault(one.section, []).append(view)
    return tuple(
        SectionView(
            key=key,
            title=title,
            numbers=tuple(
                NumberView(name=name, **n.record() | {"definition": n.explained})
                for name, n in found.numbers[key].items()
            ),
            charts=tuple(charts.get(key, ())),
        )
        for key, title in section_titles(found).items()
    )


def _series(series: Series) -> SeriesView:
    return SeriesView.model_validate(series.record())


def _reported(points: Sequence[Any]) -> tuple[SectionView, ...]:
    """What the run's report says, where the battery is not to be shown."""
    known = [point for point in points if point.ic_joint is not None]
    if not known:
        return ()
    names, ics = tuple(point.period for point in known), [point.ic_joint for point in known]
    told = "Spearman correlation of score and label of one period, as the label party reported it"
    by_period = SeriesView(x=names, y=tuple(ics), definition=told, unit="correlation")
    summed = SeriesView(x=names, y=tuple(accumulate(ics)), definition=f"sum so far; {told}", unit="correlation")
    charts = (
        ChartView(key="cumulative_rank_ic", title="Cumulative rank IC", kind="line", series=summed),
        ChartView(key="rank_ic", title="Rank IC by period", kind="bar", series=by_period),
    )
    return (SectionView(key="ic", title="Information coefficient, as reported", charts=charts),)


def _forms(metadata: Mapping[str, Any], files: Sequence[Any]) -> dict[FactorForm, str]:
    """What the factor can be taken as: form to "", or to the reason why not."""
    forms: dict[FactorForm, str] = {"zip": ""}
    if any(file.path == "report.html" for file in files):
        forms["report"] = ""
    if metadata.get("kind") == "static":
        return forms | {"csv": ""}
    forms |= {"csv": "", "alphalens": "", "qlib": ""}
    adapters = metadata.get("adapters", {})
    forms["numerai"] = str(adapters.get("signals", "")).removeprefix("left out: ")
    forms["zipline"] = ""
    return forms


def _written(asked: FactorFileQuestion, files: Mapping[str, bytes]) -> bytes:
    from parties.factor.formats import Format, plain_csv, write_form
    from vfl.factors.bounded_parquet import read_frame
    from vfl.factors.bundle_metadata import CSV

    try:
        if asked.form == "report":
            return files["report.html"]
        if asked.form == "csv" and CSV in files:
            return files[CSV]
        factor = read_frame(files["factor.parquet"])
        if asked.form == "csv":
            return plain_csv(factor)
        available = read_frame(files["pit.parquet"])["available_at"]
    except (KeyError, ValueError, OSError) as error:
        raise DataError(f"the bundle is not one this version can read ({error}): take it whole") from None
    return write_form(Format(asked.form), factor, available, asked.id_column).content
