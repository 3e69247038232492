# SPDX-License-Identifier: Apache-2.0
"""Pictures of measurements."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from bench import svg

_SPACE = "{http://www.w3.org/2000/svg}"


def _inside(root: ElementTree.Element) -> bool:
    """Whether all rectangles are on the paper."""
    for rect in root.iter(f"{_SPACE}rect"):
        x, y = float(rect.get("x", 0)), float(rect.get("y", 0))
        width, height = float(rect.get("width", 0)), float(rect.get("height", 0))
        if x < 0 or y < 0 or x + width > svg.WIDTH or y + height > svg.HEIGHT or width < 0 or height < 0:
            return False
    return True


@pytest.mark.parametrize("values", [[], [5.0], [0.0, 0.0], [10.0 + index % 7 for index in range(300)], [1.0, 9000.0]])
def test_distribution_is_well_formed(values: list[float]) -> None:
    root = ElementTree.fromstring(svg.distribution("a < b", values, "ms"))
    assert "a < b" in [text.text for text in root.iter(f"{_SPACE}text")]
    assert _inside(root)


def test_stacks_are_well_formed() -> None:
    rows = {"small": {"draw": 1.0, "encode": 4.0}, "scroll": {"draw": 3.0, "encode": 7.0, "display": -0.5}}
    root = ElementTree.fromstring(svg.stacks("Stages", rows, "ms"))
    texts = [text.text for text in root.iter(f"{_SPACE}text")]
    assert {"small", "scroll", "draw", "encode", "display"} <= set(texts)
    assert _inside(root)


def test_stacks_of_nothing() -> None:
    assert _inside(ElementTree.fromstring(svg.stacks("Stages", {}, "ms")))


@pytest.mark.parametrize(("least", "step"), [(0.8, 1.0), (1.0, 1.0), (1.2, 2.0), (3.0, 5.0), (60.0, 100.0), (0.0, 1.0)])
def test_steps_are_round(least: float, step: float) -> None:
    assert svg.nice_step(least) == pytest.approx(step)
