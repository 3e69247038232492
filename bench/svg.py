# SPDX-License-Identifier: Apache-2.0
"""Pictures of measurements as SVG. No I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from bench.summary import Summary, histogram

WIDTH, HEIGHT = 820, 360
_Place = Callable[[float], float]
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 46, 46
_INK, _PAPER, _GRID, _BAR = "#24292f", "#ffffff", "#d8dee4", "#3b7dd8"
_COLOURS = ("#3b7dd8", "#e3873b", "#4c9f70", "#b0569b", "#c94f4f", "#7a6fd0", "#8c8c3a", "#3aa6b0", "#777777")


def distribution(title: str, values: Sequence[float], unit: str, bin_width: float = 1.0) -> str:
    """Draw a histogram with its quantiles marked."""
    found = Summary.of(values)
    limit = max(found.p99 * 1.25, found.p50 * 2, bin_width)
    bins = histogram([min(value, limit) for value in values], bin_width)
    lines = _begin(
        title, f"{found.count} samples, p50 {found.p50:.1f}, p95 {found.p95:.1f}, p99 {found.p99:.1f} {unit}"
    )
    most = max(bins.values(), default=1)

    def x(value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * value / (limit + bin_width)

    base = HEIGHT - _BOTTOM
    height = base - _TOP
    for low, count in bins.items():
        bar = height * count / most
        width = max(x(low + bin_width) - x(low) - 0.5, 0.5)
        lines.append(
            f'<rect x="{x(low):.1f}" y="{base - bar:.1f}" width="{width:.1f}" height="{bar:.1f}" fill="{_BAR}"/>'
        )
    for name, value in (("p50", found.p50), ("p95", found.p95), ("p99", found.p99)):
        place = x(min(value, limit))
        lines.append(f'<path d="M{place:.1f} {_TOP}V{base}" stroke="{_INK}" stroke-dasharray="3 3"/>')
        lines.append(_text(place + 3, _TOP + 10, name, 11))
    lines += _axis(x, limit, unit)
    return _end(lines)


def stacks(title: str, rows: Mapping[str, Mapping[str, float]], unit: str) -> str:
    """Draw one bar a row, made of its parts in order; the parts are named below."""
    totals = {name: sum(max(value, 0.0) for value in parts.values()) for name, parts in rows.items()}
    limit = max([*totals.values(), 1e-9]) * 1.02
    lines = _begin(title, "")
    names = list(dict.fromkeys(part for parts in rows.values() for part in parts))

    def x(value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * value / limit

    base = HEIGHT - _BOTTOM - 40
    room = (base - _TOP) / max(len(rows), 1)
    for index, (name, parts) in enumerate(rows.items()):
        top = _TOP + room * index
        lines.append(_text(_LEFT - 6, top + room / 2 + 4, name, 12, "end"))
        begin = 0.0
        for part, value in parts.items():
            size = max(value, 0.0)
            colour = _COLOURS[names.index(part) % len(_COLOURS)]
            width = x(begin + size) - x(begin)
            lines.append(
                f'<rect x="{x(begin):.1f}" y="{top + 4:.1f}" width="{width:.1f}" height="{room - 8:.1f}" '
                f'fill="{colour}">'
                f"<title>{escape(part)} {value:.2f} {escape(unit)}</title></rect>"
            )
            if width > 28:
                lines.append(_text(x(begin) + width / 2, top + room / 2 + 4, f"{value:.1f}", 11, "middle", _PAPER))
            begin += size
    for index, name in enumerate(names):
        place = _LEFT + (index % 7) * 105
        line = HEIGHT - 30 + 18 * (index // 7)
        lines.append(
            f'<rect x="{place}" y="{line - 9}" width="10" height="10" fill="{_COLOURS[index % len(_COLOURS)]}"/>'
        )
        lines.append(_text(place + 14, line, name, 11))
    lines += _axis(x, limit, unit, base)
    return _end(lines)


def ranges(title: str, rows: Mapping[str, tuple[float, float]], unit: str) -> str:
    """Draw one bar a row from 0 to its first value, and a thinner one on to its second."""
    limit = max([*(high for _, high in rows.values()), 1e-9]) * 1.08
    lines = _begin(title, "")
    left = _LEFT + 90

    def x(value: float) -> float:
        return left + (WIDTH - left - _RIGHT) * value / limit

    base = HEIGHT - _BOTTOM
    room = (base - _TOP) / max(len(rows), 1)
    for index, (name, (low, high)) in enumerate(rows.items()):
        top, colour = _TOP + room * index, _COLOURS[index % len(_COLOURS)]
        middle = top + room / 2
        lines.append(_text(left - 6, middle + 4, name, 12, "end"))
        lines.append(
            f'<rect x="{left}" y="{top + 6:.1f}" width="{x(low) - left:.1f}" height="{room - 12:.1f}" fill="{colour}"/>'
        )
        lines.append(f'<path d="M{x(low):.1f} {middle:.1f}H{x(high):.1f}" stroke="{colour}" stroke-width="4"/>')
        lines.append(_text(left + 6, middle + 4, f"{low:.1f}", 12, "start", _PAPER))
        lines.append(_text(x(high) + 4, middle + 4, f"{high:.1f}", 11))
    lines += _axis(x, limit, unit)
    return _end(lines)


def _begin(title: str, subtitle: str) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" fill="{_INK}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{_PAPER}"/>',
        _text(_LEFT, 20, title, 15),
        _text(_LEFT, 37, subtitle, 12),
    ]


def _end(lines: Sequence[str]) -> str:
    return "\n".join([*lines, "</svg>", ""])


def _text(x: float, y: float, text: str, size: int, anchor: str = "start", colour: str = _INK) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
    )


def _axis(place: _Place, limit: float, unit: str, base: float = HEIGHT - _BOTTOM) -> list[str]:
    step = nice_step(limit / 8)
    lines = [f'<path d="M{_LEFT} {base}H{WIDTH - _RIGHT}" stroke="{_GRID}"/>']
    for index in range(int(limit / step) + 1):
        value = index * step
        lines.append(f'<path d="M{place(value):.1f} {base}v5" stroke="{_INK}"/>')
        label = f"{value:g} {unit}" if index == 0 else f"{value:g}"
        lines.append(_text(place(value), base + 17, label, 11, "middle"))
    return lines


def nice_step(least: float) -> float:
    """Return the smallest of 1, 2, 5, 10, 20 … (and their tenths) that is not below `least`."""
    if least <= 0 or not math.isfinite(least):
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
