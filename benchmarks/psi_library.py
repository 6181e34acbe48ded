"""Two-party intersection by a general library, for comparison with ``entente bench psi`` on the same machine.

SecretFlow SPU's psi module, each party a process, over its own links on this machine; it reads ids from a file and
writes the common ones to another, which its times include. It runs in an environment of its own (Python below 3.12):

    python3.11 -m venv spu && spu/bin/pip install spu==0.9.5
    spu/bin/python benchmarks/psi_library.py --protocol ecdh --ids 100000
    spu/bin/python benchmarks/psi_library.py --protocol rr22 --ids 1000000

Wall-clock time from both parties' start of the protocol to the later one's end, and processor time of each.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import socket
import tempfile
import time
from pathlib import Path
from typing import Any


def party(rank: int, ports: list[int], protocol: str, folder: Path, ready: Any, outcome: Any) -> None:
    """One party: puts its seconds, processor seconds and number of common ids."""
    import spu.libspu as libspu
    import spu.psi as psi

    link = libspu.link.Desc()
    for number, port in enumerate(ports):
        link.add_party(str(number), f"127.0.0.1:{port}")
    channel = libspu.link.create_brpc(link, rank)
    how = psi.PsiProtocolConfig(
        protocol={
            "ecdh": psi.PsiProtocol.PROTOCOL_ECDH,
            "kkrt": psi.PsiProtocol.PROTOCOL_KKRT,
            "rr22": psi.PsiProtocol.PROTOCOL_RR22,
        }[protocol],
        receiver_rank=0,
        broadcast_result=True,
        ecdh_params=psi.EcdhParams(curve=psi.EllipticCurveType.CURVE_25519),
    )
    config = psi.PsiExecuteConfig(
        protocol_conf=how,
        input_params=psi.InputParams(path=str(folder / f"in-{rank}.csv"), selected_keys=["id"], keys_unique=True),
        output_params=psi.OutputParams(path=str(folder / f"out-{rank}.csv"), disable_alignment=True),
    )
    ready.wait()
    began, busy = time.monotonic(), time.process_time()
    report = psi.psi_execute(config, channel)
    outcome.put((rank, time.monotonic() - began, time.process_time() - busy, report.intersection_count))


def measure(protocol: str, ids: int) -> tuple[float, list[float]]:
    """Seconds of the slower party, and processor seconds of each. Four fifths of the ids are common."""
    common = ids * 4 // 5
    context = multiprocessing.get_context("spawn")
    ready, outcome = context.Barrier(2), context.Queue()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for rank in range(2):
            own = [f"C{n:09d}" for n in range(common)] + [f"P{rank}X{n:09d}" for n in range(ids - common)]
            (folder / f"in-{rank}.csv").write_text("id\n" + "\n".join(own) + "\n", encoding="ascii")
        ports = [free_port(), free_port()]
        parties = [
            context.Process(target=party, args=(rank, ports, protocol, folder, ready, outcome)) for rank in range(2)
        ]
        for one in parties:
            one.start()
        found = sorted(outcome.get(timeout=900) for _ in parties)
        for one in parties:
            one.join(timeout=10)
    assert {count for *_, count in found} == {common}, f"found {found}, not {common} common ids"
    return max(seconds for _, seconds, _, _ in found), [busy for _, _, busy, _ in found]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", choices=("ecdh", "kkrt", "rr22"), default="rr22")
    parser.add_argument("--ids", type=int, default=100_000)
    asked = parser.parse_args()
    if importlib.util.find_spec("spu") is None:
        print("spu is not installed here: it has an environment of its own, pip install spu==0.9.5")
        return
    seconds, busy = measure(asked.protocol, asked.ids)
    each = " and ".join(f"{one:.1f}" for one in busy)
    print(f"{asked.protocol}, two parties of {asked.ids:,} ids: {seconds:.2f} s; processor time {each} s")


if __name__ == "__main__":
    main()
