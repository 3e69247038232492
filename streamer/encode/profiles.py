# SPDX-License-Identifier: Apache-2.0
"""The H.264 encoders, and how each of FFmpeg's is told to work without delay. Order is preference."""

from __future__ import annotations

from dataclasses import dataclass

# No keyframe by itself: longer than any session, and what a signed 32-bit option takes.
ENDLESS_GOP = 2_000_000_000
# A frame may use what this many frames have on average: sharp enough after a change, short enough on the wire.
VBV_FRAMES = 2
# Finer steps cannot be seen in text, and would make a still picture cost bits for ever.
X264_QMIN = 16


@dataclass(frozen=True, slots=True)
class EncoderProfile:
    """One encoder: its name (FFmpeg's, but for "x264") and its options beside the common ones (rates, GOP, colours)."""

    name: str
    options: dict[str, str]
    is_hardware: bool = True


# The hardware ones follow the vendors' documents; none of them has been seen working by us yet.
PROFILES = (
    EncoderProfile(
        "h264_nvenc",
        {
            "preset": "p4",
            "tune": "ull",
            "profile": "baseline",
            "rc": "cbr",
            "delay": "0",
            "zerolatency": "1",
            "forced-idr": "1",
            "strict_gop": "1",
        },
    ),
    EncoderProfile(
        "h264_qsv",
        {
            "preset": "veryfast",
            "profile": "baseline",
            "async_depth": "1",
            "look_ahead": "0",
            "forced_idr": "1",
            "max_dec_frame_buffering": "1",
        },
    ),
    EncoderProfile(
        "h264_amf",
        {
            "usage": "ultralowlatency",
            "profile": "constrained_baseline",
            "quality": "speed",
            "rc": "cbr",
            "forced_idr": "1",
            "async_depth": "1",
        },
    ),
    EncoderProfile("h264_vaapi", {"profile": "constrained_baseline", "async_depth": "1", "rc_mode": "CBR"}),
    # Not FFmpeg's: the stream core's, on the libx264 of the system.
    EncoderProfile("x264", {}, is_hardware=False),
    # The same without it, in PyAV's wheels.
    EncoderProfile(
        "libx264",
        {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "profile": "baseline",
            "forced-idr": "1",
            "sc_threshold": "0",
            "refs": "1",
            "nal-hrd": "none",
            "qmin": str(X264_QMIN),
        },
        is_hardware=False,
    ),
)


def profile_by_name(name: str) -> EncoderProfile | None:
    """Return the profile of that name; None when we have none."""
    return next((profile for profile in PROFILES if profile.name == name), None)
