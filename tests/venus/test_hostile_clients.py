# SPDX-License-Identifier: Apache-2.0
"""What no correct client sends ends that client, with a line in the log, and nothing else."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable

import pytest

from tests.support.venus import VenusServer
from tests.support.venus_client import (
    CREATE_BLOB,
    CREATE_RENDERER,
    MAIN_RING_BYTES,
    NULL,
    PRESENT,
    SUBMIT_CMD2,
    Ring,
    VenusClient,
    command,
    enumerate_version,
    u32,
    u64,
)

pytestmark = pytest.mark.gpu

MANY = 0x7FFFFFFF


def test_a_correct_client_is_served(server: VenusServer, bystander: None) -> None:
    with VenusClient(server.socket) as client:
        ring = client.start()
        assert enumerate_version(client, ring) >= 1 << 22 | 1 << 12
        client.open_device(ring)
        assert client.create_device(ring)
        client.destroy_instance(ring)


Attack = Callable[[VenusClient, Ring], bytes]


def _create_buffer(client: VenusClient, *, size: int = 4096, pnext: bytes = NULL, device: int = 0) -> bytes:
    info = PRESENT + u32(12) + pnext + u32(0) + u64(size) + u32(32, 0, 0) + NULL
    return command("vkCreateBuffer", u64(device or client.device), info, NULL, PRESENT + u64(client.new_id()))


def _foreign_device(client: VenusClient, ring: Ring) -> bytes:
    """A buffer of one device bound to memory of another."""
    other = client.create_device(ring)
    ring.write(_create_buffer(client))
    buffer = client.new_id() - 1
    info = u32(1000157000) + NULL + u64(buffer, 0, 0)
    return command("vkBindBufferMemory2", u64(other), u32(1), u64(1) + info)


def _deep_chain(client: VenusClient, ring: Ring) -> bytes:
    """VkExternalMemoryBufferCreateInfo again and again."""
    return _create_buffer(client, pnext=(PRESENT + u32(1000072000)) * 1500)


def _random_words(seed: int) -> Attack:
    def attack(client: VenusClient, ring: Ring) -> bytes:
        return random.Random(seed).randbytes(4 * 2000)

    return attack


def _id_in_use(client: VenusClient, ring: Ring) -> bytes:
    info = PRESENT + u32(8) + NULL + u32(0)
    again = command("vkCreateFence", u64(client.device), info, NULL, PRESENT + u64(client.new_id()))
    return again + again


def _wrong_type(client: VenusClient, ring: Ring) -> bytes:
    """A fence where a semaphore belongs."""
    fence = client.new_id()
    info = PRESENT + u32(8) + NULL + u32(0)
    ring.write(command("vkCreateFence", u64(client.device), info, NULL, PRESENT + u64(fence)))
    return command("vkDestroySemaphore", u64(client.device), u64(fence), NULL)


def _stream(client: VenusClient, resource: int, offset: int, size: int) -> bytes:
    description = u32(resource) + u64(offset, size)
    parts = (u32(1), u64(1), description, NULL, u32(0), NULL, u32(0))
    return command("vkExecuteCommandStreamsMESA", *parts)


def _nested_streams(client: VenusClient, ring: Ring) -> bytes:
    resource, memory = client.create_memory(4096)
    call = _stream(client, resource, 0, 256)
    memory[: len(call)] = call
    return _stream(client, resource, 0, len(call))


def _half_a_command_in_a_stream(client: VenusClient, ring: Ring) -> bytes:
    resource, memory = client.create_memory(4096)
    call = _create_buffer(client)
    memory[: len(call)] = call
    return _stream(client, resource, 0, len(call) - 8)


ATTACKS: dict[str, Attack] = {
    "an unknown command": lambda client, ring: command(100_000),
    "a command without an encoding": lambda client, ring: command("vkMapMemory", u64(0, 0, 0, 0), u32(0), NULL),
    "a negative command": lambda client, ring: command(0xFFFFFFFF),
    "a command of the socket on a ring": lambda client, ring: command("vkDestroyRingMESA", u64(ring.number)),
    "half a command": lambda client, ring: command("vkCreateBuffer", u64(client.device), PRESENT, u32(12)),
    "a device that does not exist": lambda client, ring: _create_buffer(client, device=987654),
    "an instance as a device": lambda client, ring: _create_buffer(client, device=client.instance),
    "a wrong sType": lambda client, ring: command(
        "vkCreateBuffer", u64(client.device), PRESENT, u32(13), NULL, bytes(200)
    ),
    "a struct that does not belong in a chain": lambda client, ring: _create_buffer(
        client, pnext=PRESENT + u32(3) + bytes(200)
    ),
    "a struct twice in a chain": lambda client, ring: _create_buffer(
        client, pnext=(PRESENT + u32(1000072000)) * 2 + NULL + u32(0, 0)
    ),
    "a chain without end": _deep_chain,
    "a presence that is neither": lambda client, ring: command("vkCreateBuffer", u64(client.device, 2)),
    "an id of zero": lambda client, ring: command(
        "vkCreateFence", u64(client.device), PRESENT + u32(8) + NULL + u32(0), NULL, PRESENT + u64(0)
    ),
    "an id in use": _id_in_use,
    "an object of another type": _wrong_type,
    "an object of another device": _foreign_device,
    "fences by the billion": lambda client, ring: command(
        "vkResetFences", u64(client.device), u32(MANY), u64(MANY), u64(0) * 8
    ),
    "a count that is not its array's": lambda client, ring: command(
        "vkResetFences", u64(client.device), u32(2), u64(1), u64(0)
    ),
    "extension properties by the million": lambda client, ring: command(
        "vkEnumerateDeviceExtensionProperties", u64(client.physical), NULL, PRESENT + u32(MANY), u64(MANY), reply=True
    ),
    "a string without end": lambda client, ring: command(
        "vkEnumerateDeviceExtensionProperties", u64(client.physical), u64(4) + b"abcd", PRESENT + u32(0), NULL
    ),
    "a string past the end": lambda client, ring: command(
        "vkEnumerateDeviceExtensionProperties", u64(client.physical), u64(2**63) + b"abcd", PRESENT + u32(0), NULL
    ),
    "a stream of no resource": lambda client, ring: _stream(client, 999, 0, 16),
    "a stream past its resource": lambda client, ring: _stream(client, client.reply_resource, (1 << 20) - 8, 16),
    "a stream whose end overflows": lambda client, ring: _stream(client, client.reply_resource, 2**64 - 8, 16),
    "a stream in a stream": _nested_streams,
    "half a command in a stream": _half_a_command_in_a_stream,
    "a reply window of no resource": lambda client, ring: client.window(999, 0, 64),
    "a reply window past its resource": lambda client, ring: client.window(client.reply_resource, 1 << 20, 64),
    "a reply window too small": lambda client, ring: (
        client.window(client.reply_resource, 0, 8) + command("vkEnumerateInstanceVersion", PRESENT, reply=True)
    ),
    "a seek past the reply window": lambda client, ring: (
        client.window(client.reply_resource, 0, 64)
        + command("vkSeekReplyCommandStreamMESA", u64(4096))
        + command("vkEnumerateInstanceVersion", PRESENT, reply=True)
    ),
    "a wait for what the socket never says, by the socket": lambda client, ring: command(
        "vkSubmitVirtqueueSeqnoMESA", u64(ring.number, 1)
    ),
    **{f"random words {seed}": _random_words(seed) for seed in range(6)},
}


@pytest.mark.parametrize("name", ATTACKS)
def test_wrong_commands_end_their_client_only(server: VenusServer, bystander: None, name: str) -> None:
    lines = len(server.log.splitlines())
    with VenusClient(server.socket) as client:
        ring = client.start()
        client.open_device(ring)
        ring.write(ATTACKS[name](client, ring))
        ring.wait_fatal()
    server.wait_log(lines + 1)
    said = server.log.splitlines()[lines:]
    assert 1 <= len(said) <= 6, f"{len(said)} lines in the log: {said[:10]}"


RINGS: dict[str, dict[str, int]] = {
    "no resource": {"resource": 4711},
    "larger than its resource": {"size": MAIN_RING_BYTES + 4},
    "a size that overflows": {"offset": 2**64 - 4096},
    "a buffer that is no power of two": {"buffer_size": 131068},
    "no buffer": {"buffer_size": 0},
    "a buffer past its end": {"buffer": 4096},
    "a head that is not aligned": {"head": 2},
    "a tail in the buffer": {"tail": 1024},
    "head and tail in one place": {"tail": 0},
    "a status far away": {"status": 2**40},
    "an extra area far away": {"extra": 2**63},
}


@pytest.mark.parametrize("name", RINGS)
def test_wrong_rings_are_refused(server: VenusServer, bystander: None, name: str) -> None:
    lines = len(server.log.splitlines())
    with VenusClient(server.socket) as client:
        ring = client.start()
        client.create_ring(**RINGS[name])
        ring.wait_fatal()
    server.wait_log(lines + 1)


MESSAGES: dict[str, Callable[[VenusClient], None]] = {
    "an unknown message": lambda client: client.send(200),
    "a message of GL": lambda client: client.send(2, u32(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)),
    "a name without end": lambda client: client.send(CREATE_RENDERER, b"", 0x7FFFFFFF),
    "a message by the gigabyte": lambda client: client.send(SUBMIT_CMD2, u32(0) * 64, 0x3FFFFFFF),
    "a submission of nothing": lambda client: client.send(SUBMIT_CMD2, b""),
    "batches by the billion": lambda client: client.send(SUBMIT_CMD2, u32(0xFFFFFFFF) + bytes(64)),
    "a batch outside of its message": lambda client: client.send(SUBMIT_CMD2, u32(1, 1, 7, 1 << 30, 0, 0, 0)),
    "syncs outside of their message": lambda client: client.send(SUBMIT_CMD2, u32(1, 1, 7, 0, 7, 1 << 29, 0)),
    "a message too short": lambda client: client.send(CREATE_BLOB, u32(2, 1)),
    "random bytes": lambda client: client.socket.sendall(random.Random(3).randbytes(5000)),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_wrong_messages_end_their_client_only(server: VenusServer, bystander: None, name: str) -> None:
    with VenusClient(server.socket) as client:
        ring = client.start()
        MESSAGES[name](client)
        ring.wait_fatal()
        assert not client.is_closed()  # a stock driver would wait for ever on a closed socket


@pytest.mark.parametrize("message", ["header", "greeting", "blob"])
def test_a_client_that_stops_in_the_middle_is_forgotten(server: VenusServer, bystander: None, message: str) -> None:
    client = VenusClient(server.socket)
    if message == "header":
        client.socket.sendall(b"\x08\x00")
    elif message == "greeting":
        client.send(CREATE_RENDERER, b"te", 30)
    else:
        client.start()
        client.socket.sendall(u32(6, CREATE_BLOB, 2))
    client.close()


def test_a_tail_that_runs_away_is_no_end(server: VenusServer, bystander: None) -> None:
    """More bytes published than the buffer holds."""
    with VenusClient(server.socket) as client:
        ring = client.start()
        enumerate_version(client, ring)
        ring.set_tail(ring.tail + 10 * MAIN_RING_BYTES)
        client.submit(command("vkNotifyRingMESA", u64(ring.number), u32(ring.tail, 0)))
        ring.wait_fatal()


def test_control_words_may_be_scribbled_on(server: VenusServer, bystander: None) -> None:
    """The client writes all of its ring's memory again and again while it is used."""
    chance = random.Random(5)
    with VenusClient(server.socket) as client:
        ring = client.start()
        for _ in range(200):
            place = 4 * chance.randrange(48)
            struct.pack_into("<I", ring.memory, place, chance.getrandbits(32))
            if chance.random() < 0.2:
                try:
                    client.submit(command("vkNotifyRingMESA", u64(ring.number), u32(0, 0)))
                except (BrokenPipeError, ConnectionResetError):
                    break


