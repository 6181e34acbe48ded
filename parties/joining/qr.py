"""A text as a QR code: rows of modules, for whoever draws them."""

from __future__ import annotations

from reportlab.graphics.barcode.qrencoder import QR8bitByte, QRCode, QRErrorCorrectLevel

__all__ = ["qr_rows"]


def qr_rows(text: str) -> tuple[str, ...]:
    """The code's square of modules, ``1`` dark, without its quiet margin. ASCII only."""
    code = QRCode(None, QRErrorCorrectLevel.M)
    code.addData(QR8bitByte(text.encode("ascii")))
    code.make()
    size = code.getModuleCount()
    return tuple("".join("1" if code.isDark(row, column) else "0" for column in range(size)) for row in range(size))
