# SPDX-License-Identifier: Apache-2.0
"""The guest agent: a guest's display server, session, input and clipboard."""
