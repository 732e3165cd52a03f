"""The same keys on real sockets: Linux's ``TCP_AO_*`` and ``TCP_MD5SIG`` socket options.

Names, arguments and errors are those of `Connection` and `Listener`, with the socket in front.
TCP-AO needs Linux 6.7 or later with ``CONFIG_TCP_AO``; TCP-MD5 is in almost every kernel.  The
structures are those of ``linux/tcp.h``.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import socket
import struct
import sys
import warnings
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING

from tcpao_fast.endpoint import AoInfo, KeyInfo, RepairState
from tcpao_fast.engine.counters import Counters, KeyCounters
from tcpao_fast.errors import (
    AlreadyConnectedError,
    EndpointError,
    InvalidRequestError,
    KernelSupportError,
    KeyExistsError,
    KeyInUseError,
    KeyRejectedError,
    MacTooLongError,
    NoSuchKeyError,
    RepairModeError,
)
from tcpao_fast.keys import MasterKey

if TYPE_CHECKING:
    from collections.abc import Iterator

Network = IPv4Network | IPv6Network

TCP_MD5SIG = 14
TCP_REPAIR = 19
TCP_MD5SIG_EXT = 32
TCP_AO_ADD_KEY = 38
TCP_AO_DEL_KEY = 39
TCP_AO_INFO = 40
TCP_AO_GET_KEYS = 41
TCP_AO_REPAIR = 42

MAX_KEY_LENGTH = 80

_KEYF_IFINDEX = 1
_KEYF_EXCLUDE_OPT = 2
_MD5SIG_FLAG_PREFIX = 1
_MD5SIG_FLAG_IFINDEX = 2

#: The names that Linux has for algorithms which are called otherwise here.
_LINUX_NAMES = {"hmac-sha-1-96": "hmac(sha1)", "aes-128-cmac-96": "cmac(aes128)"}
#: Algorithms of the IETF draft, with KDFs that Linux does not have.
_NOT_IN_LINUX = ("hmac-sha256-128", "kmac256-128")

_U8, _U16, _U32, _U64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64


class TcpAoAdd(ctypes.Structure):
    """``struct tcp_ao_add``."""

    _fields_ = (
        ("addr", _U8 * 128),
        ("alg_name", ctypes.c_char * 64),
        ("ifindex", ctypes.c_int32),
        ("set_current", _U32, 1),
        ("set_rnext", _U32, 1),
        ("reserved", _U32, 30),
        ("reserved2", _U16),
        ("prefix", _U8),
        ("sndid", _U8),
        ("rcvid", _U8),
        ("maclen", _U8),
        ("keyflags", _U8),
        ("keylen", _U8),
        ("key", _U8 * MAX_KEY_LENGTH),
    )


class TcpAoDel(ctypes.Structure):
    """``struct tcp_ao_del``."""

    _fields_ = (
        ("addr", _U8 * 128),
        ("ifindex", ctypes.c_int32),
        ("set_current", _U32, 1),
        ("set_rnext", _U32, 1),
        ("del_async", _U32, 1),
        ("reserved", _U32, 29),
        ("reserved2", _U16),
        ("prefix", _U8),
        ("sndid", _U8),
        ("rcvid", _U8),
        ("current_key", _U8),
        ("rnext", _U8),
        ("keyflags", _U8),
    )


class TcpAoInfoOpt(ctypes.Structure):
    """``struct tcp_ao_info_opt``."""

    _fields_ = (
        ("set_current", _U32, 1),
        ("set_rnext", _U32, 1),
        ("ao_required", _U32, 1),
        ("set_counters", _U32, 1),
        ("accept_icmps", _U32, 1),
        ("reserved", _U32, 27),
        ("reserved2", _U16),
        ("current_key", _U8),
        ("rnext", _U8),
        ("pkt_good", _U64),
        ("pkt_bad", _U64),
        ("pkt_key_not_found", _U64),
        ("pkt_ao_required", _U64),
        ("pkt_dropped_icmp", _U64),
    )


class TcpAoGetsockopt(ctypes.Structure):
    """``struct tcp_ao_getsockopt``."""

    _fields_ = (
        ("addr", _U8 * 128),
        ("alg_name", ctypes.c_char * 64),
        ("key", _U8 * MAX_KEY_LENGTH),
        ("nkeys", _U32),
        ("is_current", _U16, 1),
        ("is_rnext", _U16, 1),
        ("get_all", _U16, 1),
        ("reserved", _U16, 13),
        ("sndid", _U8),
        ("rcvid", _U8),
        ("prefix", _U8),
        ("maclen", _U8),
        ("keyflags", _U8),
        ("keylen", _U8),
        ("ifindex", ctypes.c_int32),
        ("pkt_good", _U64),
        ("pkt_bad", _U64),
    )


class TcpAoRepair(ctypes.Structure):
    """``struct tcp_ao_repair``: ISNs big endian, SNEs native."""

    _fields_ = (
        ("snt_isn", _U8 * 4),
        ("rcv_isn", _U8 * 4),
        ("snd_sne", _U32),
        ("rcv_sne", _U32),
    )


class TcpMd5Sig(ctypes.Structure):
    """``struct tcp_md5sig``."""

    _fields_ = (
        ("tcpm_addr", _U8 * 128),
        ("tcpm_flags", _U8),
        ("tcpm_prefixlen", _U8),
        ("tcpm_keylen", _U16),
        ("tcpm_ifindex", ctypes.c_int),
        ("tcpm_key", _U8 * MAX_KEY_LENGTH),
    )


_ERRORS: dict[int, type[EndpointError]] = {
    errno.ENOENT: NoSuchKeyError,
    errno.EEXIST: KeyExistsError,
    errno.EBUSY: KeyInUseError,
    errno.EINVAL: InvalidRequestError,
    errno.EMSGSIZE: MacTooLongError,
    errno.EISCONN: AlreadyConnectedError,
    errno.EPERM: RepairModeError,
    getattr(errno, "EKEYREJECTED", 129): KeyRejectedError,
}


_SO_PROTOCOL, _IPPROTO_MPTCP = 38, 262


@contextmanager
def _kernel(call: str, what: str, sock: socket.socket) -> Iterator[None]:
    """Turn the kernel's refusal into the error that an endpoint here would raise."""
    if not sys.platform.startswith("linux"):
        raise KernelSupportError(f"{call}: this is {platform.system()}; {what} needs Linux")
    try:
        yield
    except OSError as error:
        if isinstance(error, EndpointError):
            raise
        if error.errno in (errno.ENOPROTOOPT, errno.EOPNOTSUPP) and _is_mptcp(sock):
            raise KernelSupportError(
                f"{call}: the socket is MPTCP, which has no {what}: use a TCP socket"
            ) from None
        if error.errno == errno.ENOPROTOOPT:
            needs = (
                "Linux 6.7 or later with CONFIG_TCP_AO" if what == "TCP-AO" else "CONFIG_TCP_MD5SIG"
            )
            raise KernelSupportError(
                f"{call}: this kernel (Linux {platform.release()}) has no {what}; it needs {needs}"
            ) from None
        kind = _ERRORS.get(error.errno or 0, EndpointError)
        raise kind(f"{call}: {error.strerror}", error.errno) from None


