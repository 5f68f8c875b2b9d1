"""Whether bytes are a whole file of torch.save: torch's own reader compares no checksum."""

from __future__ import annotations

import io
import zipfile

_START = b"PK\x03\x04"
# A record of other kinds of torch's archives, and what they are.
_OTHERS = {
    "archive_format": "it is an exported graph, which torch.export.load reads",
    "constants.pkl": "it is a TorchScript program, which torch.jit.load reads",
}
DAMAGED = "it is truncated or damaged"
NOT_PLAIN = "it holds more than tensors and plain values"


def archive_fault(data: bytes, suffix: str = "") -> str | None:
    """What keeps ``data`` from being a whole file of ``torch.save``; None if nothing does.

    Every record's checksum is compared. No more memory is taken than ``data`` has. ``suffix`` is
    that of the file's name, from which other formats are told.
    """
    if not data:
        return "it is empty"
    if suffix == ".onnx":
        return "it is an exported ONNX graph, for onnxruntime and the like"
    if suffix == ".safetensors":
        return "it is a safetensors file, which gankit.load reads"
    if data.startswith(b"\x80"):  # a bare pickle, as torch.save once wrote
        return f"{NOT_PLAIN}, or is damaged"
    if not data.startswith(b"PK"):
        return "it is not a file of torch.save"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _fault_of_records(archive, data)
    except Exception:  # zipfile raises a dozen kinds on a damaged directory
        return DAMAGED


def _fault_of_records(archive: zipfile.ZipFile, data: bytes) -> str | None:
    records = archive.infolist()
    names = [record.filename.partition("/")[2] for record in records]
    for name, what in _OTHERS.items():
        if name in names:
            return what
    # Torch stores its records as they are. One that is packed may unpack to any size, and two that
    # share their bytes, or a name, are read in different ways by different programs.
    for record in records:
        if record.compress_type != zipfile.ZIP_STORED:
            return f"its record {record.filename!r} is compressed, and torch.save compresses none"
    sizes = [max(record.file_size, record.compress_size) for record in records]
    if sum(sizes) > len(data) or len(set(names)) < len(names):
        return DAMAGED
    broken = archive.testzip()
    if broken is not None:
        return f"its record {broken!r} is damaged, as its checksum says"
    if "data.pkl" not in names or not data.startswith(_START):
        return DAMAGED
    return None
