"""What live data says of a run, signed by its label party: the basis of a final settlement. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import AwareDatetime, Field, StringConstraints

from parties.agreement.document import Agreement
from parties.errors import LedgerError
from parties.settlement.contribution import ContributionRecord
from parties.settlement.signed_contribution import canonical_record
from vfl.terms import Terms

__all__ = ["LiveRecord"]

_Period = Annotated[str, StringConstraints(min_length=1, max_length=40)]
_DOMAIN = b"entente/live-contribution/1\x00"


class LiveRecord(Terms):
    """Contributions over periods that resolved after the run's calendar ended.

    ``horizon``: how many periods ahead the label looks, as agreed; None in a record of a version that did not say.
    ``cutoffs``: of the periods, which commitments to rows are compared with; needed where the agreement pays for these.
    """

    run_id: str
    periods: tuple[_Period, ...] = Field(min_length=1, max_length=1000)
    contribution: ContributionRecord
    horizon: int | None = None
    cutoffs: tuple[AwareDatetime, ...] = Field(default=(), max_length=1000)
    signature: str = ""

    def _message(self) -> bytes:
        unsaid = {"signature", *([] if self.cutoffs else ["cutoffs"]), *(["horizon"] if self.horizon is None else [])}
        body = self.model_dump(mode="json", exclude=unsaid)
        return _DOMAIN + rfc8785.dumps(body | {"contribution": canonical_record(self.contribution)})

    def signed(self, key: Ed25519PrivateKey) -> LiveRecord:
        """This record with the label party's signature."""
        return self.model_copy(update={"signature": key.sign(self._message()).hex()})

    def verify(self, run_id: str, agreement: Agreement, needed: int) -> None:
        """Raise :class:`LedgerError` unless it is of this run, long enough, and signed by its label party."""
        label = agreement.label.party
        if self.run_id != run_id:
            raise LedgerError(f"the live record is of run {self.run_id[:12]}, not of {run_id[:12]}")
        if self.horizon not in (None, agreement.walk_forward.horizon):
            raise LedgerError(
                f"the live record is of horizon {self.horizon}, the run of {agreement.walk_forward.horizon}: value the "
                "label that was agreed"
            )
        known = sorted(set(self.periods) & set(agreement.periods))
        if known or len(set(self.periods)) != len(self.periods):
            raise LedgerError(
                f"the live record counts {known[0] if known else 'a period twice'}: name each period after the "
                "run's calendar once"
            )
        ends = (agreement.dated.cutoffs[-1], *self.cutoffs)
        if self.cutoffs and (len(self.cutoffs) != len(self.periods) or any(b <= a for a, b in pairwise(ends))):
            raise LedgerError("the live record's cutoffs must rise after the run's calendar, one a period")
        if self.contribution.periods not in ((), self.periods):
            raise LedgerError("the live record's contributions are of other periods than it names: value these")
        if len(self.periods) < needed:
            raise LedgerError(f"{len(self.periods)} live periods have resolved, the agreement needs {needed}: wait")
        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(agreement.party(label).identity_key))
            key.verify(bytes.fromhex(self.signature), self._message())
        except (InvalidSignature, ValueError):
            raise LedgerError(
                f"the live record does not carry the signature of {label!r}: ask {label!r} to attest it"
            ) from None
