"""Picture formats: which are read, which are only recognised, and what to do with those.

A format that is read is one entry of `READ`; one that is recognised and listed is one of `UNREAD`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

import pillow_heif
from PIL import (  # noqa: F401 - importing a plugin registers its format
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

# This many bytes identify a file.
HEAD = 512
# Files named as text are not opened: there may be one beside each picture.
_TEXT = frozenset({".txt", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".html", ".md"})


@dataclass(frozen=True)
class ReadFormat:
    """A format that is decoded, by the Pillow plugin called `decoder`.

    `begins` is a pattern for the first bytes. Decoding takes `weight` times the memory of other
    formats, so the pixel limit is that many times lower.
    """

    name: str
    decoder: str
    extensions: tuple[str, ...]
    begins: bytes
    weight: int = 1


@dataclass(frozen=True)
class UnreadFormat:
    """A format that is recognised, and what to do with a FILE of it."""

    name: str
    extensions: tuple[str, ...]
    begins: bytes | None
    remedy: str

    @property
    def reason(self) -> str:
        """The reason that such a file is left out."""
        return f"not a supported format ({self.name}); {self.remedy}"


pillow_heif.register_heif_opener()
READ = [
    # MPO, which many cameras write, opens as JPEG.
    ReadFormat("JPEG", "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), rb"\xff\xd8\xff"),
    ReadFormat("PNG", "PNG", (".png",), rb"\x89PNG\r\n\x1a\n"),
    ReadFormat("WebP", "WEBP", (".webp",), rb"RIFF....WEBP"),
    ReadFormat("GIF", "GIF", (".gif",), rb"GIF8[79]a"),
    ReadFormat("TIFF", "TIFF", (".tif", ".tiff"), rb"II[\x2a\x2b]\0(?!....CR)|MM\0[\x2a\x2b]"),
    ReadFormat("BMP", "BMP", (".bmp",), rb"BM.{4}\0{4}"),
    ReadFormat(
        "HEIF",
        "HEIF",
        (".heic", ".heif", ".heics", ".heifs", ".hif"),
        rb"....ftyp(hei[cxms]|hev[cxms]|(mif1|msf1)(?!.{4,32}avif))",
    ),
]
if features.check("jpg_2000"):
    from PIL import Jpeg2KImagePlugin  # noqa: F401

    extensions = (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx")
    begins = rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n"
    READ.append(ReadFormat("JPEG 2000", "JPEG2000", extensions, begins, weight=4))
if features.check("avif"):
    from PIL import AvifImagePlugin  # noqa: F401

    begins = rb"....ftyp(avif|avis|(mif1|msf1).{4,32}avif)"
    READ.append(ReadFormat("AVIF", "AVIF", (".avif",), begins))

_MAGICK = "convert it first, for example: magick FILE FILE.png"
UNREAD = [
    UnreadFormat(
        "JPEG XL",
        (".jxl",),
        rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
        "convert it first, for example: djxl FILE FILE.png",
    ),
    UnreadFormat(
        "camera raw",
        (
            *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".srw"),
            *(".raf", ".orf", ".rw2", ".rwl", ".raw", ".pef", ".3fr", ".fff", ".iiq", ".erf"),
            *(".mef", ".mos", ".mrw", ".x3f", ".kdc", ".dcr", ".gpr"),
        ),
        rb"II\x2a\0....CR|....ftypcrx|FUJIFILMCCD-RAW|IIU\0|II?R[OS]|MMOR|FOVb",
        "develop it first, for example: darktable-cli FILE FILE.jpg",
    ),
    UnreadFormat(
        "SVG",
        (".svg", ".svgz"),
        rb"(\xef\xbb\xbf)?\s*<(svg[\s/>]|(\?xml|!--|!DOCTYPE svg).*?<svg[\s/>])",
        "draw it first, for example: rsvg-convert FILE -o FILE.png",
    ),
    UnreadFormat(
        "PDF",
        (".pdf", ".ai"),
        rb"%PDF-",
        "take its pages first, for example: pdftoppm -png FILE FILE",
    ),
    UnreadFormat(
        "PostScript",
        (".ps", ".eps"),
        rb"%!PS|\xc5\xd0\xd3\xc6",
        "draw it first, for example: gs -sDEVICE=png16m -o FILE.png FILE",
    ),
    UnreadFormat("Photoshop", (".psd", ".psb"), rb"8BPS", _MAGICK),
    UnreadFormat("icon", (".ico", ".cur", ".icns"), rb"\0\0[\x01\x02]\0[^\0]\0|icns", _MAGICK),
    UnreadFormat("OpenEXR", (".exr",), rb"v/1\x01", _MAGICK),
    UnreadFormat("Radiance HDR", (".hdr",), rb"#\?RADIANCE", _MAGICK),
    UnreadFormat("Netpbm", (".pbm", ".pgm", ".ppm", ".pnm", ".pam", ".pfm"), None, _MAGICK),
    UnreadFormat("Targa", (".tga",), None, _MAGICK),
    UnreadFormat("PCX", (".pcx",), None, _MAGICK),
    UnreadFormat("DDS", (".dds",), rb"DDS \x7c", _MAGICK),
    UnreadFormat("QOI", (".qoi",), rb"qoif", _MAGICK),
    UnreadFormat("XBM or XPM", (".xbm", ".xpm"), rb"#define \w+_width|/\* XPM \*/", _MAGICK),
    UnreadFormat("SGI", (".sgi", ".rgb", ".bw"), rb"\x01\xda[\0\x01][\x01\x02]", _MAGICK),
    UnreadFormat("GIMP", (".xcf",), rb"gimp xcf", _MAGICK),
    UnreadFormat("JPEG XR", (".jxr", ".wdp", ".hdp"), rb"II\xbc[\0\x01]", _MAGICK),
    UnreadFormat("BPG", (".bpg",), rb"BPG\xfb", "convert it first, for example: bpgdec FILE"),
    UnreadFormat("Windows metafile", (".wmf", ".emf"), rb"\xd7\xcd\xc6\x9a", _MAGICK),
    UnreadFormat(
        "DjVu",
        (".djvu", ".djv"),
        rb"AT&TFORM",
        "take its pages first, for example: ddjvu -format=tiff FILE FILE.tif",
    ),
    UnreadFormat(
        "FITS", (".fits", ".fit", ".fts"), rb"SIMPLE  = ", "scale it to 8 bits and save it as PNG"
    ),
    UnreadFormat(
        "DICOM", (".dcm", ".dicom"), rb".{128}DICM", "convert it first, for example: dcm2img FILE"
    ),
    # Read if Pillow has them.
    UnreadFormat("JPEG 2000", (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"), None, _MAGICK),
    UnreadFormat("AVIF", (".avif",), rb"....ftypavi[fs]", _MAGICK),
]

_ALL: list[ReadFormat | UnreadFormat] = [*READ, *UNREAD]
DECODERS = [one.decoder for one in READ]
EXTENSIONS = frozenset(extension for one in READ for extension in one.extensions)
# If an extension occurs twice, the first entry counts: formats that are read come first.
_BY_EXTENSION: dict[str, ReadFormat | UnreadFormat] = {
    extension: one for one in reversed(_ALL) for extension in one.extensions
}
_BY_HEAD = [(re.compile(one.begins, re.DOTALL), one) for one in _ALL if one.begins is not None]
WEIGHTS = {one.decoder: one.weight for one in READ}


def recognise(name: str, read_head: Callable[[], bytes]) -> ReadFormat | UnreadFormat | None:
    """The format of a file, by its extension or, if that tells nothing, by its first bytes.

    Args:
        name: its name.
        read_head: gives the first `HEAD` bytes; called only if the name does not settle it.

    Returns:
        A format that is read; one that is not, or a picture whose extension is not a picture's;
        None if it is not a picture.
    """
    extension = os.path.splitext(name)[1].lower()
    if extension in _BY_EXTENSION:
        return _BY_EXTENSION[extension]
    if extension in _TEXT:
        return None
    found = recognise_bytes(read_head())
    if extension and isinstance(found, ReadFormat):
        wanted = found.extensions[0]
        return UnreadFormat(
            f"{found.name} called {extension}", (), None, f"rename it so that it ends in {wanted}"
        )
    return found


def recognise_bytes(head: bytes) -> ReadFormat | UnreadFormat | None:
    """The format of a file that begins with these bytes; None if it is not a picture."""
    return next((one for pattern, one in _BY_HEAD if pattern.match(head)), None)