def _is_mptcp(sock: socket.socket) -> bool:
    """Whether a socket speaks Multipath TCP (RFC 8684)."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, _SO_PROTOCOL) == _IPPROTO_MPTCP
    except OSError:
        return False


def has_tcp_ao() -> bool:
    """Whether this host's kernel has TCP-AO."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            info(probe)
    except NoSuchKeyError:
        return True
    except (KernelSupportError, OSError):
        return False
    return True


def _is_dual_stack(sock: socket.socket) -> bool:
    """Whether a socket is for IPv6 and IPv4, and for any address of its own."""
    if sock.family != socket.AF_INET6:
        return False
    only = sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    return not only and sock.getsockname()[0] == "::"


def add_key(
    sock: socket.socket, key: MasterKey, *, set_current: bool = False, set_rnext: bool = False
) -> None:
    """Add an MKT or a TCP-MD5 key to a socket (``TCP_AO_ADD_KEY``, ``TCP_MD5SIG``).

    `key.local` is not Linux's to match: the socket's own address takes its place.

    Parameters
    ----------
    sock : socket.socket
        TCP, over IPv4 or IPv6.
    key : MasterKey
    set_current, set_rnext : bool

    Raises
    ------
    KernelSupportError (ENOPROTOOPT)
        The kernel has none of it.
    InvalidRequestError (EINVAL)
        The key has what Linux does not: ports, lifetimes, NAT flags, a secret over 80 bytes, an IP
        version that the socket cannot have; or the kernel refuses it.
    NoSuchKeyError (ENOENT)
        An algorithm that the kernel does not have.
    EndpointError
        Whatever else the kernel says, with its errno.

    Warns
    -----
    UserWarning
        A key without an address on an IPv6 socket that takes IPv4 peers, too.
    """
    _check(key)
    if key.is_tcp_md5:
        if set_current or set_rnext:
            raise InvalidRequestError("a TCP-MD5 key is never current_key or rnext_key")
        _set_md5(sock, key, key.secret)
        return
    if key.algorithm in _NOT_IN_LINUX:
        raise NoSuchKeyError(f"Linux has no {key.algorithm}: its KDF is the IETF draft's")
    if key.remote is None and _is_dual_stack(sock):
        warnings.warn(
            f"key {key.label} names no address: on an IPv6 socket it is for IPv6 peers alone, and "
            "IPv4 peers may be unsigned (require TCP-AO, or set IPV6_V6ONLY)",
            stacklevel=2,
        )
    option = TcpAoAdd()
    option.addr[:], option.prefix = _address(sock, key)
    option.alg_name = _LINUX_NAMES.get(key.algorithm, key.algorithm).encode()
    option.ifindex = _interface(key)
    option.set_current, option.set_rnext = set_current, set_rnext
    option.sndid, option.rcvid = key.send_id, key.recv_id
    option.maclen = key.mac_length
    option.keyflags = _key_flags(key) | (_KEYF_EXCLUDE_OPT if key.exclude_options else 0)
    option.keylen = len(key.secret)
    option.key[: len(key.secret)] = key.secret
    try:
        with _kernel("TCP_AO_ADD_KEY", "TCP-AO", sock):
            sock.setsockopt(socket.IPPROTO_TCP, TCP_AO_ADD_KEY, memoryview(option).cast("B"))
    finally:
        ctypes.memset(ctypes.byref(option), 0, ctypes.sizeof(option))


