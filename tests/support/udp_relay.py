# SPDX-License-Identifier: Apache-2.0
"""A narrow, lossy, long or jittery path: a UDP relay between a server and its clients, on a thread of its own.

`RelayThread(server).port` takes the place of the server's in the SDP that clients get (`through_relay()`). A client
learns of no other address, and the server is told of none of the client's: so ICE finds the relayed pair only.
"""

from __future__ import annotations

import heapq
import itertools
import random
import re
import selectors
import socket
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

NS = 1_000_000_000
_MAX_CLIENTS = 64
# Reads while the sockets have something, so that what was dropped was dropped by us.
_RECEIVE_BYTES = 4 << 20
_CANDIDATE = re.compile(r"^(a=candidate:\S+ \d+ udp \d+) (\S+) (\d+)( .*)$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PathSettings:
    """One direction. `rate_bps` None: no limit; a packet that would wait longer than `queue_ms` for it is dropped.

    Jitter is uniform from 0 to `jitter_ms`, and keeps the order.
    """

    rate_bps: float | None = None
    queue_ms: float = 300.0
    loss: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0


class _Direction:
    """Decides when a packet comes out; keeps what waits."""

    def __init__(self, settings: PathSettings, seed: int) -> None:
        self.settings = settings
        self.counts: Counter[str] = Counter()
        self.bytes = 0
        # The longest wait in the queue since it was read.
        self.waited_ns = 0
        self._random = random.Random(seed)
        self._waiting: deque[int] = deque()
        self._bits_free_ns = 0.0
        self._last_ns = 0

    def due_ns(self, size_bytes: int, now_ns: int) -> int | None:
        settings = self.settings
        free_ns = max(self._bits_free_ns, now_ns)
        if settings.rate_bps is None:
            free_ns = float(now_ns)
        elif free_ns - now_ns > settings.queue_ms * 1e6:
            self.counts["overflowed"] += 1
            return None
        else:
            self.waited_ns = max(self.waited_ns, int(free_ns - now_ns))
            free_ns += size_bytes * 8 * NS / settings.rate_bps
        self._bits_free_ns = free_ns
        if self._random.random() < settings.loss:
            self.counts["lost"] += 1
            return None
        due_ns = int(free_ns + (settings.delay_ms + self._random.uniform(0, settings.jitter_ms)) * 1e6)
        self._last_ns = max(self._last_ns, due_ns)
        self.counts["passed"] += 1
        self.bytes += size_bytes
        return self._last_ns

    def change(self, settings: PathSettings, now_ns: int) -> None:
        """What waits for the rate now, waits for the new one."""
        if self.settings.rate_bps and settings.rate_bps:
            waits_ns = max(0.0, self._bits_free_ns - now_ns)
            self._bits_free_ns = now_ns + waits_ns * self.settings.rate_bps / settings.rate_bps
        self.settings = settings


class RelayThread:
    """Runs while it is open. `down` is towards the clients; both directions may be changed at any time."""

    def __init__(
        self, server: tuple[str, int], down: PathSettings | None = None, up: PathSettings | None = None, seed: int = 1
    ) -> None:
        self._server = server
        self._down = _Direction(down or PathSettings(), seed)
        self._up = _Direction(up or PathSettings(), seed + 1)
        self._front = self._socket()
        self._front.bind(("127.0.0.1", 0))
        self.port: int = self._front.getsockname()[1]
        self._backs: dict[tuple[str, int], socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._front, selectors.EVENT_READ, None)
        self._due: list[tuple[int, int, socket.socket, bytes, tuple[str, int]]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="udp relay", daemon=True)

    @staticmethod
    def _socket() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        return sock

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closing = True
        self._thread.join()
        for sock in (self._front, *self._backs.values()):
            sock.close()
        self._selector.close()

    def change(self, *, down: PathSettings | None = None, up: PathSettings | None = None) -> None:
        """Give the path other properties from now on."""
        with self._lock:
            now_ns = time.monotonic_ns()
            if down is not None:
                self._down.change(down, now_ns)
            if up is not None:
                self._up.change(up, now_ns)

    def set_rate(self, rate_bps: float | None) -> None:
        """Widen or narrow the way to the clients."""
        self.change(down=replace(self._down.settings, rate_bps=rate_bps))

    @property
    def counts(self) -> Counter[str]:
        """Packets to the clients: passed, lost at random, overflowed."""
        with self._lock:
            return Counter(self._down.counts)

    @property
    def bytes_down(self) -> int:
        """Bytes that went on to the clients."""
        return self._down.bytes

    def take_longest_wait_ms(self) -> float:
        """Return the longest wait for the rate since the last call."""
        with self._lock:
            waited_ns, self._down.waited_ns = self._down.waited_ns, 0
            return waited_ns / 1e6

    def _run(self) -> None:
        while not self._is_closing:
            timeout_s = 0.02
            if self._due:
                timeout_s = min(timeout_s, max(0.0, (self._due[0][0] - time.monotonic_ns()) / NS))
            for key, _ in self._selector.select(timeout_s):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                self._read(sock, key.data)
            now_ns = time.monotonic_ns()
            while self._due and self._due[0][0] <= now_ns:
                _, _, out, data, to = heapq.heappop(self._due)
                try:
                    out.sendto(data, to)
                except OSError:
                    # The other end is gone, or its buffer is full: a network loses as well.
                    pass

    def _read(self, sock: socket.socket, client: tuple[str, int] | None) -> None:
        for _ in range(64):
            try:
                data, sender = sock.recvfrom(65536)
            except OSError:
                return
            now_ns = time.monotonic_ns()
            if client is not None:
                with self._lock:
                    due_ns = self._down.due_ns(len(data), now_ns)
                self._put(due_ns, self._front, data, client)
                continue
            back = self._back(sender)
            if back is not None:
                with self._lock:
                    due_ns = self._up.due_ns(len(data), now_ns)
                self._put(due_ns, back, data, self._server)

    def _put(self, due_ns: int | None, out: socket.socket, data: bytes, to: tuple[str, int]) -> None:
        if due_ns is not None:
            heapq.heappush(self._due, (due_ns, next(self._order), out, data, to))

    def _back(self, client: tuple[str, int]) -> socket.socket | None:
        """Return the socket that stands for a client towards the server."""
        back = self._backs.get(client)
        if back is None and len(self._backs) < _MAX_CLIENTS:
            back = self._backs[client] = self._socket()
            back.bind(("127.0.0.1", 0))
            self._selector.register(back, selectors.EVENT_READ, client)
        return back


def server_address(sdp: str) -> tuple[str, int]:
    """Return the first UDP candidate of an answer."""
    found = _CANDIDATE.search(sdp)
    assert found is not None, "the answer has no UDP candidate"
    return found[2], int(found[3])


def through_relay(sdp: str, port: int) -> str:
    """Return the answer with one candidate, the relay's."""
    first = True

    def replaced(match: re.Match[str]) -> str:
        nonlocal first
        if not first:
            return "a=x-removed"
        first = False
        return f"{match[1]} 127.0.0.1 {port}{match[4]}"

    return _CANDIDATE.sub(replaced, sdp)


def without_candidates(sdp: str) -> str:
    """Return an offer that names no address."""
    return "".join(line for line in sdp.splitlines(keepends=True) if not line.startswith("a=candidate:"))
