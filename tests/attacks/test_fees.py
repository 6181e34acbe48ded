"""Attack: a coordinator that reads one party's confidential fee out of the opened total.

It asks the key holder to open one party's ciphertext, multiplied with an encryption of an amount of its own choice, and
tells everybody that this is the total. The ciphertext equals none that anybody sent, the proof of the opening fits, and
every digest and signature is in place. What stops it is that every reporter but the key holder multiplies the reports
itself, and that nothing is opened that they have not all signed.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from psi.flow import Message, RemoteProtocolError
from tests.vfl.protocols.test_fees import FEES, KEY, play, report, secret
from vfl.protocols import fee_reports
from vfl.protocols.fee_messages import FeeAggregate, FeesCollected, FeesOpened, FeeTotal

VICTIM, SHIFT = "dog", 3_000
PUBLIC = KEY.shared


def shifted(ciphertext: bytes) -> bytes:
    """The victim's ciphertext under fresh randomness, with an amount on top that the coordinator knows."""
    extra = PUBLIC.encrypt(SHIFT, PUBLIC.unit(secret("a coordinator's own")))
    return PUBLIC.add([int.from_bytes(ciphertext, "little"), extra]).to_bytes(2 * PUBLIC.width, "little")


class Coordinator:
    """What stands between the flows: it swaps what is to be opened, and tells the same to everybody afterwards."""

    def __init__(self) -> None:
        self.asked = b""
        self.read = -1

    def __call__(self, sender: str, to: str, got: Message) -> Message:
        if isinstance(got, FeesCollected) and to == "ant":
            theirs = dict(zip(got.reporters, got.ciphertexts, strict=True))[VICTIM]
            self.asked = shifted(theirs)
        elif isinstance(got, FeeAggregate):
            return replace(got, ciphertext=self.asked)
        elif isinstance(got, FeeTotal):
            self.read = got.total - SHIFT
        return got


def test_without_the_parties_own_products_it_reads_one_fee(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fee_reports, "_check_products", lambda *_: None)
    evil = Coordinator()
    with pytest.raises(RemoteProtocolError):  # our own coordinator's flow sees it: a cheating one would not complain
        play(relay=evil)
    assert evil.read == FEES[VICTIM]


def test_with_them_nothing_is_opened_that_they_did_not_make_themselves() -> None:
    evil = Coordinator()
    with pytest.raises(RemoteProtocolError, match="coordinator: has a product of the reports that 'ant' did not sign"):
        play(relay=evil)
    assert evil.asked
    assert evil.read == -1, "the key holder opened it"


@pytest.mark.parametrize("change", ["one for another", "one twice", "one left out"])
def test_nor_can_it_have_them_multiply_something_else(change: str) -> None:
    """What they are given to multiply must be what each party signed, once, with their own report in it."""

    def relay(sender: str, to: str, got: Message) -> Message:
        if not isinstance(got, FeesCollected):
            return got
        parts = list(zip(got.reporters, got.ciphertexts, got.signatures, strict=True))
        if change == "one for another":
            parts[0] = (parts[0][0], shifted(parts[3][1]), parts[0][2])
        elif change == "one twice":
            parts[0] = (parts[0][0], parts[3][1], parts[3][2])
        else:
            parts = [part for part in parts if part[0] != to][:3]
        names, ciphertexts, signatures = zip(*parts, strict=True)
        return replace(got, reporters=names, ciphertexts=ciphertexts, signatures=signatures)

    with pytest.raises(RemoteProtocolError, match=r"coordinator: (sent a report to multiply|left this party's fee)"):
        play(relay=relay)


def test_the_key_holder_is_given_no_report_that_it_could_open() -> None:
    held: list[bytes] = []

    def relay(sender: str, to: str, got: Message) -> Message:
        if to == "cat" and isinstance(got, FeeAggregate | FeesOpened | FeesCollected):
            held.extend([got.ciphertext] if not isinstance(got, FeesCollected) else got.ciphertexts)
        return got

    play(relay=relay)
    assert len(set(held)) == 1
    assert KEY.open(int.from_bytes(held[0], "little"))[0] == sum(FEES.values())
    assert held[0] not in {report(name).ciphertext for name in FEES}
