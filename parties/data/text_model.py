"""A party's own model of a text's tone: a transformers classifier in a folder of this machine, and no other.

Nothing is downloaded, no code of a model is run, and weights are read from safetensors alone. Texts go through one at
a time: what stands beside a text in a batch moves its score in the last digits, and the same text must give the same
number. The score is the share of the label positive less that of the label negative.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parties.data.plain_text import words_of
from parties.data.text_scorer import DECIMALS, Scorer
from parties.errors import ConfigError

__all__ = ["local_model"]

_MOST_TOKENS = 512
_PIECE = 1 << 20
_REMEDY = "put a saved sequence classifier there: config.json, its tokenizer and model.safetensors"


def local_model(folder: Path, version: str) -> Scorer:
    """The classifier in ``folder``. Raises :class:`ConfigError` for one that is not whole, or needs more than files."""
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise ConfigError(f"text.path: {folder} has no {name}: {_REMEDY}")
    digest = _digest(folder)
    # read when the libraries are imported: whatever a model asks for, nothing is looked up elsewhere
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    try:
        import torch
        import transformers
    except ImportError:
        raise ConfigError(
            "text.scorer = \"transformers\" needs the package transformers: pip install 'entente[transformers]'"
        ) from None
    transformers.utils.logging.disable_progress_bar()
    only_here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), **only_here)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            str(folder), use_safetensors=True, **only_here
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        why = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ConfigError(f"text.path: {folder} cannot be loaded ({why}): {_REMEDY}") from None
    model = model.to(torch.float32).eval()
    up, down = _ends({int(place): str(name) for place, name in model.config.id2label.items()}, folder)
    longest = min(_MOST_TOKENS, int(getattr(model.config, "max_position_embeddings", _MOST_TOKENS)))
    seen: dict[str, float] = {}

    def score(text: str, words: Sequence[str]) -> float:
        if not words:
            return 0.0
        if text not in seen:
            given = tokenizer(text, truncation=True, max_length=longest, return_tensors="pt")
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                with torch.inference_mode():
                    shares = torch.softmax(model(**given).logits[0].to(torch.float64), dim=0)
            finally:
                torch.set_num_threads(threads)
            if len(seen) < _PIECE:
                seen[text] = round(float(shares[up] - shares[down]), DECIMALS)
            else:
                return round(float(shares[up] - shares[down]), DECIMALS)
        return seen[text]

    told = f"{version} (transformers {importlib.metadata.version('transformers')})".strip()
    return Scorer(folder.name, told, digest, words_of, score)


def _ends(labels: dict[int, str], folder: Path) -> tuple[int, int]:
    """Which outputs are positive and negative."""
    found = {name.strip().lower(): place for place, name in labels.items()}
    if "positive" not in found or "negative" not in found:
        raise ConfigError(
            f"text.path: {folder} has the labels {', '.join(sorted(labels.values()))}, and positive and negative are "
            "needed: name them in id2label of its config.json"
        )
    return found["positive"], found["negative"]


def _digest(folder: Path) -> str:
    """SHA-256 over the folder's files: their names and bytes, in the order of names."""
    whole = hashlib.sha256()
    try:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            one = hashlib.sha256()
            with path.open("rb") as file:
                while piece := file.read(_PIECE):
                    one.update(piece)
            whole.update(f"{path.relative_to(folder).as_posix()}\0{one.hexdigest()}\n".encode())
    except OSError as error:
        raise ConfigError(f"text.path: {folder} cannot be read ({error.strerror}): mend its permissions") from None
    return whole.hexdigest()
