# SPDX-License-Identifier: Apache-2.0
"""Speaks for a virtual machine: runs QEMU, or attaches to it, and takes the guest agent's place."""
