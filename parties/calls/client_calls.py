"""Everything that a page asks of a client: the coordinator's own views and orders, and every call at the desk."""

from __future__ import annotations

from typing import Protocol

from parties.agreement.document import Agreement
from parties.calls.desk_calls import DeskCalls
from parties.calls.views import CoordinatorView, EventView, LedgerView, PartyView, RunSummary, RunView

__all__ = ["ClientProtocol"]


class ClientProtocol(DeskCalls, Protocol):
    """What views need of a client; a test may bring its own."""

    def coordinator(self) -> CoordinatorView: ...

    def parties(self) -> list[PartyView]: ...

    def runs(self, *, limit: int = 100, offset: int = 0) -> list[RunSummary]: ...

    def run(self, run_id: str) -> RunView: ...

    def events(self, run_id: str = "", *, after: int = 0, limit: int = 500) -> list[EventView]: ...

    def ledger(self, run_id: str = "", *, limit: int = 100, offset: int = 0) -> LedgerView: ...

    def download_factor(self, run_id: str) -> bytes: ...

    def propose(self, agreement: Agreement) -> str: ...

    def cancel(self, run_id: str, why: str) -> None: ...

    def pause(self, run_id: str, why: str) -> None: ...

    def resume(self, run_id: str) -> None: ...
