"""Trust at the desk: nothing here is taken on the coordinator's word that can be checked again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from parties.agreement.document import Agreement
from parties.agreement.every_term import every_term
from parties.agreement.signing import verify_signature
from parties.agreement.who_learns import label_lines
from parties.audit.checking import check_log
from parties.audit.heads import Head, check_head
from parties.audit.log import Entry
from parties.audit.merkle import leaf_hash
from parties.calls.asking import Nothing, Role
from parties.calls.trust import (
    AgreementText,
    AuditEntryView,
    AuditPage,
    AuditQuestion,
    EntryQuestion,
    HeadExchange,
    HeadsView,
    LogCheckView,
    MemberHeads,
    MinimisationView,
    RevealedLine,
    RunQuestion,
    SignerCheck,
    TermView,
)
from parties.control.reports import LinksBody
from parties.coordinator.desk.access import run_of, takes_part
from parties.coordinator.desk.agreement_views import caution_lines, section_views
from parties.coordinator.desk.doors import Caller, Door, Doors
from parties.coordinator.known_run import KnownRun
from parties.coordinator.run_views import n_common
from parties.errors import AgreementError
from parties.names import ADMIN, COORDINATOR, DESK
from vfl.models.sealed.scales import SCORE_BITS
from vfl.register import REGISTER
from vfl.terms import AnchoredModel

if TYPE_CHECKING:
    from parties.coordinator.desk.context import DeskContext

__all__ = ["doors", "signer_check"]

_ROLES: frozenset[Role] = frozenset(("admin", "auditor", "operator"))
_RUNS_OF_HEADS = 20


def doors(context: DeskContext) -> Doors:
    """The doors about trust. Readers have none; operators see what concerns their party."""
    desk = _Trust(context)
    return {
        "trust/log": Door(desk.log, _ROLES, AuditQuestion),
        "trust/check": Door(desk.check, _ROLES, Nothing),
        "trust/proof": Door(desk.proof, _ROLES, EntryQuestion),
        "trust/heads": Door(desk.heads, _ROLES, Nothing),
        "trust/minimisation": Door(desk.minimisation, _ROLES, RunQuestion),
        "trust/agreement": Door(desk.agreement, _ROLES, RunQuestion),
        "trust/agreement-file": Door(desk.agreement_file, _ROLES, RunQuestion),
        "trust/evidence": Door(desk.evidence, frozenset(("admin", "auditor")), RunQuestion),
    }


class _Trust:
    """Answers for one coordinator."""

    def __init__(self, context: DeskContext) -> None:
        self._context = context

    # -- the log

    def log(self, asked: AuditQuestion, caller: Caller) -> AuditPage:
        runs = self._runs_seen(caller)
        if asked.run_id:
            named = {
                known.state.run for known in self._context.engine.all_runs() if known.state.run.startswith(asked.run_id)
            }
            runs = named if runs is None else named & runs
        audit = self._context.audit
        total, entries = audit.page(
            runs=runs, kind=asked.kind, words=asked.text.split(), limit=asked.limit, offset=asked.offset
        )
        shown = tuple(_entry_view(entry) for entry in entries)
        return AuditPage(total=total, offset=asked.offset, entries=shown, kinds=audit.kinds())

    def _runs_seen(self, caller: Caller) -> set[str] | None:
        """The runs whose entries the caller may read; None for all entries, those of no run included."""
        if caller.role != "operator":
            return None
        return {known.state.run for known in self._context.engine.all_runs() if takes_part(caller, known.state.plan)}

    def check(self, _: Nothing, __: Caller) -> LogCheckView:
        url = self._context.settings.database or f"sqlite:///{self._context.home / 'coordinator.db'}"
        found = check_log(COORDINATOR, url, self._keys())
        told, at = found.findings, self._context.now()
        if told is None:
            return LogCheckView(sound=False, faults=found.faults, checked_at=at)
        return LogCheckView(
            sound=found.sound,
            faults=found.faults,
            size=told.size,
            root=told.root,
            own_heads=told.own_heads,
            others=dict(told.others),
            unlinked=told.unlinked,
            checked_at=at,
        )

    def _keys(self) -> dict[str, bytes]:
        return {name: bytes.fromhex(member.identity_key) for name, member in self._context.roster.items()}

    def proof(self, asked: EntryQuestion, caller: Caller) -> bytes:
        """As ``entente audit prove`` makes it, under a head that is signed now where none covers the entry yet."""
        audit, runs = self._context.audit, self._runs_seen(caller)
        entry = audit.entry(asked.index)
        if runs is not None and entry.run_id not in runs:
            raise AgreementError(f"entry {asked.index} is of no run that {caller.party or caller.name} takes part in")
        return audit.prove(asked.index, audit.head()).model_dump_json().encode()

    # -- heads

    def heads(self, _: Nothing, caller: Caller) -> HeadsView:
        keys = self._keys()
        runs = [known for known in self._context.engine.all_runs() if takes_part(caller, known.state.plan)]
        exchanges = [found for known in runs[:_RUNS_OF_HEADS] for found in self._exchanges(known, keys)]
        latest: dict[str, HeadExchange] = {}
        for one in exchanges:
            latest.setdefault(one.party, one)
        members = []
        for name in sorted(keys):
            if name in (ADMIN, DESK):
                continue
            heads = self._context.audit.heads(name)
            last = heads[-1] if heads else None
            given = latest.get(name)
            members.append(_member_heads(name, len(heads), last, keys[name], given))
        return HeadsView(members=tuple(members), exchanges=tuple(exchanges))

    def _exchanges(self, known: KnownRun, keys: dict[str, bytes]) -> Iterator[HeadExchange]:
        """Heads that came with reports of one run, newest first."""
        spans = known.state.spans
        given = {
            (logged.event.phase, logged.event.party): logged.event.at
            for logged in self._context.log.read(run_id=known.state.run)
            if logged.event.kind == "phase_done"
        }
        for span in reversed(spans):
            for party, report in sorted((span.reports or {}).items()):
                if not report.get("head"):
                    continue
                head = Head.model_validate(report["head"])
                yield HeadExchange(
                    run_id=known.state.run,
                    phase=span.phase,
                    party=party,
                    size=head.size,
                    root=head.root,
                    signed_at=head.at,
                    received_at=given.get((span.phase, party)),
                    fits=party in keys and check_head(head, keys[party]),
                )

    # -- runs

    def minimisation(self, asked: RunQuestion, caller: Caller) -> MinimisationView:
        """Bytes as each sender's node reported them, with what the register says such a message reveals."""
        known = run_of(self._context.engine, asked.run_id, caller)
        links, openings, state = known.progress.links(), known.progress.openings(), known.state
        lines = []
        for (sender, receiver, kind), (payload, size) in sorted(links.items()):
            told = REGISTER.get(kind)
            reveals, source = (told.reveals, told.source) if told else ("", "")
            lines.append(
                RevealedLine(
                    sender=sender, receiver=receiver, message=kind, payload=payload, bytes=size, reveals=reveals,
                    source=source,
                )
            )  # fmt: skip
        model = known.agreement.model
        sealed = isinstance(model, AnchoredModel)
        exported = any(span.phase == "export" and span.outcome == "done" for span in state.spans)
        return MinimisationView(
            run_id=state.run,
            lines=tuple(lines),
            openings=openings,
            n_common=n_common(state),
            factor_to=tuple(dict.fromkeys((state.plan.label, *state.plan.recipients))) if exported else (),
            opens=label_lines(known.agreement),
            score_bits=SCORE_BITS if sealed and not state.plan.unscored else 0,
            anchor=model.anchor if isinstance(model, AnchoredModel) else "",
        )

    def agreement(self, asked: RunQuestion, caller: Caller) -> AgreementText:
        known = run_of(self._context.engine, asked.run_id, caller)
        state, agreement = known.state, known.agreement
        signed = {party: (signature, at) for party, signature, at in state.signatures}
        links = known.progress.tried_links()
        return AgreementText(
            run_id=state.run,
            faithful=hashlib.sha256(agreement.canonical()).hexdigest() == state.run,
            text=section_views(agreement),
            cautions=caution_lines(agreement),
            terms=tuple(
                TermView(section=term.section, name=term.name, value=term.value, meaning=term.meaning)
                for term in every_term(agreement)
            ),
            signers=tuple(
                signer_check(agreement, party.name, signed.get(party.name), links.get(party.name))
                for party in agreement.parties
            ),
        )

    def agreement_file(self, asked: RunQuestion, caller: Caller) -> bytes:
        return run_of(self._context.engine, asked.run_id, caller).agreement.canonical()

    def evidence(self, asked: RunQuestion, caller: Caller) -> bytes:
        """As ``entente evidence RUN --home`` writes it at the coordinator."""
        from parties.coordinator.evidence_pack import evidence_of_coordinator  # torch and pandas come with it

        desk, state = self._context, run_of(self._context.engine, asked.run_id, caller).state
        return evidence_of_coordinator(
            desk.identity, desk.home, state, desk.audit, desk.ledger, desk.roster, desk.now()
        )


