# SPDX-License-Identifier: Apache-2.0
"""D-Bus messages (D-Bus specification 0.43), of jeepney, with what it does not check itself. No I/O.

The peer is QEMU, which its guest may have taken over: jeepney's parser is only let at messages whose sizes are bounded,
and any error of its is an error of the message.
"""

from __future__ import annotations

import array
import contextlib
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jeepney import Header, HeaderFields, Message, MessageFlag, MessageType
from jeepney.low_level import Endianness, parse_signature

MAX_FDS = 16
# What D-Bus allows at most.
MAX_MESSAGE_BYTES = 1 << 27
# Header fields are names and a path.
MAX_HEADER_BYTES = 16384
# Values within values become Python objects of many times their size.
MAX_NESTED_BYTES = 262_144

FIXED_HEADER_BYTES = 16

_TEXT_TYPES = frozenset("sog")
_FLAT_TYPES = frozenset("ybnqiuxtdh") | _TEXT_TYPES
_SIGNATURE_CHARACTERS = frozenset(b"ybnqiuxtdhsogva(){}")
_TYPES = {
    HeaderFields.path: str,
    HeaderFields.interface: str,
    HeaderFields.member: str,
    HeaderFields.error_name: str,
    HeaderFields.reply_serial: int,
    HeaderFields.destination: str,
    HeaderFields.sender: str,
    HeaderFields.signature: str,
    HeaderFields.unix_fds: int,
}


class DBusProtocolError(Exception):
    """The peer sent what is no D-Bus message, or one that is too large: the connection cannot go on."""


@dataclass(slots=True)
class Incoming:
    """A message that has come. Byte arrays in `body` are memoryviews of the message. Owns its descriptors: those that
    take_fd() has not given away are closed by close()."""

    kind: MessageType
    serial: int
    wants_reply: bool
    path: str
    interface: str
    member: str
    error_name: str
    reply_serial: int
    signature: str
    body: tuple[Any, ...]
    fds: list[int] = field(default_factory=list)

    def take_fd(self, fd: int) -> int:
        """Return `fd`, which is the caller's from now on."""
        self.fds.remove(fd)
        return fd

    def close(self) -> None:
        """Close the descriptors that nobody took. May be called twice."""
        while self.fds:
            os.close(self.fds.pop())


def message_size(start: bytes, limit_bytes: int) -> int:
    """Return the whole size of the message that begins with these FIXED_HEADER_BYTES.

    Raises:
        DBusProtocolError: it is over the limit, or no message.
    """
    order = {b"l": "<", b"B": ">"}.get(start[:1])
    if order is None or start[3] != 1:
        raise DBusProtocolError("a message has no D-Bus header")
    body_bytes, _, fields_bytes = struct.unpack_from(order + "III", start, 4)
    if fields_bytes > MAX_HEADER_BYTES:
        raise DBusProtocolError(f"a message's header has {fields_bytes} bytes, over the limit of {MAX_HEADER_BYTES}")
    size = _padded(FIXED_HEADER_BYTES + fields_bytes) + body_bytes
    if size > limit_bytes:
        raise DBusProtocolError(f"a message has {size} bytes, over the limit of {limit_bytes}")
    return int(size)


def parse(data: memoryview, fds: Sequence[int]) -> Incoming:
    """Take a whole message apart. The descriptors are the Incoming's on success, the caller's on failure.

    Raises:
        DBusProtocolError: it is wrong somewhere.
    """
    try:
        return _parse(data, fds)
    except DBusProtocolError:
        raise
    except Exception as error:
        # The parser trusts what it reads: whatever it stumbles over is in the message.
        raise DBusProtocolError(f"a message cannot be read: {type(error).__name__}: {error}") from error


