"""Record batches of magic 2 (and message sets of magic 1), built by hand so that each field can be made wrong."""

import gzip
import struct


def crc_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


TABLE = crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def zigzag(value):
    value = value << 1 ^ value >> 63
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def blob(value):
    return zigzag(-1) if value is None else zigzag(len(value)) + value


def record(delta, value, key=None, at=0, headers=()):
    body = b"\0" + zigzag(at) + zigzag(delta) + blob(key) + blob(value) + zigzag(len(headers))
    for name, content in headers:
        body += blob(name) + blob(content)
    return zigzag(len(body)) + body


def batch(
    values,
    *,
    at=1_700_000_000_000,
    keys=None,
    pid=-1,
    epoch=-1,
    seq=-1,
    attributes=0,
    base=0,
    magic=2,
    crc=None,
    count=None,
    last_delta=None,
    deltas=None,
    at_deltas=None,
    max_at=None,
):
    """A batch of `values`. `at` is the first timestamp (ms); whatever is given as a keyword may be a lie."""
    deltas = range(len(values)) if deltas is None else deltas
    at_deltas = [0] * len(values) if at_deltas is None else at_deltas
    keys = [None] * len(values) if keys is None else keys
    body = b"".join(record(d, v, k, t) for d, v, k, t in zip(deltas, values, keys, at_deltas))
    if attributes & 7 == 1:
        body = gzip.compress(body)
    tail = struct.pack(
        ">hiqqqhii",
        attributes,
        len(values) - 1 if last_delta is None else last_delta,
        at,
        at + max(at_deltas, default=0) if max_at is None else max_at,
        pid,
        epoch,
        seq,
        len(values) if count is None else count,
    )
    tail += body
    head = struct.pack(">ibI", -1, magic, crc32c(tail) if crc is None else crc)
    return struct.pack(">qi", base, len(head) + len(tail)) + head + tail


def message_v1(value, at=1_700_000_000_000):
    import zlib

    tail = struct.pack(">bbq", 1, 0, at) + struct.pack(">i", -1) + struct.pack(">i", len(value)) + value
    body = struct.pack(">I", zlib.crc32(tail)) + tail
    return struct.pack(">qi", 0, len(body)) + body


def describe(data):
    """What a reader sees of a records field: one line per whole batch, and the count of left-over bytes."""
    if data is None:
        return None
    seen, at = [], 0
    while at + 61 <= len(data):
        base, length = struct.unpack(">qi", data[at : at + 12])
        if at + 12 + length > len(data):
            break
        leader, magic, crc = struct.unpack(">ibI", data[at + 12 : at + 21])
        attributes, last, first_at, max_at, pid, epoch, seq, count = struct.unpack(">hiqqqhii", data[at + 21 : at + 61])
        good = crc32c(data[at + 21 : at + 12 + length]) == crc
        line = {"base": base, "last": base + last, "count": count, "leaderEpoch": leader, "attributes": attributes}
        line |= {"firstTimestamp": first_at, "maxTimestamp": max_at}
        if pid >= 0:
            line |= {"producerId": pid, "producerEpoch": epoch, "sequence": seq}
        seen.append(line if good and magic == 2 else line | {"magic": magic, "crcGood": good})
        at += 12 + length
    return {"batches": seen, "rest": len(data) - at} if at < len(data) else {"batches": seen}


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value >> 1 ^ -(value & 1), at


def records_of(data):
    """(offset, key, value) of every record in uncompressed batches."""
    at = 0
    while at + 61 <= len(data):
        base, length = struct.unpack(">qi", data[at : at + 12])
        (count,) = struct.unpack(">i", data[at + 57 : at + 61])
        here, at = at + 61, at + 12 + length
        for _ in range(count):
            _, here = varint(data, here)
            _, here = varint(data, here + 1)
            delta, here = varint(data, here)
            parts = []
            for _ in range(2):
                size, here = varint(data, here)
                parts.append(None if size < 0 else data[here : here + size])
                here += max(size, 0)
            headers, here = varint(data, here)
            assert headers == 0, "headers are not read here"
            yield base + delta, *parts
