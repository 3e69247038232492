# SPDX-License-Identifier: Apache-2.0
"""Venus clients that come and die at random in one worker, one of them hostile: nothing grows, nobody else is harmed.

Part of `make soak`. Each client is a guest program of the tests on Mesa's stock driver, which checks its own results
and is compared with the same on the host's driver. Some are killed at any time, some leak all they have. One client
sends random words, or what a client sends with bytes changed. From time to time all pause, and the worker is looked at.
Exits with 1 when something grows beyond its bound, the worker ends, or a client that was not killed finds it wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import processes, report
from bench.gpu_check_venus import difference
from bench.report import Result, Table
from bench.soak import Check
from bench.summary import Trend
from tests.support.venus import Run, VenusServer, native_environment, run_guest
from tests.support.venus_client import TIMEOUT_S, Gone, Ring, VenusClient, command, enumerate_version, u64

_VECTORS = Path(__file__).resolve().parent.parent / "tests/data/venus_vectors.txt"
CYCLE_S = 20.0
REST_S = 20.0  # at most: until the killed clients' work is done
# Until the allocator and the driver's caches have their size.
WARM_UP_S = 60.0
KILL_SHARE = 0.4
# Cases that take some hundred milliseconds together; different ones for different clients.
PROGRAMS = {
    "compute": ("storage_buffer", "descriptor_pools_freed_and_reset", "fills_copies_and_updates", "push_descriptors"),
    "drawing": ("triangle", "depth_test", "multisample_resolve", "secondary_command_buffers"),
    "textures": ("mipmaps_by_blits", "samplers", "linear_images_in_mapped_memory"),
    "sync": ("fences_polled", "timeline_semaphores", "wait_before_signal", "occlusion_queries"),
    "recording": ("recorded_again", "threads_that_make_pipelines", "many_allocations"),
}
RSS_BYTES, RSS_SHARE = 8_000_000, 0.05
SHARED_BYTES = 4_000_000
COUNT = 1.0


@dataclass
class Shared:
    """What the clients' threads share. `running` is cleared for a rest."""

    server: VenusServer
    folder: Path
    reference: dict[str, Run]
    running: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    resting: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def pause(self) -> bool:
        """Called by clients between two lives; waits through a rest. False: this is the end."""
        if not self.running.is_set():
            self.resting.release()
            self.running.wait()
        return not self.over.is_set()


def correct_client(shared: Shared, number: int, seed: int) -> None:
    """Live again and again: a program to its end, or until it is killed."""
    chance = random.Random(seed)
    while shared.pause():
        folder = shared.folder / f"client{number}"
        shutil.rmtree(folder, ignore_errors=True)
        if chance.random() < 0.1:
            _leak(shared)
        elif chance.random() < KILL_SHARE:
            _killed(shared, chance, folder)
        else:
            program = chance.choice(sorted(PROGRAMS))
            run = run_guest(program, folder, shared.server.environment, PROGRAMS[program])
            shared.counts["ended well" if run.code == 0 else "failed"] += 1
            if run.code:
                shared.wrong.append(f"{program} ended with {run.code}: {run.output[-1500:]}")
                continue
            for case in PROGRAMS[program]:
                if text := difference(case, shared.reference[program], run):
                    shared.wrong.append(f"{program}, {case}: {text}")


