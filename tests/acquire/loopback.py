"""Runs one server so that it can be reached on 127.0.0.1 only, and never outlives its starter.

    python loopback.py LISTENER PORT COMMAND...

COMMAND's server listens on PORT, on whatever addresses it likes; LISTENER is the number of an inherited, listening
socket, whose connections are passed on. Started by `unshare -rn`, the server is in a network namespace of its own,
where PORT is reachable for nobody else, while LISTENER still belongs to the namespace that made it. The first line of
output is the server's process id. Ends with the server; ends the server when standard input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import signal
import socket
import struct
import sys

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
TRIES = 200


def raise_loopback() -> None:
    """Set the interface `lo` up; needed in a new namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack("16xh14x", fcntl.ioctl(handle, SIOCGIFFLAGS, request))
        if not flags & IFF_UP:
            fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while content := await reader.read(1 << 16):
            writer.write(content)
            await writer.drain()
    writer.close()


async def main(listener: int, port: int, command: list[str]) -> None:
    raise_loopback()
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stdout=sys.stderr)
    relays: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        for work in (copy(reader, inner_writer), copy(inner_reader, writer)):
            task = asyncio.create_task(work)
            relays.add(task)
            task.add_done_callback(relays.discard)

    for _ in range(TRIES):
        with contextlib.suppress(OSError):
            _, probe = await asyncio.open_connection("127.0.0.1", port)
            probe.close()
            break
        await asyncio.sleep(0.05)
    server = await asyncio.start_server(relay, sock=socket.socket(fileno=listener))
    sys.stdout.write(f"{process.pid}\n")
    sys.stdout.flush()
    starter = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    ended = asyncio.create_task(process.wait())
    await asyncio.wait({starter, ended}, return_when=asyncio.FIRST_COMPLETED)
    server.close()
    if not ended.done():
        process.send_signal(signal.SIGTERM)
        await ended
    if not starter.done():
        # The thread that reads standard input cannot be ended otherwise.
        sys.stdout.flush()
        signal.raise_signal(signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
