"""The bus of SDSS: commands to actors over RabbitMQ by sdss-clu, with the guarantees that a run needs.

sdss-clu itself waits for ever when a command has no `time_limit` and the actor's answer never comes: the actor died,
the broker died (the library reconnects, the command is forgotten), or the answer was outside the actor's own schema
and was dropped. Here every command has a limit, a lost broker fails every pending command at once, and an answer that
cannot be read, or that the actor's schema refused, ends its command. Facts about sdss-clu: version 2.6.

Who logs in comes from the environment: CALIBRANT_AMQP_USER and CALIBRANT_AMQP_PASSWORD; RabbitMQ's default otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import os
import uuid
from typing import Any
from urllib.parse import quote

from calibrant.acquire.devices import DeviceLost, DeviceRefused, DeviceTimeout
from calibrant.errors import ParameterError

HEARTBEAT_S = 3
"""A broker that hangs is given up after about four of these; one that dies is noticed at once."""
RECONNECT_S = 1
CONNECT_S = 20.0
CLOSE_S = 5.0
GARBLED_S = 2.0
"""So long an actor may still finish a command after a reply that its own schema refused."""
USER, PASSWORD = "CALIBRANT_AMQP_USER", "CALIBRANT_AMQP_PASSWORD"
_SCHEMA_ERROR = "Failed validating the reply"
_NO_ACTOR = "Failed routing message to consumer"

Replies = list[dict[str, Any]]


def value(replies: Replies, key: str) -> Any:
    """The last value of a keyword; None where no reply has it."""
    return next((reply[key] for reply in reversed(replies) if key in reply), None)


class Pending:
    """A command under way."""

    def __init__(self, bus: Bus, actor: str, words: str, limit_s: float) -> None:
        self._bus, self.actor, self.words, self._limit_s = bus, actor, words, limit_s
        self.id = str(uuid.uuid4())
        self.started = asyncio.Event()
        """Set by the first reply: the actor has taken the command up."""
        self.replies: Replies = []
        self._garbled = ""
        self._command: Any = None

    async def send(self) -> None:
        """Hand it to the broker. DeviceLost where there is none."""
        sending = self._bus.client.send_command(
            self.actor,
            self.words,
            command_id=self.id,
            await_command=False,
            time_limit=self._limit_s,
            reply_callback=self._heard,
        )
        task = asyncio.ensure_future(sending)
        try:
            await self._or_lost(task)
        except BaseException:
            task.cancel()
            self.forget()
            raise
        try:
            self._command = task.result()
        except Exception as error:
            self.forget()
            raise self._bus.lost(f"{self._text}: {_first_line(error)}") from error

    async def result(self) -> Replies:
        """What the actor answered. DeviceRefused where the command failed, DeviceTimeout, DeviceLost."""
        try:
            await self._or_lost(self._command)
        finally:
            self.forget()
        status = self._command.status
        if status.did_succeed:
            return self.replies
        error = value(self.replies, "error")
        if isinstance(error, str) and error.startswith(_NO_ACTOR):
            raise DeviceLost(f"{self.actor}: no such actor on {self._bus.where}; is it running?")
        if self._garbled:
            raise DeviceRefused(f"{self._text}: the answer is outside the actor's own schema: {self._garbled}")
        if status.name == "TIMEDOUT":
            raise DeviceTimeout(f"{self._text}: no end within {self._limit_s:.3g} s")
        raise DeviceRefused(f"{self._text} failed: {_first_line(error) if error else 'the actor does not say why'}")

    async def begun(self) -> None:
        """Until the actor has taken it up, or it has ended."""
        first = asyncio.ensure_future(self.started.wait())
        try:
            await self._or_lost(self._command, first)
        finally:
            first.cancel()
        if self._command.done() and not self._command.status.did_succeed:
            await self.result()

    def forget(self) -> None:
        """Replies that come now are nobody's."""
        self._bus.pending.pop(self.id, None)
        command = self._bus.client.running_commands.pop(self.id, None)
        if command is not None and not command.done():
            command.cancel()

    def garble(self, what: str) -> None:
        """A reply could not be read: the end of this command may have been in it."""
        self._garbled = what
        asyncio.get_running_loop().call_later(GARBLED_S, self._give_up)

    @property
    def _text(self) -> str:
        return f"{self.actor} {self.words.split(' --header')[0]}"

    def _heard(self, reply: Any) -> None:
        self.started.set()
        if not isinstance(reply.body, dict):
            self.garble(f"a reply is {type(reply.body).__name__}, expected an object")
            return
        self.replies.append(reply.body)
        error = reply.body.get("error")
        if reply.message_code == "e" and isinstance(error, str) and error.startswith(_SCHEMA_ERROR):
            self.garble(error)

    def _give_up(self) -> None:
        if self._command is not None and not self._command.done():
            self._command.set_status("FAILED", silent=True)

    async def _or_lost(self, *waiting: asyncio.Future[Any]) -> None:
        """Until one of these is done. The limit is sdss-clu's own; one second more is for a library that forgets."""
        gone = self._bus.gone
        await asyncio.wait({*waiting, gone}, timeout=self._limit_s + 1, return_when=asyncio.FIRST_COMPLETED)
        if any(future.done() for future in waiting):
            return
        if gone.done():
            raise self._bus.lost(f"{self._text} was under way")
        raise DeviceTimeout(f"{self._text}: no answer within {self._limit_s:.3g} s")


