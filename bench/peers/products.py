# SPDX-License-Identifier: Apache-2.0
"""All products, in the order in which they take turns. Ours comes first."""

from __future__ import annotations

from bench.peers.heliograph import Heliograph
from bench.peers.novnc import NoVnc
from bench.peers.product import Product
from bench.peers.selkies import Selkies

PRODUCTS: tuple[Product, ...] = (Heliograph(), Selkies("websockets"), Selkies("webrtc"), NoVnc())
