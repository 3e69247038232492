# SPDX-License-Identifier: Apache-2.0
"""Fences and semaphores by raw commands: what stock clients ask of them rarely, or never in this order."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from guest_agent.graphics import find_driver
from tests.support.venus import VenusServer
from tests.support.venus_client import NULL, PRESENT, Ring, VenusClient, command, u32, u64

pytestmark = pytest.mark.gpu

SUCCESS, NOT_READY, TIMEOUT = 0, 1, 2
FENCE_INFO, SEMAPHORE_INFO, SUBMIT_INFO, SUBMIT_INFO_2, SEMAPHORE_SUBMIT_INFO = 8, 9, 4, 1000314004, 1000314005
IMPORT_INFO = 1000384004
FOREVER_NS = 2**64 - 1
SHORT_NS = 20_000_000
ALL = 0x10000


class Device:
    """A device of one queue, and calls on it."""

    def __init__(self, client: VenusClient) -> None:
        self.client = client
        self.ring: Ring = client.start()
        self.device = client.open_device(self.ring)
        self.queue = client.queue

    def write(self, name: str, *parts: bytes) -> None:
        self.ring.write(command(name, *parts))
        assert self.ring.wait(), name

    def result(self, name: str, *parts: bytes) -> int:
        reply = self.client.call(self.ring, command(name, *parts, reply=True), 64)
        return int(struct.unpack_from("<i", reply, 4)[0])

    def create(self, name: str, s_type: int, flags: int = 0) -> int:
        made = self.client.new_id()
        self.write(name, u64(self.device), PRESENT + u32(s_type) + NULL + u32(flags), NULL, PRESENT + u64(made))
        return made

    def fence(self, *, signalled: bool = False) -> int:
        return self.create("vkCreateFence", FENCE_INFO, int(signalled))

    def semaphore(self) -> int:
        return self.create("vkCreateSemaphore", SEMAPHORE_INFO)

    def destroy(self, name: str, handle: int) -> None:
        self.write(name, u64(self.device, handle), NULL)

    def import_signalled(self, semaphore: int, resource: int = 0) -> None:
        info = PRESENT + u32(IMPORT_INFO) + NULL + u64(semaphore) + u32(resource)
        self.write("vkImportSemaphoreResourceMESA", u64(self.device), info)

    def submit(self, fence: int = 0, wait: tuple[int, ...] = (), signal: tuple[int, ...] = ()) -> int:
        """One batch; none without semaphores."""
        batches = NULL
        if wait or signal:
            waits = u32(len(wait)) + u64(len(wait), *wait) + u64(len(wait)) + u32(*[ALL] * len(wait))
            signals = u32(len(signal)) + u64(len(signal), *signal)
            batches = u64(1) + u32(SUBMIT_INFO) + NULL + waits + u32(0) + NULL + signals
        return self.result("vkQueueSubmit", u64(self.queue), u32(int(batches != NULL)), batches, u64(fence))

    def status(self, fence: int) -> int:
        return self.result("vkGetFenceStatus", u64(self.device, fence))

    def wait(self, *fences: int, wait_all: bool = True, timeout_ns: int = FOREVER_NS) -> int:
        names = u32(len(fences)) + u64(len(fences), *fences)
        return self.result("vkWaitForFences", u64(self.device), names, u32(int(wait_all)), u64(timeout_ns))

    def reset(self, *fences: int) -> None:
        self.write("vkResetFences", u64(self.device), u32(len(fences)), u64(len(fences), *fences))


@pytest.fixture(scope="module")
def server() -> Iterator[VenusServer]:
    if find_driver() is None:
        pytest.skip("Mesa's Venus driver is not installed (mesa-vulkan-drivers 25)")
    server = VenusServer("--limit", "gpu-timeout-ms=20000", "--limit", "wait-ms=30000", shared=True)
    yield server
    code = server.close()
    assert code == 0, f"the worker ended with {code}:\n{server.log}"


@pytest.fixture
def device(server: VenusServer) -> Iterator[Device]:
    with VenusClient(server.socket) as client:
        device = Device(client)
        yield device
        client.destroy_instance(device.ring)


def timeline(device: Device) -> int:
    """A timeline at 0, for a queue to wait at."""
    made = device.client.new_id()
    kind = PRESENT + u32(1000207002) + NULL + u32(1) + u64(0)
    device.write(
        "vkCreateSemaphore",
        u64(device.device),
        PRESENT + u32(SEMAPHORE_INFO) + kind + u32(0),
        NULL,
        PRESENT + u64(made),
    )
    return made


def test_fence_of_an_empty_submission(device: Device) -> None:
    fence = device.fence()
    assert device.status(fence) == NOT_READY
    for _ in range(3):
        assert device.submit(fence) == SUCCESS
        assert device.status(fence) == SUCCESS
        assert device.wait(fence, timeout_ns=0) == SUCCESS
        assert device.status(fence) == SUCCESS, "waiting is no reset"
        device.reset(fence)
        assert device.status(fence) == NOT_READY
        assert device.wait(fence, timeout_ns=SHORT_NS) == TIMEOUT
    device.destroy("vkDestroyFence", fence)


def test_fence_that_is_made_signalled(device: Device) -> None:
    fence = device.fence(signalled=True)
    assert device.status(fence) == device.wait(fence) == SUCCESS
    device.reset(fence)
    device.reset(fence)
    assert device.status(fence) == NOT_READY
    assert device.submit(fence) == SUCCESS
    assert device.wait(fence) == SUCCESS
    device.destroy("vkDestroyFence", fence)  # signalled


def test_fences_of_both_kinds_wait_together(device: Device) -> None:
    """Some are the host's, some were answered without it."""
    semaphore = device.semaphore()
    unused, empty, real = device.fence(), device.fence(), device.fence()
    assert device.submit(empty) == SUCCESS
    assert device.submit(real, signal=(semaphore,)) == SUCCESS
    assert device.wait(empty, real) == SUCCESS
    assert device.wait(real, empty, wait_all=False) == SUCCESS
    assert device.wait(unused, empty, wait_all=False, timeout_ns=0) == SUCCESS
    assert device.wait(unused, real, wait_all=False) == SUCCESS
    assert device.wait(unused, empty, real, timeout_ns=SHORT_NS) == TIMEOUT
    assert device.wait(unused, wait_all=False, timeout_ns=SHORT_NS) == TIMEOUT
    device.reset(unused, empty, real)
    assert [device.status(each) for each in (unused, empty, real)] == [NOT_READY] * 3
    # in the other's place: what the host signalled first is answered without it now, and the other way round
    assert device.submit(empty, wait=(semaphore,)) == SUCCESS
    assert device.wait(empty) == SUCCESS
    assert device.submit(real) == SUCCESS
    assert [device.status(each) for each in (unused, empty, real)] == [NOT_READY, SUCCESS, SUCCESS]


