# SPDX-License-Identifier: Apache-2.0
"""Errors of the render core.

RenderCoreError
├── InvalidError       an argument, a message or a layout that cannot be
├── DeviceError        no Vulkan device, or it was lost
├── UnsupportedError   this machine or device cannot do it
└── LinkError          the frame link's peer sent nonsense
    └── LinkClosedError    the peer is gone
"""


class RenderCoreError(Exception):
    """Something in the render core failed; the message says what."""


class InvalidError(RenderCoreError):
    """An argument, a message or a layout that cannot be."""


class DeviceError(RenderCoreError):
    """No Vulkan device, or it was lost."""


class UnsupportedError(RenderCoreError):
    """This machine or device cannot do it."""


class LinkError(RenderCoreError):
    """The frame link's peer sent nonsense."""


class LinkClosedError(LinkError):
    """The frame link's peer is gone."""


_BY_RESULT: dict[int, type[RenderCoreError]] = {-1: InvalidError, -4: DeviceError, -5: UnsupportedError}


def check(result: int, what: str) -> int:
    """Return a result that is no error; raise the exception of one that is."""
    if result >= 0:
        return result
    if result == -2:
        raise MemoryError(what)
    if result == -3:
        raise OSError(what)
    raise _BY_RESULT.get(result, RenderCoreError)(what)
