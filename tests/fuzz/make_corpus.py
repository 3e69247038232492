# SPDX-License-Identifier: Apache-2.0
"""Write the seeds of the C fuzz targets' corpora: make_corpus.py. Findings are added to the same folders by hand."""

import struct
from pathlib import Path

ROOT = Path(__file__).parent / "corpus"
VENUS_VECTORS = Path(__file__).parents[1] / "data" / "venus_vectors.txt"


def record(kind: int, body: bytes) -> bytes:
    return struct.pack("<BH", kind, len(body)) + body


def hdr(command: int, *fields: int) -> bytes:
    return struct.pack("<IIQII", command, 0, 0, 0, 0) + struct.pack(f"<{len(fields)}I", *fields)


def control(command: int, *fields: int, tail: bytes = b"") -> bytes:
    return record(1, hdr(command, *fields) + tail)


def entry(address: int, length: int) -> bytes:
    return struct.pack("<QII", address, length, 0)


INFO, CREATE_2D, UNREF, SCANOUT, FLUSH, TRANSFER, ATTACH, DETACH = range(0x100, 0x108)
EDID, BLOB, SCANOUT_BLOB = 0x10A, 0x10C, 0x10D
WAIT = record(4, b"")

display_2d = (
    control(CREATE_2D, 1, 1, 64, 48)
    + control(ATTACH, 1, 2, tail=entry(0x10000, 5000) + entry(0x20000, 8000))
    + control(SCANOUT, 0, 0, 64, 48, 0, 1)
    + control(TRANSFER, 0, 0, 64, 48, 0, 0, 1, 0)
    + control(FLUSH, 0, 0, 64, 48, 1, 0)
    + WAIT
    + control(FLUSH, 3, 3, 8, 8, 1, 0)
    + WAIT
    + control(DETACH, 1, 0)
    + control(UNREF, 1, 0)
)
blob = control(BLOB, 2, 1, 0, 1, 0, 0, 12288, 0, tail=entry(0x10000, 12288))
blob_scanout = control(SCANOUT_BLOB, 0, 0, 64, 48, 0, 2, 64, 48, 2, 0, 256, 0, 0, 0, 0, 0, 0, 0)
display_blob = (
    blob + blob_scanout + control(FLUSH, 1, 1, 33, 7, 2, 0) + WAIT + control(FLUSH, 0, 0, 64, 48, 2, 0) + WAIT
)
queries = control(INFO) + control(EDID, 0, 0) + control(EDID, 99, 0) + control(0x123)
cursor = (
    control(CREATE_2D, 3, 1, 64, 64)
    + record(2, hdr(0x300, 0, 5, 6, 0, 3, 1, 1, 0))
    + record(2, hdr(0x301, 0, 7, 8, 0, 0, 0, 0, 0))
)
regions = (
    record(3, struct.pack("<QQQ", 0x400000, 65536, 0))
    + record(0, struct.pack("<IHHIIQ", 24, 3, 0, 1, 0, 0x10000))
    + blob
)
pages = control(
    BLOB, 2, 1, 0, 3, 0, 0, 12288, 0, tail=entry(0x12000, 4096) + entry(0x10000, 4096) + entry(0x20000, 4096)
)
flapping = (
    control(CREATE_2D, 1, 1, 64, 48)
    + control(CREATE_2D, 2, 1, 33, 17)
    + (control(SCANOUT, 0, 0, 64, 48, 0, 1) + control(SCANOUT, 0, 0, 33, 17, 0, 2) + WAIT) * 4
    + (control(SCANOUT, 0, 0, 0, 0, 0, 0) + WAIT + control(SCANOUT, 0, 0, 64, 48, 0, 1) + WAIT) * 2
    + control(FLUSH, 0, 0, 64, 48, 1, 0)
    + control(UNREF, 1, 0)
    + WAIT
)
kept_region = (
    blob
    + record(0, struct.pack("<IHHIIQ", 24, 3, 0, 1, 0, 0x10000))
    + record(3, struct.pack("<QQQ", 0x10000, 65536, 0))
    + blob_scanout
    + control(FLUSH, 0, 0, 64, 48, 2, 0)
    + WAIT
    + control(UNREF, 2, 0)
)
raw = (
    record(0, b"\x10\0\0\0\4\0\0\0\1\0\0\0\0\0\0\0")
    + record(0, b"x")
    + record(0, struct.pack("<IHHII", 16, 1, 0, 0, 0))
)


