"""Coverage-guided fuzzing of the decoders a peer's bytes reach.

    pip install atheris
    python -m benchmarks.fuzz codec -max_total_time=120
    python -m benchmarks.fuzz he -max_total_time=120

What follows the target goes to libFuzzer. Anything but the documented error ends it with the input that did it.
``tests/attacks/test_hostile_bytes.py`` does the same with hypothesis in every test run.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(
    include=["parties.wire.codec", "vfl.arithmetic.ring", "vfl.arithmetic.public_key", "vfl.arithmetic.he", "psi.group"]
):
    from parties.wire import codec
    from psi import group
    from vfl.arithmetic import he, ring

import numpy as np

import vfl.register  # noqa: F401 - declares every message type
from psi.flow import REGISTER, RemoteProtocolError

KINDS = sorted(REGISTER)
FINGERPRINTS = {kind: codec._schema(REGISTER[kind].cls).fingerprint for kind in KINDS}


def decode_message(data: bytes) -> None:
    """The first byte chooses the kind; the fingerprint is right, or every input would end there."""
    if not data:
        return
    kind = KINDS[data[0] % len(KINDS)]
    body = FINGERPRINTS[kind] + data[1:]
    try:
        got = codec.decode(kind, body, limit=2**20)
    except RemoteProtocolError:
        return
    if codec.encode(got) != (kind, body):
        raise AssertionError(f"{kind} has two encodings")


KEY = he.KeyHolder(he.Context("bfv-4096", 44))
EVALUATOR = he.Evaluator(KEY.context, KEY.public_key)
GOOD = KEY.encrypt(np.arange(KEY.context.degree, dtype=np.uint64))
POSITIONS = np.arange(16)


def decode_ciphertext(data: bytes) -> None:
    """The first byte chooses the decoder; the rest is laid over a good value at a place of its choice."""
    if len(data) < 4:
        return
    way, place, rest = data[0] % 5, int.from_bytes(data[1:4], "little"), data[4:]
    good = (GOOD, GOOD, KEY.public_key, b"", b"")[way]
    at = place % (len(good) + 1)
    laid = good[:at] + rest + good[at + len(rest) :] if len(rest) % 7 else rest
    try:
        if way == 0:
            EVALUATOR.load(laid)
        elif way == 1:
            half = len(laid) // 2
            KEY.decrypt(laid[: 16 * sum(KEY.context.widths)], laid[half:], POSITIONS)
        elif way == 2:
            he.Evaluator(KEY.context, laid)
        elif way == 3:
            ring.unpack(rest, 1 + place % 8, place % 64, 1 + place)
        else:
            group.split_points(rest, place % 8, "peer")
    except (ValueError, RemoteProtocolError):
        return


TARGETS = {"codec": decode_message, "he": decode_ciphertext}


def main() -> None:
    """``TARGET [libFuzzer options]``."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        raise SystemExit(f"name a target: {', '.join(TARGETS)}")
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
