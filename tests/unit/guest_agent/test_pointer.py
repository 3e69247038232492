# SPDX-License-Identifier: Apache-2.0
"""The mouse arrives where it shall, its buttons after the keys before them, and the wheel in parts of notches."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from typing import Any

import pytest
import xcffib
import xcffib.xinput
from xcffib import xproto

from guest_agent import keysyms
from guest_agent.injector import Injector
from guest_agent.keyboard import Keyboard
from guest_agent.messages import Button, Key, Message, Motion, Relative, Wheel
from guest_agent.pointer import PointerDevice, XtestPointer, open_pointer
from tests.support.guest import Guest

BUTTON_EVENTS = (xproto.ButtonPressEvent, xproto.ButtonReleaseEvent)


class Program:
    """A guest program with a window over the whole screen; its calls wait for the server."""

    def __init__(self, guest: Guest) -> None:
        module: Any = xcffib
        self.x = module.connect(guest.server.display)
        root = self.x.get_setup().roots[0]
        self.root = root.root
        self.window = self.x.generate_id()
        mask = xproto.EventMask.ButtonPress | xproto.EventMask.ButtonRelease
        self.x.core.CreateWindow(
            24, self.window, self.root, 0, 0, 800, 600, 0, 1, root.root_visual, xproto.CW.EventMask, [mask]
        )
        self.x.core.MapWindow(self.window)
        self.where()

    def where(self) -> tuple[int, int]:
        reply = self.x.core.QueryPointer(self.root).reply()
        return reply.root_x, reply.root_y

    def buttons(self) -> list[tuple[bool, int, int]]:
        """Return what came: down, button, modifiers."""
        self.where()
        found = []
        while (event := self.x.poll_for_event()) is not None:
            if isinstance(event, BUTTON_EVENTS):
                found.append((isinstance(event, xproto.ButtonPressEvent), event.detail, event.state & 0xFF))
        return found

    def close(self) -> None:
        self.x.disconnect()


@pytest.fixture
def program(guest: Guest) -> Iterator[Program]:
    with contextlib.closing(Program(guest)) as program:
        yield program


@pytest.fixture(params=["inputtest", "xtest"])
def pointer(request: pytest.FixtureRequest, guest: Guest) -> Iterator[PointerDevice]:
    path = guest.server.pointer_socket if request.param == "inputtest" else None
    with contextlib.closing(open_pointer(guest.x, path)) as pointer:
        assert isinstance(pointer, XtestPointer) == (path is None)
        yield pointer


async def send(injector: Injector, *messages: Message) -> None:
    for message in messages:
        await injector.put(message)


@pytest.fixture
def injector(guest: Guest, pointer: PointerDevice) -> Injector:
    return Injector(Keyboard(guest.x), pointer, lambda: (guest.screen.width, guest.screen.height))


async def test_pointer_goes_to_the_pixel(
    injector: Injector, pointer: PointerDevice, guest: Guest, program: Program
) -> None:
    for x, y in ((0, 0), (799, 599), (1, 598), (400.4, 300.9), (123, 456)):
        await send(injector, Motion(x, y))
        pointer.sync()
        assert program.where() == (int(x), int(y))
    await send(injector, Motion(-5, 9999))
    pointer.sync()
    assert program.where() == (0, 599)
    guest.screen.set_size(1283, 717)
    guest.x.drain()
    await send(injector, Motion(1282, 716))
    pointer.sync()
    assert program.where() == (1282, 716)


async def test_relative_motion_is_not_accelerated(injector: Injector, pointer: PointerDevice, program: Program) -> None:
    await send(injector, Motion(400, 300), Relative(100, -50), Relative(-1, 1))
    pointer.sync()
    assert program.where() == (499, 251)
    await send(injector, *[Relative(0.25, 0.5)] * 8)
    pointer.sync()
    assert program.where() == (501, 255)


async def test_buttons_come_with_the_keys_before_them(
    injector: Injector, pointer: PointerDevice, program: Program
) -> None:
    await send(injector, Motion(10, 10))
    for _ in range(20):
        await send(injector, Key(keysyms.CONTROL_L, True), Button(1, True), Button(1, False))
        await send(injector, Key(keysyms.CONTROL_L, False), Button(9, True), Button(9, False))
    pointer.sync()
    one_turn = [(True, 1, 4), (False, 1, 4), (True, 9, 0), (False, 9, 0)]
    assert program.buttons() == one_turn * 20
    await send(injector, Button(1, True), Button(1, True), Button(3, True))
    injector.release_all()
    pointer.sync()
    assert program.buttons() == [(True, 1, 0), (True, 3, 0), (False, 1, 0), (False, 3, 0)]


async def test_wheel_makes_whole_notches_of_parts(injector: Injector, pointer: PointerDevice, program: Program) -> None:
    await send(injector, Motion(10, 10), *[Wheel(0, 0.25)] * 8, Wheel(0, -1), Wheel(1, 0), Wheel(-1, 0))
    pointer.sync()
    assert [number for down, number, _ in program.buttons() if down] == [5, 5, 4, 7, 6]


async def test_wheel_is_smooth_for_programs_that_can(guest: Guest, program: Program) -> None:
    path = guest.server.pointer_socket
    if path is None:
        pytest.skip("this Xorg has no inputtest driver")
    xinput = program.x(xcffib.xinput.key)
    xinput.XIQueryVersion(2, 2).reply()
    # XISelectEvents by hand: one mask for all master devices, motion alone.
    mask = struct.pack("=xx2xIHxxHHI", program.window, 1, 1, 1, 1 << 6)
    xinput.send_request(46, io.BytesIO(mask))
    program.where()
    with contextlib.closing(open_pointer(guest.x, path)) as pointer:
        pointer.move_to(10, 10)
        pointer.wheel(0, 0.25)
        pointer.wheel(0, -0.5)
        pointer.sync()
    program.where()
    events = 0
    while (event := program.x.poll_for_event()) is not None:
        events += isinstance(event, xcffib.xinput.MotionEvent)
    # Neither part of a notch makes a button, but each a motion of the scroll axis.
    assert events == 3
