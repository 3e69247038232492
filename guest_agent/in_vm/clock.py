# SPDX-License-Identifier: Apache-2.0
"""The guest's clock, set right after its machine was paused."""

from __future__ import annotations

import os
import time

from guest_agent.messages import Clock

# Less is left to whoever keeps the time in the guest: it comes slowly, and is no error of a pause.
STEP_NS = 1_000_000_000


def compare_clock(host_ns: int) -> Clock:
    """Set the clock (CLOCK_REALTIME) to the host's time if it is off by more than a second and we are root.

    Returns:
        How far it was behind, and whether it was set.
    """
    behind_ns = host_ns - time.time_ns()
    was_set = False
    if abs(behind_ns) > STEP_NS and os.geteuid() == 0:
        try:
            time.clock_settime_ns(time.CLOCK_REALTIME, host_ns)
            was_set = True
        except OSError:
            # A container's root, or a time that the kernel does not have.
            was_set = False
    return Clock(behind_ns / 1e6, was_set)
