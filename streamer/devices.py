# SPDX-License-Identifier: Apache-2.0
"""`heliograph devices`: the Vulkan devices and the encoders of this machine, and what each can do for a session."""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from guest_agent.graphics import GuestDriver, graphics_variables, with_graphics
from streamer.config import runtime_directory, vulkan_environment

_PROBE_TIMEOUT_S = 60
_SHORTEST_ID = 8  # digits of a UUID; --gpu takes anything of up to two characters for an index
_EPILOG = "--gpu takes an index, the beginning of a UUID, cpu (the first CPU device) or auto (the fastest kind)."


class ProbeError(Exception):
    """The Vulkan devices cannot be listed; the text says why."""


@dataclass(frozen=True, slots=True)
class MemoryHeap:
    """A heap of a device's memory."""

    size_bytes: int
    device_local: bool


@dataclass(frozen=True, slots=True)
class VulkanDevice:
    """One Vulkan device.

    `uuid` has 32 hexadecimal digits, or none where Vulkan 1.0 says none. `external_memory` has, for buffers and by
    handle type, "import" and "export"; `host_pointer_alignment` is in bytes, None where host memory cannot be imported.
    """

    index: int
    name: str
    uuid: str
    kind: str
    driver: str
    api_version: str
    heaps: tuple[MemoryHeap, ...]
    external_memory: dict[str, tuple[str, ...]]
    host_pointer_alignment: int | None
    sync_fd: tuple[str, ...]
    compute: bool
    video_encode: bool