def packet(kind: int, *fields: int) -> bytes:
    body = struct.pack("<IHHII", 16 + 4 * len(fields), kind, 0, 0, 0) + struct.pack(f"<{len(fields)}I", *fields)
    return bytes([len(body)]) + body


hello = packet(1, 1, 0)
layout = struct.pack("<7IxxxxQQQ", 1, 64, 32, 64, 32, 64, 4, 4096, 4096, 20480)
rect = struct.pack("<4I", 1, 2, 3, 4)
slot = struct.pack("<II6Q", 2, 1, 1, 0, 1, 2, 3, 4) + rect * 16
page = struct.pack("<4I", 0x52464C48, 4, 1, 0) + slot * 4


def venus_commands() -> dict[str, bytes]:
    """The shortest request of each command that was captured, and all of them one after the other."""
    found: dict[str, bytes] = {}
    for line in VENUS_VECTORS.read_text(encoding="ascii").splitlines():
        if not line.startswith("#"):
            name, _number, _flags, request = line.split()[:4]
            found[name] = min(found.get(name, bytes.fromhex(request)), bytes.fromhex(request), key=len)
    small = b"".join(data for data in found.values() if len(data) < 1000)
    return {name.removeprefix("vk"): data for name, data in found.items()} | {"all": small}


def vtest(command: int, *words: int) -> bytes:
    return struct.pack(f"<{2 + len(words)}I", len(words), command, *words)


def submit(*words: int) -> bytes:
    return vtest(24, 1, 1, 7, len(words), 7 + len(words), 0, 0, *words)


vtest_init = (
    struct.pack("<II8s", 8, 8, b"vkcube\0\0")
    + vtest(10)
    + vtest(7, 0, 0)
    + vtest(11, 3)
    + vtest(15, 1)
    + vtest(16, 4, 0)
    + vtest(17, 4)
    + vtest(18, 2, 1, 0x200C4, 0, 0, 0)
)
# The ring that the target has made is 1; the blob that it lies in is 1 too.
vtest_ring = (
    vtest(18, 2, 1, 1 << 17, 0, 0, 0)
    + submit(190, 0, 1, 0, 0, 0)
    + submit(191, 0, 1, 0, 0, 0, 7)
    + submit(251, 0, 1, 0, 1, 0)
    + submit(253, 0, 1, 0, 0, 0)
    + submit(189, 0, 1, 0)
    + vtest(3, 1)
)
vtest_syncs = (
    vtest(19, 5, 0)
    + vtest(22, 1, 6, 0)
    + vtest(21, 1)
    + vtest(23, 0, 1000, 1, 6, 0)
    + vtest(24, 1, 1, 7, 0, 7, 1, 0, 1, 9, 0)
    + vtest(20, 1)
)


def nal(header: int, size: int, *, is_long: bool = False) -> bytes:
    return b"\0" * is_long + b"\0\0\1" + bytes((header,)) + bytes(1 + i % 255 for i in range(size - 1))


parameter_sets = nal(0x67, 20, is_long=True) + nal(0x68, 6, is_long=True)
# Payloads have 64 bytes and the first byte more.
access_units = {
    "keyframe": b"\x40" + parameter_sets + nal(0x65, 900),
    "slices": b"\x40" + nal(0x41, 50) + nal(0x41, 128) + nal(0x41, 129) + nal(0x41, 254),
    "many_small": b"\xff" + nal(0x06, 2) * 40,
    "empty_nals": b"\0" + b"\0\0\1" * 5 + nal(0x41, 3) + bytes(9),
    "reserved": b"\0" + nal(0x78, 9) + nal(0x7C, 200) + nal(0xE5, 9) + nal(0x60, 9),
    "no_start": b"\0" + bytes(range(1, 200)),
}


def vhost(request: int, payload: bytes, fds: int = 0, flags: int = 9) -> bytes:
    return record(0, bytes((request, fds, flags)) + payload)


