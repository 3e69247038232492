# SPDX-License-Identifier: Apache-2.0
"""Input: data-channel messages in, the guest agent's messages out."""
