"""Text of a file that a person made: UTF-8, or UTF-16 and UTF-32 with their mark. Nothing is decoded by a guess."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from charset_normalizer import from_bytes

from parties.errors import ConfigError, DataError, EntenteError

__all__ = ["encoding_of", "many_bytes_a_letter", "open_text", "read_text"]

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins with the mark of UTF-16, so it is asked first
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_FORMATS = (
    (b"PK\x03\x04", "a workbook or archive; save the sheet as CSV (UTF-8)"),
    (b"\xd0\xcf\x11\xe0", "an old workbook; save the sheet as CSV (UTF-8)"),
    (b"\x1f\x8b", "compressed by gzip; unpack it with gunzip"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; unpack it with unzstd"),
    (b"PAR1", "a Parquet file; let its name end in .parquet"),
    (b"%PDF", "a PDF; export the table as CSV (UTF-8)"),
    (b"<!DOCTYPE", "a web page; download the file itself"),
    (b"<!doctype", "a web page; download the file itself"),
    (b"<html", "a web page; download the file itself"),
)
_SAMPLE = 65_536
_ENOUGH = 64
_REMEDY = "save it as UTF-8 where it was made (a spreadsheet calls it CSV UTF-8)"


@contextmanager
def open_text(path: Path, told: str = "", *, fault: type[EntenteError] = DataError) -> Iterator[tuple[TextIO, str]]:
    """The file as text with its line ends as they are, and the name of its encoding where that is not plain UTF-8.

    told: how the file is named in messages, its path by default. Raises :class:`ConfigError` for no file, and ``fault``
    for one that is no text: an encoding without a mark that is not UTF-8, a workbook, an archive. What the body of the
    ``with`` reads is held to the same.
    """
    told = told or str(path)
    try:
        with path.open("rb") as file:
            head = file.read(_SAMPLE)
            file.seek(0)
            encoding = encoding_of(head, told, fault)
            with io.TextIOWrapper(file, encoding=encoding, newline="") as text:
                yield text, encoding.upper() if encoding in ("utf-16", "utf-32") else ""
    except FileNotFoundError:
        raise ConfigError(f"{told}: no such file; name an existing one") from None
    except IsADirectoryError:
        raise ConfigError(f"{told}: is a folder; name a file") from None
    except PermissionError:
        raise ConfigError(f"{told}: may not be read by this user; change its permissions (chmod u+r)") from None
    except UnicodeDecodeError as error:
        raise fault(f"{told}: {_undecodable(path, error)}") from None


def read_text(path: Path, told: str = "", *, fault: type[EntenteError] = ConfigError) -> str:
    """All of a small file's text, with line ends as \\n. Raises as :func:`open_text` does."""
    with open_text(path, told, fault=fault) as (file, _):
        return file.read().replace("\r\n", "\n").replace("\r", "\n")


def encoding_of(head: bytes, told: str, fault: type[EntenteError] = DataError) -> str:
    """What a file's first bytes say of its encoding, UTF-8 without a mark. Raises ``fault`` where they are no text."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    for magic, what in _OTHER_FORMATS:
        if head.lstrip(b" \r\n\t").startswith(magic):
            raise fault(f"{told}: is {what}")
    if b"\0" in head:
        raise fault(f"{told}: has zero bytes, so it is no text, or UTF-16 without its mark; {_REMEDY}")
    return "utf-8"


def many_bytes_a_letter(content: bytes) -> bool:
    """Whether bytes beyond ASCII come as in GBK, Big5 or Shift-JIS: four in a row, or what no Latin-1 text has."""
    return re.search(rb"[\x80-\xff]{4}|[\x80-\x9f]", content) is not None


def _undecodable(path: Path, error: UnicodeDecodeError) -> str:
    """Where a file stops being text, and what it looks like."""
    if error.encoding.replace("_", "-").lower() not in ("utf-8", "utf8"):
        return f"its mark says {error.encoding}, and it is not ({error.reason}); {_REMEDY}"
    sample, place = b"", ""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            sample = (sample + line)[-_SAMPLE:]
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as here:
                place = f"line {number} has the byte 0x{line[here.start]:02X}"
                break
    # a guess from a few letters is wrong more often than not
    best = from_bytes(sample).best() if sum(byte > 127 for byte in sample) >= _ENOUGH else None
    guess = f"; it may be {best.encoding}" if best is not None and best.encoding not in ("utf_8", "ascii") else ""
    return f"is not UTF-8 ({place}{guess}); {_REMEDY}"
