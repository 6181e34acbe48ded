"""Confidential usage fees: terms, messages, and what each reader checks. The flows are in ``vfl.protocols.fees``.

Each party encrypts what it owes for a period under the Paillier key of the key holder that the agreement names, signs
that, and proves that the amount is in range. The product of the ciphertexts holds the total.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from psi.flow import LocalProtocolError, Message, Payload, RemoteProtocolError, Role, message
from vfl.arithmetic.paillier import PaillierKey, PaillierPublic
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError
from vfl.protocols.ranges import MOST_BITS, encrypt_in_range, proves_range

__all__ = [
    "FEWEST_REPORTERS",
    "FeeAggregate",
    "FeeBook",
    "FeeReport",
    "FeeResult",
    "FeeTerms",
    "FeeTotal",
    "FeesOpened",
    "check_opened",
    "make_report",
    "open_aggregate",
    "report_statement",
    "total_statement",
    "usage_fee",
]

Sign = Callable[[bytes], bytes]

_SOURCE = "Paillier, EUROCRYPT 1999; range proof after Damgard and Jurik, PKC 2001"
_REPORT = b"entente/fee-report/1\x00"
_TOTAL = b"entente/fee-total/1\x00"
FEWEST_REPORTERS = 3
"""With two, each would read the other's fee from the total."""


@message(
    "fees.report",
    sender=Role.PARTY,
    receiver=Role.COORDINATOR,
    payload=Payload.CIPHERTEXT,
    reveals="that the sender's fee is in the agreed range; nothing else of it without the key holder's key",
    source=_SOURCE,
)
class FeeReport(Message):
    """One party's fee for one period, encrypted, with its range proof, signed."""

    terms: bytes
    period: str
    ciphertext: bytes
    proof: bytes
    signature: bytes


@message(
    "fees.aggregate",
    sender=Role.COORDINATOR,
    receiver=Role.PARTY,
    payload=Payload.CIPHERTEXT,
    reveals="to the key holder: the total of the reporters' fees; digests of their reports hide each",
    source=_SOURCE,
)
class FeeAggregate(Message):
    """The product of the reports, and who signed which of them."""

    terms: bytes
    period: str
    ciphertext: bytes
    reporters: tuple[str, ...]
    digests: tuple[bytes, ...]
    signatures: tuple[bytes, ...]


@message(
    "fees.total",
    sender=Role.PARTY,
    receiver=Role.COORDINATOR,
    payload=Payload.RESULT,
    reveals="the total, and the product's randomness, which proves it and shows nothing of any one report",
    source=_SOURCE,
)
class FeeTotal(Message):
    """What the aggregate holds: encrypting ``total`` with ``randomness`` gives it again. Signed by the key holder."""

    terms: bytes
    period: str
    total: int
    randomness: bytes
    signature: bytes


@message(
    "fees.opened",
    sender=Role.COORDINATOR,
    receiver=Role.PARTY,
    payload=Payload.RESULT,
    reveals="the total with its proof, who is in it and who is not",
    source=_SOURCE,
)
class FeesOpened(Message):
    """The result for everybody: enough to check the total and that one's own report is in it."""

    terms: bytes
    period: str
    ciphertext: bytes
    reporters: tuple[str, ...]
    digests: tuple[bytes, ...]
    absent: tuple[str, ...]
    total: int
    randomness: bytes
    signature: bytes


@dataclass(frozen=True)
class FeeTerms:
    """What all agreed on. context: the run or agreement id. keys: Ed25519 public keys of all who must report.

    bits: a fee is below 2**bits minor units.
    """

    context: str
    key_holder: str
    modulus: int
    bits: int
    keys: Mapping[str, bytes]

    def __post_init__(self) -> None:
        if self.key_holder not in self.keys:
            raise LocalProtocolError(f"the key holder {self.key_holder!r} is none of the parties: name one of them")
        if len(self.keys) < FEWEST_REPORTERS:
            raise LocalProtocolError("with two parties the total tells each the other's fee: three or more are needed")
        if not 1 <= self.bits <= MOST_BITS:
            raise LocalProtocolError(f"a fee's range has 1 to {MOST_BITS} bits, not {self.bits}")

    @property
    def public(self) -> PaillierPublic:
        return PaillierPublic(self.modulus)

    @property
    def digest(self) -> bytes:
        """SHA-256 that binds every message to these terms."""
        parts = [self.context, self.key_holder, f"{self.modulus:x}", str(self.bits)]
        parts += [f"{name}={key.hex()}" for name, key in sorted(self.keys.items())]
        return hashlib.sha256(b"".join(len(p).to_bytes(4, "little") + p.encode() for p in parts)).digest()

    def verify(self, name: str, statement: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.keys[name]).verify(signature, statement)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class FeeResult:
    """An opened total in minor units, and whose reports it holds."""

    period: str
    total: int
    reporters: tuple[str, ...]
    absent: tuple[str, ...]