def _killed(shared: Shared, chance: random.Random, folder: Path) -> None:
    """Kill a client at any time of its life, often while the device works for it."""
    what = chance.choice(["work", "compute", "recording"])
    folder.mkdir(parents=True)
    module = "misbehaving" if what == "work" else what
    arguments = [str(folder), *(["work"] if what == "work" else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.support.guest_programs.venus.{module}", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**shared.server.environment, "HELIOGRAPH_TEST_SHADERS": str(shared.folder / "shaders")},
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(chance.uniform(0.2, 4.0))
    process.kill()
    process.wait()
    shared.counts["killed"] += 1


def _leak(shared: Shared) -> None:
    subprocess.run(
        [sys.executable, "-m", "tests.support.guest_programs.venus.misbehaving", str(shared.folder), "leak"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**shared.server.environment, "HELIOGRAPH_TEST_SHADERS": str(shared.folder / "shaders")},
        check=False,
        timeout=TIMEOUT_S * 2,
    )
    shared.counts["leaked"] += 1


def hostile_client(shared: Shared, seed: int) -> None:
    """Connect again and again, each time to send nonsense of another kind."""
    chance = random.Random(seed)
    while shared.pause():
        with contextlib.suppress(Gone, BrokenPipeError, ConnectionError), VenusClient(shared.server.socket) as client:
            _attack(client, chance)
        shared.counts["attacks"] += 1


def _attack(client: VenusClient, chance: random.Random) -> None:
    kind = chance.randrange(6)
    if kind == 0:
        client.socket.sendall(chance.randbytes(chance.randrange(1, 20000)))
        return
    ring = client.start()
    client.open_device(ring)
    if kind == 1:
        ring.write(chance.randbytes(4 * chance.randrange(1, 5000)))
    elif kind == 2:
        ring.set_tail(chance.getrandbits(32) & ~3)
        client.submit(command("vkNotifyRingMESA", u64(ring.number), bytes(8)))
    elif kind == 3:
        client.socket.sendall(chance.randbytes(4 * chance.randrange(1, 100)))
    elif kind == 4:
        _send_changed(client, ring, chance)
    else:
        _send_captured(ring, chance)
    with contextlib.suppress(AssertionError):  # it may have been harmless
        client.socket.settimeout(1.0)
        for _ in range(100):
            if ring.status & 2 or client.is_closed():
                break
            time.sleep(0.005)


def _send_changed(client: VenusClient, ring: Ring, chance: random.Random) -> None:
    """What is right but for a few words."""
    words = bytearray()
    info = u64(1) + (8).to_bytes(4, "little") + bytes(12)
    for _ in range(50):
        words += command("vkCreateFence", u64(client.device), info, u64(0), u64(1, client.new_id()))
    for _ in range(chance.randrange(1, 6)):
        place = 4 * chance.randrange(len(words) // 4)
        words[place : place + 4] = chance.choice([b"\0\0\0\0", b"\xff\xff\xff\x7f", chance.randbytes(4)])
    ring.write(bytes(words))


def _send_captured(ring: Ring, chance: random.Random) -> None:
    """What a stock driver has sent, out of order, some of it with a byte changed."""
    words = bytearray()
    for vector in chance.choices(_vectors(), k=chance.randrange(1, 30)):
        words += vector
    for _ in range(chance.randrange(3)):
        words[chance.randrange(len(words))] = chance.randrange(256)
    ring.write(bytes(words[:100_000]))


@functools.cache
def _vectors() -> list[bytes]:
    """Commands as captured from a stock driver."""
    lines = _VECTORS.read_text(encoding="ascii").splitlines()
    return [bytes.fromhex(line.split()[3]) for line in lines if line and not line.startswith("#")]


@dataclass(frozen=True, slots=True)
class Rest:
    """The worker when no client is there but one that does nothing."""

    time_s: float
    usage: processes.Usage


def run(seconds: float, clients: int, seed: int) -> tuple[Result, list[str]]:
    """Warm up, run for `seconds`; returns the result and what is wrong."""
    rests: list[Rest] = []
    server = VenusServer(shared=True)
    try:
        with tempfile.TemporaryDirectory(prefix="hg-") as name, VenusClient(server.socket) as bystander:
            ring = bystander.start()
            bystander.open_device(ring)
            folder = Path(name)
            reference = {
                program: run_guest(program, folder / program, native_environment(), cases)
                for program, cases in PROGRAMS.items()
            }
            shared = Shared(server, folder, reference)
            threads = [threading.Thread(target=hostile_client, args=(shared, seed))]
            threads += [
                threading.Thread(target=correct_client, args=(shared, i, seed * 1000 + i)) for i in range(clients - 1)
            ]
            shared.running.set()
            for thread in threads:
                thread.start()
            begin_s = time.monotonic()
            try:
                while time.monotonic() - begin_s < WARM_UP_S + seconds and not shared.wrong:
                    time.sleep(CYCLE_S)
                    shared.running.clear()
                    for _ in threads:
                        shared.resting.acquire()
                    assert enumerate_version(bystander, ring)
                    rests.append(Rest(time.monotonic() - begin_s, _rest(server)))
                    _show_progress(rests[-1], shared)
                    shared.running.set()
            finally:
                shared.over.set()
                shared.running.set()
                for thread in threads:
                    thread.join()
    finally:
        code = server.close()
    wrong = list(shared.wrong)
    if code:
        wrong.append(f"the worker ended with {code}:\n{server.log[-4000:]}")
    return _judge(rests, shared, wrong, {"clients": clients, "seed": seed})


def _rest(server: VenusServer) -> processes.Usage:
    """Wait until nothing changes any more, then look."""
    last = server.usage()[server.process.pid]
    deadline_s = time.monotonic() + REST_S
    while time.monotonic() < deadline_s:
        time.sleep(1.0)
        now = server.usage()[server.process.pid]
        if (now.fds, now.threads) == (last.fds, last.threads) and now.cpu_s - last.cpu_s < 0.05:
            return now
        last = now
    return last


def _show_progress(rest: Rest, shared: Shared) -> None:
    usage = rest.usage
    counts = ", ".join(f"{count} {name}" for name, count in sorted(shared.counts.items()))
    sys.stdout.write(
        f"{rest.time_s:6.0f} s: {counts}; {usage.rss_bytes / 1e6:.1f} MB, {usage.fds} files, {usage.threads} threads\n"
    )
    sys.stdout.flush()


def checks(rests: Sequence[Rest]) -> list[Check]:
    """Fit what must not grow; needs two rests at least. No I/O."""
    times_s = [rest.time_s for rest in rests]

    def check(name: str, unit: str, values: list[float], bound: float) -> Check:
        return Check(name, unit, tuple(values), bound, Trend.of(times_s, values))

    rss = [rest.usage.rss_bytes / 1e6 for rest in rests]
    return [
        check("worker: memory", "MB", rss, RSS_BYTES / 1e6 + RSS_SHARE * rss[0]),
        check("worker: shared memory", "MB", [r.usage.shared_bytes / 1e6 for r in rests], SHARED_BYTES / 1e6),
        check("worker: files", "", [float(rest.usage.fds) for rest in rests], COUNT),
        check("worker: threads", "", [float(rest.usage.threads) for rest in rests], COUNT),
    ]


def _judge(
    rests: Sequence[Rest], shared: Shared, wrong: list[str], settings: dict[str, report.Value]
) -> tuple[Result, list[str]]:
    measured = [rest for rest in rests if rest.time_s >= WARM_UP_S] or list(rests)
    found = checks(measured) if len(measured) > 1 else []
    wrong += [f"{check.name} grows by {check.trend.over_span:.2f} {check.unit}" for check in found if not check.is_good]
    span_s = measured[-1].time_s - measured[0].time_s if measured else 0.0
    result = Result(
        "venus_soak",
        {**settings, "measured s": round(span_s), **{name: count for name, count in sorted(shared.counts.items())}},
        {"worker memory growth MB": found[0].trend.over_span if found else 0.0},
        (Table("growth over the run (a line fitted by least squares to the rests)", tuple(c.row() for c in found)),),
        notes=tuple(wrong) or ("Nothing grows beyond its bound, and nobody was harmed.",),
        samples={check.name: check.values for check in found} | {"time s": [rest.time_s for rest in measured]},
    )
    return result, wrong


def main() -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.venus_soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="after the warm-up (300)")
    parser.add_argument("--clients", type=int, default=8, help="at once, the hostile one included (8)")
    parser.add_argument("--seed", type=int, default=1, help="of who lives how long, and of the nonsense")
    parser.add_argument("--json", type=Path, default=Path("build/bench/venus_soak.json"))
    args = parser.parse_args()
    begin_s, cpu_s = time.monotonic(), processes.machine_cpu_s()
    result, wrong = run(args.seconds, args.clients, args.seed)
    busy = (processes.machine_cpu_s() - cpu_s) / (time.monotonic() - begin_s) / (os.cpu_count() or 1)
    report.show(result, report.save(result, args.json, busy))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
