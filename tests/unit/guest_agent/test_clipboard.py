# SPDX-License-Identifier: Apache-2.0
"""Clipboard text goes both ways between the agent and a real program."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest

from guest_agent import clipboard_transfer
from guest_agent.clipboard import Clipboard
from guest_agent.clipboard_transfer import IncomingText, OutgoingText
from guest_agent.messages import MAX_CLIPBOARD_BYTES
from tests.support.fifo import Fifo
from tests.support.guest import Guest
from tests.support.streaming import wait_until

TEXT = "Grüße 你好 😀\nsecond line\twith a tab"
LONG = "0123456789abcde\n" * (MAX_CLIPBOARD_BYTES // 16)


class Seen:
    """The agent's end, with what it heard."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.texts: asyncio.Queue[str] = asyncio.Queue()
        self.clipboard = Clipboard(guest.x, self.texts.put_nowait)

    async def copy(self, text: str, *arguments: str) -> None:
        """Let a guest program copy."""
        path = self.guest.directory / "copied"
        path.write_text(text)
        await self.guest.run("xclip", "-in", "-selection", "clipboard", *arguments, str(path))

    async def heard(self) -> str:
        async with asyncio.timeout(60):
            return await self.texts.get()

    async def digest(self, *arguments: str) -> str:
        """Return the digest of what a guest program pastes."""
        fifo = Fifo(self.guest.directory / f"pasted{len(arguments)}")
        try:
            command = " ".join(("xclip -out", *arguments, f"| sha256sum > {fifo.path}"))
            self.guest.start("sh", "-c", command)
            return (await fifo.read_line()).split()[0]
        finally:
            fifo.close()
            fifo.path.unlink()


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
async def seen(guest: Guest) -> AsyncIterator[Seen]:
    seen = Seen(guest)
    yield seen
    seen.clipboard.close()


async def test_copied_text_is_heard_once(seen: Seen) -> None:
    await seen.copy(TEXT)
    assert await seen.heard() == TEXT
    await seen.copy(TEXT)
    await seen.copy("another")
    assert await seen.heard() == "another"
    assert seen.clipboard.guest_text == "another"


@pytest.mark.parametrize("text", [TEXT, LONG], ids=["short", "in parts"])
async def test_viewers_text_can_be_pasted(seen: Seen, text: str) -> None:
    seen.clipboard.set_text(text)
    assert await seen.digest("-selection", "clipboard") == digest(text)
    assert await seen.digest("-selection", "primary") == digest(text)
    assert seen.texts.empty()
    assert seen.clipboard.guest_text == ""


async def test_a_slow_program_gets_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is limited is the wait for each part."""
    given_up: list[None] = []
    monkeypatch.setattr(clipboard_transfer, "PATIENCE_SECONDS", 30.0)
    text = OutgoingText(b"abc", 0, lambda: given_up.append(None))
    began_s = text._timer.when()
    for part in (b"a", b"b", b"c", b""):
        assert text.next_part(1) == part
        assert text._timer.when() > began_s
    text.cancel()
    monkeypatch.setattr(clipboard_transfer, "PATIENCE_SECONDS", 0.01)
    IncomingText(0, lambda: given_up.append(None)).add(b"a")
    await wait_until(lambda: bool(given_up))


async def test_what_the_guest_copies_after_the_viewer_is_not_given_up_early(seen: Seen) -> None:
    seen.clipboard._start_incoming(0)
    first = seen.clipboard._incoming
    assert first is not None
    seen.clipboard.set_text("of the viewer")
    assert first._timer.cancelled()


async def test_long_text_is_heard_and_a_longer_one_is_not(seen: Seen) -> None:
    await seen.copy(LONG)
    assert await seen.heard() == LONG
    await seen.copy(LONG + "x")
    await seen.copy("short")
    assert await seen.heard() == "short"


async def test_the_newer_text_wins(seen: Seen) -> None:
    await seen.copy("of the guest")
    assert await seen.heard() == "of the guest"
    seen.clipboard.set_text("of the viewer")
    assert await seen.digest("-selection", "clipboard") == digest("of the viewer")
    await seen.copy("of the guest")
    assert await seen.heard() == "of the guest"
    assert await seen.digest("-selection", "clipboard") == digest("of the guest")


async def test_targets_are_told(seen: Seen) -> None:
    seen.clipboard.set_text(TEXT)
    expected = "TARGETS\nTIMESTAMP\nUTF8_STRING\ntext/plain;charset=utf-8\nTEXT\ntext/plain\nSTRING\n"
    assert await seen.digest("-selection", "clipboard", "-target", "TARGETS") == digest(expected)


async def test_a_clipboard_without_text_is_left_alone(seen: Seen) -> None:
    await seen.copy("no text", "-target", "image/png")
    await seen.copy(TEXT)
    assert await seen.heard() == TEXT
