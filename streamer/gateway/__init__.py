# SPDX-License-Identifier: Apache-2.0
"""The gateway: serves one session's HTTP, relays its signalling, starts its three processes and watches them."""
