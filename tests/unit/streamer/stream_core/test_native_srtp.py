# SPDX-License-Identifier: Apache-2.0
"""What the native sender sends, read by others: libsrtp, aiortc's depacketiser, and tshark."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aiortc.codecs.h264 import H264PayloadDescriptor
from aiortc.rtp import RtpPacket
from pylibsrtp import Policy, Session

from streamer.stream_core.errors import InvalidError
from streamer.stream_core.packet_log import PacketLog
from streamer.stream_core.sender import ExtensionIds, Rtx, Sender, SenderParameters, SendMode, SrtpProfile

IDS = ExtensionIds(mid=1, abs_send_time=2, playout_delay=5, transport_cc=6)
PROFILES = {
    SrtpProfile.AEAD_AES_128_GCM: Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    SrtpProfile.AEAD_AES_256_GCM: Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}
SSRC, RTX_SSRC = 0x12345678, 0x87654321


def access_unit(size: int, header: int = 0x65) -> bytes:
    body = bytes(1 + index % 255 for index in range(size))
    return b"\0\0\0\1\x67\x42\xc0\x1f\x8c" + b"\0\0\0\1\x68\xce\x3c\x80" + b"\0\0\1" + bytes((header,)) + body


class Wire:
    """A sender on loopback UDP, and libsrtp at the other end."""

    def __init__(self, profile: SrtpProfile = SrtpProfile.AEAD_AES_128_GCM, first_sequence: int = 7) -> None:
        key, salt = bytes(range(profile.key_bytes)), bytes(range(100, 112))
        self.log = PacketLog()
        parameters = SenderParameters(
            profile, key, salt, SSRC, 97, first_sequence=first_sequence, rtx=Rtx(RTX_SSRC, 98), extensions=IDS, mid="0"
        )
        self.sender = Sender(parameters, self.log)
        self.near, self.far = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for sock in (self.near, self.far):
            sock.bind(("127.0.0.1", 0))
        self.far.settimeout(60)
        policy = Policy(key=key + salt, ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=PROFILES[profile])
        self.session = Session(policy)
        self.now_ns = 1_000_000_000
        self.sender.set_path(self.near.fileno(), *self.far.getsockname())

    def close(self) -> None:
        self.sender.close()
        self.near.close()
        self.far.close()

    def send(self, unit: bytes, rtp_time: int = 0, is_keyframe: bool = True) -> list[RtpPacket]:
        before = self.sender.counters().packets
        assert self.sender.send_frame(unit, rtp_time, is_keyframe=is_keyframe, now_ns=self.now_ns)
        return [self.receive() for _ in range(self.sender.counters().packets - before)]

    def receive(self) -> RtpPacket:
        return RtpPacket.parse(self.session.unprotect(self.far.recv(2048)))


@pytest.fixture
def wire() -> Any:
    wire = Wire()
    yield wire
    wire.close()


@pytest.mark.parametrize("profile", list(SrtpProfile))
@pytest.mark.parametrize("mode", list(SendMode))
def test_libsrtp_unprotects_and_aiortc_reassembles(profile: SrtpProfile, mode: SendMode) -> None:
    wire = Wire(profile)
    wire.sender.limit_mode(mode)
    wire.sender.set_path(wire.near.fileno(), *wire.far.getsockname())
    for size in (1, 1000, 1150, 1200, 5000, 40_000):
        unit = access_unit(size)
        packets = wire.send(unit, size)
        data = b"".join(H264PayloadDescriptor.parse(packet.payload)[1] for packet in packets)
        assert data == unit.replace(b"\0\0\1\x65", b"\0\0\0\1\x65")
        assert [packet.marker for packet in packets] == [0] * (len(packets) - 1) + [1]
        assert {(packet.timestamp, packet.ssrc, packet.payload_type) for packet in packets} == {(size, SSRC, 97)}
    assert wire.sender.counters().mode >= mode
    assert wire.log.totals()[0] == wire.sender.counters().packets
    wire.close()


@pytest.mark.slow
def test_the_roll_over_counter_goes_on() -> None:
    wire = Wire(first_sequence=65_500)
    numbers = []
    for index in range(700):
        # Twice around.
        numbers += [packet.sequence_number for packet in wire.send(access_unit(110_000), index)]
    assert numbers == [(65_500 + index) % 65_536 for index in range(len(numbers))] and len(numbers) > 65_536
    # And what was sent before the wrap is still found after it.
    lost = numbers[-10:]
    assert wire.sender.retransmit(lost, wire.now_ns) == 10
    again = [wire.receive() for _ in lost]
    assert {packet.ssrc for packet in again} == {RTX_SSRC}
    assert [int.from_bytes(packet.payload[:2]) for packet in again] == lost
    wire.close()


def test_the_log_can_be_taken_once(wire: Wire) -> None:
    wire.send(access_unit(3000))
    taken = wire.log.take(65_535, 6)
    assert taken[0] is None and taken[-1] is None
    assert [each is not None and each[0] > 50 and each[1] > 0 for each in taken[1:-1]] == [True] * 4
    assert wire.log.take(65_535, 6) == [None] * 6
    assert wire.log.number() == 4


def test_wrong_arguments_are_refused(wire: Wire) -> None:
    with pytest.raises(ValueError):
        Sender(SenderParameters(SrtpProfile.AEAD_AES_256_GCM, bytes(16), bytes(12), 1, 97), None)
    with pytest.raises(ValueError):
        Sender(SenderParameters(SrtpProfile.AEAD_AES_128_GCM, bytes(16), bytes(12), 1, 97, mid="x" * 17), None)
    with pytest.raises(InvalidError):
        Sender(SenderParameters(SrtpProfile.AEAD_AES_128_GCM, bytes(16), bytes(12), 1, 97, extensions=IDS), None)
    with pytest.raises(InvalidError):
        wire.sender.set_path(wire.near.fileno(), "localhost", 9)
    assert not wire.sender.send_frame(b"no start code", 0, is_keyframe=True, now_ns=1)
    assert "key" not in repr(SenderParameters(SrtpProfile.AEAD_AES_128_GCM, bytes(16), bytes(12), 1, 97))


needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


def tshark(pcap: Path, port: int, *fields: str) -> list[list[str]]:
    """What tshark finds in each packet."""
    command = ["tshark", "-n", "-r", str(pcap), "-d", f"udp.port=={port},rtp", "-T", "json"]
    command += [
        "-o",
        "rtp.heuristic_rtp:TRUE",
        "-d",
        "rtp.pt==97,h264",
        *(part for each in fields for part in ("-e", each)),
    ]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    layers = [packet["_source"]["layers"] for packet in found]
    return [[",".join(layer.get(field, [])) for field in fields] for layer in layers]


def write_pcap(path: Path, datagrams: list[bytes], port: int) -> None:
    """Datagrams as they were received, to `port`."""
    data = struct.pack("=IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 101)
    for datagram in datagrams:
        udp = struct.pack("!HHHH", 9, port, 8 + len(datagram), 0) + datagram
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\x7f\0\0\1", b"\x7f\0\0\1") + udp
        data += struct.pack("=IIII", 0, 0, len(ip), len(ip)) + ip
    path.write_bytes(data)


@needs_tshark
def test_tshark_reads_the_headers_on_the_wire(tmp_path: Path, wire: Wire) -> None:
    assert wire.sender.send_frame(access_unit(3000), 90_000, is_keyframe=True, now_ns=wire.now_ns)
    count = wire.sender.counters().packets
    port = wire.far.getsockname()[1]
    write_pcap(tmp_path / "wire.pcap", [wire.far.recv(2048) for _ in range(count)], port)
    names = "seq timestamp p_type marker ssrc ext.profile ext.rfc5285.id ext.rfc5285.data"
    rows = tshark(tmp_path / "wire.pcap", port, *(f"rtp.{name}" for name in names.split()))
    assert [row[0] for row in rows] == ["7", "8", "9", "10"]
    assert {row[1] for row in rows} == {"90000"} and {row[2] for row in rows} == {"97"}
    assert [row[3].lower() in ("1", "true") for row in rows] == [False, False, False, True]
    assert {row[4] for row in rows} == {"0x12345678"} and {row[5] for row in rows} == {"0xbede"}
    assert {row[6] for row in rows} == {"1,2,5,6"}
    for number, row in enumerate(rows):
        mid, _send_time, delay, sequence = row[7].replace(":", "").split(",")
        assert (bytes.fromhex(mid), delay, int(sequence, 16)) == (b"0", "000000", number)


@needs_tshark
def test_tshark_reads_the_payload_of_a_dump(tmp_path: Path, wire: Wire) -> None:
    dump = tmp_path / "dump.pcap"
    with dump.open("wb") as file:
        wire.sender.dump(file.fileno())
    packets = wire.send(access_unit(3000))
    assert wire.sender.retransmit([packets[1].sequence_number], wire.now_ns) == 1
    wire.sender.dump(-1)
    wire.send(access_unit(3000), 1)
    names = "rtp.seq rtp.p_type h264.nal_unit_hdr h264.start.bit h264.end.bit rtp.payload"
    rows = tshark(dump, 5004, *names.split())
    assert [row[1] for row in rows] == ["97"] * 4 + ["98"]
    assert rows[0][2].split(",")[0] == "24" and [row[2].split(",")[0] for row in rows[1:4]] == ["28"] * 3
    flags = [tuple(flag.lower() in ("1", "true") for flag in row[3:5]) for row in rows[1:4]]
    assert flags == [(True, False), (False, False), (False, True)]
    assert [bytes.fromhex(row[5].replace(":", "")) for row in rows[:4]] == [packet.payload for packet in packets]
    assert bytes.fromhex(rows[4][5].replace(":", ""))[2:] == packets[1].payload
