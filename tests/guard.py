"""Memory that ends where a page begins that must not be touched: an over-read is a crash."""

import ctypes
import mmap

_libc = ctypes.CDLL(None, use_errno=True)


class GuardedPages:
    """`size` bytes (whole pages) before a page without access."""

    def __init__(self, pages=8):
        self.size = pages * mmap.PAGESIZE
        self.map = mmap.mmap(-1, self.size + mmap.PAGESIZE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        address = ctypes.c_void_p(start + self.size)
        if _libc.mprotect(address, ctypes.c_size_t(mmap.PAGESIZE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")

    def ending_with(self, data):
        """A view of `data` whose last byte is the last before the guard."""
        start = self.size - len(data)
        self.map[start : self.size] = data
        return memoryview(self.map)[start : self.size]
