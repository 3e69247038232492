# SPDX-License-Identifier: Apache-2.0
"""Programs that draw with Vulkan, Direct3D 12 and OpenGL on the render worker, seen in the browser, moving."""

from __future__ import annotations

import asyncio
import shutil

import numpy as np
import numpy.typing as npt
import pytest
from playwright.async_api import Browser

from guest_agent.graphics import find_driver
from tests.support.browser import Client, client
from tests.support.session import SessionStarter

_WAIT_S = 60.0
# Parts of the picture that each program's colours fill, as they look from any side.
_RED, _GREEN, _BLUE = (204, 26, 0), (0, 204, 51), (51, 51, 255)
_GREY = (51, 51, 51)  # vkcube's background


def _share(picture: npt.NDArray[np.uint8], color: tuple[int, int, int], tolerance: int) -> float:
    """Return how much of the picture has a colour, lit in any way: the same hue, at least a third as bright."""
    pixels = picture[..., :3].astype(np.float32)
    wanted = np.array(color, np.float32)
    scale = (pixels @ wanted) / (wanted @ wanted)
    near = np.abs(pixels - scale[..., None] * wanted).max(axis=-1) <= tolerance
    return float((near & (scale > 0.33)).mean())


async def _wait_for_colors(viewer: Client, colors: dict[tuple[int, int, int], float]) -> npt.NDArray[np.uint8]:
    async with asyncio.timeout(_WAIT_S):
        while True:
            picture = await viewer.picture()
            if all(_share(picture, color, 24) >= share for color, share in colors.items()):
                return picture


@pytest.mark.parametrize(
    ("program", "package", "colors"),
    [
        (("vkcube", "--suppress_popups"), "vulkan-tools", {_GREY: 0.05}),
        (("vkd3d-gears",), "vkd3d-demos", {_RED: 0.005, _GREEN: 0.002, _BLUE: 0.002}),
        (("glxgears",), "mesa-utils", {_RED: 0.005, _GREEN: 0.002, _BLUE: 0.002}),
    ],
)
async def test_program_is_seen_and_moves(
    browser: Browser,
    start_session: SessionStarter,
    program: tuple[str, ...],
    package: str,
    colors: dict[tuple[int, int, int], float],
) -> None:
    if find_driver() is None:
        pytest.skip("Mesa's Venus driver is not installed (mesa-vulkan-drivers 25)")
    if shutil.which(program[0]) is None:
        pytest.skip(f"there is no {program[0]} ({package})")
    session = start_session.run(*program, options=("--size", "640x480", "--no-resize"))
    async with client(browser, 640, 480) as viewer:
        await viewer.open(session.url)
        await viewer.wait_picture()
        first = await _wait_for_colors(viewer, colors)
        async with asyncio.timeout(_WAIT_S):
            while True:
                # A turned wheel or cube: far more than an encoder's noise.
                later = (await viewer.picture()).astype(np.int16)
                if (np.abs(later - first).max(axis=-1) > 60).mean() > 0.005:
                    break
