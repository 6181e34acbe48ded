"""What may be asked of a coordinator over gRPC, and of whom each call may come.

Who is who comes from the certificate alone. A party may attach, report for itself, and cancel, pause and resume a run
of its own; the member called ``admin`` may do these, propose and read. Over the certificate of the member called
``desk`` come signed-in people, each with a session whose role says what they may. Everything else is refused.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar, cast

from parties.transport.grpc import authenticated_peer, shown_certificate  # first: it settles how grpc's C core starts

# isort: split
import grpc
from google.protobuf.message import Message as Protobuf

from parties import __version__
from parties.agreement.document import Agreement
from parties.calls.asking import Role
from parties.control.reports import AskBody, CancelBody, PauseBody, ProposeBody, ResumeBody, SignInBody, parse
from parties.coordinator.approvals import Approvals
from parties.coordinator.desk.doors import ADMINS, AUDITORS, Caller, Doors, admit, pass_through
from parties.coordinator.desk.gate import Gate
from parties.coordinator.engine import Engine
from parties.coordinator.membership import Membership
from parties.coordinator.read_calls import Reader
from parties.coordinator.report_intake import Hearing
from parties.errors import AgreementError, EntenteError
from parties.joining.requests import JoinRequest
from parties.members.roster import Member, Roster
from parties.names import ADMIN, NO_PARTIES
from parties.transport.to_coordinator import ERROR_KEY, SERVICE, SESSION_KEY, STARTING
from parties.wire.gen import coordinator_pb2 as wire

__all__ = ["Methods"]

_LOG = logging.getLogger(__name__)
_CHUNK = 1 << 18  # below the largest frame of the transport whose server this shares
_ORDERERS: frozenset[Role] = frozenset(("admin", "operator"))

A = TypeVar("A", bound=Protobuf)
B = TypeVar("B", CancelBody, PauseBody, ResumeBody)


class Methods:
    """The gRPC methods. Until :meth:`begin` every call is told that the coordinator is starting."""

    def __init__(self, roster: Roster, membership: Membership, *, relays: bool) -> None:
        self._relays = relays
        self._roster = roster
        self._membership = membership
        self._engine: Engine | None = None
        self._reader: Reader | None = None
        self._gate: Gate | None = None
        self._doors: Doors = {}
        self._hearing: Hearing | None = None

    def begin(self, engine: Engine, reader: Reader, doors: Doors, gate: Gate, approvals: Approvals) -> None:
        self._reader = reader
        self._hearing = Hearing(engine, approvals)
        self._doors = doors
        self._gate = gate
        self._engine = engine

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
        party, engine = self._party(context), self._ready(context)
        line = self._answered(
            context, lambda: engine.attach(party, request.session[:64], request.version[:64], request.runs)
        )

        def leave() -> None:
            engine.detach(line)
            line.close()

        if not context.add_callback(leave):
            leave()
        for command in line:
            body = json.dumps(command.body).encode()
            yield wire.Command(kind=command.kind, run_id=command.run_id, body=body)

    def _report(self, request: wire.PartyReport, context: grpc.ServicerContext) -> wire.Receipt:
        party = self._party(context)
        self._ready(context)
        hearing = self._hearing
        assert hearing is not None
        changed = self._answered(context, lambda: hearing.said(party, request.kind, request.run_id, request.body))
        return wire.Receipt(changed=changed)

    def _propose(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Document:
        engine, gate = self._ready(context), self._gated(context)
        caller = self._caller(context)

        def take() -> str:
            agreement: Agreement = parse(ProposeBody, request.json, "the proposal").agreement
            with gate.actions.during(caller, "propose", agreement.run_id):
                admit(caller, ADMINS)
                return engine.propose(agreement, caller.signature)

        return wire.Document(json=json.dumps({"run_id": self._answered(context, take)}).encode())

    def _sign_in(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Document:
        member, gate = authenticated_peer(context, self._roster), self._gated(context)

        def take() -> str:
            said = parse(SignInBody, request.json, "the sign-in")
            return gate.sign_in(member, shown_certificate(context), said.token, said.id_token)

        return wire.Document(json=json.dumps({"session": self._answered(context, take)}).encode())

    def _hello(self, _: wire.Document, context: grpc.ServicerContext) -> wire.Document:
        """Of any member: which version answers here, what the time is, and whether parties may meet here."""
        authenticated_peer(context, self._roster)
        told = {"version": __version__, "now": datetime.now(UTC).isoformat(), "relays": self._relays}
        return wire.Document(json=json.dumps(told).encode())

    def _join(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Document:
        """Of an invited party only: its handshake showed the certificate that comes from its token."""
        engine, shown = self._ready(context), shown_certificate(context)

        def take() -> bytes:
            answer = self._membership.admit(shown, parse(JoinRequest, request.json, "the request to join"))
            engine.members_changed(())
            return answer.model_dump_json().encode()

        return wire.Document(json=self._answered(context, take))

    def _renew(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Receipt:
        caller, engine = authenticated_peer(context, self._roster), self._ready(context)

        def take() -> bool:
            engine.check_free(caller)
            self._membership.renew(caller, parse(Member, request.json, "the new certificate"))
            engine.members_changed((caller,))
            return True

        return wire.Receipt(changed=self._answered(context, take))

    def _cancel(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Receipt:
        engine = self._ready(context)

        def cancel(body: CancelBody, member: str, caller: Caller | None) -> bool:
            if caller is None:
                return engine.cancel(body.run_id, member, body.why, admin=False)
            return engine.cancel(body.run_id, caller.signature, body.why, admin=True)

        return self._ordered(request, context, "cancel", CancelBody, cancel)

    def _pause(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Receipt:
        engine = self._ready(context)

        def pause(body: PauseBody, member: str, caller: Caller | None) -> bool:
            why = f"{caller.signature}: {body.why}" if caller is not None and caller.session else body.why
            return engine.pause(body.run_id, member, why)

        return self._ordered(request, context, "pause", PauseBody, pause)

    def _resume(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Receipt:
        engine = self._ready(context)
        return self._ordered(request, context, "resume", ResumeBody, lambda body, by, _: engine.resume(body.run_id, by))

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
        engine, gate = self._ready(context), self._gated(context)
        member = authenticated_peer(context, self._roster)
        caller = self._caller(context) if member in NO_PARTIES else None

        def take() -> bool:
            body = parse(shape, request.json, f"the order to {what}")
            if caller is None:
                return work(body, member, None)
            with gate.actions.during(caller, what, body.run_id):
                admit(caller, _ORDERERS)
                if caller.party and caller.party not in engine.known(body.run_id).state.plan.parties:
                    raise AgreementError(f"{caller.party} has no part in run {body.run_id[:12]} and cannot {what} it")
                return work(body, caller.party or ADMIN, caller)

        return wire.Receipt(changed=self._answered(context, take))

    def _read(self, request: wire.Query, context: grpc.ServicerContext) -> Iterator[wire.Chunk]:
        reader, caller = self._reading(context), self._caller(context)
        return _chunks(self._answered(context, lambda: reader.document(request, caller)))

    def _bundle(self, request: wire.Query, context: grpc.ServicerContext) -> Iterator[wire.Chunk]:
        reader, caller = self._reading(context), self._caller(context)

        def found() -> bytes:
            admit(caller, AUDITORS)
            return reader.archive(request.run_id)

        return _chunks(self._answered(context, found))

    def _ask(self, request: wire.Document, context: grpc.ServicerContext) -> Iterator[wire.Chunk]:
        gate, caller = self._gated(context), self._caller(context)

        def pass_door() -> bytes:
            asked = parse(AskBody, request.json, "the question")
            return pass_through(self._doors, asked.what, asked.arguments, caller, gate.actions.during)

        return _chunks(self._answered(context, pass_door))

    def _party(self, context: grpc.ServicerContext) -> str:
        name = authenticated_peer(context, self._roster)
        if name in NO_PARTIES:
            _refuse(context, AgreementError(f"{name} is no party: use a party's own certificate to attach or report"))
        return name

    def _caller(self, context: grpc.ServicerContext) -> Caller:
        """Who acts: by the admin's own certificate, or within a session over the desk's."""
        member, gate = authenticated_peer(context, self._roster), self._gated(context)
        secret = next((str(value) for key, value in context.invocation_metadata() or () if key == SESSION_KEY), "")
        return cast(Caller, self._answered(context, lambda: gate.caller(member, shown_certificate(context), secret)))

    def _gated(self, context: grpc.ServicerContext) -> Gate:
        self._ready(context)
        assert self._gate is not None
        return self._gate

    def _reading(self, context: grpc.ServicerContext) -> Reader:
        self._ready(context)
        assert self._reader is not None
        return self._reader

    def _ready(self, context: grpc.ServicerContext) -> Engine:
        if self._engine is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, STARTING)
            raise AssertionError("abort does not return")
        return self._engine

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
