# SPDX-License-Identifier: Apache-2.0
"""A virtual machine's screen: from the guest's flip to the handoff and to the page, by each way in turns."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import Browser

from bench import processes, svg
from bench.lock import alone
from bench.machines import WAYS, RunningMachine, Way
from bench.peers.product import ProductError
from bench.probe import NoClockError, probed_page
from bench.report import Result, Table, Value
from bench.rfb import RfbError, watch_barcode
from bench.summary import Summary
from bench.visit import NoPictureError, Viewer, chromium, viewer
from guest_agent.vm.qemu import PROGRAM
from tests.support.vm import GuestError, GuestJob

# What the guest's program does: a barcode drawn into the picture that is shown, or page flips.
KINDS = ("draw", "flip")
# Pictures a second, as parts of the session's rate. Guest and display tick by themselves: with the latter every picture
# has another phase between the two.
RATES = (0.5, 0.95)
ROUNDS = 3
SETTLE_S = 2.0
_NS_A_MS = 1e6
_FAILURES = (GuestError, NoClockError, NoPictureError, ProductError, RfbError)


@dataclass(frozen=True, slots=True)
class Scene:
    """What the guest's program does, so many times a second."""

    kind: str
    rate: int

    def __str__(self) -> str:
        return f"{self.kind} {self.rate}/s"


@dataclass(frozen=True, slots=True)
class Round:
    """One way watched once. CPU: 1.0 is a core; QEMU's has the guest's emulation in it."""

    page_ms: tuple[float, ...]
    handoff_ms: tuple[float, ...]
    span_s: float
    cpu_qemu: float
    cpu_rest: float
    shown_per_s: float


@dataclass(slots=True)
class Standing:
    """A way in a scene: its rounds, and what went wrong in others."""

    name: str
    rounds: list[Round] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def all(self, values: str) -> Summary:
        return Summary.of(value for each in self.rounds for value in getattr(each, values))

    def median(self, values: Iterable[float]) -> float:
        return Summary.of(values).p50


async def measure(
    browser: Browser, way: Way, scenes: Sequence[Scene], size: tuple[int, int], fps: int, seconds: float
) -> AsyncIterator[tuple[Scene, Round | str]]:
    """Start a machine and watch its pictures scene by scene; end it. Yields what went wrong with a scene as its text.

    Raises:
        What is in _FAILURES: the machine did not come up.
    """
    async with way.running(size, fps) as machine:
        for scene in scenes:
            try:
                kms = await asyncio.to_thread(_start_program, machine, scene, size)
                try:
                    page_ms, span_s, cpu_qemu, cpu_rest = await _watch_page(browser, machine, size, seconds)
                    handoff_ms = await _watch_handoff(browser, machine, size, seconds)
                finally:
                    kms.kill()
                    await asyncio.to_thread(kms.wait)
            except _FAILURES as error:
                yield scene, str(error)
            else:
                yield scene, Round(page_ms, handoff_ms, span_s, cpu_qemu, cpu_rest, len(page_ms) / span_s)


def _start_program(machine: RunningMachine, scene: Scene, size: tuple[int, int]) -> GuestJob:
    # Each program counts from one.
    machine.stamps.times_ns.clear()
    kms = machine.shell.spawn("kms serve")
    try:
        kms.do(f"stamp {machine.stamp_device}")
        said = kms.do("mode 0 preferred")
        if f"{size[0]}x{size[1]}" not in said:
            raise GuestError(f"the guest's screen does not prefer {size[0]}x{size[1]}: {said}")
        kms.write(f"{scene.kind} 0 0 {scene.rate}\n".encode())
    except GuestError:
        kms.kill()
        raise
    return kms


async def _watch_page(
    browser: Browser, machine: RunningMachine, size: tuple[int, int], seconds: float
) -> tuple[tuple[float, ...], float, float, float]:
    """Return ms from each flip to its picture's being read, how long that was watched, and the CPU meanwhile."""
    loop = asyncio.get_running_loop()
    async with probed_page(browser, *size) as page:
        await page.open(machine.url)
        await asyncio.sleep(SETTLE_S)
        await page.take()
        begin_s, cpu_s = loop.time(), _cpu_s(machine)
        await asyncio.sleep(seconds)
        sights = (await page.take()).sights
        span_s, after_s = loop.time() - begin_s, _cpu_s(machine)
    # The "clock" in the barcode is the picture's number.
    times = {round(sight.drawn_ms * _NS_A_MS): sight.read_ms for sight in sights}
    qemu, rest = ((after - before) / span_s for before, after in zip(cpu_s, after_s, strict=True))
    return join(machine.stamps.times_ns, times), span_s, qemu, rest


async def _watch_handoff(
    browser: Browser, machine: RunningMachine, size: tuple[int, int], seconds: float
) -> tuple[float, ...]:
    """Return ms from each flip to when its picture came to another process.

    That is when our render worker handed it over, by the traces in our client; with VNC, when a client that asks for
    the barcode's part alone had that.
    """
    if machine.vnc_port is not None:
        return join(machine.stamps.times_ns, await watch_barcode(machine.vnc_port, seconds))
    window = {"width": size[0], "height": size[1]}
    async with viewer(browser, window) as page:
        await page.open(machine.url)
        await page.watch_barcodes()
        await asyncio.sleep(SETTLE_S)
        await page.take_samples()
        times: dict[int, float] = {}
        end_s = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end_s:
            await asyncio.sleep(1.0)
            times |= await _handoffs(page)
    return join(machine.stamps.times_ns, times)


