"""Confidential totals: every party reports an amount nobody else sees, and only the sum is opened.

Every reporter but the key holder multiplies the encrypted reports, which adds the amounts, and signs the product; the
key holder, which sees no report, opens what all of them signed and reveals its randomness too, so that everyone
encrypts the total again and compares: the key holder cannot name another total, nor the coordinator ask for another.
``vfl.protocols.fee_reports`` has the checks, ``vfl.protocols.fee_messages`` the messages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from psi.flow import Flow, LocalProtocolError, RemoteProtocolError, Send, gather, receive
from vfl.arithmetic.paillier import PaillierKey
from vfl.arithmetic.randomness import SecretStream
from vfl.protocols.fee_messages import (
    FeeAggregate,
    FeeProduct,
    FeeReport,
    FeesCollected,
    FeesOpened,
    FeeTerms,
    FeeTotal,
)
from vfl.protocols.fee_reports import (
    FeeBook,
    FeeResult,
    check_opened,
    make_report,
    multipliers,
    multiply,
    open_aggregate,
)

__all__ = ["collect_fees", "open_fees", "report_fees"]

Sign = Callable[[bytes], bytes]


def report_fees(
    coordinator: str, terms: FeeTerms, me: str, period: str, fee: int, sign: Sign, stream: SecretStream
) -> Flow[FeeResult]:
    """A party: report its fee, multiply everybody's reports, and check the opened total.

    The key holder only reports and checks; it multiplies nothing, since it could open what it is given.

    Learns: the total, who is in it and who is absent; of the others' fees no more than their ciphertexts tell.
    Leaks: that its fee is below 2**bits.
    Model: the fee is hidden from everybody, whatever coordinator and other parties do, unless the key holder takes
        part: only what this party multiplied itself is opened. Key holder and coordinator together read every fee. All
        other parties together with the total know a last fee: so it is with any sum.
    Source: Paillier, EUROCRYPT 1999; docs/protocols/fees.md#a-round.
    """
    report = make_report(terms, me, period, fee, sign, stream)
    yield Send(coordinator, report)
    product = None
    if me != terms.key_holder:
        collected = yield from receive(coordinator, FeesCollected)
        mine, product = multiply(terms, me, period, collected, report, sign, coordinator)
        yield Send(coordinator, mine)
    got = yield from receive(coordinator, FeesOpened)
    result = check_opened(terms, period, got, coordinator)
    held = dict(zip(got.reporters, got.digests, strict=True))
    if held.get(me) != hashlib.sha256(report.ciphertext).digest():
        raise RemoteProtocolError("left this party's fee report out of the total, or changed it", coordinator)
    if product is not None and got.ciphertext != product:
        raise RemoteProtocolError("had another product opened than this party made of the reports", coordinator)
    return result


def collect_fees(terms: FeeTerms, period: str, absent: Sequence[str] = ()) -> Flow[tuple[FeeResult, FeeBook]]:
    """Coordinator: take all reports, have them multiplied and their sum opened, and tell everybody.

    absent: parties excused beforehand; a party that is expected and away ends the round with its name.

    Learns: who reports, and the total.
    Leaks: nothing.
    Model: semi-honest; reports are kept, so that an auditor who is not the key holder multiplies them again.
    Source: Paillier, EUROCRYPT 1999; docs/protocols/fees.md#a-round.
    """
    book = FeeBook(terms, period)
    expected = [name for name in sorted(terms.keys) if name not in absent]
    if terms.key_holder in absent:
        raise LocalProtocolError(f"the key holder {terms.key_holder!r} cannot be absent: only it opens the total")
    reports = yield from gather([receive(name, FeeReport) for name in expected])
    for name, report in zip(expected, reports, strict=True):
        book.take(name, report)
    collected = book.collected(absent)
    names = multipliers(terms, collected.reporters)
    for name in names:
        yield Send(name, collected)
    products = yield from gather([receive(name, FeeProduct) for name in names])
    for name, product in zip(names, products, strict=True):
        book.take_product(name, product, absent)
    aggregate = book.aggregate(absent)
    yield Send(terms.key_holder, aggregate)
    said = yield from receive(terms.key_holder, FeeTotal)
    opened = book.opened(aggregate, said, absent)
    for name in expected:
        yield Send(name, opened)
    return check_opened(terms, period, opened, terms.key_holder), book


def open_fees(
    coordinator: str, terms: FeeTerms, period: str, key: PaillierKey, sign: Sign, once: Callable[[str], None]
) -> Flow[int]:
    """Key holder: open one period's total, once.

    once: stores durably that the period was opened, and raises if it was before. Two totals that differ in one report
    would give that report away.

    Learns: the total.
    Leaks: the total with the product's randomness, which proves it.
    Model: whatever a coordinator sends, at most one sum per period opens, and only the one that every other reporter
        made of the signed reports itself.
    Source: Paillier, EUROCRYPT 1999; docs/protocols/fees.md#a-round.
    """
    asked = yield from receive(coordinator, FeeAggregate)
    said = open_aggregate(terms, period, asked, key, sign, once)
    yield Send(coordinator, said)
    return said.total
