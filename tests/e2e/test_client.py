# SPDX-License-Identifier: Apache-2.0
"""The web client in Chromium against the gateway's real server and a stand-in for the streamer."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import pytest
from playwright.async_api import Browser, expect

from streamer.gateway.access import Role
from tests.support.browser import client
from tests.support.fake_streamer import CORNERS, FakeStreamer, fake_session


async def _typed(streamer: FakeStreamer, count: int) -> list[tuple[str, str, bool]]:
    keys = await streamer.wait_messages("key", count)
    return [(key["key"], key["code"], key["down"]) for key in keys]


async def _is_near(colour: np.ndarray, expected: tuple[int, int, int]) -> bool:
    return bool(np.abs(colour.astype(int) - expected).max() < 45)


@pytest.mark.parametrize(("scale", "size"), [(1.0, (853, 481)), (1.5, (853, 481)), (2.0, (641, 963))])
async def test_picture_is_placed_and_cropped_at_any_scale(
    browser: Browser, scale: float, size: tuple[int, int]
) -> None:
    async with fake_session(*size) as session, client(browser, 800, 450, scale) as viewer:
        await viewer.open(session.server.url(Role.CONTROL))
        box = await viewer.page.evaluate(
            "(({x, y, width, height}) => [x, y, width, height])"
            "(document.getElementById('frame').getBoundingClientRect())"
        )
        pixels = await viewer.screenshot()
        left, top, width, height = (value * scale for value in box)
        assert abs(width / height - size[0] / size[1]) < 0.01
        assert abs(left - (800 * scale - width) / 2) <= 1.01
        assert abs(top - (450 * scale - height) / 2) <= 1.01
        # Well inside each corner, next to the edges: the padding is cut off.
        inset = 6
        corners = [
            (left + inset, top + height / 4),
            (left + width - inset, top + height / 4),
            (left + width - inset, top + height - inset),
            (left + inset, top + height - inset),
        ]
        for (x, y), colour in zip(corners, CORNERS, strict=True):
            assert await _is_near(pixels[int(y), int(x)], colour)


# Channels that are heard of late, as on a busy machine: the picture is there before them.
_LATE_CHANNELS = """
const listen = RTCDataChannel.prototype.addEventListener;
RTCDataChannel.prototype.addEventListener = function (name, handler, ...rest) {
  if (name !== "open") return listen.call(this, name, handler, ...rest);
  return listen.call(this, name, (event) => {
    const video = document.getElementById("screen");
    const look = () => (video.readyState >= 3 && video.videoWidth ? handler(event) : setTimeout(look, 20));
    look();
  }, ...rest);
};
"""


async def test_picture_that_comes_before_the_channels_is_shown(browser: Browser) -> None:
    async with fake_session(640, 360) as session, client(browser) as viewer:
        await viewer.page.add_init_script(_LATE_CHANNELS)
        await viewer.open(session.server.url(Role.CONTROL))
        session.streamer.restart()
        await viewer.page.wait_for_function("() => !document.getElementById('still').hidden")
        await viewer.wait_picture()


@pytest.mark.parametrize("scale", [1.0, 1.5, 2.0])
async def test_clicks_land_on_the_pixel(browser: Browser, scale: float) -> None:
    async with fake_session(1000, 700) as session, client(browser, 800, 450, scale) as viewer:
        await viewer.open(session.server.url(Role.CONTROL))
        left, top, width, height = await viewer.page.evaluate(
            "(({x, y, width, height}) => [x, y, width, height])"
            "(document.getElementById('frame').getBoundingClientRect())"
        )
        places = [(0, 0), (999, 699), (500, 350), (123, 456)]
        for x, y in places:
            # The middle of that guest's pixel, on the page.
            await viewer.page.mouse.click(left + (x + 0.5) * width / 1000, top + (y + 0.5) * height / 700)
        buttons = await session.streamer.wait_messages("button", 2 * len(places))
        seen = [(button["x"], button["y"]) for button in buttons]
        for (x, y), (down_x, down_y), (up_x, up_y) in zip(places, seen[::2], seen[1::2], strict=True):
            assert max(abs(x - down_x), abs(y - down_y)) <= 1
            assert (down_x, down_y) == (up_x, up_y)
        assert {button["channel"] for button in buttons} == {"control"}
        assert {motion["channel"] for motion in session.streamer.messages("motion")} == {"motion"}
        numbers = [motion["seq"] for motion in session.streamer.messages("motion")]
        assert len(set(numbers)) == len(numbers)


async def test_buttons_wheel_and_chords(browser: Browser) -> None:
    async with fake_session() as session, client(browser) as viewer:
        await viewer.open(session.server.url(Role.CONTROL))
        mouse = viewer.page.mouse
        await mouse.move(200, 200)
        await mouse.down(button="left")
        await mouse.down(button="right")
        await mouse.up(button="left")
        await mouse.up(button="right")
        await mouse.click(200, 200, button="middle")
        buttons = await session.streamer.wait_messages("button", 6)
        assert [(button["button"], button["down"]) for button in buttons] == [
            (1, True),
            (3, True),
            (1, False),
            (3, False),
            (2, True),
            (2, False),
        ]
        await mouse.wheel(0, 120)
        await mouse.wheel(-30, 0)
        wheels = await session.streamer.wait_messages("wheel", 2)
        assert (wheels[0]["dx"], wheels[0]["dy"]) == (0, 1)
        assert (wheels[1]["dx"], wheels[1]["dy"]) == (-1, 0)


async def test_keys_go_down_and_up_by_one_name(browser: Browser) -> None:
    async with fake_session() as session, client(browser) as viewer:
        await viewer.open(session.server.url(Role.CONTROL))
        keyboard = viewer.page.keyboard
        await keyboard.down("Shift")
        await keyboard.down("A")
        await keyboard.up("Shift")
        await keyboard.up("A")
        await keyboard.press("F5")
        await keyboard.press("Tab")
        assert await _typed(session.streamer, 8) == [
            ("Shift", "ShiftLeft", True),
            ("A", "KeyA", True),
            ("Shift", "ShiftLeft", False),
            ("A", "KeyA", False),
            ("F5", "F5", True),
            ("F5", "F5", False),
            ("Tab", "Tab", True),
            ("Tab", "Tab", False),
        ]
        assert viewer.page.url.endswith("/")


async def test_held_key_is_sent_once_and_released_on_blur(browser: Browser) -> None:
    async with fake_session() as session, client(browser) as viewer:
        await viewer.open(session.server.url(Role.CONTROL))
        before = len(session.streamer.messages("release_all"))
        await viewer.page.keyboard.down("w")
        await viewer.page.keyboard.down("w")  # what a browser does while a key is held
        await viewer.page.evaluate("window.dispatchEvent(new Event('blur'))")
        await session.streamer.wait_messages("release_all", before + 1)
        await viewer.page.keyboard.up("w")
        await viewer.page.keyboard.press("x")
        assert await _typed(session.streamer, 3) == [("w", "KeyW", True), ("x", "KeyX", True), ("x", "KeyX", False)]


async def test_composed_text_arrives_as_text(browser: Browser) -> None:
    async with fake_session() as session, client(browser) as viewer:
        await viewer.open(session.server.url(Role.CONTROL))
        devtools = await viewer.context.new_cdp_session(viewer.page)
        await devtools.send("Input.imeSetComposition", {"text": "に", "selectionStart": 1, "selectionEnd": 1})
        await expect(viewer.page.locator("#keys.composing")).to_be_visible()
        await devtools.send("Input.imeSetComposition", {"text": "日本", "selectionStart": 2, "selectionEnd": 2})
        await devtools.send("Input.insertText", {"text": "日本"})
        texts = await session.streamer.wait_messages("text")
        assert [text["text"] for text in texts] == ["日本"]
        await viewer.page.keyboard.insert_text("😀é")
        texts = await session.streamer.wait_messages("text", 2)
        assert texts[1]["text"] == "😀é"
        assert session.streamer.messages("key") == []
        assert await viewer.page.locator("#keys").input_value() == ""


async def test_dead_key_waits_for_its_character(browser: Browser) -> None:
    async with fake_session() as session, client(browser) as viewer:
        await viewer.open(session.server.url(Role.CONTROL))
        # As Chromium tells it: the dead key, then the key that ends it, whose character goes into the field.
        await viewer.page.evaluate("""() => {
          const field = document.getElementById("keys");
          const tell = (type, key, code) => field.dispatchEvent(
            new KeyboardEvent(type, { key, code, bubbles: true, cancelable: true }));
          tell("keydown", "Dead", "Quote"); tell("keyup", "Dead", "Quote");
          if (tell("keydown", "e", "KeyE")) {
            field.value = "é";
            field.dispatchEvent(new InputEvent("input", { inputType: "insertText", data: "é", bubbles: true }));
          }
          tell("keyup", "e", "KeyE");
          tell("keydown", "n", "KeyN"); tell("keyup", "n", "KeyN");
        }""")
        await session.streamer.wait_messages("key", 2)
        seen = [message for message in session.streamer.received if message["type"] in ("key", "text")]
        assert [message.get("text") or message["key"] for message in seen] == ["é", "n", "n"]


async def test_clipboard_goes_both_ways(browser: Browser) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    async with fake_session() as session, client(browser, permissions=permissions) as viewer:
        await viewer.open(session.server.url(Role.CONTROL))
        peer = await session.streamer.wait_viewer()
        peer.send({"type": "clipboard", "text": "from the guest ", "more": True})
        peer.send({"type": "clipboard", "text": "äöü 你好 😀"})
        await viewer.wait_until("async () => await navigator.clipboard.readText() === 'from the guest äöü 你好 😀'")
        long = "é😀" * 30_000
        await viewer.page.evaluate("text => navigator.clipboard.writeText(text)", long)
        await viewer.page.keyboard.press("Control+v")
        await session.streamer.wait_for(
            lambda: any(key["key"] == "v" and not key["down"] for key in session.streamer.messages("key"))
        )
        parts = session.streamer.messages("clipboard")
        assert "".join(part["text"] for part in parts) == long
        assert [part.get("more", False) for part in parts] == [True] * (len(parts) - 1) + [False]
        # The guest has the text before it gets the key.
        kinds = [m["type"] for m in session.streamer.received if m["type"] == "clipboard" or m.get("key") == "v"]
        assert kinds == ["clipboard"] * len(parts) + ["key", "key"]


async def test_resize_follows_the_window_in_device_pixels(browser: Browser) -> None:
    async with fake_session(resizable=True) as session, client(browser, 801, 451, 1.5) as viewer:
        await viewer.open(session.server.url(Role.CONTROL))
        await session.streamer.wait_messages("resize")
        await viewer.page.wait_for_function("() => heliograph.stats().width === 1202")
        await viewer.page.set_viewport_size({"width": 703, "height": 399})
        await viewer.page.wait_for_function(
            "() => heliograph.stats().width <= 1055 && heliograph.stats().width >= 1054"
        )
        # One guest pixel is one device pixel.
        width = await viewer.page.evaluate("document.getElementById('frame').getBoundingClientRect().width")
        assert width * 1.5 == pytest.approx((await viewer.stats())["width"], abs=0.01)


async def test_fixed_size_is_never_asked_to_change(browser: Browser) -> None:
    async with fake_session() as session, client(browser) as viewer:
        await viewer.open(session.server.url(Role.CONTROL))
        await viewer.page.set_viewport_size({"width": 500, "height": 500})
        await viewer.page.keyboard.press("x")
        await session.streamer.wait_messages("key", 2)
        assert session.streamer.messages("resize") == []


async def test_client_reconnects_by_itself(browser: Browser) -> None:
    async with fake_session() as session, client(browser) as viewer:
        await viewer.open(session.server.url(Role.CONTROL))
        first = (await viewer.stats())["viewer"]
        session.streamer.restart()
        await viewer.page.wait_for_function("viewer => heliograph.stats().viewer > viewer", arg=first)
        await viewer.wait_picture()
        # A peer that vanishes, with the WebSocket still there.
        peer = await session.streamer.wait_viewer()
        second = (await viewer.stats())["viewer"]
        await peer.connection.close()
        await viewer.page.wait_for_function("viewer => heliograph.stats().viewer > viewer", arg=second)
        await viewer.wait_picture()
        await viewer.page.keyboard.press("q")
        assert await _typed(session.streamer, 2) == [("q", "KeyQ", True), ("q", "KeyQ", False)]


async def test_end_of_the_session_is_final(browser: Browser) -> None:
    async with fake_session() as session, client(browser) as viewer:
        await viewer.open(session.server.url(Role.CONTROL))
        session.viewers.end_session("the guest's program ended (exit code 3)")
        await expect(viewer.page.locator("#panel.shown")).to_contain_text("exit code 3")
        assert (await viewer.stats())["state"] == "ended"


async def test_view_only_sends_nothing_of_the_person(browser: Browser) -> None:
    async with fake_session(resizable=True) as session, client(browser) as viewer:
        await viewer.open(session.server.url(Role.VIEW))
        await viewer.page.mouse.click(100, 100)
        await viewer.page.keyboard.press("x")
        await viewer.page.set_viewport_size({"width": 500, "height": 300})
        seen = len(session.streamer.messages("ping"))
        await session.streamer.wait_messages("ping", seen + 1)
        assert {message["type"] for message in session.streamer.received} <= {"ping", "presented"}
        assert (await viewer.stats())["role"] == "view"


async def test_share_links_open_the_session(browser: Browser) -> None:
    async with fake_session() as session, client(browser) as owner, client(browser) as guest:
        await owner.open(session.server.url(Role.CONTROL))
        await owner.page.locator("#handle").click()
        await owner.page.locator("#menu [data-action=share]").click()
        await expect(owner.page.locator("#share")).to_be_visible()
        link = await owner.page.locator("#share-view").input_value()
        await guest.open(link)
        assert (await guest.stats())["role"] == "view"
        assert await guest.page.locator("#menu [data-action=share]").is_hidden()
        await owner.page.locator("#share form button").click()
        await owner.page.keyboard.press("k")
        assert len(await _typed(session.streamer, 2)) == 2


async def test_sound_is_switched_on_by_a_person_and_remembered_as_a_hint(browser: Browser) -> None:
    async with fake_session() as session, client(browser) as viewer:
        await viewer.open(session.server.url(Role.CONTROL))
        peer = await session.streamer.wait_viewer()
        button = viewer.page.locator("#menu [data-action=sound]")
        assert await button.is_hidden()
        peer.send({"type": "audio", "available": True})
        for count, is_on in ((1, True), (2, False), (3, True)):
            await viewer.page.locator("#handle").click()
            await expect(button).to_be_visible()
            await button.click()
            told = await session.streamer.wait_messages("audio", count)
            assert told[-1]["on"] is is_on
            await expect(button).to_have_attribute("aria-pressed", str(is_on).lower())
        # A new connection of the same page goes on; a new page waits for a gesture.
        session.streamer.restart()
        await session.streamer.wait_messages("audio", 4)
        await viewer.page.reload()
        await viewer.wait_picture()
        (await session.streamer.wait_viewer()).send({"type": "audio", "available": True})
        await expect(viewer.page.locator("#notices")).to_contain_text("Sound is off")
        assert len(session.streamer.messages("audio")) == 4


async def test_link_from_another_site_opens_the_session(browser: Browser) -> None:
    async with fake_session() as session, client(browser) as viewer:
        link = session.server.url(Role.CONTROL)
        # A page of another site (localhost is not 127.0.0.1) with the link on it.
        await viewer.page.route(
            "http://localhost/",
            lambda route: route.fulfill(content_type="text/html", body=f'<a href="{link}">open</a>'),
        )
        await viewer.page.goto("http://localhost/")
        await viewer.page.locator("a").click()
        await viewer.wait_picture()


async def test_guest_cursor_is_drawn_by_the_browser(browser: Browser) -> None:
    async with fake_session(640, 360) as session, client(browser, 640, 360, 2.0) as viewer:
        await viewer.open(session.server.url(Role.CONTROL))
        peer = await session.streamer.wait_viewer()
        cursor = {"type": "cursor", "png": _png(24, 24), "hot_x": 4, "hot_y": 6, "width": 24, "height": 24}
        peer.send(cursor)
        await viewer.page.wait_for_function(
            "() => document.getElementById('stage').style.cursor.includes('data:image/png')"
        )
        assert "4 6, default" in await viewer.page.evaluate("document.getElementById('stage').style.cursor")
        peer.send({**cursor, "png": None})
        await viewer.page.wait_for_function("() => document.getElementById('stage').style.cursor === 'none'")


async def test_touch_is_a_pointer(browser: Browser) -> None:
    async with fake_session(800, 450) as session, client(browser, 800, 450, has_touch=True) as viewer:
        await viewer.open(session.server.url(Role.CONTROL))
        await viewer.page.touchscreen.tap(300, 200)
        buttons = await session.streamer.wait_messages("button", 2)
        assert [(b["button"], b["down"], b["x"], b["y"]) for b in buttons] == [
            (1, True, 300, 200),
            (1, False, 300, 200),
        ]
        devtools = await viewer.context.new_cdp_session(viewer.page)

        async def touch(kind: str, *places: tuple[int, int]) -> None:
            points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
            await devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        await touch("touchStart", (400, 300))
        await touch("touchStart", (400, 300), (500, 300))
        await touch("touchMove", (400, 260), (500, 260))
        await touch("touchEnd")
        wheels = await session.streamer.wait_messages("wheel", 1)
        assert all(wheel["dy"] > 0 for wheel in wheels)
        await touch("touchStart", (100, 100))
        await session.streamer.wait_messages("button", 4)  # a long press
        await touch("touchEnd")
        pressed = [(b["button"], b["down"]) for b in session.streamer.messages("button")[2:]]
        assert pressed == [(3, True), (3, False)]


def _png(width: int, height: int) -> str:
    """Return a white square."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\xff" * 4 * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(png).decode()
