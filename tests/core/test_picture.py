from __future__ import annotations

import io

import pytest
from PIL import Image

from core import picture

LEVELS = {"tense": -0.35, "upset": -0.55}


def points(*values: float) -> list[dict[str, float]]:
    return [{"at": float(n), "value": value} for n, value in enumerate(values)]


def drawn(*values: float, scale: int = 2) -> Image.Image:
    image = Image.open(io.BytesIO(picture.mood_picture(points(*values), **LEVELS, scale=scale)))
    image.load()
    return image


def colour_at(image: Image.Image, x: float, y: float, scale: int = 2) -> tuple[int, int, int]:
    return image.getpixel((round(x * scale), round(y * scale)))


def near(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
    return all(abs(a - b) < 30 for a, b in zip(one, other, strict=True))


def test_the_picture_is_a_png_of_the_promised_size() -> None:
    assert picture.mood_picture(points(0.1), **LEVELS)[:8] == b"\x89PNG\r\n\x1a\n"
    assert drawn(0.1).size == (1280, 400)
    assert drawn(0.1, scale=1).size == (640, 200)


@pytest.mark.parametrize(
    ("value", "colour"),
    [(0.4, picture.CALM), (-0.4, picture.TENSE), (-0.8, picture.UPSET), (-7.0, picture.UPSET)],
)
def test_the_last_dot_stands_at_its_mood_in_the_colour_of_its_level(
    value: float, colour: tuple[int, int, int]
) -> None:
    image = drawn(0.2, -0.1, value)
    assert near(colour_at(image, picture.x_of(2, 3), picture.y_of(value)), colour)


def test_both_thresholds_are_drawn_across_the_field() -> None:
    image = drawn()
    for value, colour in ((-0.35, picture.TENSE), (-0.55, picture.UPSET)):
        row = [colour_at(image, x, picture.y_of(value)) for x in range(60, 560)]
        assert sum(near(found, colour) for found in row) > 200
    assert not near(colour_at(image, 300, picture.y_of(-0.8)), picture.GROUND)
    assert near(colour_at(image, 300, picture.y_of(0.5)), picture.GROUND)


def test_only_the_last_thirty_are_drawn() -> None:
    many = [0.9] * 40 + [-0.5] * 30
    assert picture.mood_picture(points(*many), **LEVELS) == picture.mood_picture(
        points(*many[-30:]), **LEVELS
    )
    assert picture.x_of(0, 30) > 0


def test_the_same_points_give_the_same_bytes() -> None:
    values = (0.1, -0.3, -0.62)
    first = picture.mood_picture(points(*values), **LEVELS)
    assert first == picture.mood_picture(points(*values), **LEVELS)
    assert first != picture.mood_picture(points(0.1, -0.3, -0.4), **LEVELS)


def test_every_corner_reads_on_a_light_and_on_a_dark_chat() -> None:
    image = drawn(-0.2, 0.3)
    assert image.mode == "RGB"
    assert {image.getpixel(spot) for spot in ((0, 0), (1279, 399))} == {picture.GROUND}


def test_blocks_show_the_same_in_text() -> None:
    assert picture.blocks(points(-1, -0.62, 0, 0.99, 1, 5)) == "▁▂▅███"
    assert picture.blocks([]) == ""
    assert len(picture.blocks(points(*[0.0] * 99))) == 30
