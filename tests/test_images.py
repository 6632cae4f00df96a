"""Reading images: every format and mode, limits, and reasons for what cannot be read."""

from __future__ import annotations

import io
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from open_clip.transform import image_transform
from PIL import Image, TiffImagePlugin, features
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from mmrag import load_encoder
from mmrag.errors import ImageError
from mmrag.images.decode import load_image, longest_side, read_bytes
from mmrag.images.looks import looks
from mmrag.images.resize import fit, resize_and_crop

from .fuzz.pictures import chunk
from .helpers import PARITY

MAYBE = [
    *(["AVIF"] if features.check("avif") else []),
    *(["JPEG2000"] if features.check("jpg_2000") else []),
]


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def halves(mode: str = "RGB", size: tuple[int, int] = (40, 20)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, (230, 20, 20))
    image.paste((20, 20, 230), (size[0] // 2, 0, *size))
    return image.convert(mode)


def colour(image: Image.Image, x: float, y: float) -> str:
    r, g, b = (int(v) for v in image.getpixel((int(x * image.width), int(y * image.height))))
    return (
        max((r, "red"), (g, "green"), (b, "blue"))[1]
        if max(r, g, b) - min(r, g, b) > 60
        else "grey"
    )


@pytest.mark.parametrize(
    "format",
    ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "HEIF", *MAYBE],
)
def test_every_format_becomes_rgb(format: str) -> None:
    image = load_image(encoded(halves(), format))
    assert image.mode == "RGB"
    assert image.size == (40, 20)
    assert (colour(image, 0.2, 0.5), colour(image, 0.8, 0.5)) == ("red", "blue")


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr", "LAB", "RGBA", "PA", "HSV", "RGBX"])
def test_colour_modes_keep_their_colours(mode: str) -> None:
    source = halves().convert("P").convert("PA") if mode == "PA" else halves("RGB")
    if mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        source = ImageCms.profileToProfile(source, *profiles, outputMode="LAB")
    elif mode != "PA":
        source = source.convert(mode)
    image = load_image(source)
    assert image.mode == "RGB"
    assert (colour(image, 0.2, 0.5), colour(image, 0.8, 0.5)) == ("red", "blue")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.full((8, 8), 51_400, np.uint16), 200),
        (np.full((8, 8), 200, np.int32), 200),
        (np.full((8, 8), 51_400, np.int32), 200),
        (np.full((8, 8), 20_000, np.int32), 78),
        (np.full((8, 8), -5, np.int32), 0),
        (np.full((8, 8), 0.5, np.float32), 128),
        (np.full((8, 8), 200, np.float32), 200),
        (np.full((8, 8), np.nan, np.float32), 0),
    ],
)
def test_deep_grey_values_are_scaled_to_8_bits(values: np.ndarray, expected: int) -> None:
    image = load_image(encoded(Image.fromarray(values), "TIFF"))
    assert np.asarray(image)[0, 0].tolist() == pytest.approx([expected] * 3, abs=1)


def twelve_bits(format: str, **options: object) -> bytes:
    values = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)
    return encoded(Image.fromarray(values), format, **options)


