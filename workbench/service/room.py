"""Room for bodies: how many bytes of them all requests together may hold in memory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from workbench.errors import QueueFullError
from workbench.service.admission import ClientGoneError

if TYPE_CHECKING:
    from workbench.service.policy import Policy

#: Seconds after which there is likely to be room for another body.
AGAIN_S = 2.0


class Room:
    """The room of a service; ``policy.held_bytes`` says how large it is."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.held_bytes = 0
        self._lock = threading.Lock()

    def share(self) -> Share:
        """Return what one request has of it: nothing yet."""
        return Share(self)

    def move(self, size_bytes: int) -> None:
        """Take so many bytes of it, or give back as many where the number is negative.

        Raises
        ------
        QueueFullError : there is not so much left; nothing is taken
        """
        most = self.policy.held_bytes
        with self._lock:
            wished = self.held_bytes + size_bytes
            if size_bytes > 0 and wished > most:
                raise QueueFullError(wished, most, AGAIN_S, in_bytes=True)
            self.held_bytes = wished


class Share:
    """What one request holds of a room, from any thread."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._lock = threading.Lock()
        self._held_bytes = 0
        self._closed = False

    def take(self, size_bytes: int) -> None:
        """Hold so many bytes more.

        Raises
        ------
        QueueFullError : there is no room for them
        ClientGoneError : the request has ended
        """
        with self._lock:
            if self._closed:
                raise ClientGoneError
            self._room.move(size_bytes)
            self._held_bytes += size_bytes

    def give(self, size_bytes: int) -> None:
        """Give back some of what is held."""
        with self._lock:
            if not self._closed:
                self._room.move(-size_bytes)
                self._held_bytes -= size_bytes

    def close(self) -> None:
        """Give back everything: the request has ended."""
        with self._lock:
            self._closed = True
            self._room.move(-self._held_bytes)
            self._held_bytes = 0