class Bus:
    """One connection to the broker, shared by all devices of an observatory."""

    def __init__(self, client: Any, where: str) -> None:
        self.client, self.where = client, where
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done while there is no connection."""
        self.pending: dict[str, Pending] = {}
        client.on_unreadable = self._unreadable
        connection = client.connection.connection
        connection.close_callbacks.add(self._closed)
        connection.reconnect_callbacks.add(self._back)

    @classmethod
    async def open(cls, host: str, port: int, virtual_host: str = "/") -> Bus:
        """Connect. DeviceLost where no broker answers, DeviceRefused where it does not let us in."""
        user, password = os.environ.get(USER, "guest"), os.environ.get(PASSWORD, "guest")
        url = (
            f"amqp://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{port}/{quote(virtual_host, safe='')}"
            f"?heartbeat={HEARTBEAT_S}&reconnect_interval={RECONNECT_S}"
        )
        where = f"{host}:{port}"
        try:
            client = _client(url)
        except ModuleNotFoundError as missing:
            text = f"driver clu: Python module {missing.name} is not installed; pip install 'calibrant[amqp]'"
            raise ParameterError(text) from missing
        loop = asyncio.get_running_loop()
        handler = loop.get_exception_handler()
        try:
            async with asyncio.timeout(CONNECT_S):
                await client.start()
        except TimeoutError:
            raise DeviceLost(f"RabbitMQ at {where}: no answer within {CONNECT_S:g} s") from None
        except Exception as error:
            await _stop(client)
            # The library's own words may show the address with the password.
            if "Authentication" in f"{error!r} {error.__context__!r}":
                raise DeviceRefused(f"RabbitMQ at {where} does not let us in; set {USER} and {PASSWORD}") from None
            why = type(error).__name__
            raise DeviceLost(f"RabbitMQ at {where} cannot be reached ({why}); is it running?") from None
        finally:
            # sdss-clu puts its own in the place of the program's.
            loop.set_exception_handler(handler)
        return cls(client, where)

    async def start(self, actor: str, words: str, limit_s: float) -> Pending:
        """Send a command that takes long; `limit_s` in real seconds."""
        if self.gone.done():
            raise self.lost(f"{actor} {words.split(' --header')[0]} was not sent")
        pending = Pending(self, actor, words, limit_s)
        self.pending[pending.id] = pending
        await pending.send()
        return pending

    async def ask(self, actor: str, words: str, limit_s: float) -> Replies:
        """Send a command and wait for its end; `limit_s` in real seconds."""
        pending = await self.start(actor, words, limit_s)
        return await pending.result()

    async def close(self) -> None:
        """Let the connection go, whatever state it is in."""
        await _stop(self.client)

    def lost(self, what: str) -> DeviceLost:
        return DeviceLost(f"the connection to RabbitMQ at {self.where} is gone: {what}")

    def describe(self) -> dict[str, Any]:
        return {"driver": "clu", "version": importlib.metadata.version("sdss-clu"), "broker": self.where}

    def _closed(self, *_: Any) -> None:
        if not self.gone.done():
            self.gone.set_result(None)

    def _back(self, *_: Any) -> None:
        """The library has connected again: new commands may be sent; those under way are lost."""
        self.gone = asyncio.get_running_loop().create_future()

    def _unreadable(self, command_id: str | None, error: Exception) -> None:
        if command_id in self.pending:
            self.pending[command_id].garble(_first_line(error))


def _client(url: str) -> Any:
    """sdss-clu's client, without what it does to the process (hooks, warnings, output) and with a net under it."""
    from clu.client import AMQPClient
    from sdsstools.logger import get_logger

    for library in ("aio_pika", "aiormq"):
        # What they have to say is for programs that log; without a handler Python would print it.
        logging.getLogger(library).addHandler(logging.NullHandler())
    name = f"calibrant-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    log = get_logger(name, capture_warnings=False, capture_exceptions=False)
    log.propagate = False

    class Client(AMQPClient):
        on_unreadable: Any = None

        async def handle_reply(self, message: Any) -> Any:
            try:
                return await super().handle_reply(message)
            except Exception as error:
                # Unacknowledged, it would block all replies after it.
                with contextlib.suppress(Exception):
                    await message.ack()
                if self.on_unreadable is not None:
                    self.on_unreadable(message.correlation_id, error)
                return None

    client = Client(name, url=url, log=log)
    log.sh.setLevel(logging.CRITICAL)
    return client


async def _stop(client: Any) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(CLOSE_S):
            await client.stop()


def _first_line(error: Any) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
