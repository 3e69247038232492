# SPDX-License-Identifier: Apache-2.0
"""The streamer: gateway, encoders, WebRTC peers, input, web client."""
