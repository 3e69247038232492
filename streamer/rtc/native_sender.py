# SPDX-License-Identifier: Apache-2.0
"""Feeds the native sender with what aiortc has negotiated, and keeps it running: its path, its timer, its socket."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aioice.ice import CandidatePair
from aiortc import clock
from aiortc.codecs import is_rtx
from aiortc.rtcrtpparameters import RTCRtpSendParameters
from aiortc.rtp import RtcpSenderInfo

from streamer.encode.encoder import CLOCK_RATE
from streamer.rtc.extensions import (
    ABS_CAPTURE_TIME_URI,
    ABS_SEND_TIME_URI,
    MID_URI,
    PLAYOUT_DELAY_URI,
    TRANSPORT_CC_URI,
)
from streamer.rtc.ice import StreamConnection
from streamer.rtc.path import MediaPath, path_of
from streamer.rtc.track import SentFrame, StreamFrame
from streamer.stream_core.errors import StreamCoreError
from streamer.stream_core.sender import Backlog, ExtensionIds, Rtx, Sender, SenderCounters, SenderParameters

if TYPE_CHECKING:
    from streamer.rtc.transport import StreamDtlsTransport

_log = logging.getLogger(__name__)

NS = 1_000_000_000
# A packet that says what was lost can name 5000 others; this is 40 Mb/s of them.
MAX_RESENT_PER_S = 4000
# Keyframes are spread at this multiple of the rate aimed at: other frames leave in less than half a frame's time.
PACE_FACTOR = 2.5
# Above this the path counts as fast: bursts are cut only as receivers' buffers want it.
FAST_RATE_BPS = 60_000_000
FAST_PACE_BPS = 800_000_000
# Until somebody knows better.
START_RATE_BPS = 20_000_000
# The C side keeps 64 on their way.
MAX_PUSHED_FRAMES = 65


class NativeSenderError(Exception):
    """This stream must go aiortc's way; the text says why."""


def sender_parameters(
    transport: StreamDtlsTransport, parameters: RTCRtpSendParameters, ssrc: int, rtx_ssrc: int
) -> SenderParameters:
    """Return what the native sender needs of what was negotiated.

    Raises:
        NativeSenderError: it cannot send this.
    """
    master = transport.srtp_master
    if master is None:
        raise NativeSenderError(f"SRTP profile {transport.srtp_profile_name}")
    codec = parameters.codecs[0]
    if codec.mimeType.lower() != "video/h264" or codec.parameters.get("packetization-mode", "0") != "1":
        raise NativeSenderError(f"{codec.mimeType} {codec.parameters}")
    if codec.payloadType is None:
        raise NativeSenderError("a codec without a payload type")
    rtx_types = [
        each.payloadType
        for each in parameters.codecs
        if is_rtx(each) and each.parameters["apt"] == codec.payloadType and each.payloadType is not None
    ]
    ids = {extension.uri: extension.id for extension in parameters.headerExtensions}
    return SenderParameters(
        profile=master.profile,
        master_key=master.key,
        master_salt=master.salt,
        ssrc=ssrc,
        payload_type=codec.payloadType,
        # In the lower half: who misses the first packets still guesses the roll-over counter right.
        first_sequence=random.getrandbits(15),
        rtx=Rtx(rtx_ssrc, rtx_types[0], random.getrandbits(15)) if rtx_types else None,
        extensions=ExtensionIds(
            mid=ids.get(MID_URI, 0) if parameters.muxId else 0,
            abs_send_time=ids.get(ABS_SEND_TIME_URI, 0),
            playout_delay=ids.get(PLAYOUT_DELAY_URI, 0),
            transport_cc=ids.get(TRANSPORT_CC_URI, 0),
            abs_capture_time=ids.get(ABS_CAPTURE_TIME_URI, 0),
        ),
        mid=parameters.muxId,
        max_resent_per_s=MAX_RESENT_PER_S,
    )


