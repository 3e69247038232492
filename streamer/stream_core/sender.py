# SPDX-License-Identifier: Apache-2.0
"""The native sender: access units in, protected RTP packets out on a UDP socket (sc_sender.h)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from ._ffi import ffi, lib
from .errors import check
from .packet_log import PacketLog

NEVER_NS = 2**64 - 1
_REPORTS = 64


class SrtpProfile(IntEnum):
    """How packets are protected (RFC 7714)."""

    AEAD_AES_128_GCM = lib.SC_SRTP_AEAD_AES_128_GCM
    AEAD_AES_256_GCM = lib.SC_SRTP_AEAD_AES_256_GCM

    @property
    def key_bytes(self) -> int:
        """Of the master key."""
        return 32 if self is SrtpProfile.AEAD_AES_256_GCM else 16


SALT_BYTES = 12


class SendMode(IntEnum):
    """How packets are given to the kernel, the cheapest first."""

    GSO = lib.SC_SEND_GSO
    SENDMMSG = lib.SC_SEND_SENDMMSG
    SINGLY = lib.SC_SEND_SINGLY


@dataclass(frozen=True, slots=True)
class ExtensionIds:
    """Header extensions by their negotiated ids; 0: not negotiated."""

    mid: int = 0
    abs_send_time: int = 0
    playout_delay: int = 0
    transport_cc: int = 0
    abs_capture_time: int = 0


@dataclass(frozen=True, slots=True)
class Rtx:
    """The stream that retransmissions go in (RFC 4588)."""

    ssrc: int
    payload_type: int
    first_sequence: int = 0


@dataclass(frozen=True, slots=True)
class SenderParameters:
    """What a sender is made for. `rtx`: None when it was not negotiated."""

    profile: SrtpProfile
    master_key: bytes = field(repr=False)
    master_salt: bytes = field(repr=False)
    ssrc: int
    payload_type: int
    first_sequence: int = 0
    rtx: Rtx | None = None
    extensions: ExtensionIds = field(default_factory=ExtensionIds)
    mid: str = ""
    max_packet_bytes: int = 1200
    max_resent_per_s: int = 4000


@dataclass(frozen=True, slots=True)
class SentReport:
    """A frame whose last packet has been given to the kernel (CLOCK_MONOTONIC ns)."""

    rtp_time: int
    packets: int
    first_packet_ns: int
    last_packet_ns: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits. `next_ns`: when pump() is due, None: no time is waited for. `is_blocked`: pump() when writable."""

    next_ns: int | None
    is_blocked: bool
    unsent_frames: int
    unsent_bytes: int


@dataclass(frozen=True, slots=True)
class SenderCounters:
    """Sums since the sender began. `packets` and `octets` (of payload) are RTCP's: without retransmissions."""

    packets: int
    octets: int
    resent_packets: int
    resends_refused: int
    frames: int
    frames_refused: int
    frames_replaced: int
    send_errors: int
    last_errno: int
    last_rtp_time: int
    mode: SendMode


