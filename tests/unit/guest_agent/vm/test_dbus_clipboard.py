# SPDX-License-Identifier: Apache-2.0
"""The clipboard between viewers and a fake QEMU."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from guest_agent.messages import MAX_CLIPBOARD_BYTES
from guest_agent.vm.dbus_clipboard import CLIPBOARD, TEXT, DBusClipboard
from guest_agent.vm.dbus_message import Incoming
from tests.support.fake_qemu import FakePeer, fake_peer
from tests.support.streaming import wait_until


@contextlib.asynccontextmanager
async def registered() -> AsyncIterator[tuple[DBusClipboard, FakePeer, list[str]]]:
    texts: list[str] = []
    clipboard = DBusClipboard(texts.append)
    async with asyncio.TaskGroup() as tasks, fake_peer(clipboard.exports) as (connection, qemu):
        tasks.create_task(clipboard.run(connection))
        call = await qemu.receive()
        assert (call.path, call.member) == ("/org/qemu/Display1/Clipboard", "Register")
        await qemu.answer(call)
        yield clipboard, qemu, texts


async def grab(qemu: FakePeer, serial: int, *mimes: str, selection: int = 0) -> Incoming:
    """Grab; return the Request that follows."""
    await qemu.call(CLIPBOARD, "Grab", "uuas", (selection, serial, list(mimes)))
    return await qemu.receive()


async def test_what_the_guest_copies_is_fetched() -> None:
    async with registered() as (_, qemu, texts):
        call = await grab(qemu, 5, "text/html", TEXT)
        assert (call.member, call.body) == ("Request", (0, [TEXT]))
        await qemu.answer(call, "say", (TEXT, "Grüße\0".encode()))
        # Wrong answers are passed over, right ones still arrive.
        call = await grab(qemu, 6, TEXT)
        await qemu.answer(call, "say", ("image/png", b"x"))
        call = await grab(qemu, 7, TEXT)
        await qemu.answer(call, "say", (TEXT, b"x" * (MAX_CLIPBOARD_BYTES + 1)))
        call = await grab(qemu, 8, TEXT)
        await qemu.answer(call, "u", (1,))
        call = await grab(qemu, 9, TEXT)
        await qemu.refuse(call, "org.qemu.Error", "gone")
        await qemu.call(CLIPBOARD, "Grab", "uuas", (1, 9, [TEXT]))  # X11's selection
        await qemu.call(CLIPBOARD, "Grab", "uuas", (0, 9, ["image/png"]))
        call = await grab(qemu, 10, TEXT)
        await qemu.answer(call, "say", (TEXT, b"a\xffb"))
        await wait_until(lambda: len(texts) == 2)
        assert texts == ["Grüße", "a\N{REPLACEMENT CHARACTER}b"]


async def test_what_the_viewer_copies_is_offered_and_given() -> None:
    async with registered() as (clipboard, qemu, _):
        await qemu.call(CLIPBOARD, "Grab", "uuas", (0, 41, ["image/png"]))
        clipboard.set_text("über")
        call = await qemu.receive()
        assert (call.member, call.body) == ("Grab", (0, 42, [TEXT]))
        await qemu.answer(call)
        answer = await qemu.call(CLIPBOARD, "Request", "uas", (0, [TEXT]))
        assert (answer.body[0], bytes(answer.body[1])) == (TEXT, "über".encode())
        for body in ((1, [TEXT]), (0, ["image/png"]), (0, [])):
            assert (await qemu.call(CLIPBOARD, "Request", "uas", body)).error_name
        # Once the guest has copied something, ours is gone.
        await qemu.call(CLIPBOARD, "Grab", "uuas", (0, 43, ["image/png"]))
        assert (await qemu.call(CLIPBOARD, "Request", "uas", (0, [TEXT]))).body == ("there is nothing",)


async def test_what_was_copied_before_is_offered_at_last() -> None:
    texts: list[str] = []
    clipboard = DBusClipboard(texts.append)
    clipboard.set_text("early")
    async with asyncio.TaskGroup() as tasks, fake_peer(clipboard.exports) as (connection, qemu):
        tasks.create_task(clipboard.run(connection))
        await qemu.answer(await qemu.receive())
        assert (await qemu.receive()).member == "Grab"
