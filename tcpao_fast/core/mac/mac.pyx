"""Stage `mac`: many messages at once through the chosen kernels.  Owns the C kernels.

Other modules reach the kernels through this one: each copy of the C code would have its own
dispatch state.
"""

import os

cimport cython
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

import numpy as np

from tcpao_fast.core.wire.records cimport Records
from tcpao_fast.core.mac.kernels cimport (
    TCPAO_AES_CMAC,
    TCPAO_KERNEL_COUNT,
    TCPAO_KMAC256,
    TCPAO_MAX_KERNELS,
    TCPAO_MD5,
    tcpao_algorithm_name,
    tcpao_burn_stack,
    tcpao_kernel,
    tcpao_kernel_active,
    tcpao_kernel_for_few,
    tcpao_kernels_available,
    tcpao_kernels_force,
    tcpao_kernels_rank,
    tcpao_kernels_timings,
    tcpao_mac,
    tcpao_message,
    tcpao_now,
    tcpao_prepared_length,
    tcpao_timing,
    tcpao_wipe,
)
from tcpao_fast.core.mac.messages cimport DIGEST, PRIMITIVE_LIBRARY, MAX_SUFFIX, SCRATCH, lay_batch, layout

from tcpao_fast.core.mac.algorithms import find
from tcpao_fast.core.wire.records import as_column
from tcpao_fast.errors import InvalidArgumentError

cdef enum:
    MOST_BLOCKS = 1024    # longer messages are sorted as if they had so many blocks
    # messages laid out at a time: their scratch stays in the cache, and is too small to be mapped
    # and paged in anew by every call
    CHUNK = 256

cdef size_t prepared_length(int primitive) noexcept nogil:
    """Bytes of a prepared key."""
    return 64 if primitive == PRIMITIVE_LIBRARY else tcpao_prepared_length(primitive)


cdef void prepare(int primitive, const uint8_t *raw, size_t raw_length, size_t count,
                  uint8_t *prepared) noexcept nogil:
    """Prepare `count` raw keys of a compiled kernel, one behind the other."""
    tcpao_kernel_active(primitive).prepare(raw, raw_length, count, prepared)


cdef void mac_one(int primitive, const tcpao_message *message) noexcept nogil:
    tcpao_mac(primitive, &message, 1)


cdef void burn_stack(int primitive) noexcept nogil:
    """Overwrite what a kernel left on the stack, once a call.  AES's first round key is the traffic
    key, and Keccak can be run backwards; of HMAC's midstates none can be had back."""
    if primitive == TCPAO_AES_CMAC or primitive == TCPAO_KMAC256:
        tcpao_burn_stack()


cdef void wipe(void *memory, size_t length) noexcept nogil:
    if memory != NULL:
        tcpao_wipe(memory, length)


@cython.final
cdef class Scheduler:
    """Orders a batch by block count, so that the lanes of a kernel end together."""

    def __dealloc__(self):
        free(self.order)

    cdef int reserve(self, Py_ssize_t count) except -1:
        if count > self.capacity:
            free(self.order)
            self.capacity = 0
            self.order = <const tcpao_message **>malloc(count * sizeof(tcpao_message *))
            if self.order == NULL:
                raise MemoryError()
            self.capacity = count
        return 0

    cdef void run(self, int primitive, const tcpao_message *messages, Py_ssize_t count) noexcept nogil:
        """The MACs of `count` messages of one kernel (a counting sort, longest first)."""
        cdef uint32_t starts[MOST_BLOCKS + 1]
        cdef uint32_t blocks, at = 0, some, most = 0, least = MOST_BLOCKS
        cdef Py_ssize_t i
        for i in range(count):
            blocks = sort_key(&messages[i])
            most = max(most, blocks)
            least = min(least, blocks)
        if least >= most:                    # alike, as bare ACKs are
            for i in range(count):
                self.order[i] = &messages[i]
        else:
            memset(&starts[least], 0, (most + 1 - least) * sizeof(uint32_t))
            for i in range(count):
                starts[sort_key(&messages[i])] += 1
            for i in range(most, <Py_ssize_t>least - 1, -1):
                some = starts[i]
                starts[i] = at
                at += some
            for i in range(count):
                blocks = sort_key(&messages[i])
                self.order[starts[blocks]] = &messages[i]
                starts[blocks] += 1
        tcpao_mac(primitive, self.order, count)


