# SPDX-License-Identifier: Apache-2.0
"""The streamer's end of the agent link: connects, connects again, carries input out, clipboard and news in."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable

from guest_agent.link import Link, LinkError
from guest_agent.messages import AGENT_TO_STREAMER, Clipboard, Error, Message, Pointer, Sound
from streamer.rate_limit import RateLimit

_log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.1
MAX_RETRY_S = 2.0
# A sound server comes and goes a few times at most; a guest that says more is not listened to.
SOUND_NEWS_PER_S, SOUND_NEWS_AT_ONCE = 0.5, 8


class AgentLink:
    """Event loop only. `run()` keeps it connected; input while it is not is lost (a key that was typed blindly must
    not come up later)."""

    def __init__(
        self,
        path: str,
        on_clipboard: Callable[[str], None],
        on_sound: Callable[[bool], None] = lambda is_available: None,
        on_touch: Callable[[bool], None] = lambda takes_touch: None,
        on_connected: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._on_clipboard = on_clipboard
        self._on_sound = on_sound
        self._sound_news = RateLimit(SOUND_NEWS_PER_S, SOUND_NEWS_AT_ONCE)
        self._link: Link | None = None
        self._on_touch = on_touch
        self._on_connected = on_connected
        self._takes_touch = False

    @property
    def takes_touch(self) -> bool:
        """Whether the guest has something that takes `touch`."""
        return self._takes_touch

    @property
    def is_connected(self) -> bool:
        return self._link is not None and not self._link.is_closed

    def send(self, messages: Iterable[Message]) -> bool:
        """Send input; False when the agent cannot be reached."""
        if self._link is None or self._link.is_closed:
            return False
        for message in messages:
            try:
                self._link.send(message)
            except LinkError as error:
                _log.warning("input was not sent: %s", error)
        return True

    async def run(self) -> None:
        """Serve until cancelled."""
        retry_s = FIRST_RETRY_S
        while True:
            try:
                if await self._serve():
                    retry_s = FIRST_RETRY_S
            except (OSError, LinkError) as error:
                _log.debug("the agent link: %s", error)
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, MAX_RETRY_S)

    async def _serve(self) -> bool:
        """Connect and receive until the link ends; whether it was of any use."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            await asyncio.get_running_loop().sock_connect(sock, self._path)
            link = await Link.open(sock, AGENT_TO_STREAMER)
        except BaseException:
            sock.close()
            raise
        async with link:
            self._link = link
            _log.info("connected to the guest agent")
            self._on_connected()
            try:
                while (message := await link.receive()) is not None:
                    match message:
                        case Clipboard(text):
                            self._on_clipboard(text)
                        case Sound(is_available) if self._sound_news.take():
                            self._on_sound(is_available)
                        case Pointer(touch):
                            self._set_touch(touch)
                        case Error(text):
                            _log.warning("the guest agent: %s", text)
            finally:
                self._link = None
                self._set_touch(False)
        _log.info("the guest agent's link ended")
        return True

    def _set_touch(self, takes_touch: bool) -> None:
        if takes_touch != self._takes_touch:
            self._takes_touch = takes_touch
            self._on_touch(takes_touch)
