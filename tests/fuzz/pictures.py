"""Pictures of every kind that a decoder meets, small, as the bytes of files."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pillow_heif
from PIL import Image, ImageCms, features

pillow_heif.register_heif_opener()
AVIF = ["AVIF"] if features.check("avif") else []
JPEG_2000 = ["JPEG2000"] if features.check("jpg_2000") else []
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "HEIF", *AVIF, *JPEG_2000]
EXTENSIONS = [".jpg", ".png", ".webp", ".gif", ".tif", ".bmp", ".heic", ".jp2", ".mpo", ".avif", ""]


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def noise(mode: str = "RGB", size: tuple[int, int] = (40, 24)) -> Image.Image:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def whole_pictures() -> Iterator[tuple[str, bytes]]:
    """(what it is, bytes) of files that can be read."""
    for format in FORMATS:
        yield format, encoded(noise(), format)
        yield f"{format} 1x1", encoded(noise(size=(1, 1)), format)
    yield "PNG 1x20000", encoded(noise("L", (1, 20_000)), "PNG")
    yield "JPEG 20000x1", encoded(noise("RGB", (20_000, 1)), "JPEG")
    for mode in ("1", "L", "LA", "P", "RGBA"):
        yield f"PNG {mode}", encoded(noise("RGBA").convert(mode), "PNG")
    for mode in ("CMYK", "YCbCr", "LAB", "RGBA", "1", "P"):
        picture = noise("RGB")
        if mode == "LAB":
            profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
            picture = ImageCms.profileToProfile(picture, *profiles, outputMode="LAB")
        yield f"TIFF {mode}", encoded(picture.convert(mode), "TIFF")
    for mode in ("L", "LA", "RGBA"):
        yield f"HEIF {mode}", encoded(noise("RGBA").convert(mode), "HEIF")
    if JPEG_2000:
        yield "JPEG 2000 stream", encoded(noise(), "JPEG2000", no_jp2=True)
    yield "JPEG CMYK", encoded(noise("CMYK"), "JPEG")
    yield "JPEG progressive", encoded(noise(), "JPEG", progressive=True)
    for kind in (np.uint16, np.int32, np.float32):
        values = (np.arange(40 * 24).reshape(24, 40) * 50).astype(kind)
        yield f"TIFF {kind.__name__}", encoded(Image.fromarray(values), "TIFF")
    dark = Image.fromarray(np.arange(960, dtype=np.uint16).reshape(24, 40))
    yield "PNG 12 bits in 16", png_with(b"sBIT", b"\x0c", dark)
    deep = Image.fromarray(np.full((24, 40), 51_400, np.uint16))
    yield "PNG 16 bits", encoded(deep, "PNG")
    for name in ("tiff_lzw", "tiff_deflate", "packbits", "group4"):
        picture = noise("1" if name == "group4" else "RGB")
        yield f"TIFF {name}", encoded(picture, "TIFF", compression=name)
    for format in ("GIF", "WEBP", "TIFF", "PNG"):
        frames = [noise().rotate(turn) for turn in (90, 180)]
        yield f"{format} animated", encoded(noise(), format, save_all=True, append_images=frames)
    few = noise().quantize(4)
    yield "GIF transparent", encoded(few, "GIF", transparency=1)
    yield "PNG transparent palette", encoded(few, "PNG", transparency=1)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for format in ("JPEG", "PNG", "TIFF", "WEBP"):
        yield f"{format} with a profile", encoded(noise(), format, icc_profile=profile)
        absurd = b"\xff" * 70_000
        yield f"{format} with an absurd profile", encoded(noise(), format, icc_profile=absurd)
    for turn in range(10):
        exif = Image.Exif()
        exif[0x0112] = turn
        yield f"JPEG turned {turn}", encoded(noise(), "JPEG", exif=exif)
    yield "JPEG absurd EXIF", encoded(noise(), "JPEG", exif=absurd_exif())
    yield "PNG absurd EXIF", encoded(noise(), "PNG", exif=absurd_exif())
    yield "PNG long text", png_with(b"iTXt", b"k\0\x01\0\0\0" + zlib.compress(b"a" * 3_000_000))


def absurd_exif() -> bytes:
    """A directory that says it has 65,535 entries, points behind the end, and at itself."""
    entry = struct.pack("<HHII", 0x0112, 3, 2**31, 8)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 65_535) + entry * 20 + struct.pack("<I", 8)


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png_with(kind: bytes, content: bytes, image: Image.Image | None = None) -> bytes:
    """A readable PNG with one more chunk."""
    whole = encoded(image or noise(), "PNG")
    return whole[:33] + chunk(kind, content) + whole[33:]


def png_of(
    width: int, height: int, depth: int, colour: int, data: bytes, palette: int = 0
) -> bytes:
    """A PNG of this header and these compressed lines, whether or not they fit it."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", head)]
    if palette:
        parts += [chunk(b"PLTE", bytes(3 * palette)), chunk(b"tRNS", bytes(palette))]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IDAT", data), chunk(b"IEND", b"")])


DISGUISED = {
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "SVG with a declaration": b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "b">]><svg/>',
    "PDF": b"%PDF-1.7\n1 0 obj << /OpenAction << /S /JavaScript /JS (app.alert(1)) >> >>",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
    "HTML": b"<html><body onload=alert(1)>",
    "ZIP": b"PK\x03\x04" + bytes(40),
    "ELF": b"\x7fELF" + bytes(60),
    "pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    "ICO": b"\0\0\1\0\1\0\x10\x10\0\0\1\0 \0" + bytes(40),
    "PSD": b"8BPS\0\1" + bytes(40),
    "FITS": b"SIMPLE  =                    T" + bytes(80),
    "XBM": b"#define im_width 9\n#define im_height 9\nstatic char im_bits[] = {0};",
    "PPM": b"P6 9 9 255\n" + bytes(243),
}