def main(arguments: Sequence[str]) -> int:
    """Print the devices; return 1 when there is no Vulkan device."""
    parser = argparse.ArgumentParser(
        prog="heliograph devices",
        description="List the Vulkan devices and the encoders of this machine.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args(arguments)
    devices: tuple[VulkanDevice, ...] = ()
    problem: str | None = None
    try:
        devices = query_devices()
    except ProbeError as error:
        problem = str(error)
    encoders = query_encoders()
    if options.json:
        answer: dict[str, Any] = {"devices": [asdict(device) for device in devices], "encoders": encoders}
        if problem:
            answer["error"] = problem
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    else:
        sys.stdout.write(_render(devices, encoders))
        if problem:
            sys.stderr.write(f"heliograph: {problem}; `heliograph doctor` says what to do\n")
    return 0 if devices else 1


def query_devices(environment: Mapping[str, str] | None = None) -> tuple[VulkanDevice, ...]:
    """Return this machine's Vulkan devices, in the order that --gpu counts.

    Drivers are loaded in a process of their own, with the private Mesa where set-up made one. Takes up to a second.

    Args:
        environment: that process's; by default ours, and what finds the private Mesa.

    Raises:
        ProbeError: there is no loader or no driver, or a driver crashed.
    """
    found = _with_package(environment or {**os.environ, **vulkan_environment()})
    try:
        result = subprocess.run(
            _module("streamer.vulkan_probe"),
            env=found,
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ProbeError(f"a Vulkan driver did not answer within {_PROBE_TIMEOUT_S} s") from error
    last_line = (result.stderr.strip().splitlines() or [""])[-1]
    if result.returncode < 0:
        raise ProbeError(f"a Vulkan driver crashed (signal {-result.returncode}) {last_line}".strip())
    try:
        answer = json.loads(result.stdout)
        if "error" in answer:
            raise ProbeError(str(answer["error"]))
        return tuple(_device(entry) for entry in answer["devices"])
    except (ValueError, KeyError, TypeError) as error:
        raise ProbeError(
            f"asking for the Vulkan devices failed (exit code {result.returncode}): {last_line}"
        ) from error


def query_guest_device(driver: GuestDriver) -> VulkanDevice:
    """Return the device that guest programs see: the driver is tried with a render worker. Takes a few seconds.

    Raises:
        ProbeError: they see none.
    """
    with tempfile.TemporaryDirectory(prefix="hg-doctor-", dir=runtime_directory()) as folder:
        path = os.path.join(folder, "vtest")
        with subprocess.Popen(
            [*_module("streamer.cli"), "vtest", "--socket", path, "--max-clients", "2", "--log-level", "error"],
            env=_with_package(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as server:
            assert server.stdout is not None
            try:
                # Its only line; or it ends, and has said why.
                if not select.select([server.stdout], [], [], _PROBE_TIMEOUT_S)[0] or not server.stdout.readline():
                    server.terminate()
                    lines = server.communicate()[1].strip().splitlines()
                    raise ProbeError(f"no render worker serves Venus: {lines[0] if lines else 'it says nothing'}")
                variables = graphics_variables(driver, path, is_cpu=False)
                devices = query_devices(with_graphics(os.environ, variables))
            finally:
                server.terminate()
    if not devices:
        raise ProbeError("Mesa's Venus driver finds no device behind its socket")
    return devices[0]


def _module(name: str) -> list[str]:
    # -P: what lies in the current folder is not what is run.
    return [sys.executable, "-P", "-m", name]


def _with_package(environment: Mapping[str, str]) -> dict[str, str]:
    # Not installed (a source tree alone): found by the folder this file is in.
    folders = (str(Path(__file__).resolve().parent.parent), environment.get("PYTHONPATH"))
    return {**environment, "PYTHONPATH": os.pathsep.join(part for part in folders if part)}


def _device(entry: dict[str, Any]) -> VulkanDevice:
    return VulkanDevice(
        **{
            **entry,
            "heaps": tuple(MemoryHeap(**heap) for heap in entry["heaps"]),
            "external_memory": {name: tuple(ways) for name, ways in entry["external_memory"].items()},
            "sync_fd": tuple(entry["sync_fd"]),
        }
    )


def query_encoders() -> list[dict[str, Any]]:
    """Return the encoders that were tried here: name, works, is_hardware, detail."""
    import av.logging

    from streamer.encode.probe import probe

    av.logging.set_level(None)  # what FFmpeg says of absent hardware is in the details
    return [asdict(result) for result in probe()]


def short_ids(devices: Sequence[VulkanDevice]) -> tuple[str, ...]:
    """Return, for each device, the shortest beginning of its UUID (8 digits or more) that no other one shares."""
    ids = []
    for device in devices:
        others = [other.uuid for other in devices if other.index != device.index]
        length = _SHORTEST_ID
        while length < len(device.uuid) and any(other.startswith(device.uuid[:length]) for other in others):
            length += 1
        ids.append(device.uuid[:length])
    return tuple(ids)


def _render(devices: Sequence[VulkanDevice], encoders: Sequence[dict[str, Any]]) -> str:
    lines = ["Vulkan devices"]
    for device, short_id in zip(devices, short_ids(devices), strict=True):
        lines.append(f"  {device.index}  {device.name}")
        lines += [
            f"     {label:<13} {value}"
            for label, value in (
                ("UUID", f"{short_id}…" if short_id else "none"),
                ("kind", device.kind),
                ("driver", f"{device.driver}, Vulkan {device.api_version}".removeprefix(", ")),
                ("memory", _heap_text(device.heaps)),
                *((name, _ways(device, name)) for name in device.external_memory),
                ("sync fd", ", ".join(device.sync_fd) or "no"),
                ("compute", "yes" if device.compute else "no: a session cannot use this device"),
                ("video encode", "queue" if device.video_encode else "no"),
            )
        ]
    if not devices:
        lines.append("  none")
    lines += ["", "Encoders (H.264)"]
    for encoder in encoders:
        detail = str(encoder["detail"]).partition(": 'avcodec")[0]  # without the options that were tried
        lines.append(f"  {encoder['name']:<12} {'yes' if encoder['works'] else 'no ':<4} {detail}")
    lines += ["", _EPILOG]
    return "\n".join(lines) + "\n"


def _heap_text(heaps: Sequence[MemoryHeap]) -> str:
    return ", ".join(f"{heap.size_bytes / 2**30:.1f} GiB {'device' if heap.device_local else 'host'}" for heap in heaps)


def _ways(device: VulkanDevice, name: str) -> str:
    ways = ", ".join(device.external_memory[name]) or "no"
    if name == "host-pointer" and device.host_pointer_alignment:
        ways += f" (alignment {device.host_pointer_alignment} bytes)"
    return ways


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
