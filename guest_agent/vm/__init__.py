# SPDX-License-Identifier: Apache-2.0
"""The VM agent: the host's process that speaks for a virtual machine, and what it is made of."""
