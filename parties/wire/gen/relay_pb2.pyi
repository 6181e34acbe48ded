# ruff: noqa
# mypy: ignore-errors
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Here(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Ring(_message.Message):
    __slots__ = ("caller", "ticket")
    CALLER_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    caller: str
    ticket: str
    def __init__(self, caller: _Optional[str] = ..., ticket: _Optional[str] = ...) -> None: ...

class Parcel(_message.Message):
    __slots__ = ("to", "ticket", "data")
    TO_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    to: str
    ticket: str
    data: bytes
    def __init__(self, to: _Optional[str] = ..., ticket: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...
