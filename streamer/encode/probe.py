# SPDX-License-Identifier: Apache-2.0
"""Which encoders work on this machine: each one is really opened and given a frame."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace

import av
import numpy as np

from streamer.encode.av_encoder import AvEncoder
from streamer.encode.encoder import Encoder, EncoderError, EncoderSettings
from streamer.encode.profiles import PROFILES, EncoderProfile, profile_by_name
from streamer.encode.sps import NAL_IDR, NAL_PPS, NAL_SPS, SpsError, find_sps, nal_types
from streamer.stream_core.encoder import NAME as X264
from streamer.stream_core.encoder import DamageEncoder

_log = logging.getLogger(__name__)

_TRIAL = EncoderSettings(width=640, height=360, pixel_format="nv12", fps=60, bitrate_bps=2_000_000)


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One encoder: whether it works here, and why not, or what is worth to know about it."""

    name: str
    works: bool
    is_hardware: bool
    detail: str


def probe(name: str = "auto") -> tuple[ProbeResult, ...]:
    """Try all encoders, or the one of that name. Takes up to some 100 ms each; any thread."""
    if name == "auto":
        return tuple(_try(profile) for profile in PROFILES)
    profile = profile_by_name(name)
    if profile is None:
        known = ", ".join(profile.name for profile in PROFILES)
        return (ProbeResult(name, False, False, f"unknown; there are {known}"),)
    return (_try(profile),)


def choose(name: str = "auto") -> EncoderProfile:
    """Return the first encoder that works, and log what was tried. A wanted one that fails falls back to the rest.

    Raises:
        EncoderError: none works.
    """
    tried: set[str] = set()
    for wanted in (name, "auto"):
        candidates = PROFILES if wanted == "auto" else ((profile_by_name(wanted)),)
        for profile in candidates:
            if profile is None:
                _log.warning("encoder %s is unknown: choosing another", wanted)
                continue
            if profile.name in tried:
                continue
            tried.add(profile.name)
            result = _try(profile)
            if result.works:
                _log.info("encoder %s: %s", result.name, result.detail)
                return profile
            level = logging.WARNING if profile.name == name else logging.INFO
            _log.log(level, "encoder %s is not usable here: %s", result.name, result.detail)
    raise EncoderError("no H.264 encoder works here; `heliograph doctor` says what is missing")


def open_encoder(profile: EncoderProfile, settings: EncoderSettings) -> Encoder:
    """Open an encoder; software ones get a thread a core, up to four.

    Raises:
        EncoderError: it cannot be opened.
    """
    return _open(profile, replace(settings, threads=min(4, len(os.sched_getaffinity(0)))))


def software_after(name: str) -> EncoderProfile | None:
    """Return the software encoder to go on with when that one keeps failing."""
    software = [profile for profile in PROFILES if not profile.is_hardware]
    names = [profile.name for profile in software]
    rest = software[names.index(name) + 1 :] if name in names else software
    return next((profile for profile in rest if _try(profile).works), None)


def _open(profile: EncoderProfile, settings: EncoderSettings) -> Encoder:
    return DamageEncoder(settings) if profile.name == X264 else AvEncoder(profile, settings)


def _try(profile: EncoderProfile) -> ProbeResult:
    if profile.name == X264:
        return _try_frames(profile)
    if profile.name not in av.codecs_available:
        return ProbeResult(profile.name, False, profile.is_hardware, "not built into this PyAV")
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        # Caught lines become part of the error and stay out of the log.
        with av.logging.Capture():
            return _try_frames(profile)
    finally:
        av.logging.set_level(level)


def _try_frames(profile: EncoderProfile) -> ProbeResult:
    def result(works: bool, detail: str) -> ProbeResult:
        return ProbeResult(profile.name, works, profile.is_hardware, detail)

    planes = np.full((_TRIAL.height * 3 // 2, _TRIAL.width), 128, np.uint8)
    try:
        encoder = _open(profile, _TRIAL)
        try:
            first = encoder.encode(planes, keyframe=True, pts=0)
            planes[:64] = 200
            second = encoder.encode(planes, keyframe=False, pts=1500)
        finally:
            encoder.close()
        if first is None or second is None:
            return result(False, "leaves out frames that have changed")
        sps = find_sps(first.data)
    except (EncoderError, SpsError) as error:
        return result(False, str(error).removeprefix(f"{profile.name} "))
    if not {NAL_SPS, NAL_PPS, NAL_IDR} <= set(nal_types(first.data)) or sps is None:
        return result(False, "does not put its parameter sets in front of a keyframe")
    if second.is_keyframe:
        return result(False, "makes keyframes that nobody asked for")
    if sps.max_num_reorder_frames != 0:
        # It works, but browsers hold frames back.
        return result(True, "works, but does not say that frames are in order: browsers will add delay")
    return result(True, "works" if not profile.is_hardware else "works (hardware)")