cdef inline uint32_t sort_key(const tcpao_message *message) noexcept nogil:
    cdef uint32_t blocks = message.blocks[0] + message.blocks[1] + message.blocks[2]
    return blocks if blocks < MOST_BLOCKS else MOST_BLOCKS


def available():
    """As `kernels`, without asking whether ``TCPAO_FAST_KERNELS`` is right."""
    cdef const tcpao_kernel *found[TCPAO_MAX_KERNELS]
    cdef size_t count, i
    cdef int algorithm
    table = {}
    for algorithm in range(TCPAO_KERNEL_COUNT):
        count = tcpao_kernels_available(algorithm, found)
        table[tcpao_algorithm_name(algorithm).decode()] = [found[i].name.decode() for i in range(count)]
    return table


def kernels():
    """The kernels that this CPU can run, quickest first, for each MAC.

    Which is quickest was measured when the package was imported: `kernel_timings`.

    Returns
    -------
    dict of str to list of str
        The first of each list is in use, unless the environment variable ``TCPAO_FAST_KERNELS``
        named another when the package was imported (``portable`` is always there).

    Raises
    ------
    InvalidArgumentError
        ``TCPAO_FAST_KERNELS`` names a kernel that this CPU cannot run.
    """
    require_kernels()
    return available()


def active_kernels():
    """The kernel in use for each MAC: dict of str to str."""
    cdef int algorithm
    return {
        tcpao_algorithm_name(algorithm).decode(): tcpao_kernel_active(algorithm).name.decode()
        for algorithm in range(TCPAO_KERNEL_COUNT)
    }


def kernel_timings():
    """What the kernels were chosen by, in the order of `kernels`.

    Returns
    -------
    dict of str to list of dict
        For each MAC and kernel ``kernel`` (its name), ``lanes`` (messages side by side), ``use``
        ("all"; "rest" for the fewer than ``least`` messages that do not fill the lanes of the former;
        None), ``least``, and nanoseconds a message as timed when the package was imported:
        ``brief_ns`` (128 bytes with padding, as of a bare ACK), ``full_ns`` (1,536 bytes, as of a full
        segment), both among 32, and ``alone_ns`` (a brief one alone).  None where it was not timed:
        where ``TCPAO_FAST_KERNELS`` named a kernel, of the portable one, and where there is no choice.
    """
    cdef const tcpao_kernel *found[TCPAO_MAX_KERNELS]
    cdef const tcpao_kernel *few
    cdef const tcpao_timing *timing
    cdef uint32_t least
    cdef size_t i
    cdef int algorithm
    table = {}
    for algorithm in range(TCPAO_KERNEL_COUNT):
        few = tcpao_kernel_for_few(algorithm, &least)
        timing = tcpao_kernels_timings(algorithm)
        rows = table[tcpao_algorithm_name(algorithm).decode()] = []
        for i in range(tcpao_kernels_available(algorithm, found)):
            timed = timing[i].brief > 0
            use = "all" if found[i] == tcpao_kernel_active(algorithm) else (
                "rest" if found[i] == few else None)
            rows.append({
                "kernel": found[i].name.decode(),
                "lanes": found[i].lanes,
                "use": use,
                "least": least if use == "rest" else None,
                "brief_ns": round(timing[i].brief, 1) if timed else None,
                "full_ns": round(timing[i].full, 1) if timed else None,
                "alone_ns": round(timing[i].alone, 1) if timed else None,
            })
    return table


cdef uint64_t clock() noexcept nogil:
    return tcpao_now()


def force_kernels(name):
    """Use the kernel of that name wherever there is one; the empty string: the best of each.

    For tests; it concerns the whole process.

    Raises
    ------
    InvalidArgumentError
        No algorithm has a kernel of that name that this CPU can run.
    """
    if not tcpao_kernels_force(name.encode()):
        known = sorted({kernel for names in available().values() for kernel in names})
        raise InvalidArgumentError(
            f"TCPAO_FAST_KERNELS={name!r}: this CPU has no such kernel; it has {', '.join(known)}"
        )


cdef object misnamed = None

# a measurement, as the quickest kernel does not follow from what a CPU can do; 1 to 2 ms
if not os.environ.get("TCPAO_FAST_KERNELS"):
    tcpao_kernels_rank(clock)

try:
    force_kernels(os.environ.get("TCPAO_FAST_KERNELS", ""))
except InvalidArgumentError as error:
    misnamed = str(error)   # said at first use, where the caller can handle it; not by the import


def require_kernels():
    """Raise InvalidArgumentError if ``TCPAO_FAST_KERNELS`` names a kernel that is not here."""
    if misnamed is not None:
        raise InvalidArgumentError(misnamed)