def usage_fee(assets: int, rate_millionths: int) -> int:
    """The fee in minor units on assets in minor units, at a rate in millionths per period, rounded down.

    Raises ValueError on a negative number.
    """
    if assets < 0 or rate_millionths < 0:
        raise ValueError("assets and rate are zero or more")
    return assets * rate_millionths // 1_000_000


def report_statement(terms: bytes, period: str, party: str, digest: bytes) -> bytes:
    """What a report's signature covers; ``digest`` is the SHA-256 of the ciphertext."""
    head = f"{party}\x00{period}".encode()
    return _REPORT + terms + len(head).to_bytes(4, "little") + head + digest


def total_statement(terms: bytes, period: str, ciphertext: bytes, total: int) -> bytes:
    """What the key holder's signature covers."""
    body = hashlib.sha256(ciphertext).digest() + total.to_bytes(16, "little", signed=True)
    return _TOTAL + terms + len(period.encode()).to_bytes(4, "little") + period.encode() + body


def _range_context(terms: bytes, period: str, party: str) -> bytes:
    return report_statement(terms, period, party, b"range")


def make_report(terms: FeeTerms, me: str, period: str, fee: int, sign: Sign, stream: SecretStream) -> FeeReport:
    """``me``'s report of ``fee`` minor units. Raises ValueError for a fee out of the agreed range."""
    public, digest = terms.public, terms.digest
    value, proof = encrypt_in_range(public, fee, terms.bits, _range_context(digest, period, me), stream)
    ciphertext = value.to_bytes(2 * public.width, "little")
    statement = report_statement(digest, period, me, hashlib.sha256(ciphertext).digest())
    return FeeReport(digest, period, ciphertext, proof, sign(statement))


@dataclass
class FeeBook:
    """The coordinator's record of one period's reports. Pure: whoever stores the reports can rebuild it."""

    terms: FeeTerms
    period: str
    reports: dict[str, FeeReport] = field(default_factory=dict)

    def take(self, party: str, report: FeeReport) -> None:
        """Accept a report, or raise :class:`RemoteProtocolError` that names the party and what is wrong.

        The same report again is no news; another one is refused.
        """
        if party not in self.terms.keys:
            raise RemoteProtocolError("reports a fee and is no party to the agreement", party)
        if report.terms != self.terms.digest:
            raise RemoteProtocolError(
                "reported a fee under other terms: another agreement, key or list of parties", party
            )
        if report.period != self.period:
            raise RemoteProtocolError(f"reported {report.period!r} when {self.period!r} is due: a replay", party)
        digest = hashlib.sha256(report.ciphertext).digest()
        statement = report_statement(report.terms, report.period, party, digest)
        if not self.terms.verify(party, statement, report.signature):
            raise RemoteProtocolError("sent a fee report that its key did not sign", party)
        if party in self.reports:
            if self.reports[party].ciphertext != report.ciphertext:
                raise RemoteProtocolError(f"reported its fee for {self.period!r} twice, with different amounts", party)
            return
        public = self.terms.public
        number = int.from_bytes(report.ciphertext, "little")
        if len(report.ciphertext) != 2 * public.width or not public.is_ciphertext(number):
            raise RemoteProtocolError("sent a fee that is no ciphertext under the agreed key", party)
        context = _range_context(report.terms, report.period, party)
        if not proves_range(public, number, self.terms.bits, context, report.proof):
            raise RemoteProtocolError(f"did not prove that its fee is below 2**{self.terms.bits} minor units", party)
        self.reports[party] = report

    @property
    def missing(self) -> tuple[str, ...]:
        """Parties whose report has not come."""
        return tuple(name for name in sorted(self.terms.keys) if name not in self.reports)

    def aggregate(self, absent: Sequence[str] = ()) -> FeeAggregate:
        """All reports as one ciphertext. Raises :class:`LocalProtocolError` naming who is missing and not excused."""
        missing = [name for name in self.missing if name not in absent]
        if missing:
            raise LocalProtocolError(
                f"no fee report from {', '.join(missing)} for {self.period!r}: wait or excuse them"
            )
        if len(self.reports) < FEWEST_REPORTERS:
            raise LocalProtocolError(f"{len(self.reports)} reports are too few: each of two would read the other's fee")
        public, names = self.terms.public, tuple(sorted(self.reports))
        held = [self.reports[name] for name in names]
        total = public.add(int.from_bytes(report.ciphertext, "little") for report in held)
        return FeeAggregate(
            self.terms.digest,
            self.period,
            total.to_bytes(2 * public.width, "little"),
            names,
            tuple(hashlib.sha256(report.ciphertext).digest() for report in held),
            tuple(report.signature for report in held),
        )

    def opened(self, aggregate: FeeAggregate, said: FeeTotal, absent: Sequence[str] = ()) -> FeesOpened:
        """The result for everybody, after checking the key holder's proof."""
        result = FeesOpened(
            aggregate.terms,
            aggregate.period,
            aggregate.ciphertext,
            aggregate.reporters,
            aggregate.digests,
            tuple(sorted(absent)),
            said.total,
            said.randomness,
            said.signature,
        )
        if (said.terms, said.period) != (aggregate.terms, aggregate.period):
            raise RemoteProtocolError("opened another total than the one asked for", self.terms.key_holder)
        check_opened(self.terms, self.period, result, self.terms.key_holder)
        return result

    def audit(self, result: FeesOpened) -> None:
        """That the opened ciphertext is the product of these very reports, and that all of them are in it.

        For the coordinator and for an auditor; the key holder must not have the reports, since it could open each.
        Raises :class:`RemoteProtocolError`.
        """
        check_opened(self.terms, self.period, result, "coordinator")
        held = self.aggregate(result.absent)
        if (held.reporters, held.digests, held.ciphertext) != (result.reporters, result.digests, result.ciphertext):
            raise RemoteProtocolError("had a total opened that is not the sum of the reports", "coordinator")


