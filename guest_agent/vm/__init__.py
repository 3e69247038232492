# SPDX-License-Identifier: Apache-2.0
"""What speaks for a virtual machine: QEMU's QMP and D-Bus display on one side, the session's links on the other."""
