"""A consortium in one process that aligns by oblivious transfer: the ring's seeded randomness and signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from psi.commitment import AlignmentLimits, PreviousAlignment
from psi.flow import Flow, run_local
from psi.ot.align import align_by_transfer
from psi.ot.fixed_key import derived
from tests.psi.rig import LIMITS, RUN, Seeded, Wire, toy_signature, toy_verify


def transfer_flows(
    sets: Mapping[str, Sequence[str]],
    *,
    leader: str = "",
    seed: object = 0,
    run: bytes = RUN,
    limits: AlignmentLimits = LIMITS,
    previous: Mapping[str, PreviousAlignment] | None = None,
) -> dict[str, Flow[Any]]:
    return {
        name: align_by_transfer(
            name,
            list(sets),
            leader or next(iter(sets)),
            ids,
            run=run,
            limits=limits,
            randomness=Seeded(seed, name),
            sign=lambda data, name=name: toy_signature(name, data),
            verify=toy_verify,
            previous=(previous or {}).get(name),
        )
        for name, ids in sets.items()
    }


def transfer(sets: Mapping[str, Sequence[str]], *, wire: Wire | None = None, **options: Any) -> dict[str, Any]:
    return run_local(transfer_flows(sets, **options), relay=wire)


@dataclass
class ToyChoices:
    bits: Sequence[bool]
    points: bytes
    tag: bytes

    def seeds(self, answer: bytes, peer: str) -> list[bytes]:
        return [toy_seed(self.tag, number, bit) for number, bit in enumerate(self.bits)]


def toy_seed(tag: bytes, number: int, bit: bool) -> bytes:
    return derived(tag, number.to_bytes(4, "big"), bytes([bit]))


def without_base_transfers(patch: pytest.MonkeyPatch) -> None:
    """Seeds that both ends compute, in place of 512 transfers a pair: for tests of what comes after them."""
    patch.setattr("psi.ot.member.choose", lambda bits, tag, randomness: ToyChoices(bits, b"", tag))
    patch.setattr(
        "psi.ot.leader.pairs",
        lambda made, points, count, tag, peer: [
            (toy_seed(tag, number, False), toy_seed(tag, number, True)) for number in range(count)
        ],
    )
