"""Local images and drawings: orientation, limits, and marks where they belong."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from countenance.cli.drawing import BLUE, GREEN, RED, Mark, draw, save, side_by_side
from countenance.cli.local_image import MAX_IMAGE_BYTES, LocalImageError, read_image, upright
from countenance.errors import Error

BOX = {"Left": 0.25, "Top": 0.5, "Width": 0.5, "Height": 0.25}


def encoded(picture: Image.Image, kind: str, orientation: int = 1) -> bytes:
    out = io.BytesIO()
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(out, kind, exif=exif)
    return out.getvalue()


def test_exif_turns_every_format_but_png() -> None:
    # Red above blue; orientation 6 says: turn it clockwise to see it upright, so red comes to the right.
    picture = Image.new("RGB", (40, 80), "red")
    picture.paste("blue", (0, 40, 40, 80))
    for kind in ("JPEG", "WEBP"):
        turned = upright(encoded(picture, kind, orientation=6))
        assert turned.size == (80, 40)
        red = turned.getpixel((70, 20))
        assert isinstance(red, tuple)
        assert red[0] > 200
    assert upright(encoded(picture, "PNG", orientation=6)).size == (40, 80)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert upright(encoded(Image.new(mode, (20, 10)), kind)).mode == "RGB"


def test_a_broken_image_is_told_as_such() -> None:
    content = encoded(Image.effect_noise((300, 300), 90), "JPEG")
    for broken in (b"", b"GIF89a", content[: len(content) // 2]):
        with pytest.raises(LocalImageError, match="cannot be decoded"):
            upright(broken)


def test_a_file_is_read_as_it_is_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    content = encoded(Image.new("RGB", (100, 50)), "JPEG")
    content += bytes(MAX_IMAGE_BYTES - len(content))
    path.write_bytes(content)
    assert read_image(path, shrink=False) == content
    assert read_image(path, shrink=True) == content, "what fits is not touched"
    path.write_bytes(content + b"\0")
    with pytest.raises(LocalImageError, match=r"has 5\.2 MB"):
        read_image(path, shrink=False)


def test_what_has_too_many_pixels_is_not_decoded() -> None:
    content = encoded(Image.new("RGB", (40, 30)), "PNG")
    assert upright(content, most_pixels=1_200).size == (40, 30)
    with pytest.raises(LocalImageError, match="40 x 30 pixels"):
        upright(content, most_pixels=1_199)


def test_a_smaller_copy_is_upright_and_as_large_as_fits(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture = Image.new("RGB", (4600, 100), "white")
    path.write_bytes(encoded(picture, "JPEG", orientation=6) + bytes(MAX_IMAGE_BYTES))
    with Image.open(io.BytesIO(read_image(path, shrink=True))) as copy:
        assert copy.format == "JPEG"
        assert copy.height == 4096
        assert copy.getexif().get(0x0112, 1) == 1


def test_a_folder_or_pipe_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(LocalImageError, match="not a file"):
        read_image(tmp_path, shrink=False)


def test_marks_are_where_the_ratios_say() -> None:
    canvas = draw(
        Image.new("RGB", (200, 400), "white"),
        [Mark(BOX, "97.1", GREEN, landmarks=[{"Type": "nose", "X": 0.5, "Y": 0.6}])],
    )
    assert canvas.getpixel((50, 250)) == GREEN
    assert canvas.getpixel((149, 250)) == GREEN
    assert canvas.getpixel((100, 240)) == GREEN
    assert canvas.getpixel((100, 280)) == (255, 255, 255)
    above = canvas.crop((50, 180, 150, 199)).getcolors(100_000)
    assert above is not None
    assert any(colour == GREEN for _count, colour in above), "the text stands above the box"


def test_a_box_beyond_the_border_and_awkward_text_are_drawn() -> None:
    box = {"Left": -0.2, "Top": -0.1, "Width": 1.5, "Height": 1.2}
    canvas = draw(Image.new("RGB", (60, 40), "white"), [Mark(box, "line\nbreak\x07 ü 名", RED)])
    assert canvas.size == (60, 40)
    assert canvas.getpixel((0, 0)) == RED, "the text of a box that begins outside is drawn inside"


def test_the_original_is_not_drawn_upon() -> None:
    picture = Image.new("RGB", (50, 50), "white")
    draw(picture, [Mark(BOX, "x", BLUE)])
    assert picture.getcolors() == [(2500, (255, 255, 255))]


def test_two_pictures_share_the_lower_height() -> None:
    both = side_by_side(Image.new("RGB", (100, 200), "red"), Image.new("RGB", (100, 50), "blue"))
    assert both.height == 50
    assert both.getpixel((0, 0)) == (255, 0, 0)
    assert both.getpixel((both.width - 1, 49)) == (0, 0, 255)


def test_a_drawing_needs_a_known_format_and_a_file_of_its_own(tmp_path: Path) -> None:
    picture = Image.new("RGB", (5, 5))
    save(picture, tmp_path / "a.png", sources=[])
    save(picture, tmp_path / "a.png", sources=[])
    with pytest.raises(Error, match="picture format"):
        save(picture, tmp_path / "a.exe", sources=[])
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(Error, match="the image itself"):
        save(picture, tmp_path / "link.png", sources=[tmp_path / "a.png"])
