# SPDX-License-Identifier: Apache-2.0
"""Other products that show a desktop in the browser, started as their documents say, and ours beside them."""
