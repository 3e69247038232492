# SPDX-License-Identifier: Apache-2.0
"""Congestion control: feedback of one transport in, a target rate and leave to send out. No I/O, no clock of its own.

After Google congestion control (draft-ietf-rmcat-gcc-02) and what libwebrtc made of it, for pictures that are sent as
bursts by an application that mostly has nothing to send. docs/decisions/0012-congestion-control.md says what differs.
Times are µs: `sent_us` and `now_us` of the sender's monotonic clock, `arrival_us` of the receiver's, which begins
anywhere. Receivers are not trusted: whatever they report moves the target between its bounds, and no further.
"""