class NativeSender:
    """Sends one viewer's video. Event loop only.

    The stream stays here for as long as it lives, whatever pair ICE nominates: SSRC, numbers and keys never change
    hands.
    """

    def __init__(
        self,
        transport: StreamDtlsTransport,
        parameters: SenderParameters,
        on_sent: Callable[[SentFrame], None],
        dump_folder: str | None = None,
    ) -> None:
        """`dump_folder`: for debugging, packets are written there as `video-SSRC.pcap` before they are protected.

        Raises:
            NativeSenderError: the sender cannot be made.
        """
        ice = transport.transport._connection
        if not isinstance(ice, StreamConnection):
            raise NativeSenderError(f"ICE by {type(ice).__name__}")
        self._transport = transport
        self._on_sent = on_sent
        self._loop = asyncio.get_running_loop()
        self._origin = random.getrandbits(32)
        self._has_capture_time = parameters.extensions.abs_capture_time != 0
        # Frames whose end was not reported yet, with their RTP times.
        self._pushed: deque[tuple[int, StreamFrame]] = deque(maxlen=MAX_PUSHED_FRAMES)
        self._timer: asyncio.TimerHandle | None = None
        self._path: MediaPath | None = None
        self._is_writer = False
        self._is_closed = False
        self._rate_bps = START_RATE_BPS
        try:
            self._sender = Sender(parameters, transport.history.log)
        except (StreamCoreError, ValueError, OverflowError) as error:
            raise NativeSenderError(str(error)) from error
        if dump_folder is not None:
            self._dump(Path(dump_folder) / f"video-{parameters.ssrc:08x}.pcap")
        ice.on_pair = self.follow
        self.follow(ice._nominated.get(1))

    @property
    def core(self) -> Sender:
        """The C sender; for measurements and tests."""
        return self._sender

    def backlog(self) -> Backlog:
        """Return what waits."""
        return self._sender.backlog()

    def counters(self) -> SenderCounters:
        """Return what RTCP and metrics want to know."""
        return self._sender.counters()

    def push(self, frame: StreamFrame) -> bool:
        """Send a frame; False when it was dropped and a keyframe is needed."""
        if self._is_closed or self._transport.state != "connected":
            return False
        rtp_time = (self._origin + frame.pts) & 0xFFFFFFFF
        now_ns = time.monotonic_ns()
        taken = self._sender.send_frame(
            frame.data,
            rtp_time,
            is_keyframe=frame.is_keyframe,
            now_ns=now_ns,
            capture_ntp=self._capture_ntp(frame, now_ns) if self._has_capture_time else 0,
        )
        if taken:
            self._pushed.append((rtp_time, frame))
        self._service()
        return taken

    def retransmit(self, sequences: Sequence[int], may_resend: Callable[[int, int], bool]) -> None:
        """The viewer lacks these packets; what aiortc has read of a NACK may lie beyond 65535.

        `may_resend` is asked about each one that can be sent again, with its size in bytes.
        """
        if self._is_closed:
            return
        now_ns = time.monotonic_ns()
        wanted = []
        for number in (sequence & 0xFFFF for sequence in sequences):
            size_bytes = self._sender.remembered_bytes(number, now_ns)
            if not size_bytes or may_resend(number, size_bytes):
                wanted.append(number)
        self._sender.retransmit(wanted, now_ns)
        self._service()

    def set_rate(self, rate_bps: int) -> None:
        """What the path takes, as far as is known: what exceeds a burst is spread by it."""
        self._rate_bps = rate_bps
        is_fast = rate_bps >= FAST_RATE_BPS or (self._path is not None and self._path.address.is_loopback)
        self._sender.set_pace(FAST_PACE_BPS if is_fast else int(rate_bps * PACE_FACTOR))

    def sender_info(self) -> RtcpSenderInfo:
        """Return what a sender report says now: one moment by both clocks, and what was sent."""
        counters = self._sender.counters()
        return RtcpSenderInfo(
            ntp_timestamp=clock.current_ntp_time(),
            rtp_timestamp=(self._origin + time.monotonic_ns() * CLOCK_RATE // NS) & 0xFFFFFFFF,
            packet_count=counters.packets & 0xFFFFFFFF,
            octet_count=counters.octets & 0xFFFFFFFF,
        )

    def follow(self, pair: CandidatePair | None) -> None:
        """ICE has nominated another pair; None: the path is gone, or may not be used any more."""
        self._unwatch()
        if self._path is not None:
            self._path.close()
            self._path = None
        if pair is None or self._is_closed:
            self._sender.set_path(-1)
            return
        path = path_of(pair)
        try:
            self._sender.set_path(path.fileno(), path.address.host, path.address.port)
        except (OSError, StreamCoreError) as error:
            _log.warning("video cannot take %s: %s", path, error)
            path.close()
            return
        self._path = path
        _log.info("video goes by %s", path)
        self.set_rate(self._rate_bps)
        self._pump()

    def close(self) -> None:
        """Send nothing more. May be called twice."""
        self._is_closed = True
        self.follow(None)
        self._sender.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pushed.clear()

    def _pump(self) -> None:
        self._timer = None
        if not self._is_closed:
            self._sender.pump(time.monotonic_ns())
            self._service()

    def _service(self) -> None:
        """Report what has gone, and see to it that what waits goes on."""
        if self._is_closed:
            return
        for report in self._sender.take_sent():
            # Frames that were dropped or replaced are passed over.
            while self._pushed:
                rtp_time, frame = self._pushed.popleft()
                if rtp_time == report.rtp_time:
                    self._on_sent(SentFrame(frame, rtp_time, report.first_packet_ns, report.last_packet_ns))
                    break
        backlog = self._sender.backlog()
        if backlog.is_blocked and self._path is not None:
            if not self._is_writer:
                self._loop.add_writer(self._path.fileno(), self._pump)
                self._is_writer = True
        else:
            self._unwatch()
        if self._timer is None and backlog.next_ns is not None:
            delay_s = max(0.0, (backlog.next_ns - time.monotonic_ns()) / NS)
            self._timer = self._loop.call_later(delay_s, self._pump)

    def _unwatch(self) -> None:
        if self._is_writer and self._path is not None:
            self._loop.remove_writer(self._path.fileno())
        self._is_writer = False

    def _dump(self, path: Path) -> None:
        try:
            with path.open("wb") as file:
                self._sender.dump(file.fileno())
            _log.warning("video is written in the clear to %s", path)
        except OSError as error:
            _log.warning("video cannot be written: %s", error)

    def _capture_ntp(self, frame: StreamFrame, now_ns: int) -> int:
        age_ns = max(0, now_ns - (frame.flush_ns or frame.encode_begin_ns or now_ns))
        return clock.current_ntp_time() - (age_ns << 32) // NS