def delete_key(
    sock: socket.socket,
    key: MasterKey,
    *,
    current: int | None = None,
    rnext: int | None = None,
    asynchronous: bool = False,
) -> None:
    """Delete the key with the IDs, the peer and the VRF of `key` (``TCP_AO_DEL_KEY``), or the
    TCP-MD5 key with that peer and VRF.

    Parameters
    ----------
    sock : socket.socket
    key : MasterKey
    current, rnext : int, optional
        SendID and RecvID of the keys that take its place.
    asynchronous : bool
        Not to wait until nobody uses it; for listening sockets.

    Raises
    ------
    EndpointError
        What the kernel says, as the error that `Connection.delete_key` raises for it.
    """
    if key.is_tcp_md5:
        _set_md5(sock, key, b"")
        return
    option = TcpAoDel()
    option.addr[:], option.prefix = _address(sock, key)
    option.ifindex = _interface(key)
    option.sndid, option.rcvid = key.send_id, key.recv_id
    option.keyflags = _key_flags(key)
    option.del_async = asynchronous
    option.set_current, option.current_key = current is not None, _id("current", current)
    option.set_rnext, option.rnext = rnext is not None, _id("rnext", rnext)
    with _kernel("TCP_AO_DEL_KEY", "TCP-AO", sock):
        sock.setsockopt(socket.IPPROTO_TCP, TCP_AO_DEL_KEY, memoryview(option).cast("B"))


def info(sock: socket.socket) -> AoInfo:
    """Current and next key, flags and counters of a socket (``TCP_AO_INFO``).

    Raises
    ------
    NoSuchKeyError (ENOENT)
        There is no TCP-AO on the socket.
    KernelSupportError (ENOPROTOOPT)
    """
    option = TcpAoInfoOpt.from_buffer_copy(_get(sock, TCP_AO_INFO, TcpAoInfoOpt()))
    return AoInfo(
        option.current_key if option.set_current else None,
        option.rnext if option.set_rnext else None,
        bool(option.ao_required),
        bool(option.accept_icmps),
        Counters(
            option.pkt_good,
            option.pkt_bad,
            option.pkt_key_not_found,
            option.pkt_ao_required,
            option.pkt_dropped_icmp,
        ),
    )


