# SPDX-License-Identifier: Apache-2.0
"""QEMU's last words reach the log, and what a person can do about some of them is known."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import pytest

from guest_agent.vm.qemu_output import MAX_LINE_BYTES, QemuOutput


@contextlib.asynccontextmanager
async def output() -> AsyncIterator[tuple[QemuOutput, int, int]]:
    """The output, what QEMU writes to, and what is read of it in the end."""
    passed_fd, out_fd = os.pipe()
    with contextlib.closing(QemuOutput(out_fd)) as made:
        qemu_fd = os.dup(made.fd)
        made.start()
        try:
            yield made, qemu_fd, passed_fd
        finally:
            os.close(out_fd)
            os.close(passed_fd)


async def said(*lines: bytes) -> tuple[str, bytes]:
    """What is advised, and what is passed on, when QEMU says `lines` and ends."""
    async with output() as (made, qemu_fd, passed_fd):
        for line in lines:
            os.write(qemu_fd, line)
            await asyncio.sleep(0)
        os.close(qemu_fd)
        async with asyncio.timeout(60):
            await made.wait_ended()
        return made.advice, os.read(passed_fd, 1 << 20)


async def test_lines_are_passed_on_but_for_our_own_doing() -> None:
    noise = b"qemu: -chardev socket,id=heliograph-gpu,path=/s/g,server=on: info: QEMU waiting for connection on: x\n"
    assert await said(b"one\ntw", b"o\n", noise, b"no end") == ("", b"one\ntwo\nno end\n")


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        (b"qemu: -device vhost-user-gpu-pci: vhost initialization failed: requires kvm\n", "-enable-kvm"),
        (b"qemu: Display 'dbus' is not available. Perhaps you want to\n", "qemu-system-modules-opengl"),
        (b"qemu: Unknown audio driver `dbus'. Perhaps you want to install\n", "--no-audio"),
        (b"qemu: QXL VGA not available. Perhaps you want to install\n", "qemu-system-modules-spice"),
        (b"Could not access KVM kernel module: Permission denied\n", "usermod"),
        (b"qemu: -device x: No 'PCI' bus found for device 'virtio-serial-pci'\n", "-M q35"),
    ],
)
async def test_what_to_do_is_known(line: bytes, advice: str) -> None:
    told, passed = await said(line, b"and so on\n")
    assert advice in told
    assert passed.startswith(line)


async def test_line_without_an_end_is_not_kept() -> None:
    async with output() as (made, qemu_fd, passed_fd):
        sent = 0
        os.set_blocking(qemu_fd, False)
        async with asyncio.timeout(60):
            while sent <= MAX_LINE_BYTES:
                with contextlib.suppress(BlockingIOError):
                    sent += os.write(qemu_fd, b"x" * 4096)
                await asyncio.sleep(0)
            while not (passed := await asyncio.to_thread(os.read, passed_fd, 1 << 20)):
                pass
        assert set(passed) == {ord("x")}
        made.close()
        os.close(qemu_fd)
