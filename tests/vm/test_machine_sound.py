# SPDX-License-Identifier: Apache-2.0
"""What a machine plays, in Chromium: its PC speaker, which needs no driver."""

from __future__ import annotations

import pytest

from bench import sync
from tests.support.browser import chromium, chromium_path, client
from tests.support.listening import hears
from tests.support.machine_session import KEYBOARD, machine_session

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(chromium_path() is None, reason="no chromium on this machine"),
]
TONE_HZ = 880
# The timer counts down from this; its third channel is the speaker's.
_DIVISOR = 1_193_182 // TONE_HZ


def _out(port: int, value: int) -> str:
    """A command that writes to an I/O port of the guest's."""
    return f"printf '\\{value:o}' | dd of=/dev/port bs=1 seek={port} conv=notrunc 2>/dev/null"


async def test_what_a_machine_plays_is_heard() -> None:
    devices = (*KEYBOARD, "-machine", "pcspk-audiodev=heliograph-audio")
    with machine_session(devices=devices) as machine:
        async with chromium() as browser, client(browser, 800, 600) as viewer:
            await viewer.open(machine.session.url)
            await viewer.page.wait_for_function(
                "() => !document.querySelector('[data-action=sound]').hidden", timeout=60_000
            )
            begin = (_out(0x43, 0xB6), _out(0x42, _DIVISOR & 255), _out(0x42, _DIVISOR >> 8), _out(0x61, 3))
            await machine.sh("; ".join(begin))
            await sync.switch_sound(viewer.page)
            await viewer.wait_until(hears(TONE_HZ, TONE_HZ))
            await machine.sh(_out(0x61, 0))
            await viewer.wait_until(hears(0, 0))
