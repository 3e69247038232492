# SPDX-License-Identifier: Apache-2.0
"""Input messages become what a machine's keyboard, mouse and touch screen do."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest

from guest_agent.messages import Button, Clipboard, Key, Message, Motion, Relative, ReleaseAll, Text, Touch, Wheel
from guest_agent.vm import flow, input_channel
from guest_agent.vm.flow import Flow
from guest_agent.vm.input_channel import Devices, MachineInput
from guest_agent.vm.keycodes import QNUM_BY_CODE, Stroke, from_character, from_code, from_keysym
from guest_agent.vm.pointer_device import Steering, WholePixels, on_tablet
from guest_agent.vm.qmp import Qmp
from guest_agent.vm.qmp_input import QmpInput
from tests.support.fake_qemu import FakeQmp
from tests.support.streaming import wait_until

A, B, SHIFT, SHIFT_RIGHT, ENTER = 0x1E, 0x30, 0x2A, 0x36, 0x1C


class Recorder:
    """Every device at once; writes down what is done."""

    def __init__(self) -> None:
        self.done: list[object] = []
        self.has_room = True
        self.other: Recorder | None = None

    async def settle(self) -> None:
        self.done.append("settle")

    async def wait_for_room(self) -> bool:
        return self.has_room

    def for_movement(self) -> Recorder:
        return self.other or self

    def key(self, qnum: int, *, down: bool) -> None:
        self.done.append((qnum, down))

    def move_to(self, scanout: int, x: float, y: float) -> None:
        self.done.append(("to", scanout, x, y))

    def move_by(self, dx: float, dy: float) -> None:
        self.done.append(("by", dx, dy))

    def button(self, button: int, *, down: bool) -> None:
        self.done.append(("button", button, down))

    def touch(self, phase: str, finger: int, scanout: int, x: float, y: float) -> None:
        self.done.append((phase, finger))

    def take(self) -> list[object]:
        done, self.done = self.done, []
        return done


def make(touch: bool = True) -> tuple[MachineInput, Recorder]:
    recorder = Recorder()
    return MachineInput(Devices(recorder, recorder, recorder if touch else None, "test")), recorder


async def put(machine: MachineInput, *messages: Message) -> None:
    for message in messages:
        await machine.put(message)


async def test_keys_go_by_their_place_and_else_by_a_us_layout() -> None:
    machine, recorder = make()
    # A French A is where the US layout has its Q.
    await put(machine, Key(0x61, True, "KeyQ"), Key(0x61, False, "KeyQ"))
    assert recorder.take() == [(0x10, True), (0x10, False)]
    await put(machine, Key(0x41, True), Key(0x41, False))
    assert recorder.take() == [(SHIFT, True), (A, True), (SHIFT, False), (A, False)]
    await put(machine, Key(0xFF0D, True, "Unidentified"), Key(0xFF0D, False, "Unidentified"))
    assert recorder.take() == [(ENTER, True), (ENTER, False)]
    # With Shift held, what needs none is typed without.
    await put(machine, Key(0xFFE1, True, "ShiftLeft"), Key(0x61, True), Key(0x61, False))
    assert recorder.take() == [(SHIFT, True), (SHIFT, False), (A, True), (SHIFT, True), (A, False)]
    await put(machine, Key(0x20AC, True), Key(0x20AC, False), Key(0x62, False, "KeyB"))
    assert recorder.take() == []
    machine.reset()
    assert recorder.take() == [(SHIFT, False)]


async def test_a_second_press_releases_first_and_everything_is_released_at_last() -> None:
    machine, recorder = make()
    await put(machine, Key(0x61, True, "KeyA"), Key(0x61, True, "KeyA"), Key(0x62, True, "KeyB"), Button(9, True))
    assert recorder.take() == [(A, True), (A, False), (A, True), (B, True), ("button", 6, True)]
    await put(machine, Touch(3, "down", 1, 2), Touch(3, "move", 2, 2), Touch(5, "move", 2, 2), Touch(5, "up", 0, 0))
    assert recorder.take() == [("down", 3), ("move", 3)]
    await put(machine, ReleaseAll())
    assert recorder.take() == [("button", 6, False), ("cancel", 3), (B, False), (A, False)]
    await put(machine, ReleaseAll(), Key(0x61, False, "KeyA"), Button(9, False), Clipboard("x"))
    assert recorder.take() == []


async def test_many_keys_at_once_are_bounded() -> None:
    machine, recorder = make()
    for code in QNUM_BY_CODE:
        await put(machine, Key(0x61, True, code))
    assert 0 < len(set(recorder.take())) <= input_channel.MAX_HELD_KEYS
    machine.reset()


async def test_text_is_typed_and_what_has_no_key_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    machine, recorder = make()
    with caplog.at_level(logging.INFO):
        await put(machine, Text("aA\r\né→é"))
    assert recorder.take() == [
        *((A, True), (A, False), (SHIFT, True), (A, True), (A, False), (SHIFT, False), (ENTER, True), (ENTER, False)),
    ]
    assert [record.message for record in caplog.records] == [
        "a US keyboard has no keys for 'é→': copy and paste is the way for these"
    ]
    await put(machine, Key(0xFFE2, True, "ShiftRight"), Text("a"))
    assert recorder.take() == [
        *((SHIFT_RIGHT, True), (SHIFT_RIGHT, False), (A, True), (A, False), (SHIFT_RIGHT, True)),
    ]
    machine.reset()


async def test_a_held_key_repeats_until_it_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_channel, "REPEAT_DELAY_S", 0.001)
    monkeypatch.setattr(input_channel, "REPEAT_S", 0.001)
    machine, recorder = make()
    await put(machine, Key(0x61, True, "KeyA"), Key(0xFFE1, True, "ShiftLeft"))
    await put(machine, Key(0x62, True, "KeyB"))
    await wait_until(lambda: recorder.done.count((B, True)) >= 5)
    await put(machine, Key(0x62, False, "KeyB"))
    recorder.take()
    await asyncio.sleep(0.02)
    assert recorder.take() == []
    machine.reset()


async def test_wheel_parts_add_up_to_notches() -> None:
    machine, recorder = make()
    await put(machine, Wheel(0, 0.4), Wheel(0, 0.4), Wheel(0, 0.4), Wheel(-1, -1.5))
    assert [what[1] for what in recorder.take() if what[2]] == [4, 7, 3]  # type: ignore[index]
    await put(machine, Wheel(0, 1000))
    assert len(recorder.take()) == 2 * input_channel.MAX_NOTCHES_AT_ONCE


async def test_ways_are_waited_out_when_they_change() -> None:
    recorder, mouse = Recorder(), Recorder()
    recorder.other = mouse
    machine = MachineInput(Devices(recorder, recorder, None, "test"))
    await put(machine, Key(0xFFE3, True, "ControlLeft"), Motion(1, 2, 3), Relative(1, 1), Button(1, True))
    assert recorder.take() == [(0x1D, True), ("to", 3, 1, 2), "settle"]
    assert mouse.take() == [("by", 1, 1), ("button", 0, True)]
    await put(machine, Touch(1, "down", 1, 1), Key(0xFFE3, False, "ControlLeft"))
    assert (mouse.take(), recorder.take()) == (["settle"], [(0x1D, False)])


async def test_a_qemu_that_does_not_answer_loses_input(caplog: pytest.LogCaptureFixture) -> None:
    machine, recorder = make()
    recorder.has_room = False
    await put(machine, Key(0x61, True, "KeyA"), Motion(1, 1))
    assert recorder.take() == []
    recorder.has_room = True
    await put(machine, Motion(1, 1))
    assert recorder.take() == [("to", 0, 1, 1)]
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        "QEMU does not answer: input is lost",
        "QEMU answers again",
    ]


async def test_flow_counts_what_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "TIMEOUT_S", 0.01)
    counted = Flow()
    loop = asyncio.get_running_loop()
    calls = [loop.create_future() for _ in range(flow.MAX_UNANSWERED)]
    for call in calls:
        counted.add(call)
    assert not await counted.wait_for_room()
    calls[0].set_exception(RuntimeError("refused"))
    assert await counted.wait_for_room()
    for call in calls[1:]:
        call.set_result(())
    await counted.settle()


async def test_qmp_carries_places_of_the_whole_tablet() -> None:
    ours, theirs = socket.socketpair()
    server = FakeQmp(theirs)
    async with asyncio.TaskGroup() as tasks:
        greeting = tasks.create_task(server.greet())
        async with await Qmp.open(ours) as qmp:
            await greeting
            device = QmpInput(qmp, lambda: [(100, 50), (0, 0), (300, 100)])
            asked = tasks.create_task(device.refresh())
            mice = [{"name": "Tablet", "absolute": True, "current": True}, {"name": "Mouse", "absolute": False}, 7]
            await server.answer(await server.receive(), mice)
            await asked
            assert device.has_relative
            device.move_to(2, 299, 0)
            device.move_to(1, 0, 0)  # off
            device.move_to(3, 0, 0)  # none
            device.move_by(0.5, 0)
            device.move_by(0.5, -0.75)
            device.key(0x1E, down=True)
            device.button(4, down=False)
            events = [(await server.receive())["arguments"]["events"] for _ in range(4)]
    assert [event["data"]["value"] for event in events[0]] == [int(399.5 / 400 * 32768), int(0.5 / 100 * 32768)]
    assert events[1:] == [
        [{"type": "rel", "data": {"axis": "x", "value": 1}}],
        [{"type": "key", "data": {"down": True, "key": {"type": "number", "data": 0x1E}}}],
        [{"type": "btn", "data": {"down": False, "button": "wheel-down"}}],
    ]
    server.close()


def test_places_and_movements() -> None:
    for width in (640, 1366, 16384):
        for x in (0, 1, width // 3, width - 1):
            place = on_tablet([(width, 10)], 0, x, 1e6)
            assert place is not None
            assert int(place[0] * 32768) * width // 32768 == x and place[1] == 0.95
    assert on_tablet([], 0, 0, 0) is None
    pixels = WholePixels()
    assert [pixels.add(0.6, -0.6) for _ in range(4)] == [(0, 0), (1, -1), (0, 0), (1, -1)]
    steering = Steering()
    assert [steering.move_to(*place) for place in ((5, 5), (7, 4))] == [(0, 0), (2, -1)]


def test_keys_and_characters() -> None:
    assert (from_code("KeyA"), from_code("ArrowUp"), from_code("")) == (0x1E, 0xC8, None)
    assert from_keysym(0x7C) == Stroke(0x2B, True) and from_keysym(0x01000020) is None
    assert from_keysym(0xFFB5) == Stroke(0x4C, None) and from_keysym(0xFE50) is None
    for value in range(0x20, 0x7F):
        assert from_character(chr(value)) is not None
    assert from_character("ü") is None
    # 88 keys of the first PC keyboards are numbered without gaps; nothing has two numbers.
    assert all(0 < qnum < 256 for qnum in QNUM_BY_CODE.values())
    assert len(set(QNUM_BY_CODE.values())) == len(QNUM_BY_CODE) - 3  # IntlHash, OSLeft, OSRight
