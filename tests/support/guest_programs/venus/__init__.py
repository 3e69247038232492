# SPDX-License-Identifier: Apache-2.0
"""Vulkan programs that run as guests: the same on Venus and on the host's own driver, whose results are compared."""
