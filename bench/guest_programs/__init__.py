# SPDX-License-Identifier: Apache-2.0
"""Programs for a guest's X server; what they need is xcffib."""
