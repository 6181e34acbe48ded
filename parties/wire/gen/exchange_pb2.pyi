# ruff: noqa
# mypy: ignore-errors
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Hello(_message.Message):
    __slots__ = ("run_id", "session", "sender")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    session: str
    sender: str
    def __init__(self, run_id: _Optional[str] = ..., session: _Optional[str] = ..., sender: _Optional[str] = ...) -> None: ...

class Header(_message.Message):
    __slots__ = ("run_id", "session", "sender", "sequence", "kind", "size")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    session: str
    sender: str
    sequence: int
    kind: str
    size: int
    def __init__(self, run_id: _Optional[str] = ..., session: _Optional[str] = ..., sender: _Optional[str] = ..., sequence: _Optional[int] = ..., kind: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class End(_message.Message):
    __slots__ = ("aborted", "anew")
    ABORTED_FIELD_NUMBER: _ClassVar[int]
    ANEW_FIELD_NUMBER: _ClassVar[int]
    aborted: bool
    anew: bool
    def __init__(self, aborted: _Optional[bool] = ..., anew: _Optional[bool] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("hello", "header", "end", "data")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    header: Header
    end: End
    data: bytes
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., header: _Optional[_Union[Header, _Mapping]] = ..., end: _Optional[_Union[End, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("next", "closed", "waiting")
    NEXT_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    next: int
    closed: bool
    waiting: bool
    def __init__(self, next: _Optional[int] = ..., closed: _Optional[bool] = ..., waiting: _Optional[bool] = ...) -> None: ...
