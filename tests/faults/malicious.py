"""Files that somebody made to run something, to take all memory, or to write where they shouldn't.

Each function returns bytes, or writes a file; `kind -> content` where there are many of one kind.
"""

import io
import json
import os
import pickle
import stat
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import torch
from safetensors.torch import save_file

from gan_style import checkpoint

DEEP = 100_000  # levels
HUGE = 2**40  # bytes: no machine here has them
ZEROS = 4 * 4  # bytes of the one tensor that most files here have


class Evil:
    """Pickled, it is a command that is run when it is read."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


# --- safetensors ---


def safetensors(header, body=bytes(ZEROS), length=None):
    """A safetensors file of a header as it is given, which may say that it is of another length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(shape=(4,), start=0, end=ZEROS, dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def lying_headers():
    """Kind -> files that no reader may believe."""
    entry = tensor()
    half = ZEROS // 2
    lone = json.dumps(entry)
    return {
        "safetensors whose header isn't as long as it says": [
            b"",
            b"\x00" * 7,
            safetensors({"x": entry}, length=2**63),
            safetensors({"x": entry}, length=2**64 - 1),
            safetensors({"x": entry}, length=10_000),
            safetensors({"x": entry}, length=3),
            safetensors({"x": entry}, length=0),
        ],
        "safetensors whose header is no table": [
            safetensors(b"\xff" * 16),
            safetensors(b"{" * 16),
            safetensors([entry]),
            safetensors({"x": [1, 2]}),
            safetensors({"x": entry | {"shape": ["4"]}}),
            safetensors(f'{{"x": {lone.replace("[4]", "[NaN]")}}}'.encode()),
            safetensors(pickle.dumps(Evil("ran"))),
            pickle.dumps(Evil("ran")),
        ],
        "safetensors nested without end": [
            safetensors(b"[" * DEEP),
            safetensors(b'{"x":' * DEEP),
            safetensors(b'{"__metadata__": ' + b'{"x": ' * DEEP + b"1" + b"}" * DEEP + b"}"),
        ],
        "safetensors whose tensors overlap or leave the file": [
            safetensors({"x": tensor(), "y": tensor()}),
            safetensors({"x": tensor((3,), 0, 12), "y": tensor((2,), 8, 16)}),
            safetensors({"x": tensor((2,), half, ZEROS)}),
            safetensors({"x": tensor((4,), 16, 32)}),
            safetensors({"x": tensor((4,), -16, 0)}),
            safetensors({"x": tensor((4,), 16, 0)}),
            safetensors({"x": tensor((HUGE // 4,), 0, HUGE)}),
            safetensors({"x": tensor((2,), 0, 8)}),
            safetensors({"x": entry}, body=b""),
        ],
        "safetensors whose shape isn't that of its bytes": [
            safetensors({"x": tensor((5,))}),
            safetensors({"x": tensor((10**9, 10**9))}),
            safetensors({"x": tensor((2**32, 2**32))}),  # the product is 0 in 64 bits
            safetensors({"x": tensor((2**63, 2))}),
            safetensors({"x": tensor((2**62, 1))}),
            safetensors({"x": tensor((2**64, 0))}),
            safetensors({"x": tensor((-4,))}),
            safetensors({"x": tensor((10**30,))}),
            safetensors({"x": tensor((0.5,))}),
        ],
        "safetensors of unknown types": [
            safetensors({"x": tensor(dtype="F33")}),
            safetensors({"x": tensor(dtype="O")}),
            safetensors({"x": tensor(dtype=None)}),
            safetensors({"x": tensor((16,), dtype="F8_E8M0")}),
            safetensors({"x": tensor((32,), dtype="F4")}),
            safetensors({"x": tensor((2,), dtype="C64")}),
        ],
        "safetensors with keys that come twice, or metadata that are no text": [
            safetensors(f'{{"x": {lone}, "x": {lone.replace("[4]", "[2, 2]")}}}'.encode()),
            safetensors(b'{"__metadata__": {"state": 1}}', b""),
            safetensors(b'{"__metadata__": [1]}', b""),
            safetensors(b'{"__metadata__": {"state": "{}"}, "__metadata__": {}}', b""),
            safetensors({"__metadata__": {"state": "x" * 10**6}}, b"", length=10**6),
        ],
    }


def hole(path, size):
    """A file of one tensor of `size` bytes, which take no place on the disk."""
    start = safetensors({"0": tensor((size // 4,), 0, size)}, b"")
    path.write_bytes(start)
    os.truncate(path, len(start) + size)


def state(path, skeleton, tensors=None):
    """A resume state with the right checksum: whoever makes one can work it out."""
    tensors = {"0": torch.zeros(4)} if tensors is None else tensors
    text = skeleton if isinstance(skeleton, str) else json.dumps(skeleton)
    metadata = {"state": text, "sha256": checkpoint._sha256(text, tensors)}
    save_file(tensors, path, metadata=metadata)


SKELETONS = {
    "resume state of an unknown form": [
        "",
        "{",
        "null",
        "[]",
        "3",
        "{}",
        '{"run": "os.system"}',
        '{"value": {"tensor": "0"}}',
        '{"value": [1]}',
        '{"tensor": "7"}',
        '{"tensor": ["0"]}',
        '{"tensor": {"0": 1}}',
        '{"dict": [["x"]]}',
        '{"dict": 3}',
        '{"dict": [[["x"], {"value": 1}]]}',
        '{"dict": [[{"x": 1}, {"value": 1}]]}',
        '{"list": 3}',
        '{"list": [3]}',
        '{"list": ["x"]}',
        '{"value": ' + "9" * 5000 + "}",
    ],
    "resume state nested without end": [
        '{"list": [' * DEEP + "]}" * DEEP,
        '{"list": [' * 300 + '{"value": 1}' + "]}" * 300,
        "[" * DEEP,
    ],
    "resume state that names one tensor many times": [
        '{"list": [' + ",".join(['{"tensor": "0"}'] * 1000) + "]}",
    ],
}


# --- JSON and TOML ---


def deep(opening, closing="", inner=""):
    return opening * DEEP + inner + closing * DEEP


NO_JSON = {
    "JSON nested without end": [deep("["), deep('{"data":'), deep("[", "]"), deep('{"x":[', "]}")],
    "JSON with a number of any length": [f"[{'9' * 5000}]", f'{{"data": -{"9" * 30}}}'],
    "JSON that is none": ["", "{", "\ud800", "nul", "'a'", "{1: 2}", "\ufeff{}", "\0"],
}  # fmt: skip

NO_TOML = {
    "TOML nested without end": [
        "size = " + deep("[")[:50_000],
        "size = " + "{x = " * 10_000,
        "size = [\n" + "[\n" * 30_000,
    ],
    "TOML with a key of any length": ["x" + ".x" * 40_000 + " = 1", "[x" + ".x" * 40_000 + "]"],
    "TOML larger than any": ["# " + "x" * 10**6 + "\n", "#\n" * 10**6],
    "TOML that is none": [
        "size = " + "9" * 900 * 6,
        "size = 1\nsize = 2",
        "size",
        "\0",
        'x = "\\ud800"',
    ],
    "TOML whose value is none of the option's": [
        "size = 1979-05-27",
        "size = nan",
        "size = inf",
        "decay = nan",
        "decay = -inf",
        f"decay = {'9' * 400}",
        f"size = 0x{'f' * 300}",
        f"seed = 0x{'f' * 300}",
        f"[decay{'.x' * 490}]\nx{'.x' * 490} = 1",
        "size = []",
        "size = {}",
        "size.a.b.c = 1",
        "[size]\nx = 1",
        "size = true",
        'domain = "a\\u0000b"',
    ],
}  # fmt: skip


# --- pickles ---


def pickles(marker):
    """Kind -> pickles in which an import of weights would find trouble without its checksum."""
    array = np.zeros(2, np.float32)
    plain = pickle.dumps({"VGG16_0": array}, protocol=3)
    assert plain.count(b"K\x00\x85") == 1  # (0,), the shape that _reconstruct begins with
    laughs = b"\x80\x04]q\x00" + b"".join(
        b"](" + 10 * (b"h" + bytes([level])) + b"eq" + bytes([level + 1]) for level in range(200)
    )
    return {
        "pickle that runs a command": [
            pickle.dumps({"VGG16_0": Evil(marker)}, protocol=protocol) for protocol in range(6)
        ]
        + [
            f"cos\nsystem\n(S'touch {marker}'\ntR.".encode(),
            f"(S'touch {marker}'\nios\nsystem\n.".encode(),
            f"cbuiltins\nexec\n(S'open({str(marker)!r}, \"w\")'\ntR.".encode(),
            f"cnumpy\nf2py.crackfortran.myeval\n(S'open({str(marker)!r}, \"w\")'\ntR.".encode(),
            b"cnumpy\nload\n(S'x'\ntR.",
        ],
        "pickle that grows in memory": [
            laughs + b".",
            b"\x80\x04Nr\xff\xff\xff\x7f.",  # the 2,147,483,647th object
            b"\x80\x05\x96" + struct.pack("<Q", HUGE) + b".",  # a bytearray of so many bytes
            b"\x80\x04\x8e" + struct.pack("<Q", HUGE) + b".",  # bytes
            b"\x80\x04\x8d" + struct.pack("<Q", HUGE) + b".",  # text
            b"\x80\x04\x95" + struct.pack("<Q", HUGE) + b"N.",  # a frame
            b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b".",  # a number
            plain.replace(b"K\x00\x85", b"\x8a\x06" + HUGE.to_bytes(6, "little") + b"\x85"),
            b"\x80\x02cnumpy\nndarray\n\x8a\x06" + HUGE.to_bytes(6, "little") + b"\x85R.",
            b"cnumpy\ndtype\n(S'V2000000000'\nI00\nI01\ntR.",
            b"]" * DEEP + b".",
            b"N" + b"\x85" * DEEP + b".",
        ],
    }


def torch_files(marker):
    """Kind -> what torch.load could be handed."""
    evil = {"features.0.weight": Evil(marker)}
    files = []
    for new in (True, False):
        buffer = io.BytesIO()
        torch.save(evil, buffer, _use_new_zipfile_serialization=new)
        files.append(buffer.getvalue())
    wide = torch.zeros(1).as_strided((10**6, 10**6), (0, 0))
    buffer = io.BytesIO()
    torch.save({"features.0.weight": wide}, buffer)
    return {
        "pickle that runs a command": [*files, pickle.dumps(evil)],
        "pickle that grows in memory": [
            b"\x80\x02cbuiltins\ncompile\n.",
            buffer.getvalue(),
            zip_of({"a/data.pkl": b"\x80\x02}."}, declared=HUGE // 2**10),
        ],
    }


# --- archives ---


def entry(name, mode=stat.S_IFREG):
    info = zipfile.ZipInfo(name)
    info.external_attr = (mode | 0o666) << 16
    return info


def zip_of(entries, declared=None):
    """A zip archive; its last entry can be declared to be larger than it is."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    content = bytearray(buffer.getvalue())
    if declared:
        struct.pack_into("<L", content, content.rindex(b"PK\x01\x02") + 24, declared)
    return bytes(content)


IMAGES = {"trainA/1.jpg": b"a", "trainB/1.jpg": b"b"}
ENTRIES = {
    "zip entry that leaves its folder": [
        "../evil.jpg", "trainA/../../evil.jpg", "/tmp/evil.jpg", "//host/share/evil.jpg",
        "C:/evil.jpg", "C:evil.jpg", "trainA\\..\\evil.jpg", "..", "trainA/..",
    ],
    "zip entry that is a link or a device": [
        entry("trainA/evil.jpg", stat.S_IFLNK), entry("trainA", stat.S_IFLNK),
        entry("trainA/pipe.jpg", stat.S_IFIFO), entry("trainA/disk.jpg", stat.S_IFBLK),
    ],
    "zip entry with a name of any depth": ["x/" * 30_000 + "evil.jpg"],
    "zip entries for one place": ["./trainA/1.jpg", "trainA//1.jpg", "trainA/1.jpg/inside.jpg"],
}  # fmt: skip


def zips():
    """Kind -> zip archives to unpack."""
    found = {
        kind: [zip_of(IMAGES | {name: b"/etc/passwd"}) for name in names]
        for kind, names in ENTRIES.items()
    }
    # Every entry is of the same bytes: 30 kB that unpack to 60 GB.
    many = IMAGES | {f"trainA/{number}.jpg": b"x" for number in range(500)}
    whole = bytearray(zip_of(many))
    at = 0
    while (at := whole.find(b"PK\x01\x02", at + 1)) > 0:
        struct.pack_into("<L", whole, at + 24, 120_000_000)
    found["zip bomb"] = [bytes(whole)]
    found["zip entry that isn't as large as it says"] = [zip_of(IMAGES, declared=10**9)]
    return found


def tar_gz(path, members):
    """A .tar.gz of (entry, its content)."""
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))


def tar_entry(name, size=0, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def tar_bomb(path, name, size, kind=tarfile.REGTYPE):
    """A .tar.gz of one entry of `size` zeros, made piece by piece: 1 GB is 1 MB of it."""
    packer = zlib.compressobj(1, wbits=31)
    zeros = bytes(1 << 20)
    with path.open("wb") as file:
        info = tar_entry(name, size, kind)
        file.write(packer.compress(info.tobuf(tarfile.GNU_FORMAT)))
        for _ in range(size >> 20):
            file.write(packer.compress(zeros))
        file.write(packer.flush())
