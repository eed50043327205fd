"""What a file really is, by its bytes and not by its name: a kind of picture that is read, or what else it is."""

from pipeline.errors import SampleError

# suffixes of the kinds that are read; what is in a file is decided by `kind_of`
SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".avif", ".avifs", ".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c", ".ppm", ".pgm", ".pbm", ".pnm"}
)
# kind -> what its files begin with
READ: dict[str, tuple[bytes, ...]] = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"MM*\0", b"II\0*"),
    "JPEG2000": (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    "PPM": tuple(b"P%d%c" % (number, space) for number in range(1, 7) for space in b" \t\r\n#"),
}
BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # sizes of the header after the 14 bytes that begin a BMP
AVIF_BRANDS = {b"avif", b"avis"}
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
# What else lies about under names of pictures: where the signature is, the signature, what it is.
OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%!", "PostScript, a program that draws"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript, a program that draws"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\xd7\xcd\xc6\x9a", "a Windows metafile, which is drawn by commands"),
    (0, b"\x01\0\x09\0", "a Windows metafile, which is drawn by commands"),
    (40, b" EMF", "a Windows metafile, which is drawn by commands"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"II\xbc\x01", "a JPEG XR picture"),
    (0, b"BPG\xfb", "a BPG picture"),
    (0, b"qoif", "a QOI picture"),
    (0, b"\0\0\x01\0", "a Windows icon"),
    (0, b"icns", "a macOS icon"),
    (0, b"DDS ", "a DirectDraw texture"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (0, b"#?RADIANCE", "a Radiance HDR picture"),
    (0, b"Pf\n", "a float picture (PFM)"),
    (0, b"PF\n", "a float picture (PFM)"),
    (0, b"P7\n", "a PAM picture"),
    (0, b"/* XPM */", "an X pixmap"),
    (0, b"\x01\xda", "an SGI picture"),
    (0, b"\x59\xa6\x6a\x95", "a Sun raster picture"),
    (0, b"SIMPLE  =", "a FITS file"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"CDF\x01", "a NetCDF file"),
    (0, b"CDF\x02", "a NetCDF file"),
    (0, b"GRIB", "a GRIB file"),
    (0, b"BUFR", "a BUFR file"),
    (128, b"DICM", "a DICOM file"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw file"),
    (0, b"IIRO", "a camera's raw file"),
    (0, b"IIU\0", "a camera's raw file"),
    (0, b"\0MRM", "a camera's raw file"),
    (0, b"FOVb", "a camera's raw file"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "compressed with gzip"),
    (0, b"BZh", "compressed with bzip2"),
    (0, b"\xfd7zXZ\0", "compressed with xz"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"Rar!", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"PAR1", "a Parquet file"),
    (0, b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (0, b"\0\0\x01\xba", "a video (MPEG)"),
    (0, b"\0\0\x01\xb3", "a video (MPEG)"),
    (8, b"AVI ", "a video (AVI)"),
    (8, b"WAVE", "sound (WAV)"),
    (0, b"ID3", "sound (MP3)"),
    (0, b"OggS", "sound or a video (Ogg)"),
    (0, b"fLaC", "sound (FLAC)"),
    (0, b"\0\x05\x16\x07", "the shadow of a file that macOS keeps beside it (AppleDouble)"),
    (0, b"Bud1", "a folder's settings of macOS"),
    (4, b"Bud1", "a folder's settings of macOS"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document or Thumbs.db"),
    (0, b"\x7fELF", "a program"),
)


def kind_of(data: bytes) -> str:
    """Which of the kinds that are read (keys of READ, and WEBP, BMP, AVIF) an encoded picture is.

    Raises:
        SampleError: none of them; says what it is as far as that can be told.
    """
    if not data:
        raise SampleError("the file is empty")
    for kind, starts in READ.items():
        if data.startswith(starts):
            if kind == "TIFF" and data[8:10] == b"CR":
                raise SampleError(refusal("a camera's raw file"))
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in BMP_HEADERS:
        return "BMP"
    if data[4:8] == b"ftyp":
        return kind_of_media(data)
    for offset, start, what in OTHERS:
        if data[offset : offset + len(start)] == start:
            raise SampleError(refusal(what))
    raise SampleError(told_of_text(data) or "the file is not an image that can be decoded")


def kind_of_media(data: bytes) -> str:
    """AVIF among the files of ISO's media format (HEIC, MP4, …). Raises SampleError for the others."""
    length = min(max(int.from_bytes(data[:4], "big"), 12), 512)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, length, 4))}
    if brands & AVIF_BRANDS:
        return "AVIF"
    if brands & HEIC_BRANDS:
        raise SampleError(refusal("a HEIC picture"))
    raise SampleError(refusal("a camera's raw file" if b"crx " in brands else "a video (MP4 or QuickTime)"))


def told_of_text(data: bytes) -> str | None:
    """What is wrong with a file of text, or of nothing but zeros; None for anything else."""
    if not data.strip(b"\0"):
        return "the file is nothing but zeros, as after a crash or a broken copy; copy it again"
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"version https://git-lfs"):
        return "the file is a pointer of Git LFS, not the image itself; fetch it by `git lfs pull`"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "the file is a web page, not an image, as a failed download leaves; download it again"
    if b"<svg" in start:
        return refusal("an SVG drawing")
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in start) and b"\x7f" not in start:
        try:
            data[:1024].decode("utf-8", "strict" if len(data) <= 1024 else "ignore")
        except UnicodeDecodeError:
            return None
        return "the file is text, not an image"
    return None


def refusal(what: str) -> str:
    """The sentence for a file that is something else."""
    return f"the file is {what}, which is not read as an image; convert it to PNG or JPEG, or take it away"
