# SPDX-License-Identifier: Apache-2.0
"""Conversion and handoff by themselves: for tests, benchmarks and the GPU check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ._ffi import ffi, lib
from .errors import check
from .frame import Rect

FORMATS = {"yuv420p": 1, "nv12": 2}
PATHS = {"auto": 0, "cpu": 1, "gpu": 2}
EXPORTS = {"none": 0, "opaque_fd": 1, "dma_buf": 2}
# enum virtio_gpu_formats: bytes of a pixel in memory order
SOURCE_FORMATS = {"BGRA": 1, "BGRX": 2, "ARGB": 3, "XRGB": 4, "RGBA": 67, "XBGR": 68, "ABGR": 121, "RGBX": 134}


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A Vulkan device as the core sees it. `kind`, `convert`: "cpu" or "gpu"."""

    name: str
    kind: str
    convert: str
    import_host: bool
    export_opaque_fd: bool
    export_dma_buf: bool
    api_version: str


def device_info(raw: Any) -> DeviceInfo:
    """From the C struct."""
    version = raw.api_version
    return DeviceInfo(
        ffi.string(raw.name).decode("utf-8", "replace"),
        "gpu" if raw.kind == lib.RC_DEVICE_GPU else "cpu",
        "gpu" if raw.convert == lib.RC_CONVERT_GPU else "cpu",
        raw.import_host,
        raw.export_opaque_fd,
        raw.export_dma_buf,
        f"{version >> 22 & 127}.{version >> 12 & 1023}.{version & 4095}",
    )


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Durations in ns. `gpu_ns`: between timestamps around the dispatch, 0 on the CPU path."""

    convert_ns: int
    handoff_ns: int
    gpu_ns: int
    readback_ns: int


class ConvertBench:
    """One source picture, one ring, one device. One thread at a time.

    `source` is uint8 (height, width, 4), writable: the memory a guest would share. `planes` (filled by
    `run(read=True)`) is uint8 (coded_height * 3 // 2, stride), at 1/`divisor` of the source's size (0: as the core
    would choose).
    """

    def __init__(
        self,
        width: int,
        height: int,
        *,
        gpu: str = "auto",
        source_format: str = "BGRX",
        format: str = "yuv420p",
        convert: str = "auto",
        export: str = "none",
        divisor: int = 0,
    ) -> None:
        name = ffi.new("char[]", gpu.encode())
        params = ffi.new(
            "struct rc_bench_params *",
            {
                "gpu": name,
                "width": width,
                "height": height,
                "source_format": SOURCE_FORMATS[source_format],
                "format": FORMATS[format],
                "convert": PATHS[convert],
                "export_type": EXPORTS[export],
                "log_fd": 2,
                "divisor": divisor,
            },
        )
        out = ffi.new("struct rc_bench **")
        check(
            lib.rc_bench_create(params, out),
            f"convert bench {width}x{height} gpu={gpu} convert={convert} export={export}",
        )
        self._bench = ffi.gc(out[0], lib.rc_bench_destroy)
        size = ffi.new("size_t *")
        source = lib.rc_bench_source(self._bench, size)
        self.source: npt.NDArray[np.uint8] = np.frombuffer(ffi.buffer(source, size[0]), np.uint8).reshape(
            height, width, 4
        )
        layout = ffi.new("struct rc_ring_layout *")
        lib.rc_bench_layout(self._bench, layout)
        self.divisor: int = layout.divisor
        self.coded_width: int = layout.coded_width
        self.coded_height: int = layout.coded_height
        self.stride: int = layout.stride
        self.planes: npt.NDArray[np.uint8] = np.zeros((self.coded_height * 3 // 2, self.stride), np.uint8)

    @property
    def device(self) -> DeviceInfo:
        """The device, and the path that pictures are converted on."""
        raw = ffi.new("struct rc_device_info *")
        lib.rc_bench_device_info(self._bench, raw)
        return device_info(raw)

    def run(self, rects: Sequence[Rect] = (), *, read: bool = False) -> BenchResult:
        """Convert the source's rectangles (none: everything), hand the frame off, and copy its planes out if `read`."""
        raw = ffi.new("struct rc_rect[]", [(r.x, r.y, r.width, r.height) for r in rects] or 1)
        planes = ffi.from_buffer("uint8_t[]", self.planes) if read else ffi.NULL
        result = ffi.new("struct rc_bench_result *")
        check(lib.rc_bench_run(self._bench, raw, len(rects), planes, result), "conversion")
        return BenchResult(result.convert_ns, result.handoff_ns, result.gpu_ns, result.readback_ns)

    def close(self) -> None:
        """Free everything. `source` must not be used afterwards."""
        self.source = np.zeros((0, 0, 4), np.uint8)
        ffi.release(self._bench)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
