# SPDX-License-Identifier: Apache-2.0
"""What a machine plays, by `org.qemu.Display1.Audio`, for who connects to the sound socket
(`docs/protocol/sound-link.md`).

The machine needs `-audiodev dbus,id=ID` and `-display dbus,p2p=yes,audiodev=ID`. QEMU is listened to only while
somebody is connected; it sends nothing while the machine plays nothing.
"""

from __future__ import annotations

import asyncio
import logging
import socket

from guest_agent.sound_socket import serve_newest, wait_gone_or
from guest_agent.vm.dbus_connection import Answer, DBusError, Exports, Method, RefusedError
from guest_agent.vm.dbus_display import ROOT, DBusDisplay
from guest_agent.vm.dbus_message import Incoming
from guest_agent.vm.pcm_format import CHANNELS, PcmConverter, PcmError, PcmFormat
from guest_agent.vm.qmp import QemuVersion

AUDIO = "org.qemu.Display1.Audio"
OUT_LISTENER = "org.qemu.Display1.AudioOutListener"
PATH = ROOT + "/Audio"
# QEMU 7 dies in RegisterOutListener when the display is peer to peer.
MIN_VERSION = QemuVersion(8, 0, 0)
# QEMU mixes all sound devices into one stream unless it was told otherwise.
MAX_STREAMS = 8
MAX_WRITE_BYTES = 1_048_576
_FRAME_BYTES = 2 * CHANNELS

_log = logging.getLogger(__name__)


class OutListener:
    """Writes QEMU's samples into a connection of the sound link; all of it on the D-Bus connection's thread.

    One stream is heard at a time, the one that began last: QEMU's mixer is the place where sounds become one.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._streams: dict[int, PcmConverter] = {}
        self._heard: int | None = None
        self._rest = b""
        methods = {
            (OUT_LISTENER, "Init"): Method("tybbuyuub", self._init),
            (OUT_LISTENER, "Fini"): Method("t", self._fini),
            (OUT_LISTENER, "SetEnabled"): Method("tb", self._set_enabled),
            (OUT_LISTENER, "SetVolume"): Method("tbay", self._set_volume),
            (OUT_LISTENER, "Write"): Method("tay", self._write),
        }
        self.exports = Exports(methods, {OUT_LISTENER: {"Interfaces": ("as", [])}})

    def _init(self, message: Incoming) -> Answer | None:
        stream, bits, is_signed, is_float, rate_hz, channels, _, _, is_big_endian = message.body
        if stream not in self._streams and len(self._streams) >= MAX_STREAMS:
            raise RefusedError(f"there are {MAX_STREAMS} streams already")
        try:
            self._streams[stream] = PcmConverter(PcmFormat(bits, is_signed, is_float, rate_hz, channels, is_big_endian))
        except PcmError as error:
            raise RefusedError(str(error)) from None
        return None

    def _stream(self, message: Incoming) -> PcmConverter:
        found = self._streams.get(message.body[0])
        if found is None:
            raise RefusedError("there is no such stream")
        return found

    def _fini(self, message: Incoming) -> Answer | None:
        self._streams.pop(message.body[0], None)
        if self._heard == message.body[0]:
            self._heard = None
        return None

    def _set_enabled(self, message: Incoming) -> Answer | None:
        self._stream(message)
        stream, is_enabled = message.body
        if is_enabled:
            self._heard = stream
        elif self._heard == stream:
            self._heard = None
        return None

    def _set_volume(self, message: Incoming) -> Answer | None:
        _, is_muted, volume = message.body
        levels = [0.0 if is_muted else level / 255 for level in bytes(volume[:CHANNELS])] or [0.0 if is_muted else 1.0]
        self._stream(message).gains = (levels[0], levels[-1])
        return None

    def _write(self, message: Incoming) -> Answer | None:
        converter = self._stream(message)
        stream, data = message.body
        if len(data) > MAX_WRITE_BYTES:
            raise RefusedError(f"{len(data)} bytes at once are over the limit of {MAX_WRITE_BYTES}")
        if self._heard is None:
            self._heard = stream
        if stream == self._heard:
            self._send(converter.convert(bytes(data)))
        return None

    def _send(self, data: bytes) -> None:
        """Who does not read loses whole frames: the rest of one that was begun goes first."""
        if self._rest:
            self._rest = self._rest[self._try(self._rest) :]
        if not self._rest:
            sent = self._try(data)
            self._rest = data[sent : sent + -sent % _FRAME_BYTES]

    def _try(self, data: bytes) -> int:
        try:
            return self._sock.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) if data else 0
        except BlockingIOError:
            return 0
        except OSError:
            # The other end is gone; whoever watches it ends us.
            return len(data)


class DBusSound:
    """Serves the listening socket `fd`, which it takes over. One connection at a time; a new one replaces the old."""

    def __init__(self, display: DBusDisplay, version: QemuVersion, fd: int) -> None:
        self._display = display
        self._version = version
        self._fd = fd

    @property
    def is_available(self) -> bool:
        """Whether there is any hope of sound."""
        return self._version >= MIN_VERSION and AUDIO in self._display.interfaces

    async def run(self) -> None:
        """Serve until cancelled."""
        if self._version < MIN_VERSION:
            _log.warning("no sound: QEMU %s ends when it is listened to, %s does not", self._version, MIN_VERSION)
        elif AUDIO not in self._display.interfaces:
            _log.info("no sound: the machine has no -audiodev dbus that its display names")
        await serve_newest(self._fd, self._serve)

    async def _serve(self, sock: socket.socket) -> None:
        with sock:
            if not self.is_available:
                return
            sock.setblocking(False)
            try:
                exports = OutListener(sock).exports
                connection = await self._display.register(PATH, AUDIO, "RegisterOutListener", exports, "sound")
            except DBusError as error:
                _log.warning("no sound: %s", error)
                return
            try:
                await wait_gone_or(sock, connection.wait_closed())
            finally:
                connection.close()
                await asyncio.shield(connection.wait_closed())
