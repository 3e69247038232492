# SPDX-License-Identifier: Apache-2.0
"""A full desktop in a virtual machine, to look at: the test guest's kernel, this machine's programs.

python -m bench.vm_desktop --screenshot FILE.ppm         # in QEMU alone: what it shows after --settle seconds
python -m bench.vm_desktop --session -- --port 8090      # in `heliograph vm --port 8090`, which prints its URL
python -m bench.vm_desktop --session --gpu qxl           # the same by QEMU's D-Bus display

In a session the guest runs the optional agent, so that its screen follows the browser's window: there is no udev in it
that would tell X of new sizes.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from guest_agent.vm.qemu import PROGRAM
from tests.support.vm import GuestShell, VirtualMachine, guest_arguments
from tests.support.vm_desktop import ROOT, python_in_guest, start_desktop

_INPUT = ("-device", "virtio-keyboard-pci", "-device", "virtio-tablet-pci")
_GPU = "virtio-gpu-pci"
_START_SECONDS = 60.0


def main(arguments: Sequence[str]) -> int:
    """Run until the desktop ends or it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m bench.vm_desktop", description=__doc__)
    parser.add_argument("--session", action="store_true", help="in `heliograph vm`")
    parser.add_argument("--gpu", help=f"QEMU's device (default: {_GPU}; in a session the one that it brings)")
    parser.add_argument("--memory", type=int, default=1536, metavar="MIB", help="of the guest (default: %(default)s)")
    parser.add_argument("--cpus", type=int, default=2, help="of the guest (default: %(default)s)")
    parser.add_argument("--screenshot", type=Path, help="write this PPM and end; without --session")
    parser.add_argument("--settle", type=float, default=30.0, metavar="S", help="before that (default: %(default)s)")
    parser.add_argument("options", nargs="*", help="of `heliograph vm`, behind --")
    options = parser.parse_args(arguments)
    # However we are ended, the machine ends with us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="hg-vm-") as name, contextlib.suppress(KeyboardInterrupt):
        folder = Path(name)
        if options.session:
            command = [PROGRAM, *guest_arguments(folder, memory_mib=options.memory, cpus=options.cpus, host_root=True)]
            command += [*_INPUT, *(("-device", options.gpu) if options.gpu else ())]
            with _session(folder, options.options, command) as shell:
                _say("waiting for the guest")
                shell.wait_ready()
                desktop = start_desktop(shell)
                shell.spawn(python_in_guest("guest_agent.in_vm", "--display", desktop.display))
                _say(f"the desktop is up, {desktop.display} in the guest")
                return desktop.job.wait(timeout_s=float("inf"))[1]
        with VirtualMachine(
            folder,
            *("-device", options.gpu or _GPU, *_INPUT),
            memory_mib=options.memory,
            cpus=options.cpus,
            host_root=True,
        ) as machine:
            machine.boot()
            desktop = start_desktop(machine.shell)
            _say(f"the desktop is up, {desktop.display} in the guest")
            if options.screenshot is None:
                return desktop.job.wait(timeout_s=float("inf"))[1]
            time.sleep(options.settle)
            machine.qmp("screendump", {"filename": str(options.screenshot.resolve())})
    return 0


@contextlib.contextmanager
def _session(folder: Path, options: Sequence[str], machine: Sequence[str]) -> Iterator[GuestShell]:
    """Run `heliograph vm` with this machine; what it prints goes to our output."""
    command = [str(ROOT / ".venv" / "bin" / "heliograph"), "vm", *options, "--", *machine]
    with subprocess.Popen(command) as process:
        try:
            shell = GuestShell(folder / "shell.sock", _START_SECONDS)
            try:
                yield shell
            finally:
                shell.close()
        finally:
            process.terminate()


def _say(text: str) -> None:
    sys.stderr.write(f"vm_desktop: {text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
