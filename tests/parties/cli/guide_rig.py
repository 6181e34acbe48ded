"""A guide's shell blocks as one script, on free ports, and what it says when it is carried out in a folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from parties.demo.homes import free_addresses
from parties.demo.processes import environment

__all__ = ["carried_out", "script"]

_PATIENCE = 1000 if "ENTENTE_LONG" in os.environ else 480


def script(guide: Path, before: str = "") -> str:
    """The blocks of ``guide`` as they stand, up to the heading ``before``; a comment at its head left out."""
    text = re.sub(r"^<!--.*?-->", "", guide.read_text(encoding="utf-8"), flags=re.DOTALL)
    if before:
        assert before in text, before
        text = text[: text.index(before)]
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    for port, address in zip(range(7400, 7404), free_addresses(4), strict=True):
        blocks = blocks.replace(f"127.0.0.1:{port}", address)
    return f'set -e\nentente() {{ "{sys.executable}" -m parties.cli "$@"; }}\n{blocks}\necho THE END\n'


def carried_out(guide: Path, folder: Path, before: str = "") -> str:
    """What the guide says, carried out to its end or to the heading; whatever it left running is killed."""
    process = subprocess.Popen(
        ["bash", "-c", script(guide, before)],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=_PATIENCE)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    assert said.rstrip().endswith("THE END"), said[-3000:]
    assert process.returncode == 0
    return said