cdef class TrafficKeys:
    """Traffic keys prepared for their MAC: midstates (HMAC), key and subkey (CMAC), a state (KMAC).

    Parameters
    ----------
    algorithm : str
    raw : uint8[n_keys, key_length]
        As `derive_traffic_keys` gives them. HMAC takes any key length (RFC 2104), AES-128-CMAC
        16 bytes, ``tcp-md5`` the keys themselves (up to 80 bytes).

    Raises
    ------
    UnknownAlgorithmError, InvalidArgumentError
    """

    def __cinit__(self, algorithm, raw):
        cdef const uint8_t[:, ::1] keys
        require_kernels()
        self.algorithm = find(algorithm)
        self.primitive = self.algorithm.primitive
        array = np.asarray(raw)
        if array.dtype != np.uint8 or array.ndim != 2:
            raise InvalidArgumentError(
                f"raw is {array.dtype} with {array.ndim} dimensions; it must be uint8[n_keys, key_length]"
            )
        keys = np.ascontiguousarray(array)
        self.count = keys.shape[0]
        self.raw_length = keys.shape[1]
        if self.primitive == TCPAO_AES_CMAC and self.raw_length != 16:
            raise InvalidArgumentError(
                f"raw has keys of {self.raw_length} bytes; AES-128-CMAC traffic keys have 16"
            )
        if self.algorithm.derive and not self.algorithm.name.startswith("hmac") and (
                self.raw_length != self.algorithm.traffic_key_length):
            raise InvalidArgumentError(
                f"raw has keys of {self.raw_length} bytes; {self.algorithm.name} traffic keys have "
                f"{self.algorithm.traffic_key_length}"
            )
        if self.primitive == TCPAO_MD5 and self.raw_length > MAX_SUFFIX:
            raise InvalidArgumentError(
                f"raw has keys of {self.raw_length} bytes; TCP-MD5 keys have at most {MAX_SUFFIX}"
            )
        self.stride = prepared_length(self.primitive)
        if self.primitive == TCPAO_MD5 or self.primitive == PRIMITIVE_LIBRARY:
            self.stride = self.raw_length
        self.prepared = <uint8_t *>calloc(max(1, self.count * <Py_ssize_t>self.stride), 1)
        if self.prepared == NULL:
            raise MemoryError()
        if self.count == 0 or self.raw_length == 0:
            return
        if self.primitive == TCPAO_MD5 or self.primitive == PRIMITIVE_LIBRARY:
            memcpy(self.prepared, &keys[0, 0], self.count * self.stride)
        else:
            prepare(self.primitive, &keys[0, 0], self.raw_length, self.count, self.prepared)
            burn_stack(self.primitive)

    def __dealloc__(self):
        wipe(self.prepared, self.count * self.stride)
        free(self.prepared)

    def __len__(self):
        return self.count

    def __repr__(self):
        return f"<{self.count} traffic keys for {self.algorithm.name}>"

    cdef int mac_into(self, Py_ssize_t index, uint8_t *scratch, size_t prefix_length,
                      const uint8_t *body, size_t body_length, uint8_t *out) except -1:
        """The MAC of one message under one key, to `out` (up to `DIGEST` bytes).

        `scratch` has `SCRATCH` bytes and begins with the message's first `prefix_length` ones; it is
        wiped."""
        cdef tcpao_message message
        cdef const uint8_t *key
        if index < 0 or index >= self.count:
            raise InvalidArgumentError(f"index is {index}; there are {self.count} keys")
        key = self.prepared + index * self.stride
        if self.primitive == PRIMITIVE_LIBRARY:
            digest = self.algorithm.mac(key[:self.stride],
                                        scratch[:prefix_length] + body[:body_length])
            memcpy(out, <const uint8_t *><bytes>digest, self.algorithm.digest_length)
            return 0
        with nogil:
            layout(self.primitive, key, scratch, prefix_length, body, body_length, key,
                   self.stride if self.primitive == TCPAO_MD5 else 0, out, &message)
            mac_one(self.primitive, &message)
            burn_stack(self.primitive)
            wipe(scratch, SCRATCH)      # the key was behind TCP-MD5's message
        return 0

    def mac(self, Py_ssize_t index, const uint8_t[::1] message not None):
        """The MAC of one message under one key.

        Parameters
        ----------
        index : int
            Which of the keys.
        message : buffer protocol, contiguous bytes

        Returns
        -------
        bytes
            Not truncated, as from `mac_batch`.

        Raises
        ------
        InvalidArgumentError
            There is no such key.
        """
        cdef uint8_t scratch[SCRATCH]
        cdef uint8_t mac[DIGEST]
        cdef const uint8_t *body = &message[0] if message.shape[0] else NULL
        self.mac_into(index, scratch, 0, body, message.shape[0], mac)
        return mac[:self.algorithm.digest_length]

    def __reduce__(self):
        raise TypeError("traffic keys are secrets; they are not pickled")


