"""Settings as TOML text: just what the settings models need, which the standard library only reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["to_toml"]


def to_toml(record: Mapping[str, Any], prefix: str = "") -> str:
    """TOML of strings, numbers, booleans, lists of these and nested tables; ``None`` is left out."""
    lines = [
        f"{_key(key)} = {_value(item)}" for key, item in record.items() if item is not None and not _is_table(item)
    ]
    for key, item in record.items():
        if _is_table(item):
            lines += ["", f"[{prefix}{_key(key)}]", to_toml(item, f"{prefix}{_key(key)}.").rstrip("\n")]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else _value(name)


def _is_table(item: object) -> bool:
    return isinstance(item, Mapping)


def _value(item: object) -> str:
    if isinstance(item, Sequence) and not isinstance(item, str):
        return f"[{', '.join(_value(one) for one in item)}]"
    # JSON's strings, numbers and booleans are TOML's, but for DEL, which TOML wants escaped
    return json.dumps(item, allow_nan=False).replace("\x7f", "\\u007F")
