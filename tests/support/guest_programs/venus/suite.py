# SPDX-License-Identifier: Apache-2.0
"""A guest program of cases that share one device."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.support.guest_programs.venus.cases import Outcome, run
from tests.support.guest_programs.venus.gpu import Gpu


class Suite:
    """Every public method is a case; what it makes is destroyed when it ends."""

    queues = 1

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu

    @classmethod
    def names(cls) -> list[str]:
        """Return the cases' names, in the order in which they are written."""
        return [name for name in vars(cls) if not name.startswith("_") and name != "queues"]

    @classmethod
    def main(cls) -> None:
        """Run what the command line says and exit."""
        with Gpu(queues=cls.queues) as gpu:
            suite = cls(gpu)
            code = run({name: suite._scoped(name) for name in cls.names()})
        sys.exit(code)

    def _scoped(self, name: str) -> Callable[[], Outcome]:
        def scoped() -> Outcome:
            with self.gpu.scope():
                outcome: Outcome = getattr(self, name)()
                return outcome

        return scoped
