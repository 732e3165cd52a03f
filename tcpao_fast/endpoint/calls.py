"""The calls on an endpoint's keys: what `setsockopt` and `getsockopt` do, and their errors."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from enum import Enum

from tcpao_fast.endpoint.keyring import KeyInfo, KeyRing, Network, SocketKey
from tcpao_fast.endpoint.uapi import AoInfo, State
from tcpao_fast.engine.counters import Counters, KeyCounters
from tcpao_fast.engine.policy import Policy
from tcpao_fast.errors import (
    AlreadyConnectedError,
    InvalidRequestError,
    KeyExistsError,
    KeyInUseError,
    KeyRejectedError,
    MacTooLongError,
    NoSuchKeyError,
    RepairModeError,
    UnknownAlgorithmError,
)
from tcpao_fast.keys import MasterKey
from tcpao_fast.keys.addresses import (
    Address,
    AddressAndPort,
    AddressLike,
    as_network,
    endpoint,
    networks_overlap,
)
from tcpao_fast.keys.master_key import has_algorithm_of


class _Unset(Enum):
    UNSET = 0


#: An argument that was not given, where None means something.
UNSET = _Unset.UNSET


#: A listener has no ISNs.
NO_REPAIR = "a listener cannot be repaired; a connection can"


@dataclass(slots=True)
class Ao:
    """TCP-AO's own state at an endpoint (Linux's ``tcp_ao_info``); there from the first use on."""

    ao_required: bool
    accept_icmps: bool
    counters: Counters
    current: SocketKey | None = None
    rnext: SocketKey | None = None


class KeyedEndpoint:
    """An endpoint as its keys see it.

    Parameters
    ----------
    local : (address, port)
    policy : Policy or None
        None: `Policy.linux()`.
    vrf : int or None
    state : State
        What it begins with.
    """

    def __init__(
        self, local: AddressAndPort, policy: Policy | None, vrf: int | None, state: State
    ) -> None:
        self._local = endpoint(local, "local")
        self.policy = Policy.linux() if policy is None else policy
        self.vrf = vrf
        self._state = state
        self._keys = KeyRing(self.policy.newest_key_first)
        self._ao: Ao | None = None
        self._repair_mode = False
        if self.policy.ao_required:
            self._ao = self._new_ao()

    @property
    def local(self) -> tuple[str, int]:
        """The own address and port."""
        return str(self._local[0]), self._local[1]

    @property
    def state(self) -> State:
        """The state of RFC 9293."""
        return self._state

    def _new_ao(self) -> Ao:
        return Ao(self.policy.ao_required, False, Counters())

    # -- the calls on keys --------------------------------------------------------------------

    @property
    def _is_listening(self) -> bool:
        return self._state is State.LISTEN

    @property
    def _is_open(self) -> bool:
        """Whether a peer is known: neither closed nor listening."""
        return self._state not in (State.CLOSED, State.LISTEN)

    def _gate(self) -> None:
        """A connection begins with TCP-AO or never has it."""
        if self._is_open and self._ao is None and not self._repair_mode:
            raise AlreadyConnectedError(
                f"the connection is {self._state.value} without TCP-AO, and stays so; "
                "keys belong before connect() or on the listener"
            )

    def _require_ao(self) -> Ao:
        if self._ao is None:
            raise NoSuchKeyError("there is no TCP-AO on this endpoint: no key was ever added")
        return self._ao

    def _no_choice_while_listening(self, *choices: object) -> None:
        if self._is_listening and any(choice not in (None, False) for choice in choices):
            raise InvalidRequestError(
                "a listener has no current_key and no rnext_key: its connections have"
            )

    def _check_peer(self, key: MasterKey) -> None:
        """Whether a key fits this endpoint at all."""

    def add_key(
        self, key: MasterKey, *, set_current: bool = False, set_rnext: bool = False
    ) -> None:
        """Add an MKT or a TCP-MD5 key (``TCP_AO_ADD_KEY``, ``TCP_MD5SIG``).

        On a connection that runs TCP-AO its traffic keys are derived at once. A TCP-MD5 key
        replaces one with the same addresses and VRF.

        Parameters
        ----------
        key : MasterKey
            As this end sees it: `local` is here (`MasterKey.mirrored` turns one round).
        set_current, set_rnext : bool
            Whether to sign with it from now on, and to ask the peer to.

        Raises
        ------
        InvalidRequestError (EINVAL)
            A secret over 80 bytes or ports, where the policy is Linux's; sides that are not this
            endpoint's; another VRF than the connection's; a choice on a listener.
        KeyRejectedError (EKEYREJECTED)
            A key of the other kind (TCP-AO, TCP-MD5) is there for that peer.
        KeyExistsError (EEXIST)
            An overlapping key has the SendID or RecvID.
        MacTooLongError (EMSGSIZE)
            The MAC is longer than the policy allows.
        AlreadyConnectedError (EISCONN)
            An established connection without TCP-AO.
        UnknownAlgorithmError (ENOENT)
            An algorithm that the policy does not have.

        Warns
        -----
        UserWarning
            A key without an address on a listener of ``::``, where IPv4 peers need none then.
        """
        if not isinstance(key, MasterKey):
            raise InvalidRequestError(f"key is a {type(key).__name__}, not a MasterKey")
        if key.is_tcp_md5:
            self._add_md5(key, set_current or set_rnext)
            return
        self._gate()
        most = self.policy.max_secret_length
        if most is not None and len(key.secret) > most:
            raise InvalidRequestError(
                f"the secret of key {key.label} has {len(key.secret)} bytes; at most {most} go"
            )
        self._check_algorithm(key)
        self._check_addresses(key)
        self._check_peer(key)
        self._no_choice_while_listening(set_current, set_rnext)
        if key.vrf is not None and self._is_open and key.vrf != (self.vrf or 0):
            raise InvalidRequestError(
                f"key {key.label} is for VRF {key.vrf}; the connection is in {self.vrf or 0}"
            )
        self._check_beside(key)
        if (key.mac_length or 0) > self.policy.max_mac_length:
            raise MacTooLongError(
                f"a MAC of {key.mac_length} bytes does not fit beside the other options of a SYN; "
                f"at most {self.policy.max_mac_length} go"
            )
        if self._ao is None:
            self._ao = self._new_ao()
        self._warn_of_family(key)
        entry = self._keys.add(key)
        self._derive(entry)
        first = self._is_open and self._ao.current is None and self._ao.rnext is None
        if set_current or first:
            self._ao.current = entry
        if set_rnext or first:
            self._ao.rnext = entry

    def _warn_of_family(self, key: MasterKey) -> None:
        """A key without an address on ``::`` is no key for IPv4 peers in Linux."""
        address = self._local[0]
        if (
            self.policy.any_is_own_family and self._is_listening and address.is_unspecified
            and address.version == 6 and key.remote is None
        ):  # fmt: skip
            warnings.warn(
                f"key {key.label} names no address: on a socket of :: it is for IPv6 peers alone, "
                "and IPv4 peers may be unsigned (require TCP-AO, or name their addresses)",
                stacklevel=3,
            )

    def _check_beside(self, key: MasterKey) -> None:
        """Whether a key may stand beside those that are there."""
        obstacle = self._keys.obstacle(key)
        if obstacle is None:
            return
        why, other = obstacle
        if why == "kind":
            kinds = ("TCP-MD5", "TCP-AO") if other.key.is_tcp_md5 else ("TCP-AO", "TCP-MD5")
            raise KeyRejectedError(
                f"{kinds[1]} key {key.label} overlaps the {kinds[0]} key {other.key.label}: "
                "a peer has one or the other"
            )
        raise KeyExistsError(
            f"{why} {getattr(key, why)} of key {key.label} is taken by the overlapping key "
            f"{other.key.label}"
        )

    def _check_algorithm(self, key: MasterKey) -> None:
        known = self.policy.algorithms
        if known is not None and not has_algorithm_of(key, known):
            raise UnknownAlgorithmError(
                f"key {key.label} has {key.algorithm}, which Linux does not take from 7.2 on "
                "(only HMAC-SHA-1, HMAC-SHA-256, AES-128-CMAC, and cmac(aes) with 16 bytes); "
                "Policy.linux(6, 12) does"
            )

    def _check_addresses(self, key: MasterKey) -> None:
        if isinstance(key.vrf, str):
            raise InvalidRequestError(
                f"key {key.label} has the VRF {key.vrf} by name; an endpoint knows VRFs by number"
            )
        if not self.policy.match_ports and (key.local_port or key.remote_port):
            raise InvalidRequestError(
                f"key {key.label} names ports, and Linux matches none; "
                "Policy.rfc5925() and Policy(match_ports=True) do"
            )
        address, port = self._local
        if not address.is_unspecified and not _contains(key.local, key.local_port, address, port):
            raise InvalidRequestError(
                f"key {key.label} is for {key.local}, and this endpoint is {address}; "
                "MasterKey.mirrored() is the key as the other end has it"
            )

    def _add_md5(self, key: MasterKey, chosen: bool) -> None:
        if chosen:
            raise InvalidRequestError("a TCP-MD5 key is never current_key or rnext_key")
        self._check_addresses(key)
        self._check_beside(key)
        if self._ao is not None and self._ao.ao_required:
            raise KeyRejectedError("TCP-AO is required here, so there can be no TCP-MD5 key")
        same = self._keys.exact(None, None, as_network(key.remote), key.vrf)
        for entry in same:
            if not self.policy.every_md5_key or entry.key.secret == key.secret:
                self._keys.remove(entry)
        self._keys.add(key)

    def _derive(self, entry: SocketKey) -> None:
        """Derive a key's traffic keys, where both ISNs are known."""

    def _find(
        self,
        send_id: int | None,
        recv_id: int | None,
        peer: AddressLike | _Unset,
        vrf: int | _Unset | None,
    ) -> SocketKey:
        """The one key with these IDs, and this peer and VRF where they are given."""
        if not isinstance(peer, _Unset) and not isinstance(vrf, _Unset):
            found = self._keys.exact(send_id, recv_id, _peer(peer), vrf)
        else:
            network = peer if isinstance(peer, _Unset) else _peer(peer)
            found = [
                entry
                for entry in self._keys
                if (entry.key.send_id, entry.key.recv_id) == (send_id, recv_id)
                and network in (UNSET, entry.key.remote)
                and vrf in (UNSET, entry.key.vrf)
            ]
        what = "TCP-MD5 key" if send_id is None else f"key {send_id}/{recv_id}"
        if not found:
            raise NoSuchKeyError(f"there is no such {what} on this endpoint")
        if len(found) > 1:
            raise InvalidRequestError(
                f"{len(found)} keys are a {what}; say which by its peer and VRF"
            )
        return found[0]

    def _choose(
        self, current: int | None, rnext: int | None
    ) -> tuple[SocketKey | None, SocketKey | None]:
        """The keys that a call names as current_key (SendID) and rnext_key (RecvID)."""
        chosen: list[SocketKey | None] = []
        for name, kind, value in (("current", "send_id", current), ("rnext", "recv_id", rnext)):
            if value is None:
                chosen.append(None)
                continue
            if not _is_id(value):
                raise InvalidRequestError(f"{name} is {value!r}; a {kind} is 0 to 255")
            entry = self._keys.first(**{kind: value})
            if entry is None:
                raise NoSuchKeyError(f"{name}: no key has {kind} {value}")
            chosen.append(entry)
        return chosen[0], chosen[1]

    def delete_key(
        self,
        send_id: int | None = None,
        recv_id: int | None = None,
        *,
        peer: AddressLike | _Unset = UNSET,
        vrf: int | _Unset | None = UNSET,
        current: int | None = None,
        rnext: int | None = None,
        asynchronous: bool = False,
    ) -> None:
        """Delete a key (``TCP_AO_DEL_KEY``).

        Parameters
        ----------
        send_id, recv_id : int
            Of the key; neither for a TCP-MD5 key.
        peer : address, prefix or None, optional
            The key's `remote`, with the very same prefix; None is a key for any. Not given, it is
            not compared, which is enough where the IDs are one key's alone.
        vrf : int or None, optional
            The key's `vrf`; likewise.
        current, rnext : int, optional
            SendID and RecvID of the keys that become current_key and rnext_key in the same step
            (Linux's forced delete).
        asynchronous : bool
            Whether not to wait until nobody uses the key, which is allowed on a listener only. Here
            nobody has to be waited for.

        Raises
        ------
        NoSuchKeyError (ENOENT)
            No such key, no such new key, the key to delete named as its own replacement, or no
            TCP-AO here.
        KeyInUseError (EBUSY)
            The key is current_key or rnext_key, and no replacement was given.
        InvalidRequestError (EINVAL)
            A choice on a listener; `asynchronous` anywhere else; IDs that several keys have.
        AlreadyConnectedError (EISCONN)
            An established connection without TCP-AO.
        """
        if send_id is None and recv_id is None:
            self._keys.remove(self._find(None, None, peer, vrf))
            return
        self._gate()
        for name, value in (("send_id", send_id), ("recv_id", recv_id)):
            if not _is_id(value):
                raise InvalidRequestError(f"{name} is {value!r}; it must be 0 to 255")
        self._no_choice_while_listening(current, rnext)
        if asynchronous and not self._is_listening:
            raise InvalidRequestError("an asynchronous delete is for listeners only")
        ao = self._require_ao()
        new_current, new_rnext = self._choose(current, rnext)
        entry = self._find(send_id, recv_id, peer, vrf)
        if entry in (new_current, new_rnext):
            raise NoSuchKeyError(f"key {send_id}/{recv_id} cannot replace itself")
        for name, used, replacement in (
            ("current", ao.current, new_current),
            ("rnext", ao.rnext, new_rnext),
        ):
            if used is entry and replacement is None:
                raise KeyInUseError(
                    f"key {send_id}/{recv_id} is the {name} key; name its replacement: {name}="
                )
        ao.current = new_current or ao.current
        ao.rnext = new_rnext or ao.rnext
        self._keys.remove(entry)

    def info(self) -> AoInfo:
        """Current and next key, flags and counters (``TCP_AO_INFO``).

        Raises
        ------
        NoSuchKeyError (ENOENT)
            There is no TCP-AO here.
        """
        ao = self._require_ao()
        return AoInfo(
            None if ao.current is None else ao.current.key.send_id,
            None if ao.rnext is None else ao.rnext.key.recv_id,
            ao.ao_required,
            ao.accept_icmps,
            replace(ao.counters),
        )

    def set_info(
        self,
        *,
        current: int | None = None,
        rnext: int | None = None,
        ao_required: bool | None = None,
        accept_icmps: bool | None = None,
        counters: Counters | None = None,
    ) -> None:
        """Choose keys, set flags, set or clear the counters (``TCP_AO_INFO``).

        All or nothing; what is not given stays.

        Parameters
        ----------
        current : int
            The SendID of the key to sign with. The peer's next segment may ask for another.
        rnext : int
            The RecvID of the key that the peer is asked to sign with.
        ao_required, accept_icmps : bool
        counters : Counters

        Raises
        ------
        InvalidRequestError (EINVAL)
            A choice on a listener, or values that are none.
        KeyRejectedError (EKEYREJECTED)
            `ao_required` while there are TCP-MD5 keys.
        NoSuchKeyError (ENOENT)
            No such key.
        AlreadyConnectedError (EISCONN)
            An established connection without TCP-AO.
        """
        self._gate()
        self._no_choice_while_listening(current, rnext)
        for name, flag in (("ao_required", ao_required), ("accept_icmps", accept_icmps)):
            if flag is not None and not isinstance(flag, bool):
                raise InvalidRequestError(f"{name} is {flag!r}; it must be True or False")
        if counters is not None and not isinstance(counters, Counters):
            raise InvalidRequestError(f"counters is a {type(counters).__name__}, not Counters")
        if self._ao is None and self._is_open:
            raise InvalidRequestError("there is no TCP-AO on this connection; add a key first")
        if ao_required and self._keys.has_md5:
            raise KeyRejectedError("there are TCP-MD5 keys, so TCP-AO cannot be required")
        new_current, new_rnext = self._choose(current, rnext)
        if self._ao is None:
            self._ao = self._new_ao()
        ao = self._ao
        ao.current = new_current or ao.current
        ao.rnext = new_rnext or ao.rnext
        if ao_required is not None:
            ao.ao_required = ao_required
        if accept_icmps is not None:
            ao.accept_icmps = accept_icmps
        if counters is not None:
            ao.counters = replace(counters)

    def get_keys(
        self,
        *,
        get_all: bool = False,
        is_current: bool = False,
        is_rnext: bool = False,
        peer: AddressLike | _Unset = UNSET,
        vrf: int | _Unset | None = UNSET,
        send_id: int | None = None,
        recv_id: int | None = None,
    ) -> list[KeyInfo]:
        """The MKTs of this endpoint (``TCP_AO_GET_KEYS``), in the order in which they were added.

        Parameters
        ----------
        get_all : bool
            All of them, as without any filter.
        is_current, is_rnext : bool
            The current key, the next one, or both.
        peer : address, prefix or None
            Those whose `remote` overlaps it; None or a key for any overlaps all.
        vrf : int or None
            Those for this VRF or for any; None: all.
        send_id, recv_id : int
            Those with this ID.

        Raises
        ------
        NoSuchKeyError (ENOENT)
            There is no TCP-AO here.
        InvalidRequestError (EINVAL)
            `get_all`, `is_current` or `is_rnext` beside another filter (the last two may stand
            together), or a filter that is none.
        """
        ao = self._require_ao()
        by_use = is_current or is_rnext
        by_match = peer is not UNSET or vrf is not UNSET or not (send_id is recv_id is None)
        if get_all and (by_use or by_match):
            raise InvalidRequestError("get_all goes with no other filter")
        if by_use and by_match:
            raise InvalidRequestError("is_current and is_rnext go with no address and no ID")
        for name, value in (("send_id", send_id), ("recv_id", recv_id)):
            if value is not None and not _is_id(value):
                raise InvalidRequestError(f"{name} is {value!r}; it must be 0 to 255")
        network = None if isinstance(peer, _Unset) else _peer(peer)
        found = []
        for entry in self._keys.of_kind(tcp_md5=False):
            key = entry.key
            current, rnext = entry is ao.current, entry is ao.rnext
            if by_use and not ((is_current and current) or (is_rnext and rnext)):
                continue
            if (
                networks_overlap(key.remote, network)
                and (vrf in (UNSET, None, key.vrf) or key.vrf is None)
                and send_id in (None, key.send_id)
                and recv_id in (None, key.recv_id)
            ):
                found.append(KeyInfo(key, current, rnext, KeyCounters(entry.good, entry.bad)))
        return found

    # -- repair -------------------------------------------------------------------------------

    @property
    def repair_mode(self) -> bool:
        """Whether the connection is being moved (``TCP_REPAIR``)."""
        return self._repair_mode

    @repair_mode.setter
    def repair_mode(self, on: bool) -> None:
        if self._is_listening and on:
            raise RepairModeError(NO_REPAIR)
        self._repair_mode = bool(on)


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _peer(value: AddressLike) -> Network | None:
    try:
        return as_network(value)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"peer {error}") from None


def _contains(network: object, ports: object, address: Address, port: int) -> bool:
    """Whether one side of a key covers an endpoint (port 0: not chosen yet)."""
    if network is not None and address not in network:  # type: ignore[operator]
        return False
    return not isinstance(ports, tuple) or port == 0 or ports[0] <= port <= ports[1]
