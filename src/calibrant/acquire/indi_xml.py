"""INDI's XML (white paper, version 1.7): bytes in, messages out; values as their kinds say."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from calibrant.acquire.devices import DeviceRefused

KINDS = ("Text", "Number", "Switch", "Light", "BLOB")
_ELEMENTS = {f"{verb}{kind}" for verb in ("def", "one") for kind in KINDS}
BUFFER = 1 << 16
PIECE = 1 << 20
"""Of a BLOB, characters."""

Value = str | float | bool | bytes


@dataclass(frozen=True)
class Property:
    """A property of a device, as reported: all its elements, and the state (Idle, Ok, Busy, Alert)."""

    device: str
    name: str
    kind: str
    state: str
    values: Mapping[str, Value]
    """Text: str; Number: float; Switch: bool; Light: its state; BLOB: bytes, in the report that brings it only."""
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Of numbers: least and greatest; equal where there are none."""
    defined: bool = False
    """This report answers a question for the property; otherwise the device reported by itself."""
    message: str = ""
    formats: Mapping[str, str] = field(default_factory=dict)
    """Of BLOBs: what they are, '.fits'."""

    def number(self, element: str) -> float:
        value = self.values.get(element)
        if not isinstance(value, float):
            raise DeviceRefused(f"{self.device}: {self.name} has no number {element}; it has {', '.join(self.values)}")
        return value

    def on(self, element: str) -> bool:
        """Whether a switch is on. DeviceRefused where there is no such switch."""
        value = self.values.get(element)
        if not isinstance(value, bool):
            raise DeviceRefused(f"{self.device}: {self.name} has no switch {element}; it has {', '.join(self.values)}")
        return value


@dataclass
class Message:
    """One element of the stream with its children."""

    tag: str
    attributes: dict[str, str]
    elements: list[tuple[dict[str, str], str]] = field(default_factory=list)
    """Attributes and raw text of each child."""


class Parser:
    """Bytes in, in pieces of any size; complete messages out. The stream has no root element: one is put before it.

    Any bytes are taken as text (Latin-1, then UTF-8 where they are that): a driver's odd letter must not end a night.
    """

    def __init__(self) -> None:
        self._done: list[Message] = []
        self._message = Message("", {})
        self._attributes: dict[str, str] = {}
        self._text: list[str] = []
        self._depth = 0
        self._expat = expat.ParserCreate("iso-8859-1")
        self._expat.buffer_text = True
        self._expat.buffer_size = BUFFER
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.CharacterDataHandler = self._text.append
        self._expat.Parse(b"<indi>")

    def feed(self, content: bytes) -> list[Message]:
        """Messages that are complete now. Raises expat.ExpatError where this is not XML."""
        self._expat.Parse(content)
        done, self._done = self._done, []
        return done

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._text.clear()
        decoded = {key: _text(value) for key, value in attributes.items()}
        if self._depth == 2:
            self._message = Message(tag, decoded)
        elif self._depth == 3:
            self._attributes = decoded

    def _end(self, tag: str) -> None:
        self._depth -= 1
        if self._depth == 2 and tag in _ELEMENTS:
            self._message.elements.append((self._attributes, "".join(self._text)))
        elif self._depth == 1:
            self._done.append(self._message)
        self._text.clear()


def read_property(message: Message, known: Property | None) -> Property:
    """The property that a def...Vector or set...Vector reports; what a set...Vector leaves out is as it was `known`.

    Raises ValueError where a value is not what its kind says.
    """
    defined, kind = message.tag.startswith("def"), message.tag[3 : -len("Vector")]
    old = known if known is not None and not defined else None
    attributes = message.attributes
    values: dict[str, Value] = {} if old is None else dict(old.values)
    limits: dict[str, tuple[float, float]] = {} if old is None else dict(old.limits)
    for element, raw in message.elements:
        name = element.get("name", "")
        try:
            values[name] = b"" if defined and kind == "BLOB" else _decode(kind, element, raw)
            if kind == "Number" and defined:
                limits[name] = (number(element.get("min", "0")), number(element.get("max", "0")))
        except (ValueError, zlib.error) as error:
            raise ValueError(f"{attributes.get('name', '')}.{name}: {error}") from None
    return Property(
        device=attributes.get("device", ""),
        name=attributes.get("name", ""),
        kind=kind,
        state=attributes.get("state", old.state if old else "Idle"),
        values=values,
        limits=limits,
        defined=defined,
        message=attributes.get("message", ""),
        formats={element.get("name", ""): element.get("format", "") for element, _ in message.elements},
    )


