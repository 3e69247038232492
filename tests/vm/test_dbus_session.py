# SPDX-License-Identifier: Apache-2.0
"""`heliograph vm` with a display device of the machine's own, handed over by QEMU's D-Bus display, in Chromium."""

from __future__ import annotations

import pytest

from tests.support.browser import chromium, chromium_path, client
from tests.support.machine_session import KEYBOARD, TYPING_MS, machine_session, wait_pattern

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(chromium_path() is None, reason="no chromium on this machine"),
]


# What follows the window by itself, and which size the others are asked for.
@pytest.mark.parametrize(
    ("device", "mode"),
    [
        (("-vga", "std"), "1024x768"),
        (("-vga", "qxl"), "1024x768"),
        (("-device", "virtio-gpu-pci"), "preferred"),
    ],
    ids=["std", "qxl", "virtio-gpu"],
)
async def test_display_device_of_the_machines_own(device: tuple[str, ...], mode: str) -> None:
    with machine_session(devices=(*KEYBOARD, *device)) as machine:
        async with chromium() as browser, client(browser, 900, 650) as viewer:
            await viewer.open(machine.session.url)
            if mode == "preferred":
                await viewer.page.wait_for_function("() => heliograph.stats().width === 900", timeout=60_000)
            async with machine.kms() as kms:
                said = await kms.do(f"mode 0 {mode}")
                width, height = (900, 650) if mode == "preferred" else (1024, 768)
                assert f"mode 0 {width}x{height}" in said
                await wait_pattern(viewer, width, height)
            await viewer.page.mouse.click(*await viewer.guest_to_page(300, 300))
            await viewer.page.keyboard.type("echo $((6*7)) > /tmp/typed\n", delay=TYPING_MS)
            await machine.wait_sh("test -s /tmp/typed")
            assert await machine.sh("cat /tmp/typed") == "42\n"
