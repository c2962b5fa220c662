"""Kafka's wire protocol, driven by the message schemas inside Kafka's own client jar.

Nothing here knows klamm: a request is a dict of Kafka's field names, an answer is a dict again. So what the oracle
says about a broker does not depend on any code of that broker.
"""

import json
import re
import socket
import struct
import uuid
import zipfile
from pathlib import Path


class Closed(Exception):
    """The broker closed the connection instead of answering."""


def span(text):
    """'3+' -> (3, inf), '1-3' -> (1, 3), 'none' -> None."""
    if text is None or text == "none":
        return None
    if text.endswith("+"):
        return int(text[:-1]), 1 << 30
    low, _, high = text.partition("-")
    return int(low), int(high or low)


def within(text, version):
    bounds = span(text)
    return bounds is not None and bounds[0] <= version <= bounds[1]


class Schemas:
    """All message schemas of Kafka's jars: requests and responses by API name, records by their own."""

    def __init__(self, jars):
        self.by_name, self.key_of, self.name_of = {}, {}, {}
        for jar in jars:
            with zipfile.ZipFile(jar) as z:
                for entry in z.namelist():
                    if entry.startswith("common/message/") and entry.endswith(".json"):
                        self.add(Path(entry).stem, z.read(entry).decode())

    def add(self, stem, text):
        schema = json.loads(re.sub(r"(?m)^\s*//.*$", "", text))
        self.by_name[stem] = schema
        if schema["type"] == "request":
            name = schema["name"].removesuffix("Request")
            self.key_of[name], self.name_of[schema["apiKey"]] = schema["apiKey"], name

    def request(self, api):
        return self.by_name[api + "Request"]

    def response(self, api):
        return self.by_name[api + "Response"]

    def highest(self, api):
        return span(self.request(api)["validVersions"])[1]


def kafka_jars():
    """The jars fetched by .ci/kafka/env that hold schemas: of the clients' messages, and of the coordinators' records."""
    import os

    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "klamm-ci"
    jars = sorted(cache.glob("kafka-*/kafka-clients-*.jar"))[-1:] + sorted(cache.glob("kafka-*/kafka-group-coordinator-[0-9]*.jar"))[-1:]
    if len(jars) != 2:
        raise SystemExit(f"no Kafka jars under {cache}: run .ci/kafka/env first")
    return jars


