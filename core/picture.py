"""The mood of the last messages as a small picture, or as block characters where there is none.

Drawn on a ground of its own, so that it reads alike in a light and in a dark chat; with numbers
for words, so that it needs no language. The same points give the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageDraw

SHOWN = 30  # points
WIDTH, HEIGHT = 640, 200  # at scale 1
BLOCKS = "▁▂▃▄▅▆▇█"

Colour = tuple[int, int, int]
GROUND: Colour = (30, 34, 42)
TENSE: Colour = (240, 180, 60)
UPSET: Colour = (244, 96, 88)
CALM: Colour = (110, 205, 150)
_TENSE_BAND: Colour = (49, 46, 43)
_UPSET_BAND: Colour = (62, 40, 45)
_GRID: Colour = (66, 73, 86)
_INK: Colour = (178, 187, 201)
_LINE: Colour = (214, 222, 235)

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 566, 18, 182  # the field, at scale 1
_FINE = 2  # drawn so much larger, then made smaller: smooth edges


def x_of(index: int, count: int) -> float:
    """Return where a point stands, in pixels at scale 1: the last one is at the right edge."""
    step = (_RIGHT - _LEFT) / (SHOWN - 1)
    return _RIGHT - (count - 1 - index) * step


def y_of(value: float) -> float:
    """Return how far down a mood stands, in pixels at scale 1; -1 is at the bottom."""
    return _TOP + (1 - _clamped(value)) / 2 * (_BOTTOM - _TOP)


def mood_picture(
    points: Sequence[Mapping[str, float]], *, tense: float, upset: float, scale: int = 2
) -> bytes:
    """Return a PNG, 640x200 times `scale` pixels, of the last 30 moods and both thresholds.

    `points` are {"at", "value"}, oldest first, values -1..1; each message takes the same width.
    """
    from PIL import Image, ImageDraw

    values = [_clamped(point["value"]) for point in points[-SHOWN:]]
    size = scale * _FINE
    image = Image.new("RGB", (WIDTH * size, HEIGHT * size), GROUND)
    draw = ImageDraw.Draw(image)
    _draw_field(draw, size, tense, upset)
    _draw_mood(draw, size, values, (tense, upset))
    image = image.resize((WIDTH * scale, HEIGHT * scale), Image.Resampling.LANCZOS)
    _draw_numbers(ImageDraw.Draw(image), scale, values, (tense, upset))
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def blocks(points: Sequence[Mapping[str, float]]) -> str:
    """Return the last 30 moods as block characters: ▁ is the worst, █ the best."""
    return "".join(
        BLOCKS[min(7, int((_clamped(point["value"]) + 1) * 4))] for point in points[-SHOWN:]
    )


def _draw_field(draw: ImageDraw.ImageDraw, size: int, tense: float, upset: float) -> None:
    """Draw the bands below the thresholds, the thresholds, and the line of no mood at all."""
    left, right = _LEFT * size, _RIGHT * size
    for top, bottom, band in ((tense, upset, _TENSE_BAND), (upset, -1.0, _UPSET_BAND)):
        if top > bottom:
            draw.rectangle((left, y_of(top) * size, right, y_of(bottom) * size), band)
    for value in (1.0, 0.0, -1.0):
        draw.line((left, y_of(value) * size, right, y_of(value) * size), _GRID, size)
    for value, colour in ((tense, TENSE), (upset, UPSET)):
        y = y_of(value) * size
        for x in range(left, right, 10 * size):
            draw.line((x, y, min(x + 6 * size, right), y), colour, round(1.5 * size))


def _draw_mood(
    draw: ImageDraw.ImageDraw, size: int, values: Sequence[float], levels: tuple[float, float]
) -> None:
    spots = [(x_of(n, len(values)) * size, y_of(v) * size) for n, v in enumerate(values)]
    if len(spots) > 1:
        draw.line(spots, _LINE, round(2.5 * size), joint="curve")
    for n, (x, y) in enumerate(spots):
        last = n == len(spots) - 1
        if last:
            _dot(draw, x, y, 9 * size, GROUND)
        _dot(draw, x, y, (7 if last else 3.5) * size, _colour(values[n], *levels))


def _dot(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: Colour) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)


def _draw_numbers(
    draw: ImageDraw.ImageDraw, scale: int, values: Sequence[float], levels: tuple[float, float]
) -> None:
    """Write the scale and both thresholds at the left, and the last mood beside its dot."""
    from PIL import ImageFont

    font = ImageFont.load_default(13 * scale)
    apart = max(0.0, 0.18 - (levels[0] - levels[1])) / 2  # close thresholds, legible numbers
    marks = [(levels[0] + apart, f"{levels[0]:.2f}", TENSE)]
    marks.append((levels[1] - apart, f"{levels[1]:.2f}", UPSET))
    for value, text in ((1.0, "+1"), (0.0, "0"), (-1.0, "-1")):
        if all(abs(value - level) > 0.17 for level, _, _ in marks[:2]):
            marks.append((value, text, _INK))
    for value, text, colour in marks:
        spot = ((_LEFT - 8) * scale, y_of(value) * scale)
        draw.text(spot, text, colour, font=font, anchor="rm")
    if values:
        spot = ((_RIGHT + 14) * scale, y_of(values[-1]) * scale)
        font = ImageFont.load_default(17 * scale)
        draw.text(spot, f"{values[-1]:+.2f}", _colour(values[-1], *levels), font=font, anchor="lm")


def _colour(value: float, tense: float, upset: float) -> Colour:
    if value <= upset:
        return UPSET
    return TENSE if value <= tense else CALM


def _clamped(value: float) -> float:
    return min(1.0, max(-1.0, value))
