# SPDX-License-Identifier: Apache-2.0
"""Eight Venus clients at once on one worker, for a long time, as in a session. `make soak-venus`.

Six stock programs start and are killed at random, one computes and checks what it gets, one connection after the other
sends nonsense. Whenever all have gone, the worker must be as it was. Exits with 1 when memory, files or threads grow
beyond their bound, when the one that computes gets something wrong, or when the worker ends.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import commands, processes, report
from bench.processes import Usage
from bench.report import Result, Table, Value
from bench.summary import Trend
from tests.support.venus import VenusServer
from tests.support.venus_client import VenusClient

_ROOT = Path(__file__).resolve().parent.parent
_VECTORS = _ROOT / "tests/data/venus_vectors.txt"
KILLED = 6
CYCLE_S = 20.0
LIFE_S = (0.05, 4.0)
LEAVE_TIMEOUT_S = 30.0
# After this much the driver's own caches have their size.
WARM_UP_CYCLES = 3
RSS_BYTES, RSS_SHARE = 8_000_000, 0.05
COUNT = 1.0


@dataclass(slots=True)
class Counts:
    """What happened in a cycle; each kind of client adds to its own."""

    killed: int = 0
    ended: int = 0
    wrong: int = 0
    nonsense: int = 0


def _vectors() -> list[bytes]:
    lines = _VECTORS.read_text(encoding="ascii").splitlines()
    return [bytes.fromhex(line.split()[3]) for line in lines if line and not line.startswith("#")]


class Soak:
    """The worker, its clients and what was seen of them."""

    def __init__(self, server: VenusServer, program: Path, seed: int) -> None:
        self._server = server
        self._program = [str(program), str(program.parent), "2"]
        self._chance = random.Random(seed)
        self._vectors = _vectors()
        self._mistakes: list[str] = []
        self._checksums: Mapping[str, int] | None = None
        self.counts = Counts()

    def cycle(self) -> None:
        """Let clients come and go for CYCLE_S; returns when all have gone.

        Raises:
            RuntimeError: a client did something that none should.
        """
        end_s = time.monotonic() + CYCLE_S
        jobs = [self._kill_programs] * KILLED + [self._compute, self._send_nonsense]
        threads = [
            threading.Thread(target=self._guarded, args=(job, end_s, random.Random(self._chance.getrandbits(32))))
            for job in jobs
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._mistakes:
            raise RuntimeError("\n".join(self._mistakes))

    def _guarded(self, job: Callable[[float, random.Random], None], end_s: float, chance: random.Random) -> None:
        try:
            job(end_s, chance)
        except Exception as error:  # the thread's edge: told by cycle()
            self._mistakes.append(f"{type(error).__name__}: {error}")

    def _kill_programs(self, end_s: float, chance: random.Random) -> None:
        while time.monotonic() < end_s:
            process = subprocess.Popen(
                self._program, env=self._server.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                process.wait(chance.uniform(*LIFE_S))
                self.counts.ended += 1
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                self.counts.killed += 1

    def _compute(self, end_s: float, chance: random.Random) -> None:
        del chance
        while time.monotonic() < end_s:
            run = commands.run_program(Path(self._program[0]), self._server.environment, 2)
            self._checksums = self._checksums or run.checksums
            self.counts.wrong += run.checksums != self._checksums
            self.counts.ended += 1

    def _send_nonsense(self, end_s: float, chance: random.Random) -> None:
        while time.monotonic() < end_s:
            with VenusClient(self._server.socket) as client:
                try:
                    ring = client.start()
                    for _ in range(chance.randrange(1, 20)):
                        data = bytearray(chance.choice(self._vectors))
                        for _ in range(chance.randrange(3)):
                            data[chance.randrange(len(data))] = chance.randrange(256)
                        if len(data) <= 8192:
                            ring.write(bytes(data))
                            ring.wait()
                except (OSError, AssertionError, EOFError, RuntimeError):
                    pass  # what it gets is what it deserves
            self.counts.nonsense += 1

    def usage(self) -> Usage:
        """Wait until the worker has forgotten its clients, then look."""
        deadline_s = time.monotonic() + LEAVE_TIMEOUT_S
        pid = self._server.process.pid
        while True:
            seen = processes.read_usage(pid)
            time.sleep(1.0)
            now = processes.read_usage(pid)
            if (now.fds, now.threads) == (seen.fds, seen.threads) or time.monotonic() > deadline_s:
                return now


def run(seconds: float, seed: int) -> tuple[Result, list[str]]:
    """Run for about `seconds` after the warm-up; returns the result and what is wrong."""
    times_s: list[float] = []
    seen: list[Usage] = []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hg-") as folder:
        program = commands.program(Path(folder))
        server = VenusServer("--log-level", "error", shared=True)
        soak = Soak(server, program, seed)
        begin_s = time.monotonic()
        try:
            cycle = 0
            while cycle <= WARM_UP_CYCLES + 1 or time.monotonic() - begin_s < seconds:
                soak.cycle()
                usage = soak.usage()
                cycle += 1
                if cycle > WARM_UP_CYCLES:
                    times_s.append(time.monotonic() - begin_s)
                    seen.append(usage)
                _show_progress(time.monotonic() - begin_s, usage, soak.counts)
        except (RuntimeError, OSError) as error:
            wrong.append(f"{error}\n{server.log[-4000:]}")
        finally:
            code = server.close()
    if code:
        wrong.append(f"the worker ended with {code}")
    return _judge(times_s, seen, soak.counts, wrong, seed)


def _judge(
    times_s: list[float], seen: list[Usage], counts: Counts, wrong: list[str], seed: int
) -> tuple[Result, list[str]]:
    rows: list[dict[str, Value]] = []
    growth: dict[str, float] = {}
    first_rss = seen[0].rss_bytes if seen else 0
    for name, unit, values, bound in (
        ("memory", "MB", [each.rss_bytes / 1e6 for each in seen], (RSS_BYTES + RSS_SHARE * first_rss) / 1e6),
        ("files", "", [float(each.fds) for each in seen], COUNT),
        ("threads", "", [float(each.threads) for each in seen], COUNT),
    ):
        grown = Trend.of(times_s, values).over_span
        growth[f"{name} growth {unit}".strip()] = grown
        if grown > bound:
            wrong.append(f"{name} grow by {grown:.1f} {unit}")
        if values:
            rows.append({"what": name, "unit": unit, "first": values[0], "last": values[-1], "growth": grown})
    if counts.wrong:
        wrong.append(f"{counts.wrong} computations had a wrong result")
    settings: dict[str, Value] = {
        "clients": KILLED + 2,
        "measured s": round(times_s[-1] - times_s[0]) if times_s else 0,
        "ended": counts.ended,
        "killed": counts.killed,
        "nonsense": counts.nonsense,
        "seed": seed,
    }
    notes = tuple(wrong) or ("Nothing grows beyond its bound; every computation was right.",)
    title = "the worker whenever no client is there (growth: a line fitted by least squares)"
    return Result("soak_venus", settings, growth, (Table(title, tuple(rows)),), notes=notes), wrong


def _show_progress(elapsed_s: float, usage: Usage, counts: Counts) -> None:
    sys.stdout.write(
        f"{elapsed_s:6.0f} s: {counts.ended} ended, {counts.killed} killed, {counts.nonsense} talked nonsense; worker "
        f"{usage.rss_bytes / 1e6:.1f} MB, {usage.fds} files, {usage.threads} threads\n"
    )
    sys.stdout.flush()


def main() -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.venus_soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="with the warm-up (300)")
    parser.add_argument("--seed", type=int, default=1, help="of what happens when")
    parser.add_argument("--json", type=Path, default=Path("build/bench/soak_venus.json"))
    args = parser.parse_args()
    begin_s, cpu_s = time.monotonic(), processes.machine_cpu_s()
    result, wrong = run(args.seconds, args.seed)
    busy = (processes.machine_cpu_s() - cpu_s) / (time.monotonic() - begin_s) / (os.cpu_count() or 1)
    report.show(result, report.save(result, args.json, busy))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
