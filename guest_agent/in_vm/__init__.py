# SPDX-License-Identifier: Apache-2.0
"""The optional agent inside a virtual machine: clipboard, sizes, time, by a virtio-serial port."""