def test_fence_behind_a_busy_queue(device: Device) -> None:
    """An empty submission does not overtake work that has not begun."""
    gate = timeline(device)
    values = PRESENT + u32(1000207003) + NULL + u32(1) + u64(1, 1) + u32(0) + NULL
    batch = u64(1) + u32(SUBMIT_INFO) + values + u32(1) + u64(1, gate) + u64(1) + u32(ALL) + u32(0) + NULL
    first, second = device.fence(), device.fence()
    assert device.result("vkQueueSubmit", u64(device.queue), u32(1), batch + u32(0) + NULL, u64(first)) == SUCCESS
    assert device.submit(second) == SUCCESS
    assert device.wait(first, second, wait_all=False, timeout_ns=SHORT_NS) == TIMEOUT
    assert device.status(second) == NOT_READY
    info = PRESENT + u32(1000207005) + NULL + u64(gate, 1)
    assert device.result("vkSignalSemaphore", u64(device.device), info) == SUCCESS
    assert device.wait(second) == SUCCESS
    assert device.wait(first) == SUCCESS
    third = device.fence()
    assert device.submit(third) == SUCCESS
    assert device.status(third) == SUCCESS, "the queue is idle, and known to be"


def test_imported_payloads(device: Device) -> None:
    fence = device.fence()

    def done() -> bool:
        ended = device.wait(fence) == SUCCESS
        device.reset(fence)
        return ended

    destroyed, semaphore = device.semaphore(), device.semaphore()
    device.import_signalled(destroyed)
    device.destroy("vkDestroySemaphore", destroyed)
    for _ in range(3):
        device.import_signalled(semaphore)
        device.import_signalled(semaphore)
        assert device.submit(fence, wait=(semaphore,)) == SUCCESS
        assert done()
    # its own payload is there again
    assert device.submit(signal=(semaphore,)) == SUCCESS
    assert device.submit(fence, wait=(semaphore,)) == SUCCESS
    assert done()
    # beside a payload of the host's, wherever it stands
    other, third = device.semaphore(), device.semaphore()
    for order in ((semaphore, other, third), (other, semaphore, third), (other, third, semaphore)):
        device.import_signalled(semaphore)
        assert device.submit(signal=(other, third)) == SUCCESS
        assert device.submit(fence, wait=order) == SUCCESS
        assert done()