def open_aggregate(
    terms: FeeTerms, period: str, asked: FeeAggregate, key: PaillierKey, sign: Sign, once: Callable[[str], None]
) -> FeeTotal:
    """The key holder's answer. ``once`` stores durably that the period is opened, and raises if it was before.

    Raises :class:`LocalProtocolError` for another key than the agreed one, :class:`RemoteProtocolError` for an
    aggregate of other terms, of too few reports, of unsigned ones, or that no fees in range add up to.
    """
    if key.shared.modulus != terms.modulus:
        raise LocalProtocolError("this node's Paillier key is not the one the agreement names")
    if (asked.terms, asked.period) != (terms.digest, period):
        raise RemoteProtocolError(f"asked to open other terms or another period than {period!r}", "coordinator")
    counts = {len(asked.reporters), len(asked.signatures), len(set(asked.reporters)), len(set(asked.digests))}
    if len(counts) != 1 or len(asked.digests) < FEWEST_REPORTERS:
        raise RemoteProtocolError("asked to open a total of too few different reports", "coordinator")
    for name, digest, signature in zip(asked.reporters, asked.digests, asked.signatures, strict=True):
        statement = report_statement(terms.digest, period, name, digest)
        if name not in terms.keys or not terms.verify(name, statement, signature):
            raise RemoteProtocolError(f"asked to open a total with a report that {name!r} did not sign", "coordinator")
    once(period)
    try:
        total, randomness = key.open(int.from_bytes(asked.ciphertext, "little"))
    except MalformedError as error:
        raise RemoteProtocolError(f"asked to open a total, but {error}", "coordinator") from None
    if total >= len(asked.reporters) << terms.bits:
        raise RemoteProtocolError("asked to open what no fees in range add up to", "coordinator")
    signature = sign(total_statement(terms.digest, period, asked.ciphertext, total))
    return FeeTotal(terms.digest, period, total, randomness.to_bytes(terms.public.width, "little"), signature)


def check_opened(terms: FeeTerms, period: str, got: FeesOpened, sender: str) -> FeeResult:
    """What any reader of a result checks. Raises :class:`RemoteProtocolError` that names ``sender``."""
    public = terms.public
    if (got.terms, got.period) != (terms.digest, period):
        raise RemoteProtocolError(f"sent a total of other terms or another period than {period!r}", sender)
    named = [*got.reporters, *got.absent]
    if sorted(named) != sorted(terms.keys) or len(got.digests) != len(got.reporters):
        raise RemoteProtocolError("sent a total in which not every party is either reporter or absent", sender)
    if len(got.reporters) < FEWEST_REPORTERS:
        raise RemoteProtocolError("had a total opened of so few fees that it tells one", sender)
    if not 0 <= got.total < len(got.reporters) << terms.bits:
        raise RemoteProtocolError(f"sent a total that {len(got.reporters)} fees in range cannot have", sender)
    randomness, ciphertext = (int.from_bytes(part, "little") for part in (got.randomness, got.ciphertext))
    if not public.is_unit(randomness) or public.encrypt(got.total, randomness) != ciphertext:
        raise RemoteProtocolError("sent a total that is not what the encrypted reports add up to", sender)
    if not terms.verify(
        terms.key_holder, total_statement(terms.digest, period, got.ciphertext, got.total), got.signature
    ):
        raise RemoteProtocolError("sent a total that the key holder did not sign", sender)
    return FeeResult(period, got.total, got.reporters, got.absent)
