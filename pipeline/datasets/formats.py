"""What a file is by its suffix: a picture that is read, one that is not, or an archive."""

from pipeline.pictures.kinds import SUFFIXES as IMAGE_SUFFIXES

__all__ = ["ARCHIVES", "IMAGE_SUFFIXES", "OTHER_PICTURES"]

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