class Sender:
    """Sends one H.264 stream. Any thread; no call blocks on the network, and each gives the GIL up meanwhile."""

    __slots__ = ("_log", "_raw", "_reports")

    def __init__(self, parameters: SenderParameters, log: PacketLog | None) -> None:
        """
        Raises:
            InvalidError: a size, an id or a type is out of range.
            StreamCoreError: the cipher cannot be had.
        """
        profile = parameters.profile
        if len(parameters.master_key) != profile.key_bytes or len(parameters.master_salt) != SALT_BYTES:
            raise ValueError(f"{profile.name} takes a key of {profile.key_bytes} bytes and a salt of {SALT_BYTES}")
        mid = parameters.mid.encode()
        if len(mid) > 16:
            raise ValueError("mid has more than 16 bytes")
        raw = ffi.new("struct sc_sender_params *")
        raw.codec = lib.SC_CODEC_H264
        raw.profile = profile
        ffi.memmove(raw.master_key, parameters.master_key, len(parameters.master_key))
        ffi.memmove(raw.master_salt, parameters.master_salt, SALT_BYTES)
        raw.ssrc = parameters.ssrc
        raw.first_sequence = parameters.first_sequence
        raw.payload_type = parameters.payload_type
        if parameters.rtx is not None:
            raw.has_rtx = True
            raw.rtx_ssrc = parameters.rtx.ssrc
            raw.rtx_payload_type = parameters.rtx.payload_type
            raw.first_rtx_sequence = parameters.rtx.first_sequence
        for name in ("mid", "abs_send_time", "playout_delay", "transport_cc", "abs_capture_time"):
            setattr(raw.extensions, name, getattr(parameters.extensions, name))
        ffi.memmove(raw.mid, mid, len(mid))
        raw.max_packet_bytes = parameters.max_packet_bytes
        raw.max_resent_per_s = parameters.max_resent_per_s
        raw.log = log.raw if log is not None else ffi.NULL
        out = ffi.new("struct sc_sender **")
        check(lib.sc_sender_create(raw, out), "sender")
        # Ended when nobody refers to it: a call of another thread may be under way when this one is closed.
        self._raw = ffi.gc(out[0], lib.sc_sender_destroy)
        self._log = log
        self._reports = ffi.new("struct sc_sent_frame[]", _REPORTS)

    def set_path(self, fd: int, host: str | None = None, port: int = 0) -> None:
        """Send on this socket (dup'ed) to a numeric address; None: it is connected. -1: there is no path any more.

        Raises:
            OSError, InvalidError: the socket or the address cannot be used; there is no path then.
        """
        address = ffi.NULL if host is None else host.encode()
        check(lib.sc_sender_set_path(self._raw, fd, address, port), f"path to {host} port {port}")

    def limit_mode(self, mode: SendMode) -> None:
        """Try nothing better than this from the next path on."""
        lib.sc_sender_limit_mode(self._raw, mode)

    def set_pace(self, pace_bps: int) -> None:
        """Spread what exceeds a burst at this rate; 0: no pacing."""
        lib.sc_sender_set_pace(self._raw, pace_bps)

    def send_frame(
        self, data: bytes | memoryview, rtp_time: int, *, is_keyframe: bool, now_ns: int, capture_ntp: int = 0
    ) -> bool:
        """Send an access unit as far as pace and socket allow. False when it was dropped: a keyframe is needed then.

        A keyframe takes the place of older frames that were not begun.
        """
        frame = ffi.new("struct sc_frame *")
        with ffi.from_buffer(data) as unit:
            frame.data = ffi.cast("const uint8_t *", unit)
            frame.size_bytes = len(unit)
            frame.rtp_time = rtp_time
            frame.is_keyframe = is_keyframe
            frame.capture_ntp = capture_ntp
            return bool(lib.sc_sender_send_frame(self._raw, frame, now_ns) == lib.SC_OK)

    def pump(self, now_ns: int) -> None:
        """Send what is due."""
        lib.sc_sender_pump(self._raw, now_ns)

    def retransmit(self, sequences: Sequence[int], now_ns: int) -> int:
        """Send packets again; returns how many were."""
        return int(lib.sc_sender_retransmit(self._raw, sequences, len(sequences), now_ns))

    def remembered_bytes(self, sequence: int, now_ns: int) -> int:
        """Return the payload's size of a packet that can be sent again; 0 when it cannot."""
        return int(lib.sc_sender_remembered_bytes(self._raw, sequence, now_ns))

    def backlog(self) -> Backlog:
        """Return what waits."""
        raw = ffi.new("struct sc_sender_state *")
        lib.sc_sender_get_state(self._raw, raw)
        next_ns = raw.next_ns
        return Backlog(None if next_ns == NEVER_NS else next_ns, raw.is_blocked, raw.unsent_frames, raw.unsent_bytes)

    def counters(self) -> SenderCounters:
        """Return the sums."""
        raw = ffi.new("struct sc_sender_state *")
        lib.sc_sender_get_state(self._raw, raw)
        return SenderCounters(
            packets=raw.packets,
            octets=raw.octets,
            resent_packets=raw.resent_packets,
            resends_refused=raw.resends_refused,
            frames=raw.frames,
            frames_refused=raw.frames_refused,
            frames_replaced=raw.frames_replaced,
            send_errors=raw.send_errors,
            last_errno=raw.last_errno,
            last_rtp_time=raw.last_rtp_time,
            mode=SendMode(raw.mode),
        )

    def take_sent(self) -> list[SentReport]:
        """Return the frames that have gone since the last call, oldest first (64 at most). One thread at a time."""
        count = lib.sc_sender_take_sent(self._raw, self._reports, _REPORTS)
        return [
            SentReport(report.rtp_time, report.packets, report.first_packet_ns, report.last_packet_ns)
            for report in self._reports[0:count]
        ]

    def dump(self, fd: int) -> None:
        """Write each packet, before it is protected, to a pcap file (dup'ed); -1 ends it. For debugging.

        Raises:
            OSError: it cannot be written.
        """
        check(lib.sc_sender_dump(self._raw, fd), "dump")

    def close(self) -> None:
        """Send nothing more, and give memory back. Any call may still be made, and does nothing."""
        lib.sc_sender_close(self._raw)