def test_blobs_over_the_limit_are_not_given_memory(server: VenusServer, bystander: None) -> None:
    """There is no refusal in the protocol: an id and an fd come whatever was asked."""
    with VenusClient(server.socket) as client:
        ring = client.start()
        for size in (1 << 40, 1 << 62, (1 << 64) - 1):
            resource, fd = client.create_blob(size)
            assert resource
            os.close(fd)
        assert enumerate_version(client, ring)
        client.send(CREATE_BLOB, u32(2, 1) + u64(0, 0))
        ring.wait_fatal()


def test_a_guest_cannot_shrink_what_it_shares(server: VenusServer, bystander: None) -> None:
    with VenusClient(server.socket) as client:
        ring = client.start()
        _, fd = client.create_blob(1 << 16)
        with open(fd, "r+b") as file, pytest.raises(OSError, match=r"."):
            file.truncate(0)
        assert enumerate_version(client, ring)


def test_objects_over_the_limit_are_refused_and_harm_nobody(bystander: None, server: VenusServer) -> None:
    """Fences until the limit and beyond: the client lives, its surplus ones are of no use."""
    with VenusClient(server.socket) as client:
        ring = client.start()
        client.open_device(ring)
        info = PRESENT + u32(8) + NULL + u32(0)
        for _ in range(300):
            calls = [
                command("vkCreateFence", u64(client.device), info, NULL, PRESENT + u64(client.new_id()))
                for _ in range(1000)
            ]
            ring.write(b"".join(calls))
            assert ring.wait()
        assert enumerate_version(client, ring)