def test_twelve_bits_in_sixteen_by_what_the_file_says() -> None:
    """Without a word about its range a picture is almost black, and called flat."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[340], tags[341] = 0.0, 4095.0
    png = twelve_bits("PNG")
    said = [
        twelve_bits("TIFF", tiffinfo=tags),
        png[:33] + chunk(b"sBIT", b"\x0c") + png[33:],
    ]
    for data in said:
        image = load_image(data)
        assert image.getextrema() == ((0, 255),) * 3
        assert looks(image) == ()
    for data in (png, twelve_bits("TIFF")):
        image = load_image(data)
        assert image.getextrema() == ((0, 15),) * 3
        assert looks(image) == ("flat",)
    whole = encoded(Image.fromarray(np.full((8, 8), 51_400, np.uint16)), "PNG")
    image = load_image(whole[:33] + chunk(b"sBIT", b"\x0c") + whole[33:])
    assert image.getpixel((0, 0)) == (200, 200, 200), "values beyond 12 bits are of 16"
    assert looks(image) == ("flat", "tiny")


@pytest.mark.parametrize(
    ("tags", "seen"),
    [
        ({280: 0, 281: 4095}, (0, 128, 255)),
        ({281: 4095}, (0, 128, 255)),
        ({280: 1000, 281: 3000}, (0, 134, 255)),
        ({340: 1000.0, 341: 3000.0, 280: 0, 281: 4095}, (0, 134, 255)),
        ({340: 5.0, 341: 5.0}, (0, 8, 15)),
        ({340: 0.0, 341: float("nan")}, (0, 8, 15)),
    ],
)
def test_the_range_that_a_tiff_names(tags: dict[int, float], seen: tuple[int, ...]) -> None:
    said = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        said[tag] = value
    values = np.array([[0, 2050, 4095]], np.uint16)
    image = load_image(encoded(Image.fromarray(values), "TIFF", tiffinfo=said))
    assert [image.getpixel((x, 0))[0] for x in range(3)] == list(seen)


def test_the_sizes_of_files_and_of_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, pipe, empty = (tmp_path / name for name in ("a.png", "pipe", "empty"))
    path.write_bytes(encoded(halves(), "PNG"))
    os.mkfifo(pipe)
    empty.touch()
    assert longest_side(path) == longest_side(path.read_bytes()) == longest_side(halves()) == 40
    assert longest_side(tmp_path / "gone.png") == longest_side(b"no picture") == 0
    assert read_bytes(path) == path.read_bytes()
    for wrong, reason in (
        (tmp_path, "is a folder, not a file"),
        (tmp_path / "gone.png", "file not found"),
        (pipe, "is not a file"),
        (empty, "file is empty"),
    ):
        for read in (read_bytes, load_image):
            with pytest.raises(ImageError, match=reason):
                read(wrong)
    assert load_image(halves(), max_pixels=800).size == (40, 20)
    with pytest.raises(ImageError, match="40 x 20 is more than 799 pixels"):
        load_image(halves(), max_pixels=799)
    with pytest.raises(ImageError, match="has no pixels"):
        load_image(Image.new("RGB", (0, 5)))
    # Four bytes for each pixel that is allowed.
    monkeypatch.setenv("MMRAG_MAX_PIXELS", "1000000")
    path.write_bytes(b"x" * 4_000_000)
    assert len(read_bytes(path)) == 4_000_000
    path.write_bytes(b"x" * 4_000_001)
    with pytest.raises(ImageError, match=r"larger than 4 MB \(4 bytes a pixel; MMRAG_MAX_PIXELS"):
        read_bytes(path)


def test_large_jpegs_are_decoded_at_a_reduced_size() -> None:
    """By 2, 4 or 8, and never below twice the side that is asked for."""
    data, png = encoded(noise((1600, 1200)), "JPEG"), encoded(noise((1600, 1200)), "PNG")
    sizes = {side: load_image(data, min_side=side).size for side in (301, 300, 151, 150, 75, 10)}
    assert sizes == {
        301: (1600, 1200),
        300: (800, 600),
        151: (800, 600),
        150: (400, 300),
        75: (200, 150),
        10: (200, 150),
    }
    assert load_image(data).size == load_image(png, min_side=10).size == (1600, 1200)


def test_large_pictures_are_converted_as_small_ones_are() -> None:
    """In strips, whose number nobody sees."""
    alpha = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (1100, 1000, 4), np.uint8), "RGBA"
    )
    whole = load_image(alpha)
    for top in range(0, 1100, 100):
        part = load_image(alpha.crop((0, top, 1000, top + 100)))
        assert np.array_equal(np.asarray(whole)[top : top + 100], np.asarray(part))


def test_transparency_is_flattened_onto_white() -> None:
    rgba = halves().convert("RGBA")
    rgba.putalpha(0)
    few = halves().quantize(4)
    palette = encoded(few, "PNG", transparency=few.getpixel((0, 0)))
    keyed = encoded(halves(), "PNG", transparency=(230, 20, 20))
    assert np.asarray(load_image(encoded(rgba, "PNG"))).min() == 255
    for data in (palette, keyed):
        image = load_image(data)
        assert image.getpixel((2, 2)) == (255, 255, 255)
        assert colour(image, 0.8, 0.5) == "blue"


def test_first_frame_is_taken() -> None:
    green = Image.new("RGB", (40, 20), (0, 200, 0))
    for format in ("GIF", "TIFF", "WEBP", "PNG"):
        data = encoded(halves(), format, save_all=True, append_images=[green])
        assert colour(load_image(data), 0.2, 0.5) == "red"


def test_exif_orientation_is_applied_and_nonsense_in_it_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned clockwise by a quarter
    image = load_image(encoded(halves(), "JPEG", exif=exif))
    assert image.size == (20, 40)
    assert (colour(image, 0.5, 0.2), colour(image, 0.5, 0.8)) == ("red", "blue")
    broken = encoded(halves(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + os.urandom(64))
    assert load_image(broken).size == (40, 20)


def test_reasons(tmp_path: Path) -> None:
    jpeg = encoded(Image.effect_noise((200, 200), 90), "JPEG")
    cases = {
        b"": "file is empty",
        jpeg[: len(jpeg) // 2]: "damaged image",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 40: "damaged|not an image",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>": r"not a supported .*SVG.* draw it",
        b"%PDF-1.4 hello": r"not a supported format \(PDF\); take its pages",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n": "PostScript",
    }
    for data, reason in cases.items():
        with pytest.raises(ImageError, match=reason):
            load_image(data)
        (tmp_path / "x.jpg").write_bytes(data)
        with pytest.raises(ImageError, match=reason):
            load_image(tmp_path / "x.jpg")
    with pytest.raises(ImageError, match="file not found"):
        load_image(tmp_path / "absent.jpg")
    with pytest.raises(ImageError, match="folder"):
        load_image(tmp_path)


def test_a_progressive_jpeg_has_a_limit_of_scans() -> None:
    """Each takes a pass over all pixels, for a few bytes of the file."""
    data = encoded(halves(), "JPEG", progressive=True)
    assert load_image(data).size == (40, 20)
    last = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(ImageError, match=r"a progressive JPEG of 1,0\d\d scans"):
        load_image(data[:-2] + 1000 * last + data[-2:])


def test_pixel_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("1", (4000, 3000)), "PNG")
    assert load_image(data).size == (4000, 3000)
    with pytest.raises(ImageError, match="more than 1,000,000 pixels"):
        load_image(data, max_pixels=1_000_000)
    monkeypatch.setenv("MMRAG_MAX_PIXELS", "1000000")
    with pytest.raises(ImageError, match="MMRAG_MAX_PIXELS"):
        load_image(data)
    bomb = encoded(Image.new("1", (30_000, 30_000)), "PNG")
    with pytest.raises(ImageError, match="pixels"):
        load_image(bomb, max_pixels=89_000_000)


@pytest.mark.skipif(not features.check("jpg_2000"), reason="Pillow without JPEG 2000")
def test_what_takes_more_memory_may_have_fewer_pixels() -> None:
    data = encoded(Image.new("L", (100, 100)), "JPEG2000")
    assert load_image(data, max_pixels=40_000).size == (100, 100)
    with pytest.raises(ImageError, match="more than 9,999 pixels"):
        load_image(data, max_pixels=39_999)


def test_heic_is_turned_by_its_own_boxes() -> None:
    """Phones note the turn in EXIF as well, where it must not count a second time."""
    exif = Image.Exif()
    exif[0x0112] = 6
    source = halves(size=(80, 40))
    assert load_image(encoded(source, "HEIF", exif=exif)).size == (80, 40)
    source.info["exif"] = exif.tobytes()
    data = encoded(source, "HEIF")
    assert b"irot" in data
    image = load_image(data)
    assert image.size == (40, 80)
    assert (colour(image, 0.5, 0.2), colour(image, 0.5, 0.8)) == ("red", "blue")


def noise(size: tuple[int, int]) -> Image.Image:
    values = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


LONG = [(120, 640), (121, 643), (7, 2999), (3, 6000), (61, 4001), (301, 1507)]


@pytest.mark.parametrize(
    "size",
    [(400, 300), (333, 500), (224, 224), (17, 60), (900, 230), (90, 91)]
    + LONG
    + [(height, width) for width, height in LONG],
)
@pytest.mark.parametrize("kind", ["bicubic", "bilinear"])
def test_resize_and_crop_equals_torchvision(size: tuple[int, int], kind: str) -> None:
    """From square to 1 : 2,000; odd and even, tall and wide, enlarged and reduced."""
    image, wanted = noise(size), 224 if max(size) < 20 * min(size) else 32
    mode = InterpolationMode(kind)
    reference = Compose([Resize(wanted, mode), CenterCrop(wanted)])(image)
    pixels = resize_and_crop(image, wanted, Image.Resampling[kind.upper()])
    assert np.array_equal(pixels, np.asarray(reference))


@pytest.mark.parametrize("size", [(40, 30), (33, 50), (640, 120), (120, 640), (500, 30)])
@pytest.mark.parametrize("wanted", [(48, 48), (48, 64)])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_every_way_to_fit_equals_open_clip(
    size: tuple[int, int], wanted: tuple[int, int], mode: str
) -> None:
    steps = image_transform(wanted, is_train=False, resize_mode=mode, fill_color=9).transforms
    reference = Compose(steps[:-2])(noise(size))
    pixels = fit(noise(size), wanted, mode, fill=9)
    assert np.array_equal(pixels, np.asarray(reference))


@pytest.mark.parametrize("size", [(1, 100_000), (100_000, 1), (1, 1), (3, 2)])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_extreme_shapes_cost_little(size: tuple[int, int], mode: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pixels = fit(Image.new("RGB", size, (9, 9, 9)), (224, 224), mode, fill=9)
    assert pixels.shape == (224, 224, 3)
    assert np.unique(pixels).tolist() == [9]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_scaled_decode_keeps_the_embedding(base_checkpoint: Path, grocery: Path) -> None:
    """Photos enlarged to camera size: a reduced decode changes the embedding by next to nothing."""
    encoder = load_encoder(
        "visualized-bge-base",
        checkpoint=base_checkpoint,
        text_model=str(PARITY / "text-model-base"),
        precision="fp32",
    )
    photos = sorted((grocery / "dataset" / "val").rglob("*.jpg"))[::60]
    sources = [Image.open(path).convert("RGB") for path in photos]
    rng = np.random.default_rng(0)
    sources.append(Image.fromarray(rng.integers(0, 256, (500, 500, 3), dtype=np.uint8)))
    reduced = 0
    for source in sources:
        large = source.resize((source.width * 5, source.height * 5), Image.Resampling.BICUBIC)
        data = encoded(large, "JPEG", quality=92)
        fast = load_image(data, min_side=224)
        reduced += fast.size < large.size
        assert min(fast.size) >= 448
        vectors = encoder.encode([fast, load_image(data)])
        assert vectors[0] @ vectors[1] > 0.999
    assert reduced == len(sources)