cdef as_matrix(out, Py_ssize_t rows, Py_ssize_t columns):
    """An array to write to as one of the base class (a subclass could lie about its shape), or an
    error."""
    kind = type(out).__name__
    if isinstance(out, np.ndarray):
        array = np.asarray(out)
        kind = f"{array.dtype}{list(array.shape)}"
        if array.dtype == np.uint8 and array.shape == (rows, columns):
            if array.flags.c_contiguous and array.flags.writeable:
                return array
            raise InvalidArgumentError("out must be contiguous and writable")
    raise InvalidArgumentError(f"out is {kind}; it must be uint8[{rows}, {columns}]")


def mac_batch(TrafficKeys traffic_keys not None, key_index, buffer, offsets, lengths, *, out=None):
    """MACs of many messages, each under its own key: the naked engine.

    Parameters
    ----------
    traffic_keys : TrafficKeys
    key_index : int32[n]
        The key of each message.
    buffer : buffer protocol, contiguous bytes
    offsets, lengths : int64[n] (lengths also int32[n])
        Where each message begins in `buffer` and how many bytes it has.
    out : uint8[n, digest_length], optional
        Contiguous and writable, not part of `buffer`: the MACs go there. Memory that is used again
        has been paged in.

    Returns
    -------
    uint8[n, digest_length]
        `out`, or a new array. Untruncated MACs: 20 bytes for HMAC-SHA-1, 16 for AES-128-CMAC, 32
        for HMAC-SHA-256, 64 for HMAC-SHA-512, 16 for KMAC256.

    Raises
    ------
    InvalidArgumentError
        A message outside the buffer, a key that is not there, wrong shapes or dtypes, also of
        `out`.
    """
    cdef Records records = Records(buffer, offsets, lengths)
    cdef const int32_t[::1] index = as_column("key_index", key_index, np.int32, records.count)
    cdef Py_ssize_t i, n, at, count = records.count
    cdef int digest_length = traffic_keys.algorithm.digest_length
    macs = (np.empty((count, digest_length), np.uint8) if out is None
            else as_matrix(out, count, digest_length))
    cdef uint8_t[:, ::1] to = macs
    for i in range(count):
        if index[i] < 0 or index[i] >= traffic_keys.count:
            raise InvalidArgumentError(
                f"key_index[{i}] is {index[i]}; there are {traffic_keys.count} keys"
            )
    if traffic_keys.primitive == PRIMITIVE_LIBRARY:
        for i in range(count):
            digest = traffic_keys.algorithm.mac(
                (traffic_keys.prepared + index[i] * traffic_keys.stride)[:traffic_keys.stride],
                records.start(i)[:records.length(i)],
            )
            memcpy(&to[i, 0], <const uint8_t *><bytes>digest, digest_length)
        return macs if out is None else out
    cdef Py_ssize_t chunk = min(count, <Py_ssize_t>CHUNK)
    cdef Scheduler scheduler = Scheduler()
    scheduler.reserve(chunk)
    cdef uint8_t *scratch = <uint8_t *>malloc(max(1, chunk) * SCRATCH)
    cdef tcpao_message *messages = <tcpao_message *>malloc(max(1, chunk) * sizeof(tcpao_message))
    try:
        if scratch == NULL or messages == NULL:
            raise MemoryError()
        with nogil:
            at = 0
            while at < count:
                n = min(chunk, count - at)
                lay_batch(traffic_keys.primitive, traffic_keys.prepared, traffic_keys.stride,
                          traffic_keys.count, &index[0], records, at, n, scratch, &to[0, 0],
                          digest_length, messages)
                scheduler.run(traffic_keys.primitive, messages, n)
                at += n
    finally:
        burn_stack(traffic_keys.primitive)
        if traffic_keys.primitive == TCPAO_MD5:      # keys were behind the messages
            wipe(scratch, max(1, chunk) * SCRATCH)
        free(scratch)
        free(messages)
    return macs if out is None else out