def driver(command: int, *fields: int, tail: bytes = b"") -> bytes:
    return record(1, hdr(command, *fields) + tail)


def descriptor(address: int, length: int, flags: int, following: int = 0) -> bytes:
    return struct.pack("<QIHH", address, length, flags, following)


def scribble(offset: int, data: bytes) -> bytes:
    return record(3, struct.pack("<H", offset) + data)


# The control queue's rings lie at 0x1000, 0x2000 and 0x3000 of the first region.
vhost_picture = (
    driver(CREATE_2D, 1, 2, 64, 48)
    + driver(ATTACH, 1, 2, tail=entry(0x80000, 6000) + entry(0x100000000, 8000))
    + driver(SCANOUT, 0, 0, 64, 48, 0, 1)
    + driver(TRANSFER, 0, 0, 64, 48, 0, 0, 1, 0)
    + driver(FLUSH, 0, 0, 64, 48, 1, 0)
)
vhost_cursor = driver(CREATE_2D, 3, 1, 64, 64) + record(2, hdr(0x300, 0, 5, 6, 0, 3, 1, 1, 0))
vhost_available = scribble(0x2000, struct.pack("<HHH", 0, 1, 0))
vhost_loop = scribble(0x1000, descriptor(0x20000, 24, 1)) + vhost_available
vhost_indirect = (
    scribble(0xF000, descriptor(0x20000, 24, 1, 1) + descriptor(0x60000, 512, 2))
    + scribble(0x1000, descriptor(0xF000, 32, 4))
    + vhost_available
)
vhost_move = record(2, hdr(0x301, 0, 9, 10, 0, 0, 0, 0, 0))
# Backings of many pages, each followed by its end: they fill the journal and leave nothing.
vhost_long = driver(ATTACH, 3, 240, tail=b"".join(entry(0x80000 + 8192 * (n % 8), 64) for n in range(240)))
vhost_long = driver(CREATE_2D, 3, 1, 64, 64) + vhost_long + driver(UNREF, 3, 0)
vhost_blob = (
    driver(BLOB, 4, 1, 0, 3, 0, 0, 12288, 0, tail=entry(0x80000, 4096) + entry(0x90000, 4096) + entry(1 << 32, 4096))
    + driver(SCANOUT_BLOB, 0, 0, 64, 48, 1, 4, 64, 48, 2, 0, 256, 0, 0, 0, 0, 0, 0, 0)
    + driver(FLUSH, 0, 0, 64, 48, 4, 0)
)


def vhost_back(number: int) -> bytes:
    pages = b"".join(entry(0x80000 + 8192 * (n % 8), 64) for n in range(240))
    return driver(CREATE_2D, number, 1, 64, 48) + driver(ATTACH, number, 240, tail=pages)


def vhost_screen(number: int) -> bytes:
    return (
        driver(CREATE_2D, 1 + number, 2, 64, 48)
        + driver(ATTACH, 1 + number, 1, tail=entry(0x80000 + 16384 * number, 12288))
        + driver(SCANOUT, 0, 0, 64, 48, number, 1 + number)
        + driver(FLUSH, 0, 0, 64, 48, 1 + number, 0)
    )


vhost_regions = struct.pack("<II8Q", 2, 0, 0, 1 << 20, 0x7F1000000000, 0, 1 << 32, 2 << 20, 0x7F2000000000, 0)
vhost_rings = struct.pack("<II4Q", 0, 0, 0x7F1000001000, 0x7F1000003000, 0x7F1000002000, 0)

