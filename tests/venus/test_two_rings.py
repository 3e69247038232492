# SPDX-License-Identifier: Apache-2.0
"""Two rings of one client that pull the rug from under each other: the client may fail, the worker goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.venus import VenusServer
from tests.support.venus_client import NULL, PRESENT, Ring, VenusClient, command, enumerate_version, u32, u64

pytestmark = pytest.mark.gpu

ROUNDS = 12


def _memories(client: VenusClient) -> bytes:
    """Memory that is allocated and freed again and again, and a wait now and then."""
    calls = []
    for index in range(400):
        memory = client.new_id()
        info = PRESENT + u32(5) + NULL + u64(4096) + u32(0)
        calls.append(command("vkAllocateMemory", u64(client.device), info, NULL, PRESENT + u64(memory)))
        calls.append(command("vkFreeMemory", u64(client.device, memory), NULL))
        if index % 50 == 0:
            calls.append(command("vkDeviceWaitIdle", u64(client.device)))
    return b"".join(calls)


def _fences(client: VenusClient) -> bytes:
    info = PRESENT + u32(8) + NULL + u32(0)
    return b"".join(
        command("vkCreateFence", u64(client.device), info, NULL, PRESENT + u64(client.new_id())) for _ in range(1500)
    )


def _destroy_device(client: VenusClient) -> bytes:
    return command("vkDestroyDevice", u64(client.device), NULL)


def _destroy_instance(client: VenusClient) -> bytes:
    return command("vkDestroyInstance", u64(client.instance), NULL)


def _end(ring: Ring) -> None:
    ring.wait()  # or it is dead, which is as well


@pytest.mark.parametrize("end", [_destroy_device, _destroy_instance])
@pytest.mark.parametrize("use", [_memories, _fences])
def test_a_device_is_destroyed_while_another_ring_uses_it(
    server: VenusServer,
    bystander: None,
    use: Callable[[VenusClient], bytes],
    end: Callable[[VenusClient], bytes],
) -> None:
    for _ in range(ROUNDS):
        with VenusClient(server.socket) as client:
            ring = client.start()
            other = client.create_ring()
            client.open_device(ring)
            other.write(use(client))
            ring.write(end(client))
            _end(ring)
            _end(other)


def test_two_rings_destroy_one_device(server: VenusServer, bystander: None) -> None:
    for _ in range(ROUNDS):
        with VenusClient(server.socket) as client:
            ring = client.start()
            other = client.create_ring()
            client.open_device(ring)
            other.write(_destroy_device(client))
            ring.write(_destroy_device(client))
            _end(ring)
            _end(other)


def test_two_rings_destroy_a_device_each(server: VenusServer, bystander: None) -> None:
    """Neither waits for the other, and nothing fails."""
    for _ in range(ROUNDS):
        with VenusClient(server.socket) as client:
            ring = client.start()
            other = client.create_ring()
            client.open_device(ring)
            second = client.create_device(ring)
            other.write(command("vkDestroyDevice", u64(second), NULL))
            ring.write(_destroy_device(client))
            assert ring.wait() and other.wait()
            assert enumerate_version(client, ring)
            client.destroy_instance(ring)


def _record(client: VenusClient, ring: Ring) -> tuple[bytes, bytes]:
    """Make a buffer that the client sees and a command buffer; return its recording, and its end."""
    memory, buffer, pool, commands = (client.new_id() for _ in range(4))
    info = PRESENT + u32(5) + NULL + u64(4096) + u32(0)
    buffer_info = PRESENT + u32(12) + NULL + u32(0) + u64(4096) + u32(3, 0, 0) + NULL
    bound = u32(1000157000) + NULL + u64(buffer, memory, 0)
    allocation = PRESENT + u32(40) + NULL + u64(pool) + u32(0, 1)
    ring.write(
        command("vkAllocateMemory", u64(client.device), info, NULL, PRESENT + u64(memory))
        + command("vkCreateBuffer", u64(client.device), buffer_info, NULL, PRESENT + u64(buffer))
        + command("vkBindBufferMemory2", u64(client.device), u32(1), u64(1) + bound)
        + command(
            "vkCreateCommandPool", u64(client.device), PRESENT + u32(39) + NULL + u32(2, 0), NULL, PRESENT + u64(pool)
        )
        + command("vkAllocateCommandBuffers", u64(client.device), allocation, u64(1, commands))
        + command("vkBeginCommandBuffer", u64(commands), PRESENT + u32(42) + NULL + u32(0) + NULL)
    )
    assert ring.wait()
    fill = command("vkCmdFillBuffer", u64(commands, buffer, 0, 4), u32(0))
    free = command("vkFreeCommandBuffers", u64(client.device, pool), u32(2), u64(2, commands, commands))
    return fill, free


def test_a_command_buffer_freed_twice_is_freed_once(server: VenusServer, bystander: None) -> None:
    with VenusClient(server.socket) as client:
        ring = client.start()
        client.open_device(ring)
        fill, free = _record(client, ring)
        ring.write(fill + free)
        assert ring.wait()
        client.destroy_instance(ring)


WRONG: dict[str, Callable[[VenusClient], bytes]] = {
    "a pool of no queue family": lambda client: command(
        "vkCreateCommandPool", u64(client.device), PRESENT + u32(39) + NULL + u32(0, 99), NULL, PRESENT + u64(9999)
    ),
    "queries past their pool": lambda client: (
        command(
            "vkCreateQueryPool",
            u64(client.device),
            PRESENT + u32(11) + NULL + u32(0, 0, 4, 0),
            NULL,
            PRESENT + u64(9999),
        )
        + command("vkGetQueryPoolResults", u64(client.device, 9999), u32(3, 2), u64(16, 16, 8), u32(0))
    ),
    "a view of no buffer": lambda client: command(
        "vkCreateBufferView",
        u64(client.device),
        PRESENT + u32(13) + NULL + u32(0) + u64(0) + u32(37) + u64(0, 64),
        NULL,
        PRESENT + u64(9999),
    ),
    "a wait for no fence": lambda client: command(
        "vkWaitForFences", u64(client.device), u32(1), u64(1, 0), u32(1), u64(0)
    ),
    "a write into no set": lambda client: command(
        "vkUpdateDescriptorSets",
        u64(client.device),
        u32(1),
        u64(1) + u32(35) + NULL + u64(0) + u32(0, 0, 1, 6) + NULL * 3,
        u32(0),
        NULL,
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_drivers_do_not_survive_is_refused(server: VenusServer, bystander: None, name: str) -> None:
    with VenusClient(server.socket) as client:
        ring = client.start()
        client.open_device(ring)
        ring.write(WRONG[name](client))
        ring.wait_fatal()


def test_devices_have_a_limit(server: VenusServer, bystander: None) -> None:
    with VenusClient(server.socket) as client:
        ring = client.start()
        client.open_device(ring)
        with pytest.raises(AssertionError):
            for _ in range(40):
                client.create_device(ring)
        assert enumerate_version(client, ring)
        client.destroy_instance(ring)
