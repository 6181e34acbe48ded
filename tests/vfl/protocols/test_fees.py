"""Confidential fee totals: what is opened, what is proved, and everything that is refused by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from psi.flow import Flow, LocalProtocolError, Message, RemoteProtocolError, gather, run_local
from vfl.arithmetic.paillier import PaillierKey, PaillierPublic
from vfl.arithmetic.randomness import SecretStream
from vfl.protocols.fee_messages import (
    FeeAggregate,
    FeeProduct,
    FeeReport,
    FeesCollected,
    FeesOpened,
    FeeTerms,
    FeeTotal,
    report_statement,
    total_statement,
)
from vfl.protocols.fee_reports import FeeBook, FeeResult, check_opened, make_report, multipliers, multiply, usage_fee
from vfl.protocols.fees import collect_fees, open_fees, report_fees
from vfl.protocols.ranges import encrypt_in_range, proof_size, proves_range

KEY = PaillierKey(1024)
BITS = 12
FEES = {"ant": 300, "bee": 0, "cat": 4095, "dog": 41}
SIGNERS = {name: Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()) for name in FEES}
Relay = Callable[[str, str, Message], Message]


def secret(name: str) -> SecretStream:
    return SecretStream(hashlib.sha256(name.encode()).digest())


def terms(key: PaillierKey = KEY, bits: int = BITS, context: str = "run-1") -> FeeTerms:
    keys = {name: signer.public_key().public_bytes_raw() for name, signer in SIGNERS.items()}
    return FeeTerms(context, "cat", key.shared.modulus, bits, keys)


@cache
def report(name: str, period: str = "2026Q3", fee: int | None = None, context: str = "run-1") -> FeeReport:
    amount = FEES[name] if fee is None else fee
    stream = secret(f"{name}/{period}/{amount}/{context}")
    return make_report(terms(context=context), name, period, amount, SIGNERS[name].sign, stream)


class Opened:
    """What a key holder has opened, as a store would keep it."""

    def __init__(self) -> None:
        self.periods: set[str] = set()

    def once(self, period: str) -> None:
        if period in self.periods:
            raise LocalProtocolError(f"the total of {period!r} was opened before")
        self.periods.add(period)


def play(
    *,
    relay: Relay | None = None,
    absent: tuple[str, ...] = (),
    opened: Opened | None = None,
    agreed: FeeTerms | None = None,
    key: PaillierKey = KEY,
) -> dict[str, Any]:
    agreed = agreed or terms(key)
    flows: dict[str, Flow[Any]] = {"coordinator": collect_fees(agreed, "2026Q3", absent)}
    for name, fee in FEES.items():
        if name in absent:
            continue
        mine = report_fees("coordinator", agreed, name, "2026Q3", fee, SIGNERS[name].sign, secret(name))
        if name == "cat":
            holder = open_fees("coordinator", agreed, "2026Q3", key, SIGNERS[name].sign, (opened or Opened()).once)
            flows[name] = gather([mine, holder])  # type: ignore[list-item]
        else:
            flows[name] = mine
    return run_local(flows, relay=relay)


def swap(kind: type[Message], change: Callable[[Any], Message], sender: str = "", receiver: str = "") -> Relay:
    def relay(origin: str, to: str, got: Message) -> Message:
        fits = isinstance(got, kind) and sender in ("", origin) and receiver in ("", to)
        return change(got) if fits else got

    return relay


def test_everybody_learns_the_total_and_nobody_else_a_fee() -> None:
    seen: list[tuple[str, str, Message]] = []

    def relay(sender: str, to: str, got: Message) -> Message:
        seen.append((sender, to, got))
        return got

    results = play(relay=relay)
    expected = FeeResult("2026Q3", sum(FEES.values()), tuple(sorted(FEES)), ())
    assert results["coordinator"][0] == expected
    assert results["cat"] == [expected, sum(FEES.values())]
    assert all(results[name] == expected for name in ("ant", "bee", "dog"))
    # the key holder receives the product and the result, and no single report; all others receive every report
    reports = {got.ciphertext for sender, to, got in seen if isinstance(got, FeeReport)}
    for _, to, got in seen:
        if to == "cat":
            assert isinstance(got, FeeAggregate | FeesOpened)
            assert got.ciphertext not in reports
    told = {to: set(got.ciphertexts) for _, to, got in seen if isinstance(got, FeesCollected)}
    assert told == dict.fromkeys(("ant", "bee", "dog"), reports)
    assert {to for _, to, got in seen if isinstance(got, FeeReport)} == {"coordinator"}


def test_once_with_a_key_of_3072_bits() -> None:
    key = PaillierKey(3072)
    agreed = terms(key, bits=3)
    public = agreed.public
    ciphertext, proof = encrypt_in_range(public, 5, 3, b"context", secret("3072"))
    assert proves_range(public, ciphertext, 3, b"context", proof)
    assert len(proof) == proof_size(public, 3)
    other = public.encrypt(4, public.unit(secret("other")))
    total, randomness = key.open(public.add([ciphertext, other]))
    assert total == 9
    assert public.encrypt(total, randomness) == public.add([ciphertext, other])
    assert PaillierKey(primes=key.primes).open(ciphertext)[0] == 5


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=5), st.integers(0, 10**6))
def test_a_sum_opens_to_the_sum_with_randomness_that_proves_it(values: list[int], seed: int) -> None:
    public, stream = KEY.shared, secret(str(seed))
    total = public.add(public.encrypt(value, public.unit(stream)) for value in values)
    value, randomness = KEY.open(total)
    assert value == sum(values)
    assert public.encrypt(value, randomness) == total
    assert public.encrypt(value + 1, randomness) != total
    for bad in (0, public.square, public.modulus, KEY.primes[0]):
        with pytest.raises(ValueError, match="no ciphertext"):
            KEY.open(bad)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.data())
def test_range_proofs_hold_for_what_is_in_range_and_for_nothing_else(bits: int, data: st.DataObject) -> None:
    public = KEY.shared
    value = data.draw(st.integers(0, 2**bits - 1))
    ciphertext, proof = encrypt_in_range(public, value, bits, b"here", secret(f"{bits}/{value}"))
    assert KEY.open(ciphertext)[0] == value
    assert proves_range(public, ciphertext, bits, b"here", proof)
    assert not proves_range(public, ciphertext, bits, b"there", proof)
    assert not proves_range(public, ciphertext, bits + 1, b"here", proof)
    moved = ciphertext * (1 + public.modulus) % public.square
    assert not proves_range(public, moved, bits, b"here", proof)
    at = data.draw(st.integers(0, len(proof) - 1))
    assert not proves_range(public, ciphertext, bits, b"here", proof[:at] + bytes([proof[at] ^ 1]) + proof[at + 1 :])
    assert not proves_range(public, ciphertext, bits, b"here", proof[:-1])


@pytest.mark.parametrize("digit", [2, -1, 1 << 100])
def test_a_part_that_is_no_bit_proves_nothing(digit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prover that follows the protocol with a part outside {0, 1} is caught by the hash."""
    public = KEY.shared
    real = PaillierPublic.encrypt

    def cheat(self: PaillierPublic, value: int, randomness: int) -> int:
        return real(self, digit if value == 1 else value, randomness)

    with monkeypatch.context() as patch:
        patch.setattr(PaillierPublic, "encrypt", cheat)
        ciphertext, proof = encrypt_in_range(public, 1, 3, b"here", secret(f"cheat/{digit}"))
    assert KEY.open(ciphertext)[0] == digit % public.modulus
    assert not proves_range(public, ciphertext, 3, b"here", proof)


