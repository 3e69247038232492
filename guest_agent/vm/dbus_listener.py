# SPDX-License-Identifier: Apache-2.0
"""`org.qemu.Display1.Listener`: what QEMU tells of one console, kept as the newest state until somebody takes it.

QEMU's calls come on the thread of the listener's connection; the picture is taken on the loop's thread, when the render
worker has room for it. In between nothing queues: a new picture replaces the old one, damage is merged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from guest_agent.cursor_picture import MAX_SIZE as MAX_CURSOR_SIZE
from guest_agent.cursor_picture import CursorPicture, make_picture
from guest_agent.damage import merge_damage
from guest_agent.virtio_gpu import Rect
from guest_agent.vm.dbus_connection import Answer, Exports, Method, RefusedError
from guest_agent.vm.dbus_message import MAX_MESSAGE_BYTES, Incoming
from guest_agent.vm.picture import Layout, MappedPicture, Picture, PictureError, ReceivedPicture, make_layout

LISTENER = "org.qemu.Display1.Listener"
LISTENER_MAP = "org.qemu.Display1.Listener.Unix.Map"
# QEMU's own limit is 512; larger ones are cropped by make_picture().
MAX_GIVEN_CURSOR_SIZE = 1024
# What a merged damage may have before it is taken.
MAX_RECTS = 8
# How long the update that ends a page flip is waited for.
FLIP_S = 0.005

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CursorState:
    """The console's cursor: None is one that cannot be seen. `x`, `y` in pixels, as its device says them: of its corner
    (virtio-gpu) or of its hot spot (QXL)."""

    picture: CursorPicture | None
    x: int
    y: int


@dataclass(slots=True)
class Change:
    """What is new since the last time. `layout` None: nothing is shown."""

    layout: Layout | None
    is_other: bool  # another picture than last time: all of it is new
    damage: list[Rect]


class Listener:
    """One console's listener. `exports` answers QEMU; the rest is for the loop's thread.

    Args:
        name: the console's name in the log.
        handle_changed: called on the loop's thread when there is something to take. Once it was called, it is called
            again only after acknowledge().
    """

    max_message_bytes = MAX_MESSAGE_BYTES

    def __init__(self, name: str, handle_changed: Callable[[], None]) -> None:
        self._name = name
        self._handle_changed = handle_changed
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()  # all that follows
        self._picture: Picture | None = None
        self._is_other = True
        self._damage: list[Rect] = []
        self._cursor_picture: CursorPicture | None = None
        self._is_cursor_shown = False
        self._cursor_place = (0, 0)
        self._is_cursor_changed = True
        self._is_told = False
        self._is_flip_awaited = False
        self._refused = ""
        methods = {
            (LISTENER, "Scanout"): Method("uuuuay", self._scanout),
            (LISTENER, "Update"): Method("iiiiuuay", self._update),
            (LISTENER, "Disable"): Method("", self._disable),
            (LISTENER, "MouseSet"): Method("iii", self._mouse_set),
            (LISTENER, "CursorDefine"): Method("iiiiay", self._cursor_define),
            (LISTENER_MAP, "ScanoutMap"): Method("huuuuu", self._scanout_map),
            (LISTENER_MAP, "UpdateMap"): Method("iiii", self._update_map),
        }
        # No dma-buf: QEMU sends them only where this says so, or where it has OpenGL and we cannot take them.
        properties = {LISTENER: {"Interfaces": ("as", [LISTENER_MAP])}, LISTENER_MAP: {}}
        self.exports = Exports(methods, properties)

    # On the connection's thread.

    def _scanout(self, message: Incoming) -> Answer | None:
        width, height, stride_bytes, pixman_format, data = message.body
        with self._refusing("Scanout"):
            layout = make_layout(width, height, stride_bytes, pixman_format)
            self._show(ReceivedPicture(layout, data))
        return None

    def _scanout_map(self, message: Incoming) -> Answer | None:
        fd, offset, width, height, stride_bytes, pixman_format = message.body
        with self._refusing("ScanoutMap"):
            layout = make_layout(width, height, stride_bytes, pixman_format)
            picture = MappedPicture(layout, fd, offset)
            message.take_fd(fd)
            self._show(picture)
        return None

    def _show(self, picture: Picture) -> None:
        with self._lock:
            old = self._picture
            self._picture = picture
            self._is_other = True
            self._damage.clear()
            self._refused = ""
            if old is not None:
                old.close()
            if old is not None and old.layout == picture.layout:
                self._tell_later()
            else:
                self._tell()

    def _update(self, message: Incoming) -> Answer | None:
        x, y, width, height, stride_bytes, pixman_format, data = message.body
        with self._refusing("Update"), self._lock:
            if not isinstance(self._picture, ReceivedPicture):
                raise PictureError("no picture came before")
            rect = Rect(x, y, width, height)
            self._picture.update(rect, stride_bytes, pixman_format, data)
            self._add_damage(rect)
        return None

    def _update_map(self, message: Incoming) -> Answer | None:
        x, y, width, height = message.body
        with self._refusing("UpdateMap"), self._lock:
            if not isinstance(self._picture, MappedPicture):
                raise PictureError("no picture came before")
            rect = Rect(x, y, width, height).clipped(self._picture.layout.width, self._picture.layout.height)
            if rect is None:
                raise PictureError(f"{message.body} is outside of the picture")
            self._add_damage(rect)
        return None

    def _disable(self, message: Incoming) -> Answer | None:
        self._hide()
        return None

    def _hide(self) -> None:
        with self._lock:
            if self._picture is not None:
                self._picture.close()
                self._picture = None
                self._is_other = True
                self._damage.clear()
                self._tell()

    def _mouse_set(self, message: Incoming) -> Answer | None:
        x, y, is_shown = message.body
        with self._lock:
            self._cursor_place = (x, y)
            self._is_cursor_shown = bool(is_shown)
            self._is_cursor_changed = True
            self._tell()
        return None

    def _cursor_define(self, message: Incoming) -> Answer | None:
        width, height, hot_x, hot_y, data = message.body
        limit = MAX_GIVEN_CURSOR_SIZE
        if not (0 < width <= limit and 0 < height <= limit and len(data) == width * height * 4):
            raise RefusedError(f"{width}×{height} with {len(data)} bytes is no cursor")
        picture = make_picture(width, height, _within(hot_x, width), _within(hot_y, height), bytes(data))
        with self._lock:
            # QXL defines it anew with each movement; the viewers need not hear of that.
            if picture != self._cursor_picture:
                self._cursor_picture = picture
                self._is_cursor_changed = True
                self._tell()
        return None

    @contextlib.contextmanager
    def _refusing(self, member: str) -> Iterator[None]:
        """Refuse what makes no picture, and log it, once for a picture and a kind of reason."""
        try:
            yield
        except PictureError as error:
            if member.startswith("Scanout"):
                # What was shown before is not what the console shows now.
                self._hide()
            kind = member + re.sub(r"\d+", "", str(error))
            if self._refused != kind:
                self._refused = kind
                raise RefusedError(f"{self._name}: {error}") from None

    def _add_damage(self, rect: Rect) -> None:
        self._damage = merge_damage([*self._damage, rect], MAX_RECTS)
        self._tell()

    def _tell(self) -> None:
        if not self._is_told:
            self._is_told = True
            # The loop may have ended before us.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._handle_changed)

    def _tell_later(self) -> None:
        """A page flip is told by two calls, and the second one is about to come: they are one change, not two, of which
        the second would wait for the first one's flush."""
        if not self._is_flip_awaited:
            self._is_flip_awaited = True
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._loop.call_later, FLIP_S, self._end_flip)

    # On the loop's thread.

    def _end_flip(self) -> None:
        with self._lock:
            self._is_flip_awaited = False
            if self._is_other:
                self._tell()

    @property
    def size(self) -> tuple[int, int]:
        """What is shown, in pixels; 0×0 when nothing is."""
        picture = self._picture
        return (picture.layout.width, picture.layout.height) if picture is not None else (0, 0)

    def acknowledge(self) -> None:
        """Be told of what comes from now on."""
        with self._lock:
            self._is_told = False

    def take(self) -> Change | None:
        """Return what is new of the picture, None when nothing is. Its pixels are read by read()."""
        with self._lock:
            if not self._is_other and not self._damage:
                return None
            layout = self._picture.layout if self._picture is not None else None
            change = Change(layout, self._is_other, self._damage)
            if self._is_other and layout is not None:
                change.damage = [layout.whole]
            self._is_other, self._damage = False, []
            return change

    def take_again(self) -> None:
        """Let take() return all that is shown once more."""
        with self._lock:
            self._is_other = self._is_cursor_changed = True

    def read(self, layout: Layout, rects: list[Rect], target: memoryview) -> bool:
        """Copy the rows that `rects` touch to `target`, a picture with `layout`'s shown stride. False when QEMU shows
        another picture by now, or its memory cannot be read: then that comes with the next take()."""
        stride = layout.shown_stride_bytes
        with self._lock:
            if self._picture is None or self._picture.layout != layout:
                return False
            try:
                for rect in rects:
                    self._picture.read_rows(rect.y, rect.height, target[rect.y * stride :])
            except OSError as error:
                # Its words alone: who keeps the error keeps a view of the memory.
                _log.warning("%s: %s", self._name, str(error))
                return False
        return True

    def take_cursor(self) -> CursorState | None:
        """Return the cursor, None when it is as it was."""
        with self._lock:
            if not self._is_cursor_changed:
                return None
            self._is_cursor_changed = False
            picture = self._cursor_picture if self._is_cursor_shown else None
            return CursorState(picture, *self._cursor_place)

    def close(self) -> None:
        """Give the picture up; after the connection has ended."""
        with self._lock:
            if self._picture is not None:
                self._picture.close()
                self._picture = None


def _within(hot: int, size: int) -> int:
    return min(max(hot, 0), size - 1, MAX_CURSOR_SIZE)
