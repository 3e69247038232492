# SPDX-License-Identifier: Apache-2.0
"""The two stages of the pipeline benchmark that can be others: what encodes, and what sends."""

from __future__ import annotations

import os
import socket
from typing import Protocol

from aiortc.codecs.h264 import H264Encoder
from aiortc.rtp import HeaderExtensionsMap, RtpPacket
from pylibsrtp import Policy, Session

from streamer.encode.av_encoder import AvEncoder
from streamer.encode.encoder import Encoder, EncoderSettings
from streamer.encode.probe import choose

_PAYLOAD_TYPE = 97
_KEY_BYTES = 16 + 12  # AES-128-GCM's key and salt


class Sender(Protocol):
    """Sends access units to one peer."""

    name: str

    def send(self, data: bytes, pts: int) -> None:
        """Send one, with `pts` as its RTP time; returns when its last packet is the system's."""

    def close(self) -> None:
        """Free it."""


class AiortcSender:
    """aiortc's packetizer and serializer, libsrtp, a system call a packet: its own sender without the loop."""

    name = "aiortc's packets, libsrtp"

    def __init__(self, port: int) -> None:
        """Send to a port of this machine. The key is made up: nobody reads what comes."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._session = Session(
            Policy(
                key=os.urandom(_KEY_BYTES),
                ssrc_type=Policy.SSRC_ANY_OUTBOUND,
                srtp_profile=Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
            )
        )
        self._extensions = HeaderExtensionsMap()
        self._sequence = 0

    def send(self, data: bytes, pts: int) -> None:
        payloads = H264Encoder._packetize(H264Encoder._split_bitstream(data))
        for index, payload in enumerate(payloads):
            packet = RtpPacket(
                payload_type=_PAYLOAD_TYPE,
                marker=int(index == len(payloads) - 1),
                sequence_number=self._sequence,
                timestamp=pts & 0xFFFFFFFF,
                ssrc=1,
                payload=payload,
            )
            self._sequence = self._sequence + 1 & 0xFFFF
            self._socket.send(self._session.protect(packet.serialize(self._extensions)))

    def close(self) -> None:
        self._socket.close()


def open_encoder(settings: EncoderSettings) -> Encoder:
    """Open what a session would choose on this machine."""
    return AvEncoder(choose(), settings)


def open_sender(port: int) -> Sender:
    """Open what a session would send with."""
    return AiortcSender(port)
