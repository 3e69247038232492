# SPDX-License-Identifier: Apache-2.0
"""What QEMU's pointers have in common, whichever way leads to them. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# QEMU's InputButton.
LEFT, MIDDLE, RIGHT, WHEEL_UP, WHEEL_DOWN, SIDE, EXTRA, WHEEL_LEFT, WHEEL_RIGHT = range(9)
BUTTON_NAMES = ("left", "middle", "right", "wheel-up", "wheel-down", "side", "extra", "wheel-left", "wheel-right")

Sizes = Callable[[], Sequence[tuple[int, int]]]
"""The sizes of what the scanouts show, in pixels; 0×0 for one that is off."""


class WholePixels:
    """Cuts movements into whole pixels; what is left over comes with the next."""

    __slots__ = ("_x", "_y")

    def __init__(self) -> None:
        self._x = self._y = 0.0

    def add(self, dx: float, dy: float) -> tuple[int, int]:
        self._x += dx
        self._y += dy
        whole_x, whole_y = int(self._x), int(self._y)
        self._x -= whole_x
        self._y -= whole_y
        return whole_x, whole_y


class Steering:
    """Positions as movements, for a pointer that only knows those: it goes as far as the viewer's does, but not always
    where the viewer's is."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def reset(self) -> None:
        self._last = None

    def move_to(self, x: float, y: float) -> tuple[float, float]:
        last, self._last = self._last, (x, y)
        return (0.0, 0.0) if last is None else (x - last[0], y - last[1])


def clamped(x: float, y: float, size: tuple[int, int]) -> tuple[int, int]:
    """Return the pixel of a screen that is nearest."""
    return min(max(int(x), 0), max(size[0] - 1, 0)), min(max(int(y), 0), max(size[1] - 1, 0))


def on_tablet(sizes: Sequence[tuple[int, int]], scanout: int, x: float, y: float) -> tuple[float, float] | None:
    """Return the place as parts (0…1) of a tablet that spans all screens, side by side from the left, tops aligned,
    which is how desktops arrange them unless told otherwise. None: there is no such screen."""
    if scanout >= len(sizes) or not all(sizes[scanout]):
        return None
    pixel_x, pixel_y = clamped(x, y, sizes[scanout])
    left = sum(width for width, _ in sizes[:scanout])
    whole_width, whole_height = sum(width for width, _ in sizes), max(height for _, height in sizes)
    # A pixel's middle: whichever way the guest rounds, it finds the pixel.
    return (left + pixel_x + 0.5) / whole_width, (pixel_y + 0.5) / whole_height
