# SPDX-License-Identifier: Apache-2.0
"""The relay that congestion control is tested with: it passes, delays and drops as it was told."""

from __future__ import annotations

import socket
import time

from tests.support.udp_relay import PathSettings, RelayThread, server_address, through_relay, without_candidates

SDP = (
    "v=0\r\na=candidate:1 1 udp 2130706431 10.1.2.3 50000 typ host\r\n"
    "a=candidate:2 1 udp 2130706430 10.1.2.4 50001 typ host\r\na=end-of-candidates\r\n"
)


def pass_packets(down: PathSettings, count: int, size: int = 1000) -> tuple[RelayThread, list[int], float]:
    """Send packets from a server to a client at once; returns the relay, what came, and for how long."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        server.bind(("127.0.0.1", 0))
        server.settimeout(60)
        client.settimeout(1)
        with RelayThread(server.getsockname(), down) as relay:
            client.sendto(b"hello", ("127.0.0.1", relay.port))
            greeting, back = server.recvfrom(100)
            assert greeting == b"hello"
            began_s = time.monotonic()
            for index in range(count):
                server.sendto(index.to_bytes(4) + bytes(size - 4), back)
            came: list[int] = []
            last_s = began_s
            try:
                while len(came) < count:
                    came.append(int.from_bytes(client.recv(2000)[:4]))
                    last_s = time.monotonic()
            except TimeoutError:
                pass
            return relay, came, last_s - began_s


def test_packets_pass_in_order_and_jitter_keeps_it() -> None:
    _, came, _ = pass_packets(PathSettings(jitter_ms=5), 100)
    assert came == list(range(100))


def test_the_rate_is_kept_and_the_queue_bounded() -> None:
    relay, came, took_s = pass_packets(PathSettings(rate_bps=1_000_000, queue_ms=200), 100)
    # 8 ms each; what would wait for more than 200 ms is dropped.
    assert 24 <= len(came) <= 30
    assert took_s > 0.15
    assert relay.counts["overflowed"] == 100 - len(came)


def test_loss_is_the_same_with_the_same_seed() -> None:
    first = pass_packets(PathSettings(loss=0.2), 200, 100)[1]
    assert 130 < len(first) < 190
    assert first == pass_packets(PathSettings(loss=0.2), 200, 100)[1]


def test_an_answer_names_the_relay_only() -> None:
    assert server_address(SDP) == ("10.1.2.3", 50000)
    relayed = through_relay(SDP, 7777)
    assert "127.0.0.1 7777 typ host" in relayed
    assert "10.1.2." not in relayed
    assert "a=candidate" not in without_candidates(SDP)
