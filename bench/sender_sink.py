# SPDX-License-Identifier: Apache-2.0
"""A viewer in a process of its own, made of aiortc, that decrypts what it gets and does nothing with it.

Writes its offer to stdout as a line of JSON, reads the answer from stdin, and ends with its stdin.
"""

from __future__ import annotations

import asyncio
import json
import sys

from aiortc import RTCPeerConnection, RTCSessionDescription

from streamer.rtc import overrides


async def _ignore(data: bytes, arrival_time_ms: int) -> None:
    pass


async def _run() -> None:
    loop = asyncio.get_running_loop()
    # On loopback, and with the extensions that browsers offer.
    overrides.install()
    connection = RTCPeerConnection()
    connection.addTransceiver("video", direction="recvonly")
    connection.createDataChannel("control")
    await connection.setLocalDescription(await connection.createOffer())
    # No depacketising: what is sent is no picture, and asking for lost packets would be another measurement.
    connection.getReceivers()[0].transport._handle_rtp_data = _ignore  # type: ignore[method-assign]
    sys.stdout.write(json.dumps(connection.localDescription.sdp) + "\n")
    sys.stdout.flush()
    answer = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await loop.run_in_executor(None, sys.stdin.read)
    await connection.close()


if __name__ == "__main__":
    asyncio.run(_run())