def set_info(
    sock: socket.socket,
    *,
    current: int | None = None,
    rnext: int | None = None,
    ao_required: bool | None = None,
    accept_icmps: bool | None = None,
    counters: Counters | None = None,
) -> None:
    """Choose keys, set flags and counters of a socket (``TCP_AO_INFO``).

    What is not given stays: the kernel always overwrites both flags, so they are read first.

    Raises
    ------
    EndpointError
        What the kernel says, as the error that `Connection.set_info` raises for it.
    """
    if ao_required is None or accept_icmps is None:
        try:
            known = info(sock)
        except NoSuchKeyError:
            known = AoInfo(None, None, False, False, Counters())
        ao_required = known.ao_required if ao_required is None else ao_required
        accept_icmps = known.accept_icmps if accept_icmps is None else accept_icmps
    option = TcpAoInfoOpt()
    option.set_current, option.current_key = current is not None, _id("current", current)
    option.set_rnext, option.rnext = rnext is not None, _id("rnext", rnext)
    option.ao_required, option.accept_icmps = ao_required, accept_icmps
    if counters is not None:
        option.set_counters = 1
        option.pkt_good, option.pkt_bad = counters.good, counters.bad
        option.pkt_key_not_found = counters.key_not_found
        option.pkt_ao_required = counters.ao_required
        option.pkt_dropped_icmp = counters.dropped_icmp
    with _kernel("TCP_AO_INFO", "TCP-AO", sock):
        sock.setsockopt(socket.IPPROTO_TCP, TCP_AO_INFO, memoryview(option).cast("B"))


def get_keys(
    sock: socket.socket, *, is_current: bool = False, is_rnext: bool = False
) -> list[KeyInfo]:
    """The MKTs of a socket (``TCP_AO_GET_KEYS``): all, or the current and the next one.

    Linux up to 6.12 gives ``cmac(aes128)`` keys of other lengths than 16 bytes back as
    ``cmac(aes)``, with the key that it derived: the same MACs, under another name here too.

    Raises
    ------
    EndpointError
        What the kernel says, as the error that `Connection.get_keys` raises for it.
    """
    room = 16
    size = ctypes.sizeof(TcpAoGetsockopt)
    while True:
        options = (TcpAoGetsockopt * room)()
        options[0].nkeys = room
        options[0].get_all = not (is_current or is_rnext)
        options[0].is_current, options[0].is_rnext = is_current, is_rnext
        with _kernel("TCP_AO_GET_KEYS", "TCP-AO", sock):
            _getsockopt(sock, TCP_AO_GET_KEYS, options, size)
        if options[0].nkeys <= room:
            return [_key_info(option) for option in options[: options[0].nkeys]]
        room = options[0].nkeys


def repair_state(sock: socket.socket) -> RepairState:
    """ISNs and SNEs of a socket in repair mode (``TCP_AO_REPAIR``).

    Raises
    ------
    RepairModeError (EPERM)
        The socket is not in repair mode (``TCP_REPAIR``, which needs ``CAP_NET_ADMIN``).
    NoSuchKeyError (ENOENT)
        There is no TCP-AO on the socket.
    """
    option = TcpAoRepair.from_buffer_copy(_get(sock, TCP_AO_REPAIR, TcpAoRepair()))
    return RepairState(
        int.from_bytes(bytes(option.snt_isn), "big"),
        int.from_bytes(bytes(option.rcv_isn), "big"),
        option.snd_sne,
        option.rcv_sne,
    )


def repair(sock: socket.socket, state: RepairState) -> None:
    """Set ISNs and SNEs of a socket in repair mode; the kernel derives its traffic keys again.

    Raises
    ------
    RepairModeError (EPERM), NoSuchKeyError (ENOENT)
        As for `repair_state`.
    """
    option = TcpAoRepair()
    option.snt_isn[:] = state.snt_isn.to_bytes(4, "big")
    option.rcv_isn[:] = state.rcv_isn.to_bytes(4, "big")
    option.snd_sne, option.rcv_sne = state.snd_sne, state.rcv_sne
    with _kernel("TCP_AO_REPAIR", "TCP-AO", sock):
        sock.setsockopt(socket.IPPROTO_TCP, TCP_AO_REPAIR, memoryview(option).cast("B"))


def _check(key: MasterKey) -> None:
    """Refuse what Linux cannot keep, rather than to leave it out."""
    lacks = [
        what
        for what, there in (
            ("ports", key.local_port or key.remote_port),
            ("lifetimes", key.send_lifetime or key.accept_lifetime),
            ("NAT flags", key.local_nat or key.remote_nat),
            ("a VRF by name", isinstance(key.vrf, str)),
        )
        if there
    ]
    if lacks:
        raise InvalidRequestError(f"key {key.label} has {' and '.join(lacks)}, Linux's have not")
    if len(key.secret) > MAX_KEY_LENGTH:
        raise InvalidRequestError(
            f"the secret of key {key.label} has {len(key.secret)} bytes; Linux takes "
            f"{MAX_KEY_LENGTH}"
        )


def _id(name: str, value: int | None) -> int:
    if value is not None and not 0 <= value <= 255:
        raise InvalidRequestError(f"{name} is {value!r}; an ID is 0 to 255")
    return value or 0


