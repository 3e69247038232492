# SPDX-License-Identifier: Apache-2.0
"""The two stages of the pipeline benchmark that can be others: what encodes, and what sends."""

from __future__ import annotations

import os
import socket
import time
from typing import Protocol

from streamer.encode import probe
from streamer.encode.encoder import Encoder, EncoderSettings
from streamer.encode.probe import choose
from streamer.stream_core.packet_log import PacketLog
from streamer.stream_core.sender import SALT_BYTES, ExtensionIds, Sender, SenderParameters, SrtpProfile

_PAYLOAD_TYPE = 97


class FrameSender(Protocol):
    """Sends access units to one peer."""

    @property
    def name(self) -> str:
        """What it is."""

    def send(self, data: bytes, pts: int) -> None:
        """Send one, with `pts` as its RTP time; returns when its last packet is the system's."""

    def close(self) -> None:
        """Free it."""


class NativeSender:
    """The product's own: stream_core's sender."""

    def __init__(self, port: int) -> None:
        """Send to a port of this machine. The key is made up: nobody reads what comes."""
        self._log = PacketLog()
        parameters = SenderParameters(
            profile=SrtpProfile.AEAD_AES_256_GCM,
            master_key=os.urandom(SrtpProfile.AEAD_AES_256_GCM.key_bytes),
            master_salt=os.urandom(SALT_BYTES),
            ssrc=1,
            payload_type=_PAYLOAD_TYPE,
            extensions=ExtensionIds(playout_delay=4, transport_cc=5),
        )
        self._sender = Sender(parameters, self._log)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sender.set_path(self._socket.fileno(), "127.0.0.1", port)

    @property
    def name(self) -> str:
        return f"stream_core, {self._sender.counters().mode.name}"

    def send(self, data: bytes, pts: int) -> None:
        now_ns = time.monotonic_ns()
        self._sender.send_frame(data, pts & 0xFFFFFFFF, is_keyframe=False, now_ns=now_ns)

    def close(self) -> None:
        self._sender.close()
        self._socket.close()


def open_encoder(settings: EncoderSettings) -> Encoder:
    """Open what a session would choose on this machine."""
    return probe.open_encoder(choose(), settings)


def open_sender(port: int) -> FrameSender:
    """Open what a session would send with."""
    return NativeSender(port)