async def _handoffs(page: Viewer) -> dict[int, float]:
    """Return the time of the handoff, ms of the host's clock, by the picture's number."""
    error_ms = await page.clock_error_ms()
    frames = {frame["rtp"]: frame for frame in await page.frames()}
    found: dict[int, float] = {}
    for sample in await page.take_samples():
        frame = frames.get(sample.rtp)
        if sample.drawn_ms is not None and frame is not None:
            # The trace's server times went through the client's estimate of the clock.
            flush_ms = frame["flushMs"] + page.zero_ms + error_ms
            found.setdefault(round(sample.drawn_ms * _NS_A_MS), flush_ms + frame["convert"] + frame["handoff"])
    return found


def join(stamps_ns: Mapping[int, int], times_ms: Mapping[int, float]) -> tuple[float, ...]:
    """Return ms from the stamp of each number to its time; numbers without a stamp are left out. No I/O."""
    return tuple(time - stamps_ns[number] / _NS_A_MS for number, time in times_ms.items() if number in stamps_ns)


def _cpu_s(machine: RunningMachine) -> tuple[float, float]:
    """Return the processor time so far of QEMU, and of all else on the server's side."""
    qemu = rest = 0.0
    for pid in {pid for root in machine.roots for pid in processes.descendants(root)}:
        try:
            usage = processes.read_usage(pid)
        except (OSError, ValueError, IndexError):
            continue  # it ended while we looked
        if usage.name == PROGRAM:
            qemu += usage.cpu_s
        else:
            rest += usage.cpu_s
    return qemu, rest


async def run(
    size: str = "1280x720",
    fps: int = 60,
    seconds: float = 8.0,
    rounds: int = ROUNDS,
    only: Sequence[str] = (),
    lock: Path | None = None,
) -> Result:
    """Measure all ways that are here (or those whose names begin with one of `only`), in turns; `lock`: see alone()."""
    width, height = map(int, size.split("x"))
    notes: list[str] = []
    ways: list[Way] = []
    for way in WAYS:
        if only and not any(way.name.startswith(name) for name in only):
            continue
        lacking = await asyncio.to_thread(way.missing)
        if lacking is None:
            ways.append(way)
        else:
            notes.append(f"{way.name} is left out: {lacking}.")
    if lock is not None:
        notes.append("Each machine ran alone (`--lock`); what is said to be busy is others' work in between.")
    scenes = [Scene(kind, round(fps * rate)) for kind in KINDS for rate in RATES]
    standings = {str(scene): [Standing(way.name) for way in ways] for scene in scenes}
    async with chromium() as browser:
        for turn in range(rounds):
            for number, way in enumerate(ways):
                try:
                    async with alone(lock):
                        async for scene, found in measure(browser, way, scenes, (width, height), fps, seconds):
                            _note(standings[str(scene)][number], found, f"{turn + 1}/{rounds} {scene} {way.name}")
                except _FAILURES as error:
                    for standing in standings.values():
                        standing[number].failures.append(str(error))
                    _progress(f"{turn + 1}/{rounds} {way.name}: {error}")
    settings: dict[str, Value] = {"size": size, "fps": fps, "rounds": rounds, "seconds a round": seconds}
    return result(standings, settings, notes)


def _note(standing: Standing, found: Round | str, label: str) -> None:
    if isinstance(found, str):
        standing.failures.append(found)
        _progress(f"{label}: {found}")
        return
    standing.rounds.append(found)
    page, handoff = Summary.of(found.page_ms), Summary.of(found.handoff_ms)
    _progress(
        f"{label}: page {page.p50:.1f}/{page.p95:.1f} ms, handoff {handoff.p50:.1f}/{handoff.p95:.1f} ms, "
        f"{found.shown_per_s:.1f}/s, CPU {found.cpu_qemu * 100:.0f} + {found.cpu_rest * 100:.0f} %"
    )


def _progress(text: str) -> None:
    sys.stdout.write(f"  {text}\n")
    sys.stdout.flush()


def result(standings: Mapping[str, Sequence[Standing]], settings: dict[str, Value], notes: list[str]) -> Result:
    """Put rounds by scene into a result. No I/O."""
    tables: list[Table] = []
    figures: dict[str, float] = {}
    pictures: dict[str, str] = {}
    samples: dict[str, list[float]] = {}
    for scene, group in standings.items():
        tables.append(Table(f"{scene}: from the guest's flip", tuple(_row(each) for each in group)))
        for each in group:
            notes += [f"{scene}, {each.name}: a round failed: {failure}" for failure in each.failures]
            if each.rounds:
                figures[f"{scene} {each.name} page p50 ms"] = each.all("page_ms").p50
                samples[f"{scene} {each.name} page ms"] = [
                    round(value, 2) for found in each.rounds for value in found.page_ms
                ]
        ranges = {each.name: (each.all("page_ms").p50, each.all("page_ms").p95) for each in group if each.rounds}
        name = scene.removesuffix("/s").replace(" ", "-")
        pictures[name] = svg.ranges(f"From the guest's flip to the page, {scene}: p50 to p95", ranges, "ms")
    return Result("vm", settings, figures, tuple(tables), pictures, tuple(notes), samples)


def _row(standing: Standing) -> dict[str, Value]:
    row: dict[str, Value] = {"way": standing.name}
    if not standing.rounds:
        return row
    page, handoff, rounds = standing.all("page_ms"), standing.all("handoff_ms"), standing.rounds
    return row | {
        "to the page p50 ms": page.p50,
        "p95 ms": page.p95,
        "to the handoff p50 ms": handoff.p50 if handoff.count else "-",
        "to the handoff p95 ms": handoff.p95 if handoff.count else "-",
        "distinct/s": standing.median(each.shown_per_s for each in rounds),
        "QEMU CPU %": standing.median(each.cpu_qemu * 100 for each in rounds),
        "server CPU %": standing.median(each.cpu_rest * 100 for each in rounds),
    }
