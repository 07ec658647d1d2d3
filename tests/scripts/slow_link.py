"""A slow network: passes connections on to another port of this machine, so many bytes a second each way.

python slow_link.py LISTEN_PORT TARGET_PORT BYTES_PER_SECOND
"""

import asyncio
import sys

listen, target, speed = (int(word) for word in sys.argv[1:])
_CHUNK = 8192


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        await asyncio.sleep(len(data) / speed)
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
    await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer), return_exceptions=True)


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", listen)
    await server.serve_forever()


asyncio.run(main())
