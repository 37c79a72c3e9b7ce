"""What other people's bytes may be in a page: pixels, and nothing else."""

import io

import pytest
from PIL import Image

from healthvault.store.downloads import NoPicture, picture


def made(kind: str, size: tuple[int, int] = (40, 20), after: bytes = b"", **more: object) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", size, (12, 90, 84)).save(written, kind, **more)
    return written.getvalue() + after


def shown(data: bytes) -> Image.Image:
    answer = picture(data)
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    return Image.open(io.BytesIO(answer.content))


@pytest.mark.parametrize(("kind", "served"), [("PNG", "PNG"), ("GIF", "PNG"), ("JPEG", "JPEG")])
def test_a_picture_is_drawn_anew_without_what_hangs_on_it(kind, served):
    script = b"/*<script>x()</script>*/=1;x()"
    answer = picture(made(kind, after=script, **({"comment": script} if kind != "PNG" else {})))
    assert b"script" not in answer.content
    found = Image.open(io.BytesIO(answer.content))
    assert (found.format, found.size) == (served, (40, 20))
    assert answer.headers["Content-Type"] == f"image/{served.lower()}"


def test_a_photo_is_turned_upright_and_loses_where_it_was_taken():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "Orchard Row"
    answer = picture(made("JPEG", exif=exif))
    assert b"Orchard" not in answer.content
    assert Image.open(io.BytesIO(answer.content)).size == (20, 40)


def test_a_large_picture_is_made_smaller():
    assert shown(made("PNG", (4000, 1000))).size == (2000, 500)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a/*x*/=1;alert(1)",
        b"\xff\xd8\xff\xe0 jfif",
        b"\x89PNG\r\n\x1a\n" + b"\x00" * 20,
        made("PNG")[:60],
        made("TIFF"),
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>",
        made("PNG", (6000, 5000)),
    ],
    ids=["empty", "script", "no photo", "no png", "cut", "tiff", "svg", "huge"],
)
def test_what_is_no_picture_is_not_shown(data):
    with pytest.raises(NoPicture):
        picture(data)
