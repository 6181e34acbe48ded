"""Confidential usage fees: what each makes of the others' messages, and what each reader checks.

Each party encrypts what it owes for a period under the Paillier key of the key holder that the agreement names, signs
that, and proves that the amount is in range. Every reporter but the key holder multiplies the ciphertexts itself and
signs the product, which holds the total; the key holder opens only what all of them signed. So a coordinator cannot
have anything else opened. The flows are in ``vfl.protocols.fees``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from psi.flow import LocalProtocolError, RemoteProtocolError
from vfl.arithmetic.paillier import PaillierKey
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError
from vfl.protocols.fee_messages import (
    FEWEST_REPORTERS,
    FeeAggregate,
    FeeProduct,
    FeeReport,
    FeesCollected,
    FeesOpened,
    FeeTerms,
    FeeTotal,
    product_statement,
    report_statement,
    total_statement,
)
from vfl.protocols.ranges import encrypt_in_range, proves_range

__all__ = [
    "FeeBook",
    "FeeResult",
    "check_opened",
    "make_report",
    "multipliers",
    "multiply",
    "open_aggregate",
    "usage_fee",
]

Sign = Callable[[bytes], bytes]


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


def _range_context(terms: bytes, period: str, party: str) -> bytes:
    return report_statement(terms, period, party, b"range")


def multiply(
    terms: FeeTerms, me: str, period: str, got: FeesCollected, mine: FeeReport, sign: Sign, sender: str
) -> tuple[FeeProduct, bytes]:
    """``me`` multiplies the reports itself: its signature under the product, and the product's ciphertext.

    Raises :class:`RemoteProtocolError` that names ``sender`` for reports that are not of these terms, not signed by who
    is said to have made them, too few, or without ``mine`` as it was sent.
    """
    if (got.terms, got.period) != (terms.digest, period):
        raise RemoteProtocolError(f"sent reports of other terms or another period than {period!r}", sender)
    counts = {len(got.reporters), len(got.ciphertexts), len(got.signatures), len(set(got.reporters))}
    if len(counts) != 1 or len(got.reporters) < FEWEST_REPORTERS or tuple(sorted(got.reporters)) != got.reporters:
        raise RemoteProtocolError("sent too few different reports to hide one in their total", sender)
    public, digests = terms.public, tuple(hashlib.sha256(ciphertext).digest() for ciphertext in got.ciphertexts)
    for name, ciphertext, digest, signature in zip(
        got.reporters, got.ciphertexts, digests, got.signatures, strict=True
    ):
        statement = report_statement(terms.digest, period, name, digest)
        number = int.from_bytes(ciphertext, "little")
        fits = len(ciphertext) == 2 * public.width and public.is_ciphertext(number)
        if name not in terms.keys or not fits or not terms.verify(name, statement, signature):
            raise RemoteProtocolError(f"sent a report to multiply that {name!r} did not sign", sender)
    if dict(zip(got.reporters, got.ciphertexts, strict=True)).get(me) != mine.ciphertext:
        raise RemoteProtocolError("left this party's fee report out of the total, or changed it", sender)
    product = _product(terms, got.ciphertexts)
    statement = product_statement(terms.digest, period, me, got.reporters, digests, product)
    return FeeProduct(terms.digest, period, sign(statement)), product


def _product(terms: FeeTerms, ciphertexts: Iterable[bytes]) -> bytes:
    public = terms.public
    return public.add(int.from_bytes(one, "little") for one in ciphertexts).to_bytes(2 * public.width, "little")


def multipliers(terms: FeeTerms, reporters: Sequence[str]) -> tuple[str, ...]:
    """Who multiplies: every reporter but the key holder, which could open a single report."""
    return tuple(name for name in reporters if name != terms.key_holder)


def _check_products(terms: FeeTerms, asked: FeeAggregate | FeesOpened, sender: str) -> None:
    """That every reporter but the key holder signed this very product. Raises :class:`RemoteProtocolError`."""
    names = multipliers(terms, asked.reporters)
    if len(names) != len(asked.products):
        raise RemoteProtocolError("has not had the product of the reports signed by everybody who multiplies", sender)
    for name, signature in zip(names, asked.products, strict=True):
        statement = product_statement(
            terms.digest, asked.period, name, asked.reporters, asked.digests, asked.ciphertext
        )
        if not terms.verify(name, statement, signature):
            raise RemoteProtocolError(f"has a product of the reports that {name!r} did not sign", sender)


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
    products: dict[str, FeeProduct] = field(default_factory=dict)

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

    def collected(self, absent: Sequence[str] = ()) -> FeesCollected:
        """All reports, for those who multiply. Raises :class:`LocalProtocolError` naming who is missing."""
        missing = [name for name in self.missing if name not in absent]
        if missing:
            raise LocalProtocolError(
                f"no fee report from {', '.join(missing)} for {self.period!r}: wait or excuse them"
            )
        if len(self.reports) < FEWEST_REPORTERS:
            raise LocalProtocolError(f"{len(self.reports)} reports are too few: each of two would read the other's fee")
        names = tuple(sorted(self.reports))
        held = [self.reports[name] for name in names]
        return FeesCollected(
            self.terms.digest,
            self.period,
            names,
            tuple(report.ciphertext for report in held),
            tuple(report.signature for report in held),
        )

    def take_product(self, party: str, product: FeeProduct, absent: Sequence[str] = ()) -> None:
        """Accept a reporter's product, or raise :class:`RemoteProtocolError` that names it: another one or none."""
        told = self.collected(absent)
        digests = tuple(hashlib.sha256(ciphertext).digest() for ciphertext in told.ciphertexts)
        total = _product(self.terms, told.ciphertexts)
        statement = product_statement(self.terms.digest, self.period, party, told.reporters, digests, total)
        known = party in multipliers(self.terms, told.reporters)
        same = (product.terms, product.period) == (self.terms.digest, self.period)
        if not (known and same and self.terms.verify(party, statement, product.signature)):
            raise RemoteProtocolError("signed another product of the reports than they have", party)
        self.products[party] = product

    def aggregate(self, absent: Sequence[str] = ()) -> FeeAggregate:
        """All reports as one ciphertext, for the key holder.

        Raises :class:`LocalProtocolError` naming who is missing and not excused, or has not multiplied yet.
        """
        told = self.collected(absent)
        names = multipliers(self.terms, told.reporters)
        missing = [name for name in names if name not in self.products]
        if missing:
            raise LocalProtocolError(
                f"{', '.join(missing)} have not multiplied the reports of {self.period!r}: nothing is opened before "
                "everybody but the key holder has"
            )
        return FeeAggregate(
            self.terms.digest,
            self.period,
            _product(self.terms, told.ciphertexts),
            told.reporters,
            tuple(hashlib.sha256(ciphertext).digest() for ciphertext in told.ciphertexts),
            told.signatures,
            tuple(self.products[name].signature for name in names),
        )

    def opened(self, aggregate: FeeAggregate, said: FeeTotal, absent: Sequence[str] = ()) -> FeesOpened:
        """The result for everybody, after checking the key holder's proof."""
        result = FeesOpened(
            aggregate.terms,
            aggregate.period,
            aggregate.ciphertext,
            aggregate.reporters,
            aggregate.digests,
            aggregate.products,
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
        told = self.collected(result.absent)
        digests = tuple(hashlib.sha256(ciphertext).digest() for ciphertext in told.ciphertexts)
        held = told.reporters, digests, _product(self.terms, told.ciphertexts)
        if held != (result.reporters, result.digests, result.ciphertext):
            raise RemoteProtocolError("had a total opened that is not the sum of the reports", "coordinator")


def open_aggregate(
    terms: FeeTerms, period: str, asked: FeeAggregate, key: PaillierKey, sign: Sign, once: Callable[[str], None]
) -> FeeTotal:
    """The key holder's answer. ``once`` stores durably that the period is opened, and raises if it was before.

    Raises :class:`LocalProtocolError` for another key than the agreed one, :class:`RemoteProtocolError` for an
    aggregate of other terms, of too few reports, of unsigned ones, of another product than every other reporter made of
    them itself, or that no fees in range add up to.
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
    _check_products(terms, asked, "coordinator")
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
    _check_products(terms, got, sender)
    return FeeResult(period, got.total, got.reporters, got.absent)
