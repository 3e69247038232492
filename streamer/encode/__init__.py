# SPDX-License-Identifier: Apache-2.0
"""Encoders: planes of the frame ring in, complete H.264 access units out."""
