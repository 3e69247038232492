# SPDX-License-Identifier: Apache-2.0
"""Benchmarks and checks: `make bench`, `make gpu-check`, `make soak`."""
