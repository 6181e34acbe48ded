"""Regenerate ``parties/wire/gen`` from the ``.proto`` files: ``python -m parties.wire.generate``.

Only message classes are generated. Service methods are registered by name (``parties.transport.grpc``,
``parties.coordinator.service``), so that no generated module imports grpc. A test compares the committed
files with a fresh run.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from parties.errors import ConfigError

__all__ = ["generate"]

_HERE = Path(__file__).parent
_EXEMPT = "# ruff: noqa\n# mypy: ignore-errors\n"


def generate(target: Path) -> None:
    """Write the generated modules into ``target``. Needs the development extra ``grpcio-tools``."""
    try:
        from grpc_tools import protoc  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigError("grpcio-tools is not installed: install the development extra first") from None
    include = str(files("grpc_tools") / "_proto")
    sources = [str(path) for path in sorted(_HERE.glob("*.proto"))]
    options = [f"-I{_HERE}", f"-I{include}", f"--python_out={target}", f"--pyi_out={target}"]
    code = protoc.main(["protoc", *options, *sources])
    if code:
        raise ConfigError(f"protoc refused the .proto files (exit code {code}): mend the lines it names")
    for made in target.glob("*_pb2.py*"):
        made.write_text(_EXEMPT + made.read_text(encoding="utf-8"), encoding="utf-8")


if __name__ == "__main__":
    generate(_HERE / "gen")
    sys.exit(0)
