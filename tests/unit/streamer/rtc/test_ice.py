# SPDX-License-Identifier: Apache-2.0
"""ICE uses the addresses and ports it was given, and no others."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket

import aioice.ice
import pytest
from aiortc.rtcicetransport import RTCIceGatherer

from streamer.rtc import overrides
from streamer.rtc.ice import GatheringError, StreamConnection, stun_like

overrides.install()


def free_port(host: str = "127.0.0.1") -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_only_the_given_address_and_port_are_offered(host: str) -> None:
    connection = StreamConnection(ice_controlling=False)
    connection.hosts = (host,)
    port = free_port(host)
    connection.ports = range(port, port + 1)
    await connection.gather_candidates()
    assert [(each.host, each.port, each.type) for each in connection.local_candidates] == [(host, port, "host")]
    await connection.close()


async def test_no_address_means_loopback() -> None:
    connection = StreamConnection(ice_controlling=False)
    await connection.gather_candidates()
    assert [each.host for each in connection.local_candidates] == ["127.0.0.1"]
    await connection.close()


async def test_a_taken_port_is_passed_over_and_a_full_range_is_an_error() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        connection = StreamConnection(ice_controlling=False)
        connection.ports = range(port, port + 1)
        with pytest.raises(GatheringError, match=r"127\.0\.0\.1"):
            await connection.gather_candidates()
        await connection.close()


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_who_leaves_while_candidates_are_gathered_leaves_no_socket(is_cancelled: bool) -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for steps in range(24):
        connection = StreamConnection(ice_controlling=False)
        connection.hosts = ("127.0.0.1",) * 4
        gathering = asyncio.gather(connection.gather_candidates(), return_exceptions=True)
        for _ in range(steps):
            await asyncio.sleep(0)
        if is_cancelled:
            gathering.cancel()
        await connection.close()
        with contextlib.suppress(asyncio.CancelledError):
            await gathering
        await connection.close()
        assert len(os.listdir("/proc/self/fd")) <= before, steps


def test_there_is_no_default_server() -> None:
    assert RTCIceGatherer.getDefaultIceServers() == []


async def test_a_viewer_without_candidates_is_found_by_its_checks() -> None:
    async with asyncio.timeout(60):
        viewer, ours = aioice.ice.Connection(ice_controlling=True), StreamConnection(ice_controlling=False)
        await asyncio.gather(viewer.gather_candidates(), ours.gather_candidates())
        for one, other in ((viewer, ours), (ours, viewer)):
            one.remote_username, one.remote_password = other.local_username, other.local_password
        await ours.add_remote_candidate(None)
        async with asyncio.TaskGroup() as tasks:
            connecting = tasks.create_task(ours.connect())
            # It would have given up by now.
            done, _ = await asyncio.wait([connecting], timeout=0.2)
            assert not done
            await viewer.add_remote_candidate(ours.local_candidates[0])
            await viewer.add_remote_candidate(None)
            await viewer.connect()
        await asyncio.gather(viewer.close(), ours.close())


async def test_closing_ends_the_wait_for_a_viewer_that_never_comes() -> None:
    async with asyncio.timeout(60):
        connection = StreamConnection(ice_controlling=False)
        await connection.gather_candidates()
        connection.remote_username, connection.remote_password = "user", "password"
        await connection.add_remote_candidate(None)
        connecting = asyncio.gather(connection.connect(), return_exceptions=True)
        await asyncio.sleep(0)
        await connection.close()
        assert [type(error) for error in await connecting] == [ConnectionError]


async def test_strangers_datagrams_are_dropped_and_an_empty_one_hurts_nobody() -> None:
    async with asyncio.timeout(60):
        local, remote = StreamConnection(ice_controlling=True), StreamConnection(ice_controlling=False)
        await asyncio.gather(local.gather_candidates(), remote.gather_candidates())
        for one, other in ((local, remote), (remote, local)):
            one.remote_username, one.remote_password = other.local_username, other.local_password
            for candidate in other.local_candidates:
                await one.add_remote_candidate(candidate)
            await one.add_remote_candidate(None)
        await asyncio.gather(local.connect(), remote.connect())
        port = remote.local_candidates[0].port
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"", ("127.0.0.1", port))
            stranger.sendto(b"\x80stranger", ("127.0.0.1", port))
        await local.send(b"")
        await local.send(b"\x80friend")
        assert await remote.recv() == b"\x80friend"
        await asyncio.gather(local.close(), remote.close())


def test_stun_is_told_from_the_rest() -> None:
    message = bytes(aioice.stun.Message(aioice.stun.Method.BINDING, aioice.stun.Class.REQUEST))
    assert stun_like(message)
    assert not stun_like(message[:19])
    assert not stun_like(b"\x80" + message[1:])
    assert not stun_like(message[:4] + b"\0\0\0\0" + message[8:])


def test_a_viewer_that_vanishes_is_noticed_within_seconds() -> None:
    assert aioice.ice.CONSENT_INTERVAL * aioice.ice.CONSENT_FAILURES <= 5
