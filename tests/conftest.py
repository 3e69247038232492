# SPDX-License-Identifier: Apache-2.0
"""What all tests share: one build, made before the first test; sessions and guests that are started do not rebuild."""

import os

import render_core  # noqa: F401  (an editable install rebuilds at the first import)

os.environ["HELIOGRAPH_IS_BUILT"] = "1"