SEEDS = {
    "vhost_user": {
        "picture": vhost_picture + WAIT + driver(DETACH, 1, 0) + driver(UNREF, 1, 0),
        "cursor": vhost_cursor,
        "loop": vhost_loop,
        "indirect": vhost_indirect,
        "jump": scribble(0x2000, struct.pack("<HHH", 0, 500, 7)),
        "used": vhost_picture + scribble(0x3000, b"\xff" * 64) + WAIT,
        "take_over": vhost_picture + vhost_cursor + record(5, b"") + WAIT + record(5, b""),
        "spoilt_journal": vhost_picture + record(5, struct.pack("<I", 16384) + b"\xff" * 40) + vhost_picture,
        "spoilt_head": vhost_picture + record(5, struct.pack("<I", 40) + b"\xff" * 40) + vhost_picture,
        "pause": vhost_picture
        + vhost(11, struct.pack("<II", 0, 0), flags=1)
        + vhost(10, struct.pack("<II", 0, 4))
        + vhost(9, vhost_rings)
        + vhost(12, bytes(8), fds=3)
        + WAIT,
        "memory": vhost_picture + vhost(5, vhost_regions[:40], fds=1) + vhost_picture + vhost(5, vhost_regions, fds=2),
        "no_memory": vhost_picture + vhost(5, bytes(8)),
        "requests": b"".join(vhost(number, bytes(8)) for number in range(41)),
        "empty_requests": b"".join(vhost(number, b"", fds=1) for number in range(41)),
        "many_requests": vhost_picture + vhost_long * 8 + record(5, b"") + vhost_picture,
        "full_journal": b"".join(vhost_back(number) for number in range(10, 20))
        + WAIT
        + record(5, b"")
        + vhost_picture,
        "blob": vhost_blob + WAIT + record(5, b"") + WAIT,
        "moves": vhost_cursor + vhost_move + record(5, b"") + vhost_move,
        "queries": driver(INFO) + driver(EDID, 0, 0) + driver(EDID, 15, 0),
        "screens": b"".join(vhost_screen(number) for number in range(4)) + WAIT + record(5, b"") + WAIT,
        "waiting": vhost_picture + driver(FLUSH, 0, 0, 64, 48, 1, 0) + driver(UNREF, 1, 0) + record(5, b""),
        "attempts": vhost_picture + record(5, struct.pack("<IQ", 48, 2 << 48 | 5 << 32 | 240)) + vhost_picture,
        "progress": vhost_picture + record(5, struct.pack("<IQ", 48, 9 << 32 | 240)) + vhost_picture,
        "config": vhost(24, struct.pack("<III", 8, 4, 0) + bytes(4), flags=1) + vhost(24, bytes(12)),
    },
    "h264": access_units,
    "vtest": {
        "init": b"\0" + vtest_init,
        "old": b"\0" + vtest(11, 2) + vtest(15, 2) + vtest(16, 1, 0),
        "blobs": b"\1" + b"".join(vtest(18, 2, 7, size, 0, id, 0) for size in (1, 4097, 1 << 30) for id in (0, 9)),
        "syncs": b"\1" + vtest_syncs,
        "ring": b"\2" + vtest_ring,
        "wait": b"\2" + submit(253, 0, 1, 0, 400, 0),
        "garbage": b"\2" + b"GET / HTTP/1.1\r\n\r\n",
    },
    "venus_decode": venus_commands(),
    "display_link": {
        "two_d": display_2d,
        "blob": display_blob,
        "queries": queries,
        "cursor": cursor,
        "regions": regions + blob_scanout,
        "pages": pages + blob_scanout + control(FLUSH, 0, 0, 64, 48, 2, 0),
        "raw": raw,
        "flapping": flapping,
        "kept_region": kept_region,
        "unref_while_shown": display_blob + control(UNREF, 2, 0) + control(FLUSH, 0, 0, 64, 48, 2, 0),
    },
    "frame_link": {
        "session": hello + packet(2, 0, 1) + packet(3, 0, 800, 600, 60000) + packet(2, 0, 0),
        "wrong": hello + hello + packet(2, 99, 1) + packet(3, 0, 1, 70000, 1) + packet(9, 0, 0),
        "first": packet(2, 0, 1) + packet(1, 7, 0),
        "outputs": hello + packet(3, 15, 800, 600, 0) + packet(3, 15, 0, 0, 0) + packet(3, 0, 0, 0, 0),
        "rates": hello + packet(2, 0, 1) + b"".join(packet(3, 0, 800, 600, rate) for rate in (1000, 1000000, 60000)),
    },
    "ring": {"good": layout + page, "short": layout[:9], "damage": layout + page.replace(rect, b"\xff" * 16)},
}

for target, seeds in SEEDS.items():
    (ROOT / target).mkdir(exist_ok=True)
    for name, data in seeds.items():
        (ROOT / target / f"seed_{name}").write_bytes(data)