def test_out_of_range_values_never_leave_their_party() -> None:
    for fee in (-1, 2**BITS):
        with pytest.raises(ValueError, match="not between 0 and 4095"):
            make_report(terms(), "ant", "2026Q3", fee, SIGNERS["ant"].sign, secret("x"))
    with pytest.raises(ValueError, match="1 to 56 bits"):
        encrypt_in_range(KEY.shared, 1, 57, b"", secret("x"))


def forged(name: str, fee: int) -> FeeReport:
    """A well-signed report of a fee whose proof is of another, in range."""
    honest = report(name)
    public = KEY.shared
    ciphertext = public.encrypt(fee, public.unit(secret("forged"))).to_bytes(2 * public.width, "little")
    return signed(name, replace(honest, ciphertext=ciphertext))


def signed(name: str, made: FeeReport) -> FeeReport:
    statement = report_statement(made.terms, made.period, name, hashlib.sha256(made.ciphertext).digest())
    return replace(made, signature=SIGNERS[name].sign(statement))


@pytest.mark.parametrize(
    ("party", "made", "why"),
    [
        ("ant", lambda: forged("ant", -300), r"ant: did not prove that its fee is below 2\*\*12"),
        ("ant", lambda: forged("ant", 10**9), r"ant: did not prove"),
        ("ant", lambda: report("ant", "2026Q2"), "ant: reported '2026Q2' when '2026Q3' is due: a replay"),
        ("ant", lambda: report("ant", context="run-0"), "ant: reported a fee under other terms"),
        (
            "ant",
            lambda: replace(report("ant"), signature=bytes(64)),
            "ant: sent a fee report that its key did not sign",
        ),
        ("ant", lambda: report("bee"), "ant: sent a fee report that its key did not sign"),
        ("ant", lambda: signed("ant", report("bee")), "ant: did not prove"),
        ("ant", lambda: signed("ant", replace(report("ant"), ciphertext=b"")), "ant: sent a fee that is no ciphertext"),
        (
            "ant",
            lambda: signed("ant", replace(report("ant"), ciphertext=bytes(2 * KEY.shared.width))),
            "ant: sent a fee that is no ciphertext",
        ),
        ("ant", lambda: replace(report("ant"), proof=report("ant").proof[:-1]), "ant: did not prove"),
        ("eve", lambda: report("ant"), "eve: reports a fee and is no party to the agreement"),
    ],
)
def test_wrong_reports_are_refused_by_name(party: str, made: Callable[[], FeeReport], why: str) -> None:
    book = FeeBook(terms(), "2026Q3")
    with pytest.raises(RemoteProtocolError, match=why):
        book.take(party, made())
    assert not book.reports


