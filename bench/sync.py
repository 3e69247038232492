# SPDX-License-Identifier: Apache-2.0
"""When a page is heard to beep against when it is seen to flash."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.async_api import Page

BEEP = (sys.executable, "-m", "bench.guest_programs.beep")
_STATIC = Path(__file__).parent / "static"
# What a page needs before it is opened: `measure.statistics()`.
PROBE = _STATIC / "viewer.js"
# Farther apart, and the one's partner was missed.
_MAX_OFFSET_MS = 300.0
_BEGIN = "\nwindow.sync = await watchSync();"


async def switch_sound(page: Page) -> None:
    """Click the client's sound button."""
    await page.click("#handle")
    await page.click("[data-action=sound]")


async def begin(page: Page) -> None:
    """Switch the sound on and watch for beeps and flashes; the page must allow foreign scripts."""
    await page.wait_for_function("() => !document.querySelector('[data-action=sound]').hidden")
    await switch_sound(page)
    await page.wait_for_function("() => document.getElementById('sound').srcObject")
    module = (_STATIC / "sync.js").read_text(encoding="utf-8")
    await page.add_script_tag(type="module", content=module + _BEGIN)
    await page.wait_for_function("() => window.sync")


async def offsets_ms(page: Page) -> list[float]:
    """Return by how much each beep came after its flash; positive: the sound is late."""
    found = await page.evaluate("window.sync")
    offsets = []
    for flash in found["flashes"]:
        nearest = min((beep - flash for beep in found["beeps"]), key=abs, default=_MAX_OFFSET_MS)
        if abs(nearest) < _MAX_OFFSET_MS:
            offsets.append(nearest)
    return offsets
