# SPDX-License-Identifier: Apache-2.0
"""The worker process between real peers: frames, cursors, peers that die, and its sandbox seen from outside."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guest_agent import virtio_gpu
from guest_agent.virtio_gpu import Format, ResponseType
from render_core import CursorImage, CursorMove, Device, LinkClosedError, Rect, ScanoutOff
from tests.support.worker_bench import WAIT_S, Streamer, WorkerBench, wait_readable, worker_bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerBench]:
    with worker_bench(tmp_path_factory.mktemp("worker")) as bench:
        yield bench
        assert bench.process.poll() is None, "the worker has died"


def active(streamer: Streamer) -> None:
    assert isinstance(streamer.next(Device), Device)
    streamer.link.set_active(0, True)


def test_it_is_sandboxed(bench: WorkerBench) -> None:
    lines = Path(f"/proc/{bench.process.pid}/status").read_text().splitlines()
    status = {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == "1"
    assert status["CapEff"] == "0" * 16
    assert set(status["Uid"].split()) != {"0"}


def test_frames_say_what_changed_since_the_one_before(bench: WorkerBench) -> None:
    with bench.guest() as guest, bench.streamer() as streamer:
        active(streamer)
        before_ns = time.monotonic_ns()
        guest.show(1, 101, 63, colour=255)
        ring = streamer.ring(101)
        assert (ring.width, ring.height, ring.coded_width, ring.coded_height) == (101, 63, 102, 64)
        first = streamer.frame(ring)
        assert first.damage == (Rect(0, 0, 101, 63),)
        assert int(first.planes[0, 0]) == 235  # white
        trace = first.trace
        times = (before_ns, trace.flush_ns, trace.convert_begin_ns, trace.gpu_done_ns, trace.handoff_ns)
        assert list(times) == sorted(times)
        assert trace.handoff_ns <= time.monotonic_ns()
        guest.flush(1, 8, 8, 4, 4)
        second = streamer.frame(ring)
        assert second.base_sequence == first.sequence < second.sequence
        assert second.damage == (Rect(8, 8, 4, 4),)
        first.release()
        second.release()
        ring.close()


def test_nothing_is_converted_while_nobody_watches(bench: WorkerBench) -> None:
    with bench.guest() as guest, bench.streamer() as streamer:
        guest.show(1, 65, 64)
        ring = streamer.ring(65)
        for _ in range(3):
            guest.flush(1, 0, 0, 65, 64)  # answered all the same
        assert ring.acquire() is None
        streamer.link.set_active(0, True)
        frame = streamer.frame(ring)
        assert frame.damage == (Rect(0, 0, 65, 64),)
        streamer.link.set_active(0, False)
        streamer.link.set_display(0, 800, 601)  # an event: the worker has read what came before it
        wait_readable(guest.sock)
        guest.flush(1, 0, 0, 65, 64)
        assert ring.acquire() is None


def test_another_size_is_another_ring_and_held_frames_stay(bench: WorkerBench) -> None:
    with bench.guest() as guest, bench.streamer() as streamer:
        active(streamer)
        guest.show(1, 64, 64, colour=0)
        ring = streamer.ring(64)
        frame = streamer.frame(ring)
        planes = frame.planes
        guest.show(2, 128, 96, colour=255)
        wider = streamer.ring(128)
        assert wider.generation > ring.generation
        assert (wider.width, wider.height) == (128, 96)
        ring.close()
        assert int(streamer.frame(wider).planes[0, 0]) == 235
        assert int(frame.planes[0, 0]) == 16
        del frame, ring
        assert int(planes[63, 63]) == 16  # a view keeps the mapping
        assert guest.control(virtio_gpu.unref(2)) == ResponseType.OK_NODATA
        assert streamer.next(ScanoutOff) == ScanoutOff(0)


def test_cursors_are_shown_moved_and_hidden(bench: WorkerBench) -> None:
    with bench.guest() as guest, bench.streamer() as streamer:
        guest.control(virtio_gpu.create_2d(7, Format.B8G8R8A8_UNORM, 24, 16))
        assert guest.cursor(virtio_gpu.update_cursor(0, 10, -4, 7, 3, 2)) == ResponseType.OK_NODATA
        image = streamer.next(CursorImage)
        while isinstance(image, CursorImage) and image.width != 24:
            image = streamer.next(CursorImage)
        assert isinstance(image, CursorImage)
        assert (image.height, image.hot_x, image.hot_y) == (16, 3, 2)
        assert image.pixels == bytes(24 * 16 * 4)
        move = streamer.next(CursorMove)
        while move != CursorMove(0, 10, -4):
            move = streamer.next(CursorMove)
        guest.cursor(virtio_gpu.update_cursor(0, 10, -4, 0, 0, 0))
        hidden = streamer.next(CursorImage)
        assert isinstance(hidden, CursorImage)
        assert hidden.pixels is None
        assert hidden.serial > image.serial


def test_a_new_streamer_replaces_the_one_before(bench: WorkerBench) -> None:
    with bench.guest() as guest, bench.streamer() as old:
        active(old)
        guest.show(1, 80, 80)
        old.ring(80)
        with bench.streamer() as new:
            active(new)
            again = new.ring(80)
            assert new.frame(again).planes.shape == (120, 128)
            with pytest.raises(LinkClosedError):
                while True:
                    wait_readable(old.link)
                    old.link.receive()


def test_the_picture_outlives_its_guest_and_the_next_guest_is_served(bench: WorkerBench) -> None:
    with bench.guest() as guest:
        guest.show(1, 72, 72)
        guest.send(4, virtio_gpu.flush(1, virtio_gpu.Rect(0, 0, 72, 72)))
    with bench.guest() as guest, bench.streamer() as streamer:  # at once: the end of the first may wait to be read
        active(streamer)
        ring = streamer.ring(72)
        assert int(streamer.frame(ring).planes[0, 0]) == 235
        assert guest.control(virtio_gpu.flush(1, virtio_gpu.Rect(0, 0, 8, 8))) == ResponseType.ERR_INVALID_RESOURCE_ID


def test_a_flooding_guest_does_not_keep_the_streamer_from_the_worker(bench: WorkerBench) -> None:
    stop = threading.Event()

    def flood() -> None:
        place = 0
        while not stop.is_set():
            for _ in range(50):
                place += 1
                guest.send(5, virtio_gpu.update_cursor(0, place, 0, 0, 0, 0))
            for _ in range(50):
                guest.sock.recv(4096)

    with bench.guest() as guest:
        thread = threading.Thread(target=flood)
        thread.start()
        try:
            for _ in range(3):
                begin_s = time.monotonic()
                with bench.streamer() as streamer:
                    streamer.next(Device)
                    for _ in range(5):  # news come on, at a pace: 60 a second
                        streamer.next(CursorMove)
                    assert len(streamer.events) < 50 + 60 * (time.monotonic() - begin_s)
        finally:
            stop.set()
            thread.join(WAIT_S)


def test_a_guest_that_does_not_read_is_given_up_alone(bench: WorkerBench) -> None:
    with bench.streamer() as streamer:
        streamer.next(Device)
        with bench.guest() as guest, pytest.raises((BrokenPipeError, ConnectionResetError)):
            while True:
                guest.send(4, virtio_gpu.get_display_info())
        with bench.guest() as guest:
            guest.show(1, 90, 90)
            streamer.ring(90).close()


def test_it_ends_with_its_gateway(tmp_path: Path) -> None:
    with worker_bench(tmp_path) as bench:
        bench.control.close()
        assert bench.process.wait(WAIT_S) == 0


def test_it_ends_with_a_gateway_that_read_nothing(tmp_path: Path) -> None:
    """Such a socket is reset before it reads as ended."""
    with worker_bench(tmp_path, read_ready=False) as bench:
        bench.control.close()
        assert bench.process.wait(WAIT_S) == 0


def test_an_empty_packet_ends_a_streamer_and_nothing_else(bench: WorkerBench) -> None:
    with bench.streamer() as streamer:
        streamer.next(Device)
        sock = socket.socket(fileno=os.dup(streamer.link.fileno()))
        with sock:
            sock.send(b"")
        with pytest.raises(LinkClosedError):
            while True:
                wait_readable(streamer.link)
                streamer.link.receive()
    with bench.streamer() as streamer:
        assert isinstance(streamer.next(Device), Device)
