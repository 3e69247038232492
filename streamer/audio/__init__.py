# SPDX-License-Identifier: Apache-2.0
"""The guest's sound: PCM from the guest agent, encoded once, for all viewers that listen."""
