# SPDX-License-Identifier: Apache-2.0
"""Fingers: each viewer numbers its own, the guest has one set of numbers for all. No I/O."""

from __future__ import annotations

from guest_agent.messages import MAX_TOUCH, Message, Touch
from streamer.input.messages import TouchInput

# Of one viewer's hands; two viewers can use theirs at a time.
MAX_FINGERS = 8


class TouchIds:
    """The guest's numbers, given to one finger at a time."""

    __slots__ = ("_free",)

    def __init__(self) -> None:
        self._free = list(range(MAX_TOUCH, -1, -1))

    def take(self) -> int | None:
        """Return a number nobody has, or None."""
        return self._free.pop() if self._free else None

    def give_back(self, number: int) -> None:
        """The finger is gone."""
        self._free.append(number)
        self._free.sort(reverse=True)


class HeldTouches:
    """One viewer's fingers. What was not put down is not moved or lifted."""

    __slots__ = ("_ids", "_touches")

    def __init__(self, ids: TouchIds) -> None:
        self._ids = ids
        self._touches: dict[int, Touch] = {}

    def touch(self, event: TouchInput, scanout: int) -> list[Message]:
        """Return what the agent is to be told; a finger stays on the screen that it was put down on."""
        before = self._touches.get(event.id)
        if event.phase == "down":
            is_one_more = before is None and len(self._touches) < MAX_FINGERS
            number = self._ids.take() if is_one_more else None
            if number is None:
                return []
            touch = Touch(number, "down", event.x, event.y, scanout)
        elif before is None:
            return []
        else:
            touch = Touch(before.id, event.phase, event.x, event.y, before.scanout)
        if event.phase in ("up", "cancel"):
            self._forget(event.id)
        else:
            self._touches[event.id] = touch
        return [touch]

    def release_all(self) -> list[Message]:
        """Return what takes all fingers away without an effect."""
        messages: list[Message] = [
            Touch(touch.id, "cancel", touch.x, touch.y, touch.scanout) for touch in self._touches.values()
        ]
        for event_id in list(self._touches):
            self._forget(event_id)
        return messages

    def _forget(self, event_id: int) -> None:
        self._ids.give_back(self._touches.pop(event_id).id)
