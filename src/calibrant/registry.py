"""Registries: name -> class, explicit, ordered, greppable.

A duplicate name raises at import; an unknown name lists the choices and the nearest match.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from calibrant.errors import ParameterError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """An ordered mapping of names to members of one kind (`kind` is the word used in messages)."""

    def __init__(self, kind: str, members: tuple[T, ...], key: Callable[[T], str]) -> None:
        self.kind = kind
        self._members: dict[str, T] = {}
        for member in members:
            name = key(member)
            if name in self._members:
                raise ValueError(f"two {kind}s are called {name!r}")
            self._members[name] = member

    def __getitem__(self, name: str) -> T:
        try:
            return self._members[name]
        except KeyError:
            raise ParameterError(unknown(self.kind, name, tuple(self._members))) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members


def unknown(kind: str, name: str, choices: tuple[str, ...]) -> str:
    """The sentence for a name that is not among `choices`."""
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"there is no {kind} called {name!r}; known: {', '.join(choices)}.{hint}"
