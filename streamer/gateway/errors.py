# SPDX-License-Identifier: Apache-2.0
"""The gateway's exceptions.

GatewayError
├── ListenError        the HTTP address cannot be had
├── SessionDirError    no place for the session's sockets
└── ChildStartError    a process of the session could not be started
"""

from __future__ import annotations


class GatewayError(Exception):
    """The session cannot be served; the text says why and what to do next."""


class ListenError(GatewayError):
    """The HTTP address cannot be had."""


class SessionDirError(GatewayError):
    """There is no place for the session's sockets."""


class ChildStartError(GatewayError):
    """A process of the session could not be started."""
