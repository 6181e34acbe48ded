"""What may be asked of a coordinator over gRPC, and of whom each call may come.

Who is who comes from the certificate alone. A party may attach, report for itself, read of runs that it has part in
what its operators see, and cancel, pause and resume a run of its own; the member called ``admin`` may do these, propose
and read. Over the certificate of the member called ``desk`` come signed-in people, each with a session whose role says
what they may. Everything else is refused.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar, cast

from parties.transport.grpc import authenticated_peer, shown_certificate  # first: it settles how grpc's C core starts

# isort: split
import grpc
from google.protobuf.message import Message as Protobuf

from parties import __version__
from parties.agreement.document import Agreement
from parties.calls.asking import Role
from parties.control.orders import CancelOrder, DeskQuestion, PauseOrder, ProposeOrder, ResumeOrder, SignInOrder
from parties.control.parsing import parse
from parties.coordinator.approvals import Approvals
from parties.coordinator.desk.doors import ADMINS, AUDITORS, Caller, Doors, admit, pass_through
from parties.coordinator.desk.gate import Gate
from parties.coordinator.engine import Engine
from parties.coordinator.membership import Membership
from parties.coordinator.overlaps import Overlaps
from parties.coordinator.read_calls import Reader
from parties.coordinator.report_intake import ReportIntake
from parties.errors import AgreementError, EntenteError
from parties.joining.requests import JoinRequest
from parties.members.roster import Member, Roster
from parties.names import ADMIN, NO_PARTIES
from parties.transport.to_coordinator import ERROR_KEY, SERVICE, SESSION_KEY, STARTING
from parties.wire.gen import coordinator_pb2 as wire

__all__ = ["Methods", "Served"]

_LOG = logging.getLogger(__name__)
_CHUNK = 1 << 18  # below the largest frame of the transport whose server this shares
_ORDERERS: frozenset[Role] = frozenset(("admin", "operator"))

A = TypeVar("A", bound=Protobuf)
B = TypeVar("B", CancelOrder, PauseOrder, ResumeOrder)


@dataclass(frozen=True)
class Served:
    """What answers the calls, once the runs are rebuilt from the log."""

    engine: Engine
    reader: Reader
    doors: Doors
    gate: Gate
    approvals: Approvals
    overlaps: Overlaps
    intake: ReportIntake


class Methods:
    """The gRPC methods. Until ``served`` has its result every call is told that the coordinator is starting."""

    def __init__(self, roster: Roster, membership: Membership, served: Future[Served], *, relays: bool) -> None:
        self._roster = roster
        self._membership = membership
        self._served = served
        self._relays = relays

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """The methods under their names."""
        one, many = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        methods: dict[str, tuple[Any, Any, type[Protobuf]]] = {
            "Attach": (many, self._attach, wire.AttachRequest),
            "Report": (one, self._report, wire.PartyReport),
            "Propose": (one, self._propose, wire.Document),
            "Cancel": (one, self._cancel, wire.Document),
            "Pause": (one, self._pause, wire.Document),
            "Resume": (one, self._resume, wire.Document),
            "Read": (many, self._read, wire.Query),
            "FactorBundle": (many, self._bundle, wire.Query),
            "Ask": (many, self._ask, wire.Document),
            "SignIn": (one, self._sign_in, wire.Document),
            "Hello": (one, self._hello, wire.Document),
            "Join": (one, self._join, wire.Document),
            "Renew": (one, self._renew, wire.Document),
        }
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                name: kind(
                    method,
                    request_deserializer=shape.FromString,
                    response_serializer=lambda answer: answer.SerializeToString(),
                )
                for name, (kind, method, shape) in methods.items()
            },
        )

    def _attach(self, request: wire.AttachRequest, context: grpc.ServicerContext) -> Iterator[wire.Command]:
        party, served = self._party(context), self._ready(context)
        engine = served.engine
        line = self._answered(
            context, lambda: engine.attach(party, request.session[:64], request.version[:64], request.runs)
        )

        def leave() -> None:
            engine.detach(line)
            line.close()

        if not context.add_callback(leave):
            leave()
        served.approvals.greet(party)
        served.overlaps.greet(party)
        for command in line:
            yield wire.Command(kind=command.kind, run_id=command.run_id, body=command.encoded())

    def _report(self, request: wire.PartyReport, context: grpc.ServicerContext) -> wire.Receipt:
        party, intake = self._party(context), self._ready(context).intake
        changed = self._answered(context, lambda: intake.take(party, request.kind, request.run_id, request.body))
        return wire.Receipt(changed=changed)

    def _propose(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Document:
        served, caller = self._ready(context), self._caller(context)

        def take() -> str:
            agreement: Agreement = parse(ProposeOrder, request.json, "the proposal").agreement
            with served.gate.actions.during(caller, "propose", agreement.run_id):
                admit(caller, ADMINS)
                return served.engine.propose(agreement, caller.signature)

        return wire.Document(json=json.dumps({"run_id": self._answered(context, take)}).encode())

    def _sign_in(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Document:
        member, gate = authenticated_peer(context, self._roster), self._ready(context).gate

        def take() -> str:
            said = parse(SignInOrder, request.json, "the sign-in")
            return gate.sign_in(member, shown_certificate(context), said.token, said.id_token)

        return wire.Document(json=json.dumps({"session": self._answered(context, take)}).encode())

    def _hello(self, _: wire.Document, context: grpc.ServicerContext) -> wire.Document:
        """Of any member: which version answers here, what the time is, and whether parties may meet here."""
        authenticated_peer(context, self._roster)
        told = {"version": __version__, "now": datetime.now(UTC).isoformat(), "relays": self._relays}
        return wire.Document(json=json.dumps(told).encode())

    def _join(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Document:
        """Of an invited party only: its handshake showed the certificate that comes from its token."""
        engine, shown = self._ready(context).engine, shown_certificate(context)

        def take() -> bytes:
            answer = self._membership.admit(shown, parse(JoinRequest, request.json, "the request to join"))
            engine.members_changed(())
            return answer.model_dump_json().encode()

        return wire.Document(json=self._answered(context, take))

    def _renew(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Receipt:
        caller, engine = authenticated_peer(context, self._roster), self._ready(context).engine

        def take() -> bool:
            engine.check_free(caller)
            self._membership.renew(caller, parse(Member, request.json, "the new certificate"))
            engine.members_changed((caller,))
            return True

        return wire.Receipt(changed=self._answered(context, take))

    def _cancel(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Receipt:
        engine = self._ready(context).engine

        def cancel(body: CancelOrder, member: str, caller: Caller | None) -> bool:
            if caller is None:
                return engine.cancel(body.run_id, member, body.why, admin=False)
            return engine.cancel(body.run_id, caller.signature, body.why, admin=True)

        return self._ordered(request, context, "cancel", CancelOrder, cancel)

    def _pause(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Receipt:
        engine = self._ready(context).engine

        def pause(body: PauseOrder, member: str, caller: Caller | None) -> bool:
            why = f"{caller.signature}: {body.why}" if caller is not None and caller.session else body.why
            return engine.pause(body.run_id, member, why[:2000])  # as much as an event holds, with who it was before it

        return self._ordered(request, context, "pause", PauseOrder, pause)

    def _resume(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Receipt:
        engine = self._ready(context).engine
        return self._ordered(
            request, context, "resume", ResumeOrder, lambda body, by, _: engine.resume(body.run_id, by)
        )

    def _ordered(
        self,
        request: wire.Document,
        context: grpc.ServicerContext,
        what: str,
        shape: type[B],
        work: Callable[[B, str, Caller | None], bool],
    ) -> wire.Receipt:
        """An order about a run: of a party by its own certificate (no caller), or of somebody at the desk.

        Who works for a party acts as that party, the others as the admin; what they ordered is recorded.
        """
        served = self._ready(context)
        member = authenticated_peer(context, self._roster)
        caller = self._caller(context) if member in NO_PARTIES else None

        def take() -> bool:
            body = parse(shape, request.json, f"the order to {what}")
            if caller is None:
                return work(body, member, None)
            with served.gate.actions.during(caller, what, body.run_id):
                admit(caller, _ORDERERS)
                if caller.party and caller.party not in served.engine.known(body.run_id).state.plan.parties:
                    raise AgreementError(f"{caller.party} has no part in run {body.run_id[:12]} and cannot {what} it")
                return work(body, caller.party or ADMIN, caller)

        return wire.Receipt(changed=self._answered(context, take))

    def _read(self, request: wire.Query, context: grpc.ServicerContext) -> Iterator[wire.Chunk]:
        reader, caller = self._ready(context).reader, self._reading(context)
        return _chunks(self._answered(context, lambda: reader.document(request, caller)))

    def _bundle(self, request: wire.Query, context: grpc.ServicerContext) -> Iterator[wire.Chunk]:
        reader, caller = self._ready(context).reader, self._caller(context)

        def found() -> bytes:
            admit(caller, AUDITORS)
            return reader.archive(request.run_id)

        return _chunks(self._answered(context, found))

    def _ask(self, request: wire.Document, context: grpc.ServicerContext) -> Iterator[wire.Chunk]:
        served, caller = self._ready(context), self._caller(context)

        def pass_door() -> bytes:
            asked = parse(DeskQuestion, request.json, "the question")
            return pass_through(served.doors, asked.what, asked.arguments, caller, served.gate.actions.during)

        return _chunks(self._answered(context, pass_door))

    def _party(self, context: grpc.ServicerContext) -> str:
        name = authenticated_peer(context, self._roster)
        if name in NO_PARTIES:
            _refuse(context, AgreementError(f"{name} is no party: use a party's own certificate to attach or report"))
        return name

    def _caller(self, context: grpc.ServicerContext) -> Caller:
        """Who acts: by the admin's own certificate, or within a session over the desk's."""
        member, gate = authenticated_peer(context, self._roster), self._ready(context).gate
        secret = next((str(value) for key, value in context.invocation_metadata() or () if key == SESSION_KEY), "")
        return cast(Caller, self._answered(context, lambda: gate.caller(member, shown_certificate(context), secret)))

    def _reading(self, context: grpc.ServicerContext) -> Caller:
        """Who reads: somebody that :meth:`_caller` knows, or a party by its own certificate, as its operators."""
        member = authenticated_peer(context, self._roster)
        return self._caller(context) if member in NO_PARTIES else Caller(member, "operator", member)

    def _ready(self, context: grpc.ServicerContext) -> Served:
        if not self._served.done():
            context.abort(grpc.StatusCode.UNAVAILABLE, STARTING)
        return self._served.result()

    def _answered(self, context: grpc.ServicerContext, work: Callable[[], Any]) -> Any:
        """The work's result; an error of ours reaches the caller with its class and its sentence, no other does."""
        try:
            return work()
        except EntenteError as error:
            _refuse(context, error)
        except Exception:
            _LOG.exception("a call failed")
            context.abort(grpc.StatusCode.INTERNAL, "a fault in the coordinator's program; its log has the details")
            raise


def _refuse(context: grpc.ServicerContext, error: EntenteError) -> NoReturn:
    kind = next(cls.__name__ for cls in type(error).__mro__ if cls.__module__ == EntenteError.__module__)
    _LOG.info("refused: %s", error)
    context.set_trailing_metadata(((ERROR_KEY, kind),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error)[:2000])
    raise AssertionError("abort does not return")


def _chunks(data: bytes) -> Iterator[wire.Chunk]:
    return (wire.Chunk(data=data[start : start + _CHUNK]) for start in range(0, max(len(data), 1), _CHUNK))
