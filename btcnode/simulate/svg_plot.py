"""Line charts as SVG, side by side, for the pictures in docs/: nothing has to be installed for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT, LEFT, BELOW, ABOVE, RIGHT = 380, 280, 60, 45, 30, 15
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f")
TICKS = 5
LINE = 16  # height of a line of the legend

Points = Sequence[tuple[float, float]]


class Chart(NamedTuple):
    """A chart: its title, and the points of each line by name; both axes begin at zero."""

    title: str
    lines: Mapping[str, Points]


def charts_as_svg(charts: Sequence[Chart], below: str) -> str:
    """The picture; ``below`` says what the horizontal axes are. The legend has every name once."""
    names = list(dict.fromkeys(name for chart in charts for name in chart.lines))
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    width, height = WIDTH * len(charts), HEIGHT + LINE * len(names) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif"'
        ' font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, chart in enumerate(charts):
        parts += [f'<g transform="translate({number * WIDTH} 0)">', *_drawn(chart, below, colours), "</g>"]
    for number, name in enumerate(names):
        y = HEIGHT + LINE * number
        parts.append(f'<rect x="{LEFT}" y="{y}" width="20" height="3" fill="{colours[name]}"/>')
        parts.append(f'<text x="{LEFT + 28}" y="{y + 6}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _drawn(chart: Chart, below: str, colours: Mapping[str, str]) -> list[str]:
    """Axes, ticks and lines of one chart."""
    points = [point for line in chart.lines.values() for point in line]
    most_x = _rounded_up(max((x for x, _ in points), default=1.0))
    most_y = _rounded_up(max((y for _, y in points), default=1.0))
    right, bottom = WIDTH - RIGHT, HEIGHT - BELOW

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + (right - LEFT) * x / most_x, bottom - (bottom - ABOVE) * y / most_y

    parts = [f'<text x="{(LEFT + right) / 2}" y="18" text-anchor="middle" font-size="13">{escape(chart.title)}</text>']
    for tick in range(TICKS + 1):
        x, y = place(most_x * tick / TICKS, most_y * tick / TICKS)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{most_y * tick / TICKS:,.5g}</text>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{most_x * tick / TICKS:,.5g}</text>')
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{bottom + 32}" text-anchor="middle">{escape(below)}</text>')
    for name, line in chart.lines.items():
        places = [place(x, y) for x, y in sorted(line)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colours[name]}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colours[name]}"/>' for x, y in places]
    return parts


def _rounded_up(value: float) -> float:
    """A round number not below ``value``, as the end of an axis."""
    if value <= 0:
        return 1.0
    size = 10.0 ** (len(str(int(value))) - 1) if value >= 1 else 10.0 ** -len(str(int(1 / value)))
    return next(step * size for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 20) if step * size >= value)