def _interface(key: MasterKey) -> int:
    """The number of the VRF's interface; a name was refused."""
    return key.vrf if isinstance(key.vrf, int) else 0


def _key_flags(key: MasterKey) -> int:
    return 0 if key.vrf is None else _KEYF_IFINDEX


def _address(sock: socket.socket, key: MasterKey) -> tuple[bytes, int]:
    """The peer of a key as ``sockaddr_storage`` and prefix length."""
    network = key.remote if isinstance(key.remote, Network) else None
    prefix = 0 if network is None else network.prefixlen
    if sock.family == socket.AF_INET:
        if network is not None and network.version != 4:
            raise InvalidRequestError(f"the key is for {network}, the socket for IPv4")
        packed = bytes(4) if network is None else network.network_address.packed
        address = struct.pack("=HH", socket.AF_INET, 0) + packed
    elif sock.family == socket.AF_INET6:
        packed = bytes(16) if network is None else network.network_address.packed
        if len(packed) == 4:
            packed = bytes(10) + b"\xff\xff" + packed
        address = struct.pack("=HHI", socket.AF_INET6, 0, 0) + packed
    else:
        raise InvalidRequestError(f"the socket is for {sock.family!r}, not for IP")
    return address.ljust(128, b"\0"), prefix


def _set_md5(sock: socket.socket, key: MasterKey, secret: bytes) -> None:
    option = TcpMd5Sig()
    option.tcpm_addr[:], prefix = _address(sock, key)
    network = key.remote  # an IPv4 prefix has IPv4's length on an IPv6 socket, too
    whole = isinstance(network, Network) and prefix == network.max_prefixlen
    option.tcpm_keylen = len(secret)
    option.tcpm_key[: len(secret)] = secret
    name, number = "TCP_MD5SIG", TCP_MD5SIG
    if not whole or key.vrf is not None:
        name, number = "TCP_MD5SIG_EXT", TCP_MD5SIG_EXT
        option.tcpm_flags = _MD5SIG_FLAG_PREFIX
        option.tcpm_prefixlen = prefix
        if key.vrf is not None:
            option.tcpm_flags |= _MD5SIG_FLAG_IFINDEX
            option.tcpm_ifindex = _interface(key)
    try:
        with _kernel(name, "TCP-MD5", sock):
            sock.setsockopt(socket.IPPROTO_TCP, number, memoryview(option).cast("B"))
    finally:
        ctypes.memset(ctypes.byref(option), 0, ctypes.sizeof(option))


def _get(sock: socket.socket, number: int, option: ctypes.Structure) -> bytes:
    name = "TCP_AO_INFO" if number == TCP_AO_INFO else "TCP_AO_REPAIR"
    with _kernel(name, "TCP-AO", sock):
        _getsockopt(sock, number, option, ctypes.sizeof(option))
    return bytes(option)


def _getsockopt(
    sock: socket.socket,
    number: int,
    buffer: ctypes.Array[TcpAoGetsockopt] | ctypes.Structure,
    size: int,
) -> None:
    """getsockopt(2) with a buffer that the kernel reads too, which Python's own does not pass."""
    library = ctypes.CDLL(None, use_errno=True)
    length = ctypes.c_uint32(size)
    status = library.getsockopt(
        sock.fileno(), socket.IPPROTO_TCP, number, ctypes.byref(buffer), ctypes.byref(length)
    )
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, errno.errorcode.get(number, str(number)))


def _key_info(option: TcpAoGetsockopt) -> KeyInfo:
    raw = bytes(option.addr)
    family = struct.unpack_from("=H", raw)[0]
    address: IPv4Address | IPv6Address
    address = IPv4Address(raw[4:8]) if family == socket.AF_INET else IPv6Address(raw[8:24])
    remote: Network | None = ip_network((address, option.prefix))
    if option.prefix == 0 and address.is_unspecified:
        remote = None
    key = MasterKey(
        algorithm=option.alg_name.decode(),
        secret=bytes(option.key[: option.keylen]),
        send_id=option.sndid,
        recv_id=option.rcvid,
        remote=remote,
        mac_length=option.maclen,
        exclude_options=bool(option.keyflags & _KEYF_EXCLUDE_OPT),
        vrf=option.ifindex if option.keyflags & _KEYF_IFINDEX else None,
    )
    return KeyInfo(
        key,
        bool(option.is_current),
        bool(option.is_rnext),
        KeyCounters(option.pkt_good, option.pkt_bad),
    )