def test_the_same_report_again_is_no_news_and_another_is_refused() -> None:
    book = FeeBook(terms(), "2026Q3")
    book.take("ant", report("ant"))
    book.take("ant", report("ant"))
    with pytest.raises(RemoteProtocolError, match="ant: reported its fee for '2026Q3' twice, with different amounts"):
        book.take("ant", report("ant", fee=7))
    assert book.reports == {"ant": report("ant")}


def test_a_missing_party_is_named_and_may_be_excused() -> None:
    book = FeeBook(terms(), "2026Q3")
    for name in ("ant", "bee", "cat"):
        book.take(name, report(name))
    assert book.missing == ("dog",)
    with pytest.raises(LocalProtocolError, match="no fee report from dog for '2026Q3'"):
        book.aggregate()
    results = play(absent=("dog",))
    expected = FeeResult("2026Q3", sum(FEES.values()) - FEES["dog"], ("ant", "bee", "cat"), ("dog",))
    assert results["ant"] == results["coordinator"][0] == expected
    with pytest.raises(LocalProtocolError, match="'cat' cannot be absent"):
        play(absent=("cat",))
    with pytest.raises(LocalProtocolError, match="2 reports are too few"):
        play(absent=("dog", "bee"))


def other_total(got: FeeTotal) -> FeeTotal:
    return replace(got, total=got.total - 1)


def first(got: FeesCollected, count: int) -> FeesCollected:
    names, ciphertexts = got.reporters[:count], got.ciphertexts[:count]
    return replace(got, reporters=names, ciphertexts=ciphertexts, signatures=got.signatures[:count])


def first_alone(got: FeeAggregate) -> FeeAggregate:
    return replace(got, reporters=got.reporters[:1], digests=got.digests[:1], signatures=got.signatures[:1])


