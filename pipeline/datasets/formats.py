"""Which pictures are read: the formats of Pillow that may be decoded, and the suffixes that their files bear."""

# format -> its suffixes. The content decides which of the formats a file has; its suffix, whether it is looked at.
FORMATS: dict[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "AVIF": (".avif", ".avifs"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
IMAGE_SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)

# Pictures that are left out by name, so that nobody misses them unawares: PostScript and PDF are programs, camera
# files are no finished pictures, the others are rare or need another library.
_OTHER_PICTURES = """
    heic heif hif jxl jxr wdp hdp eps ps epsf pdf ai svg svgz wmf emf psd psb xcf kra tga ico cur icns pcx dcx sgi
    rgb rgba bw dds qoi exr hdr pfm dib fits fit dcm nii ras xbm xpm djvu
    raw dng cr2 cr3 crw nef nrw arw srf sr2 orf rw2 raf pef srw x3f 3fr iiq
"""
_ARCHIVES = """
    zip tar tgz gz bz2 tbz tbz2 xz txz zst 7z rar lz4 lzma z parquet arrow h5 hdf5 mdb
    tfrecord tfrecords npz npy pkl mat
"""
OTHER_PICTURES = frozenset(f".{name}" for name in _OTHER_PICTURES.split())
ARCHIVES = frozenset(f".{name}" for name in _ARCHIVES.split())
