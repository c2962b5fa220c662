"""Records what real clients and the real broker say to each other, as fixtures for core/tests/it/frames.

  capture.py LISTEN_PORT BROKER_PORT FILE   forwards connections until it gets SIGTERM, then writes FILE

The broker's advertised.listeners must name LISTEN_PORT, else clients leave the proxy after their first answer. FILE gets
two lines for each API and version that was seen, `Api version request|response hex`, without length prefixes. Of several
pairs the fullest is kept whose frames are both below LIMIT bytes, else the smallest.
"""

import asyncio
import signal
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "oracle"))

from wire import Schemas, kafka_jars  # noqa: E402

LISTEN, BROKER, FILE = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
LIMIT = 900
NAMES = Schemas(kafka_jars()).name_of
kept = {}


def better(new, old):
    def rank(pair):
        sizes = [len(frame) for frame in pair]
        return (1, sum(sizes)) if max(sizes) <= LIMIT else (0, -sum(sizes))

    return old is None or rank(new) > rank(old)


async def frames(reader):
    while True:
        try:
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            yield await reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return


async def serve(reader, writer):
    upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", BROKER)
    waiting = {}

    async def ask():
        async for frame in frames(reader):
            key, version, correlation = struct.unpack(">hhi", frame[:8])
            waiting[correlation] = key, version, frame
            upstream.write(struct.pack(">i", len(frame)) + frame)
            await upstream.drain()
        upstream.close()

    async def answer():
        async for frame in frames(upstream_reader):
            key, version, request = waiting.pop(struct.unpack(">i", frame[:4])[0])
            if better((request, frame), kept.get((key, version))):
                kept[key, version] = request, frame
            writer.write(struct.pack(">i", len(frame)) + frame)
            await writer.drain()
        writer.close()

    await asyncio.gather(ask(), answer(), return_exceptions=True)


async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with await asyncio.start_server(serve, "127.0.0.1", LISTEN):
        await stop.wait()
    with open(FILE, "w") as out:
        for (key, version), pair in sorted(kept.items()):
            for word, frame in zip(("request", "response"), pair):
                out.write(f"{NAMES[key]} {version} {word} {frame.hex()}\n")


asyncio.run(main())