def test_imported_payload_among_timeline_values(device: Device) -> None:
    """Values stay with their semaphores when one is taken out; both forms of the command."""
    gate, semaphore, fence = timeline(device), device.semaphore(), device.fence()
    device.import_signalled(semaphore)
    values = PRESENT + u32(1000207003) + NULL + u32(2) + u64(2, 99, 1) + u32(1) + u64(1, 2)
    waits = u32(2) + u64(2, semaphore, gate) + u64(2) + u32(ALL, ALL)
    batch = u64(1) + u32(SUBMIT_INFO) + values + waits + u32(0) + NULL + u32(1) + u64(1, gate)
    assert device.result("vkQueueSubmit", u64(device.queue), u32(1), batch, u64(fence)) == SUCCESS
    assert device.wait(fence, timeout_ns=SHORT_NS) == TIMEOUT
    signal = PRESENT + u32(1000207005) + NULL + u64(gate, 1)
    assert device.result("vkSignalSemaphore", u64(device.device), signal) == SUCCESS
    assert device.wait(fence) == SUCCESS
    device.reset(fence)

    def one(handle: int, value: int) -> bytes:
        return u32(SEMAPHORE_SUBMIT_INFO) + NULL + u64(handle, value) + u64(ALL) + u32(0)

    device.import_signalled(semaphore)
    waits = u32(2) + u64(2) + one(semaphore, 99) + one(gate, 2)
    batch = u64(1) + u32(SUBMIT_INFO_2) + NULL + u32(0) + waits + u32(0) + NULL + u32(1) + u64(1) + one(gate, 7)
    assert device.result("vkQueueSubmit2", u64(device.queue), u32(1), batch, u64(fence)) == SUCCESS
    assert device.wait(fence) == SUCCESS
    reply = device.client.call(
        device.ring, command("vkGetSemaphoreCounterValue", u64(device.device, gate), PRESENT, reply=True), 64
    )
    assert struct.unpack_from("<IiQQ", reply)[1:] == (SUCCESS, 1, 7)


def test_only_signalled_payloads_are_imported(server: VenusServer) -> None:
    with VenusClient(server.socket) as client:
        device = Device(client)
        semaphore = device.semaphore()
        info = PRESENT + u32(IMPORT_INFO) + NULL + u64(semaphore) + u32(client.reply_resource)
        device.ring.write(command("vkImportSemaphoreResourceMESA", u64(device.device), info))
        device.ring.wait_fatal()
