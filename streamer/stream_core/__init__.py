# SPDX-License-Identifier: Apache-2.0
"""The stream core: the compiled part of the streamer, between the frame ring and the network. Only this package touches its ffi."""