@pytest.mark.parametrize(
    ("relay", "why"),
    [
        (swap(FeeTotal, other_total), "cat: sent a total that is not what the encrypted reports add up to"),
        (swap(FeeTotal, lambda m: replace(m, total=-1)), "cat: sent a total that 4 fees in range cannot have"),
        (swap(FeeTotal, lambda m: replace(m, randomness=b"")), "cat: sent a total that is not what"),
        (swap(FeeTotal, lambda m: replace(m, signature=bytes(64))), "cat: sent a total that the key holder did"),
        (swap(FeeTotal, lambda m: replace(m, period="2026Q2")), "cat: opened another total than the one asked for"),
        (swap(FeesOpened, other_total, receiver="ant"), "coordinator: sent a total that is not what"),  # type: ignore[arg-type]
        (
            swap(FeesOpened, lambda m: replace(m, digests=(bytes(32), *m.digests[1:])), receiver="ant"),
            "coordinator: has a product of the reports that 'ant' did not sign",
        ),
        (
            swap(FeesOpened, lambda m: replace(m, reporters=m.reporters[1:]), receiver="ant"),
            "coordinator: sent a total in which not every party is either reporter or absent",
        ),
        (swap(FeesOpened, lambda m: replace(m, period="2026Q2"), receiver="ant"), "coordinator: sent a total of other"),
        (swap(FeeAggregate, lambda m: replace(m, period="2026Q4")), "coordinator: asked to open other terms"),
        (
            swap(FeeAggregate, lambda m: replace(m, signatures=(bytes(64), *m.signatures[1:]))),
            "coordinator: asked to open a total with a report that 'ant' did not sign",
        ),
        (
            swap(FeeAggregate, first_alone),
            "coordinator: asked to open a total of too few different reports",
        ),
        (swap(FeeAggregate, lambda m: replace(m, ciphertext=b"")), "coordinator: has a product of the reports that"),
        (
            swap(FeeAggregate, lambda m: replace(m, ciphertext=KEY.shared.encrypt(-5, 3).to_bytes(256, "little"))),
            "coordinator: has a product of the reports that 'ant' did not sign",
        ),
        (
            swap(FeeAggregate, lambda m: replace(m, products=m.products[1:])),
            "coordinator: has not had the product of the reports signed by everybody",
        ),
        (swap(FeeProduct, lambda m: replace(m, signature=bytes(64)), "bee"), "bee: signed another product"),
        (swap(FeeProduct, lambda m: replace(m, period="2026Q2"), "bee"), "bee: signed another product"),
        (swap(FeesCollected, lambda m: replace(m, period="2026Q2"), receiver="ant"), "coordinator: sent reports of"),
        (
            swap(FeesCollected, lambda m: replace(m, signatures=(bytes(64), *m.signatures[1:])), receiver="dog"),
            "coordinator: sent a report to multiply that 'ant' did not sign",
        ),
        (
            swap(FeesCollected, lambda m: first(m, 2), receiver="dog"),
            "coordinator: sent too few different reports",
        ),
        (
            swap(FeesCollected, lambda m: first(m, 3), receiver="dog"),
            "coordinator: left this party's fee report out of the total",
        ),
        (
            swap(FeesOpened, lambda m: replace(m, products=(bytes(64), *m.products[1:])), receiver="ant"),
            "coordinator: has a product of the reports that 'ant' did not sign",
        ),
    ],
)  # fmt: skip
def test_tampering_is_caught_and_named(relay: Relay, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        play(relay=relay)


def multiplied(book: FeeBook) -> FeeBook:
    """The book with everybody's product in it."""
    collected = book.collected()
    for name in multipliers(book.terms, collected.reporters):
        mine, _ = multiply(terms(), name, "2026Q3", collected, book.reports[name], SIGNERS[name].sign, "coordinator")
        book.take_product(name, mine)
    return book


def test_a_product_that_leaves_an_amount_out_is_opened_for_nobody_and_no_reader_takes_it() -> None:
    book = FeeBook(terms(), "2026Q3")
    for name in FEES:
        book.take(name, report(name))
    with pytest.raises(LocalProtocolError, match="ant, bee, dog have not multiplied the reports"):
        book.aggregate()
    public = KEY.shared
    aggregate = multiplied(book).aggregate()

    def result(ciphertext: int) -> FeesOpened:
        total, randomness = KEY.open(ciphertext)
        packed = ciphertext.to_bytes(2 * public.width, "little")
        statement = total_statement(terms().digest, "2026Q3", packed, total)
        return FeesOpened(
            terms().digest, "2026Q3", packed, aggregate.reporters, aggregate.digests, aggregate.products, (), total,
            randomness.to_bytes(public.width, "little"), SIGNERS["cat"].sign(statement),
        )  # fmt: skip

    amounts = {name: int.from_bytes(held.ciphertext, "little") for name, held in book.reports.items()}
    honest = result(public.add(amounts.values()))
    assert check_opened(terms(), "2026Q3", honest, "coordinator").total == sum(FEES.values())
    book.audit(honest)
    short = result(public.add(amounts[name] for name in ("bee", "cat", "dog")))
    with pytest.raises(RemoteProtocolError, match="coordinator: has a product of the reports that 'ant' did not sign"):
        check_opened(terms(), "2026Q3", short, "coordinator")


def test_a_period_is_opened_once() -> None:
    opened = Opened()
    play(opened=opened)
    with pytest.raises(LocalProtocolError, match="was opened before"):
        play(opened=opened, absent=("dog",))


def test_terms_that_cannot_keep_a_fee_secret_are_refused() -> None:
    keys = dict(list(terms().keys.items())[:3])
    with pytest.raises(LocalProtocolError, match="'cow' is none of the parties"):
        FeeTerms("run", "cow", 15, 12, keys)
    with pytest.raises(LocalProtocolError, match="three or more"):
        FeeTerms("run", "ant", 15, 12, {n: keys[n] for n in ("ant", "bee")})
    with pytest.raises(LocalProtocolError, match="1 to 56 bits"):
        FeeTerms("run", "ant", 15, 57, keys)
    with pytest.raises(LocalProtocolError, match="not the one the agreement names"):
        play(agreed=terms(PaillierKey(1024)))
    assert replace(terms(), context="run-2").digest != terms().digest


def test_a_fee_is_assets_times_rate_rounded_down() -> None:
    assert usage_fee(1_234_567_899, 250) == 308_641
    assert usage_fee(0, 250) == 0
    for wrong in ((-1, 1), (1, -1)):
        with pytest.raises(ValueError, match="zero or more"):
            usage_fee(*wrong)
