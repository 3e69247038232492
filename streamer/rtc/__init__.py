# SPDX-License-Identifier: Apache-2.0
"""WebRTC: stock aiortc, the parts of it that are overridden, one peer a viewer."""
