# SPDX-License-Identifier: Apache-2.0
"""Orphans come to a process that is made for it, and end with it. In a process of its own: it takes every orphan."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_KEEPER = """
import subprocess, sys, time
from pathlib import Path
from streamer.gateway.orphans import Orphanage, _children
orphanage = Orphanage()
said = Path(sys.argv[1])
orphan = f"trap 'echo bye > {said}; exit' TERM; echo here > {said}; while :; do sleep 0.02; done"
stubborn = "trap '' TERM; while :; do sleep 0.02; done"
subprocess.run(["sh", "-c", f'({orphan}) & ({stubborn}) & exit'], check=True)
while not said.exists() or not said.read_text() or len(_children()) < 2:
    time.sleep(0.01)
orphanage.kill_all()
assert not _children()
"""


def test_orphans_may_clean_up_before_they_end(tmp_path: Path) -> None:
    said = tmp_path / "said"
    subprocess.run([sys.executable, "-c", _KEEPER, str(said)], check=True, timeout=60)
    assert said.read_text() == "bye\n"