def _entry_view(entry: Entry) -> AuditEntryView:
    return AuditEntryView(
        index=entry.index,
        at=entry.at,
        kind=entry.kind,
        run_id=entry.run_id,
        body=dict(entry.body),
        text=entry.text,
        leaf=leaf_hash(entry.text.encode()).hex(),
    )


def _member_heads(name: str, count: int, last: Head | None, key: bytes, given: HeadExchange | None) -> MemberHeads:
    if last is None:
        return MemberHeads(name=name)
    handed = given if given is not None and given.size == last.size else None
    return MemberHeads(
        name=name,
        heads=count,
        size=last.size,
        root=last.root,
        signed_at=last.at,
        fits=check_head(last, key),
        run_id=handed.run_id if handed else "",
        phase=handed.phase if handed else "",
        received_at=handed.received_at if handed else None,
    )


def signer_check(
    agreement: Agreement, party: str, signed: tuple[str, datetime] | None, links: LinksBody | None = None
) -> SignerCheck:
    """The state of one party's signature over the agreement. ``signed``: the signature, and when it came."""
    terms = agreement.party(party)
    known = SignerCheck(party=party, legal_entity=terms.legal_entity, role=terms.role, key=terms.identity_key)
    if links is not None:
        known = known.model_copy(update={"links": dict(links.peers), "links_at": links.at})
    if signed is None:
        return known.model_copy(update={"fault": "has not signed"})
    signature, at = signed
    fault = ""
    try:
        verify_signature(agreement, party, signature)
    except AgreementError:
        fault = "the signature does not fit the agreement and the key it names"
    return known.model_copy(update={"signature": signature, "signed_at": at, "fault": fault})
