"""Number that the workers of a node share."""

import mmap
import struct

# In native order, so that eight bytes are written at once: another process never reads half of a number.
_NUMBER = struct.Struct("@d")


class SharedNumber:
    """A number, 0 at first, which is shared with the processes that are forked later."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _NUMBER.size)  # anonymous memory, which forked processes share

    @property
    def value(self) -> float:
        """The number. Of two processes that set it at once, one wins."""
        return float(_NUMBER.unpack_from(self._memory)[0])

    @value.setter
    def value(self, number: float) -> None:
        _NUMBER.pack_into(self._memory, 0, number)
