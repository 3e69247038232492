# SPDX-License-Identifier: Apache-2.0
"""The stream core: the compiled part of the streamer, from the frame ring to the network. Only it touches its ffi."""
