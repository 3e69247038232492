# SPDX-License-Identifier: Apache-2.0
"""The decision: what one viewer's path takes, anew with each feedback report. No I/O, no clock of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from streamer.rtc.congestion.loss import LossControl, LossState
from streamer.rtc.congestion.packets import Burst, PacketResult, bursts
from streamer.rtc.congestion.queue_delay import QueueDelay
from streamer.rtc.congestion.rates import AcknowledgedRate, BurstRate, busy_rate
from streamer.rtc.congestion.resend import Resend, ResendBudget
from streamer.rtc.congestion.trendline import Trendline, Usage
from streamer.rtc.congestion.window import SendWindow

INITIAL_BPS = 6_000_000
MIN_BPS = 150_000
MAX_BPS = 200_000_000

# A queue that stands this long is too long, whether it grows or not.
STANDING_QUEUE_US = 50_000
# Delays that jump by more are another clock, not a queue.
MAX_JUMP_US = 10_000_000
# A frame's bursts may fill this share of what they have found.
HEADROOM = 0.9
BETA = 0.85
# A queue is drained in about this time, by sending less than arrives; but not less than this share of it.
DRAIN_US = 500_000
MIN_DRAIN_SHARE = 0.4
# Then the target is what the link gave us, less this wait.
DRAINED_US = 25_000
# One decrease a response time: what was sent before the last one says nothing new.
RESPONSE_US = 100_000
# Growth: a step a round trip where bursts say that there is room; elsewhere a share a second, less above what they say.
FAST_STEP, FIRST_STEP, SHARED_STEP = 1.6, 4.0, 1.3
SLOW_GROWTH_PER_S, SLOWER_GROWTH_PER_S = 0.08, 0.03
# Growth by bursts waits after an over-use; longer when the last such growth ended in one.
FAST_WAIT_US, MAX_FAST_WAIT_US = 300_000, 4_000_000
# A step that is followed by over-use within this time, in which the link gives us less than this share of what bursts
# found: others use it too.
FAST_BLAME_US, SHARED = 1_500_000, 0.8
# Bursts that find so many times what the link gave us at the last over-use: it is another link now, nothing waits.
CHANGED = 3.0
# Less than this share of the target in use: nothing is learned about it.
USED_SHARE = 0.6
# A target that nothing has confirmed for so long falls slowly towards the initial one.
UNCONFIRMED_US = 10_000_000
HALF_LIFE_US = 20_000_000
# Decreases after which a queue has not got shorter are in vain: the path has become longer.
VAIN_DECREASES = 4


class PathState(Enum):
    """Why the target is what it is."""

    START = "start"
    GROW = "grow"
    HOLD = "hold"
    DECREASE = "decrease"
    LOSS = "loss"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class Decision:
    """What the path takes now. `drain_bps`: how fast it drains a burst, at least the target; pace no faster.

    `queue_us` is the wait of the last burst, `round_trip_us` the least of the last report, its reporting included.
    """

    target_bps: int
    drain_bps: int
    state: PathState
    acked_bps: int
    loss_fraction: float
    queue_us: int
    round_trip_us: int


class CongestionController:
    """One viewer's. Ask `window` when a frame may go, tell it what went."""

    def __init__(self, max_bps: int, *, initial_bps: int = INITIAL_BPS, min_bps: int = MIN_BPS) -> None:
        self._min_bps = min_bps
        self._max_bps = max(min_bps, min(max_bps, MAX_BPS))
        self._target_bps = float(max(min_bps, min(initial_bps, self._max_bps)))
        self._initial_bps = self._target_bps
        self._state = PathState.START
        self._trendline = Trendline()
        self._queue = QueueDelay()
        self._acked = AcknowledgedRate()
        self._burst_rate = BurstRate()
        self._loss = LossControl()
        self._now_us = 0
        self._updated_us: int | None = None
        self._round_trip_us = 0
        self._last_delay_us: int | None = None
        self._last_sent_us: int | None = None
        self._decreased_us: int | None = None
        self._raised_us = 0
        self._fast_wait_us = FAST_WAIT_US
        self._fast_raised_us: int | None = None
        self._fast_found_bps = 0.0
        # What the link gave us at the last over-use.
        self._link_bps: float | None = None
        self._confirmed_us: int | None = None
        self._vain = 0
        self._queue_before_us = 0
        # Where the target goes back to once a queue has drained.
        self._restored_bps: float | None = None
        self.window = SendWindow(int(self._target_bps))
        self._resend = ResendBudget()

    @property
    def decision(self) -> Decision:
        """The newest one."""
        return Decision(
            int(self._target_bps),
            self.window.drain_bps,
            self._state,
            int(self._acked.bps),
            self._loss.fraction,
            self._queue.last_us,
            self._round_trip_us,
        )

    def set_max(self, max_bps: int) -> None:
        """Nothing above `max_bps` is of use, whatever the path takes."""
        is_at_max = self._target_bps >= self._max_bps
        self._max_bps = max(self._min_bps, min(max_bps, MAX_BPS))
        if is_at_max and self._state is not PathState.START:
            self._confirmed_us = None
        self._set_target(self._target_bps)

    def apply(self, results: Sequence[PacketResult], now_us: int) -> Decision:
        """Take a report in; its packets are in the order of sending."""
        now_us = self._advance(now_us)
        if not results:
            return self.decision
        arrived = [result for result in results if result.arrival_us is not None]
        self.window.acknowledge(results[-1].sent_us, now_us)
        self._acked.update(results)
        usage = self._trendline.usage
        seen: list[Burst] = []
        for burst in bursts(arrived):
            if self._is_jump(burst):
                continue
            self._queue.update(burst.first_sent_us, burst.delay_us)
            usage = self._trendline.update(burst.first_sent_us, burst.delay_us)
            seen.append(burst)
        base_us = self._queue.base_us
        if base_us is not None:
            for burst in seen:
                self._burst_rate.update(burst, base_us)
        if arrived:
            self._round_trip_us = max(0, now_us - arrived[-1].sent_us)
            self._learn_round_trip(arrived, base_us)
        is_queued = usage is Usage.OVER or self._queue.standing_us > STANDING_QUEUE_US
        loss_is_new = self._loss.update(len(results), len(results) - len(arrived), now_us, is_queued=is_queued)
        if is_queued:
            self._decrease(arrived, now_us)
        elif self._restored_bps is not None and seen and self._queue.last_us < DRAINED_US:
            self._restore(self._restored_bps, now_us)
        elif loss_is_new and self._loss.factor != 1.0:
            self._set_target(self._target_bps * self._loss.factor)
            self._state = PathState.LOSS if self._loss.factor < 1 else PathState.GROW
        elif usage is Usage.UNDER or self._loss.state not in (LossState.CLEAR, LossState.HOLD):
            self._state = PathState.HOLD
        else:
            self._grow(results[-1].sent_us, now_us)
        self._updated_us = now_us
        return self.decision

    def ask_resend(self, sequence: int, size_bytes: int, now_us: int) -> Resend:
        """Say whether a packet that the viewer misses is sent again."""
        return self._resend.ask(
            sequence, size_bytes, now_us, target_bps=int(self._target_bps), round_trip_us=self._round_trip_us
        )

    def tick(self, now_us: int) -> Decision | None:
        """Look at the time when no report comes; returns a decision when it has changed. Some ten times a second do."""
        now_us = self._advance(now_us)
        if self.window.is_silent(now_us):
            self.window.forget(now_us)
            self._set_target(self._target_bps / 2)
            self._state = PathState.SILENCE
            self._decreased_us = now_us
            return self.decision
        return None

    def _advance(self, now_us: int) -> int:
        self._now_us = max(self._now_us, now_us)
        return self._now_us

    def _is_jump(self, burst: Burst) -> bool:
        """A receiver's clock that jumps begins a new one."""
        last_us, self._last_delay_us = self._last_delay_us, burst.delay_us
        if last_us is None or abs(burst.delay_us - last_us) < MAX_JUMP_US:
            return False
        self._trendline.reset()
        self._queue = QueueDelay()
        self._burst_rate = BurstRate()
        self._acked = AcknowledgedRate()
        return True

    def _learn_round_trip(self, arrived: Sequence[PacketResult], base_us: int | None) -> None:
        """The window is for the path without its queue, else a queue would make room for itself."""
        last = arrived[-1]
        wait_us = 0 if base_us is None or last.arrival_us is None else last.arrival_us - last.sent_us - base_us
        self.window.round_trip_us = max(0, min(self._round_trip_us - wait_us, 1_000_000))

    def _decrease(self, arrived: Sequence[PacketResult], now_us: int) -> None:
        """Go below what the link gives us by so much that its queue drains."""
        response_us = RESPONSE_US + self.window.round_trip_us
        if self._decreased_us is not None and now_us - self._decreased_us < response_us:
            self._state = PathState.DECREASE
            return
        queue_us = self._queue.last_us
        if self._queue.standing_us > STANDING_QUEUE_US and queue_us > 0.9 * self._queue_before_us > 0:
            self._vain += 1
            if self._vain >= VAIN_DECREASES:
                self._queue.rebase()
                self._trendline.reset()
                self._vain = 0
        else:
            self._vain = 0
        self._queue_before_us = queue_us
        base_us = self._queue.base_us
        # In a queue that is not full yet, what arrived lately is less than what could.
        link_bps = busy_rate(arrived, base_us) if base_us is not None else None
        is_busy = link_bps is not None
        self._link_bps = link_bps or self._link_bps
        if link_bps is not None:
            # While another flow drains, the whole link may seem to be ours.
            self._restored_bps = min(BETA * link_bps, max(self._target_bps, self._restored_bps or 0.0))
        else:
            link_bps = max(self._acked.bps, 0.5 * self._target_bps)
        is_blamed = self._fast_raised_us is not None and now_us - self._fast_raised_us < FAST_BLAME_US
        if is_blamed and is_busy and link_bps < SHARED * self._fast_found_bps:
            self._fast_wait_us = min(2 * self._fast_wait_us, MAX_FAST_WAIT_US)
        self._fast_raised_us = None
        share = max(MIN_DRAIN_SHARE, BETA - queue_us / DRAIN_US)
        self._set_target(min(self._target_bps, link_bps * share))
        # The window's rest is for the queue to drain.
        self.window.drain_bps = int(self._target_bps)
        self._state = PathState.DECREASE
        self._decreased_us = now_us

    def _restore(self, restored_bps: float, now_us: int) -> None:
        """The queue has drained: send what the link gave us, and let its falling delays be the past."""
        self._set_target(max(self._target_bps, restored_bps))
        self._restored_bps = None
        self._raised_us = now_us
        self._trendline.reset()
        self._state = PathState.HOLD

    def _grow(self, last_sent_us: int, now_us: int) -> None:
        since_us = now_us - self._updated_us if self._updated_us is not None else 0
        found_bps = self._burst_rate.bps(self._raised_us, now_us)
        acked_bps = self._acked.bps
        self._state = PathState.HOLD
        if self._is_confirmed(found_bps, acked_bps) or self._confirmed_us is None:
            self._confirmed_us = now_us
        elif now_us - self._confirmed_us > UNCONFIRMED_US and self._target_bps > self._initial_bps:
            lost = 0.5 ** (since_us / HALF_LIFE_US)
            self._set_target(self._initial_bps + (self._target_bps - self._initial_bps) * lost)
        if found_bps is not None:
            self.window.drain_bps = int(max(self._target_bps, HEADROOM * found_bps))
        if found_bps is not None and self._link_bps is not None and found_bps > CHANGED * self._link_bps:
            self._fast_wait_us = FAST_WAIT_US
        waited_us = MAX_FAST_WAIT_US if self._decreased_us is None else now_us - self._decreased_us
        if found_bps is not None and found_bps * HEADROOM > self._target_bps and waited_us > self._fast_wait_us:
            step = FAST_STEP if self._fast_wait_us <= FAST_WAIT_US else SHARED_STEP
            if self._decreased_us is None:
                step = FIRST_STEP
            self._set_target(min(found_bps * HEADROOM, self._target_bps * step))
            # What was sent before knows nothing of it.
            self._raised_us = now_us
            self._fast_raised_us, self._fast_found_bps = now_us, found_bps
            self._state = PathState.GROW
        elif acked_bps > USED_SHARE * self._target_bps and waited_us > RESPONSE_US + self.window.round_trip_us:
            is_above = found_bps is not None and self._target_bps > HEADROOM * found_bps
            growth = (1 + (SLOWER_GROWTH_PER_S if is_above else SLOW_GROWTH_PER_S)) ** min(since_us / 1e6, 1.0)
            self._set_target(min(self._target_bps * growth, max(1.5 * acked_bps, self._target_bps)))
            self._state = PathState.GROW
        if self._fast_raised_us is not None and now_us - self._fast_raised_us > FAST_BLAME_US:
            self._fast_wait_us = max(FAST_WAIT_US, self._fast_wait_us // 2)
            self._fast_raised_us = None

    def _is_confirmed(self, found_bps: float | None, acked_bps: float) -> bool:
        return acked_bps > USED_SHARE * self._target_bps or (
            found_bps is not None and found_bps * HEADROOM >= USED_SHARE * self._target_bps
        )

    def _set_target(self, target_bps: float) -> None:
        self._target_bps = max(float(self._min_bps), min(target_bps, float(self._max_bps)))
        self.window.target_bps = int(self._target_bps)
        self.window.drain_bps = max(self.window.drain_bps, int(self._target_bps))
