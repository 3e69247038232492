# SPDX-License-Identifier: Apache-2.0
"""The stream core: the compiled part of the streamer, between frame ring and network. Only this package touches its ffi."""
