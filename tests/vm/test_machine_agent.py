# SPDX-License-Identifier: Apache-2.0
"""`heliograph vm` with the agent inside the machine: the clipboard and the screen's size, from Chromium to X11."""

from __future__ import annotations

import pytest

from tests.support.browser import Client, chromium, chromium_path, client
from tests.support.machine_session import KEYBOARD, MachineSession, machine_session
from tests.support.vm_desktop import python_in_guest, start_desktop

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(chromium_path() is None, reason="no chromium on this machine"),
]
_PERMISSIONS = ["clipboard-read", "clipboard-write"]


async def _check_clipboard(viewer: Client, machine: MachineSession, display: str) -> None:
    x11 = f"DISPLAY={display} xclip -selection clipboard"
    await viewer.page.evaluate("navigator.clipboard.writeText('from the browser')")
    await viewer.page.keyboard.press("Control+v")
    await machine.wait_sh(f"{x11} -out 2>/dev/null | grep -q browser")
    await machine.sh(f"printf 'from the guest' | {x11} -in >/dev/null 2>&1")
    await viewer.wait_until("async () => await navigator.clipboard.readText() === 'from the guest'")


# A guest boots, and X, Chromium and the agent start, all of it under emulation.
@pytest.mark.timeout(300)
async def test_clipboard_and_size() -> None:
    # A device that takes no wishes: the agent alone can set sizes.
    devices = (*KEYBOARD, "-vga", "std")
    with machine_session("--no-audio", devices=devices, host_root=True, memory_mib=1024) as machine:
        async with chromium() as browser, client(browser, 900, 650, permissions=_PERMISSIONS) as viewer:
            desktop = await machine.call(start_desktop, machine.shell, "sleep", "1000000")
            agent = machine.shell.spawn(python_in_guest("guest_agent.in_vm", "--display", desktop.display))
            await machine.call(agent.read_until, "serving the X server")
            await viewer.open(machine.session.url)
            await viewer.page.mouse.click(200, 200)
            await _check_clipboard(viewer, machine, desktop.display)
            for width, height in ((1024, 768), (1200, 720)):
                await viewer.page.set_viewport_size({"width": width, "height": height})
                await viewer.page.wait_for_function(
                    f"() => heliograph.stats().width === {width} && heliograph.stats().height === {height}",
                    timeout=90_000,
                )