def write_property(known: Property, values: Mapping[str, Value]) -> str:
    """The new...Vector that asks for these values.

    Raises DeviceRefused for elements that the property does not have and numbers beyond its limits.
    """
    for element, value in values.items():
        _check(known, element, value)
    body = "".join(
        f"<one{known.kind} name={quoteattr(element)}>{escape(_encode(value))}</one{known.kind}>"
        for element, value in values.items()
    )
    names = f"device={quoteattr(known.device)} name={quoteattr(known.name)}"
    return f"<new{known.kind}Vector {names}>{body}</new{known.kind}Vector>"


def get_properties(device: str = "", name: str = "") -> str:
    """The question for all properties, those of a device, or one."""
    wanted = "".join(f" {key}={quoteattr(value)}" for key, value in (("device", device), ("name", name)) if value)
    return f'<getProperties version="1.7"{wanted}/>'


def enable_blob(device: str, name: str) -> str:
    return f"<enableBLOB device={quoteattr(device)} name={quoteattr(name)}>Also</enableBLOB>"


def number(text: str) -> float:
    """A number as INDI writes it: decimal or sexagesimal (12:30:00, -0 30 36). ValueError for anything else."""
    parts = text.strip().replace(":", " ").replace(";", " ").split()
    if not 1 <= len(parts) <= 3:
        raise ValueError(f"{text.strip()!r} is not a number")
    if len(parts) == 1:
        return float(parts[0])
    size = sum(abs(float(part)) / 60**place for place, part in enumerate(parts))
    return -size if parts[0].startswith("-") else size


def _check(known: Property, element: str, value: Value) -> None:
    where = f"{known.device}: {known.name}.{element}"
    if element not in known.values:
        raise DeviceRefused(f"{where}: no such element; it has {', '.join(known.values)}")
    low, high = known.limits.get(element, (0.0, 0.0))
    if low < high and not low <= float(value) <= high:
        raise DeviceRefused(f"{where}: {value!r} is outside {low:g} ... {high:g}")


def _decode(kind: str, attributes: Mapping[str, str], raw: str) -> Value:
    if kind == "BLOB":
        return _decode_blob(attributes, raw)
    text = _text(raw).strip()
    if kind == "Number":
        return number(text)
    return text == "On" if kind == "Switch" else text


def _decode_blob(attributes: Mapping[str, str], raw: str) -> bytes:
    content = _unpack(raw)
    if attributes.get("format", "").endswith(".z"):
        content = zlib.decompress(content)
    size = int(attributes.get("size", len(content)))
    if len(content) != size:
        raise ValueError(f"{len(content)} bytes came, {size} were announced")
    return content


def _unpack(raw: str) -> bytes:
    """Base64 with white space, piece by piece: at one go, all other threads would stand still meanwhile."""
    parts, rest = [], b""
    for start in range(0, len(raw), PIECE):
        piece = rest + raw[start : start + PIECE].encode("ascii").translate(None, b" \t\r\n")
        whole = len(piece) // 4 * 4
        parts.append(base64.b64decode(piece[:whole], validate=True))
        rest = piece[whole:]
    if rest:
        raise ValueError(f"base64 ends within a group of four: {rest!r}")
    return b"".join(parts)


def _encode(value: Value) -> str:
    if isinstance(value, bool):
        return "On" if value else "Off"
    return value.decode() if isinstance(value, bytes) else str(value)


def _text(raw: str) -> str:
    try:
        return raw.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return raw