INTS = {"int8": ">b", "int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "int64": ">q", "float64": ">d"}


def lower(name):
    return name[0].lower() + name[1:]


class Message:
    """Encodes and decodes one schema at one version."""

    def __init__(self, schema, version):
        self.schema, self.version = schema, version
        self.flexible = within(schema.get("flexibleVersions"), version)
        self.common = {s["name"]: s["fields"] for s in schema.get("commonStructs", [])}

    # ---- encoding

    def encode(self, body):
        out = bytearray()
        self.put_struct(out, self.schema["fields"], body)
        return bytes(out)

    def put_struct(self, out, fields, body):
        known = {lower(f["name"]) for f in fields}
        unknown = set(body) - known - {"_tags"}
        if unknown:
            raise KeyError(f"{self.schema['name']} has no field {sorted(unknown)}; it has {sorted(known)}")
        tagged = {}
        for field in fields:
            if not within(field["versions"], self.version):
                continue
            name = lower(field["name"])
            if within(field.get("taggedVersions"), self.version):
                if name in body:
                    part = bytearray()
                    self.put(part, field, body[name])
                    tagged[field["tag"]] = bytes(part)
                continue
            self.put(out, field, body[name] if name in body else self.default(field))
        if self.flexible:
            tagged.update(body.get("_tags", {}))
            put_varint(out, len(tagged))
            for tag in sorted(tagged):
                put_varint(out, tag)
                put_varint(out, len(tagged[tag]))
                out += tagged[tag]

    def default(self, field):
        kind, value = field["type"], field.get("default")
        if value == "null":
            return None
        if kind.startswith("[]"):
            return []
        if kind == "string":
            return value or ""
        if kind == "bool":
            return value in ("true", True)
        if kind in INTS:
            return float(value or 0) if kind == "float64" else int(str(value or 0), 0)
        if kind in ("bytes", "records"):
            return b""
        return "0" if kind == "uuid" else {}

    def put(self, out, field, value):
        flexible = self.flexible and field.get("flexibleVersions") != "none"
        kind = field["type"]
        if kind.startswith("[]"):
            put_length(out, flexible, value, 4)
            for item in value or []:
                self.put(out, {**field, "type": kind[2:], "taggedVersions": None, "nullableVersions": None}, item)
        elif kind in INTS:
            out += struct.pack(INTS[kind], value)
        elif kind == "bool":
            out.append(1 if value else 0)
        elif kind == "uuid":
            out += uuid.UUID(int=0).bytes if value in (None, "0") else uuid.UUID(value).bytes
        elif kind == "string":
            raw = None if value is None else value.encode() if isinstance(value, str) else value
            put_length(out, flexible, raw, 2)
            out += raw or b""
        elif kind in ("bytes", "records"):
            put_length(out, flexible, value, 4)
            out += value or b""
        else:
            if within(field.get("nullableVersions"), self.version):
                out += struct.pack(">b", -1 if value is None else 1)
                if value is None:
                    return
            self.put_struct(out, self.fields_of(field), value)

    def fields_of(self, field):
        return field.get("fields") or self.common[field["type"].removeprefix("[]")]

    # ---- decoding

    def decode(self, data):
        reader = Reader(data)
        body = self.get_struct(reader, self.schema["fields"])
        if reader.at != len(data):
            body["_rest"] = len(data) - reader.at
        return body

    def get_struct(self, r, fields):
        body, tagged = {}, {}
        for field in fields:
            if not within(field["versions"], self.version):
                continue
            if within(field.get("taggedVersions"), self.version):
                tagged[field["tag"]] = field
                continue
            body[lower(field["name"])] = self.get(r, field)
        if self.flexible:
            for _ in range(r.varint()):
                tag, raw = r.varint(), r.take(r.varint())
                if tag in tagged:
                    body[lower(tagged[tag]["name"])] = self.get(Reader(raw), tagged[tag])
                else:
                    body.setdefault("_tags", {})[tag] = raw.hex()
        return body

    def get(self, r, field):
        flexible = self.flexible and field.get("flexibleVersions") != "none"
        kind = field["type"]
        if kind.startswith("[]"):
            count = r.length(flexible, 4)
            item = {**field, "type": kind[2:], "nullableVersions": None}
            return None if count is None else [self.get(r, item) for _ in range(count)]
        if kind in INTS:
            return struct.unpack(INTS[kind], r.take(struct.calcsize(INTS[kind])))[0]
        if kind == "bool":
            return r.take(1) != b"\0"
        if kind == "uuid":
            value = uuid.UUID(bytes=r.take(16))
            return "0" if value.int == 0 else str(value)
        if kind == "string":
            count = r.length(flexible, 2)
            return None if count is None else r.take(count).decode()
        if kind in ("bytes", "records"):
            count = r.length(flexible, 4)
            return None if count is None else r.take(count)
        if within(field.get("nullableVersions"), self.version) and r.take(1) == b"\xff":
            return None
        return self.get_struct(r, self.fields_of(field))


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise ValueError(f"{count} bytes wanted at {self.at} of {len(self.data)}")
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def length(self, flexible, width):
        count = self.varint() - 1 if flexible else struct.unpack(">h" if width == 2 else ">i", self.take(width))[0]
        return None if count < 0 else count


def put_varint(out, value):
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def put_length(out, flexible, value, width):
    if flexible:
        put_varint(out, 0 if value is None else len(value) + 1)
    else:
        out += struct.pack(">h" if width == 2 else ">i", -1 if value is None else len(value))


class Conn:
    """One client connection. `ask` sends a request and waits for its answer."""

    def __init__(self, schemas, host, port, client_id="oracle"):
        self.schemas, self.client_id, self.correlation = schemas, client_id, 0
        self.sock = socket.create_connection((host, port), timeout=8)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self):
        self.sock.close()

    def header(self, key, version, flexible):
        self.correlation += 1
        out = bytearray(struct.pack(">hhi", key, version, self.correlation))
        put_length(out, False, self.client_id, 2)
        out += self.client_id.encode()
        if flexible:
            out.append(0)
        return bytes(out)

    def send(self, api, version, body):
        message = Message(self.schemas.request(api), version)
        self.send_raw(self.header(self.schemas.key_of[api], version, message.flexible) + message.encode(body))

    def send_raw(self, frame):
        self.sock.sendall(struct.pack(">i", len(frame)) + frame)

    def frame(self):
        return self.exactly(struct.unpack(">i", self.exactly(4))[0])

    def exactly(self, count):
        data = b""
        while len(data) < count:
            try:
                part = self.sock.recv(count - len(data))
            except ConnectionResetError:
                part = b""
            if not part:
                raise Closed()
            data += part
        return data

    def receive(self, api, version):
        data = self.frame()
        (correlation,) = struct.unpack(">i", data[:4])
        assert correlation == self.correlation, f"answer {correlation} to request {self.correlation}"
        message = Message(self.schemas.response(api), version)
        tagged_header = message.flexible and api != "ApiVersions"
        if tagged_header:
            assert data[4] == 0, "tagged fields in the response header"
        return message.decode(data[5:] if tagged_header else data[4:])

    def ask(self, api, version, **body):
        self.send(api, version, body)
        return self.receive(api, version)