def _parse(data: memoryview, fds: Sequence[int]) -> Incoming:
    order = "<" if data[0] == ord("l") else ">"
    (fields_bytes,) = struct.unpack_from(order + "I", data, 12)
    head = bytes(data[: FIXED_HEADER_BYTES + fields_bytes])
    _refuse_endless_arrays(head)
    header, _ = Header.from_buffer(head)
    fields = header.fields
    for name, value in fields.items():
        if not isinstance(value, _TYPES[name]):
            raise DBusProtocolError(f"the header field {name.name} has a wrong type")
    if fields.get(HeaderFields.unix_fds, 0) != len(fds):
        raise DBusProtocolError(f"{len(fds)} descriptors came, {fields.get(HeaderFields.unix_fds, 0)} were announced")
    signature = fields.get(HeaderFields.signature, "")
    begin = _padded(len(head))
    body: tuple[Any, ...] = ()
    if signature:
        body, end = _parse_body(signature, data, begin, header.endianness, fds)
        if end != len(data):
            raise DBusProtocolError(f"the body is not what its signature {signature!r} says")
    elif begin != len(data):
        raise DBusProtocolError("there is a body without a signature")
    return Incoming(
        kind=header.message_type,
        serial=header.serial,
        wants_reply=not header.flags & MessageFlag.no_reply_expected,
        path=fields.get(HeaderFields.path, ""),
        interface=fields.get(HeaderFields.interface, ""),
        member=fields.get(HeaderFields.member, ""),
        error_name=fields.get(HeaderFields.error_name, ""),
        reply_serial=fields.get(HeaderFields.reply_serial, 0),
        signature=signature,
        body=body,
        fds=list(fds),
    )


def _parse_body(
    signature: str, data: memoryview, begin: int, endianness: Endianness, fds: Sequence[int]
) -> tuple[tuple[Any, ...], int]:
    kind = parse_signature(list(f"({signature})"))
    plain = signature.replace("ay", "")
    buffer: memoryview | bytes = data
    if not _FLAT_TYPES.issuperset(plain):
        if len(data) > MAX_NESTED_BYTES:
            raise DBusProtocolError(f"a message of {len(data)} bytes holds nested values")
        buffer = bytes(data)
        _refuse_endless_arrays(buffer)
    elif not _TEXT_TYPES.isdisjoint(plain):
        buffer = bytes(data)
    body, end = kind.parse_data(buffer, begin, endianness, fds=fds)
    return body, end


def _refuse_endless_arrays(data: bytes) -> None:
    """jeepney reads an array of empty structs for ever; no D-Bus signature has an empty struct."""
    at = data.find(b"()")
    for _ in range(16):
        if at < 0:
            return
        # A signature's length stands before it, and a zero after it; elsewhere "()" is only text.
        end = data.find(0, at)
        begin = at
        while begin > 0 and end - begin < 256 and data[begin - 1] in _SIGNATURE_CHARACTERS:
            begin -= 1
            if data[begin - 1] == end - begin:
                raise DBusProtocolError("a signature has an empty struct")
        if begin > 0 and data[begin - 1] == end - begin:
            raise DBusProtocolError("a signature has an empty struct")
        at = data.find(b"()", at + 2)
    if at >= 0:
        raise DBusProtocolError("too much looks like an empty struct")


def _padded(size: int) -> int:
    return (size + 7) & ~7


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message's bytes, and the descriptors that go with them, which stay their owners'."""

    data: bytes
    fds: tuple[int, ...] = ()


def call(
    serial: int, path: str, interface: str, member: str, signature: str = "", body: tuple[Any, ...] = ()
) -> Outgoing:
    """Make a method call. A descriptor ("h") in `body` is its number.

    Raises:
        ValueError, TypeError: `body` is not what `signature` says.
    """
    fields = {HeaderFields.path: path, HeaderFields.interface: interface, HeaderFields.member: member}
    return _make(MessageType.method_call, serial, fields, signature, body)


def reply(serial: int, to: Incoming, signature: str = "", body: tuple[Any, ...] = ()) -> Outgoing:
    """Make the answer to a call."""
    return _make(MessageType.method_return, serial, {HeaderFields.reply_serial: to.serial}, signature, body)


def error(serial: int, to: Incoming, name: str, text: str) -> Outgoing:
    """Make an error that answers a call."""
    fields = {HeaderFields.reply_serial: to.serial, HeaderFields.error_name: name}
    return _make(MessageType.error, serial, fields, "s", (text,))


def _make(
    kind: MessageType, serial: int, fields: dict[HeaderFields, Any], signature: str, body: tuple[Any, ...]
) -> Outgoing:
    if signature:
        fields[HeaderFields.signature] = signature
    # It fits its own byte order, that of this machine's QEMU or not.
    header = Header(Endianness.little, kind, 0, 1, -1, serial, fields)
    fds = array.array("i")
    with contextlib.suppress(struct.error):
        return Outgoing(bytes(Message(header, body).serialise(serial=serial, fds=fds)), tuple(fds))
    raise ValueError(f"{body!r} is not {signature!r}")
