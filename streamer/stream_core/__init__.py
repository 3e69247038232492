# SPDX-License-Identifier: Apache-2.0
"""The stream core: the streamer's compiled part, between frame ring and network. Only this package touches its ffi."""
