"""The calls on listener and connection, row by row of SEMANTICS' table, errno included."""

import errno
from dataclasses import replace

import pytest
from ends import ACK, CLIENT, SERVER, SYN, End, connected, dial, make_key, md5_key

import tcpao_fast as ao
from tcpao_fast.errors import LINUX_ERRNO

LINUX = ao.Policy.linux()


def closed():
    return ao.Connection(CLIENT)


def listening():
    return ao.Listener(SERVER)


def established():
    return connected(make_key(remote="10.0.0.2"), more=[make_key(5, 6, remote="10.0.0.2")])[
        0
    ].endpoint


def unsigned():
    return dial(closed(), listening())[0].endpoint


def with_keys(endpoint, *keys, **chosen):
    for key in keys:
        endpoint.add_key(key, **chosen)
    return endpoint


MD5 = md5_key(remote="10.0.0.2")
KEY = make_key(remote="10.0.0.2")

# (the row, the endpoint, the call, the name of the errno)
ADD_KEY = [
    ("secret over 80 bytes", closed, lambda it: it.add_key(make_key(secret=b"x" * 81)), "EINVAL"),
    ("bits beyond the prefix", None, lambda _: make_key(remote="10.0.0.2/24"), "EINVAL"),
    ("prefix out of range", None, lambda _: make_key(remote="10.0.0.0/33"), "EINVAL"),
    ("not the connected peer", established, lambda it: it.add_key(make_key(7, 8, remote="10.0.0.3")), "EINVAL"),
    ("prefix without the peer", established, lambda it: it.add_key(make_key(7, 8, remote="10.1.0.0/16")), "EINVAL"),
    ("another VRF", established, lambda it: it.add_key(make_key(7, 8, vrf=9)), "EINVAL"),
    ("not this endpoint's side", closed, lambda it: it.add_key(make_key(local="10.0.0.9")), "EINVAL"),
    ("ports", closed, lambda it: it.add_key(make_key(remote_port=179)), "EINVAL"),
    ("no key at all", closed, lambda it: it.add_key("key"), "EINVAL"),
    ("set_current while listening", listening, lambda it: it.add_key(KEY.mirrored(), set_current=True), "EINVAL"),
    ("set_rnext while listening", listening, lambda it: it.add_key(make_key(), set_rnext=True), "EINVAL"),
    ("TCP-MD5 key as current", closed, lambda it: it.add_key(MD5, set_current=True), "EINVAL"),
    ("the peer has a TCP-MD5 key", lambda: with_keys(closed(), MD5), lambda it: it.add_key(KEY), "EKEYREJECTED"),
    ("TCP-MD5 for any peer", lambda: with_keys(closed(), md5_key()), lambda it: it.add_key(KEY), "EKEYREJECTED"),
    ("TCP-MD5 where there is TCP-AO", lambda: with_keys(closed(), KEY), lambda it: it.add_key(MD5), "EKEYREJECTED"),
    ("TCP-MD5 where TCP-AO is required",
     lambda: ao.Connection(CLIENT, policy=ao.Policy.linux(ao_required=True)), lambda it: it.add_key(MD5), "EKEYREJECTED"),
    ("TCP-MD5 on a connection with TCP-AO", established, lambda it: it.add_key(MD5), "EKEYREJECTED"),
    ("full copy", lambda: with_keys(closed(), KEY), lambda it: it.add_key(KEY), "EEXIST"),
    ("SendID taken", lambda: with_keys(closed(), KEY), lambda it: it.add_key(replace(KEY, recv_id=9)), "EEXIST"),
    ("RecvID taken", lambda: with_keys(closed(), KEY), lambda it: it.add_key(replace(KEY, send_id=9)), "EEXIST"),
    ("any address, then one", lambda: with_keys(closed(), make_key()), lambda it: it.add_key(KEY), "EEXIST"),
    ("one address, then any", lambda: with_keys(closed(), KEY), lambda it: it.add_key(make_key()), "EEXIST"),
    ("subnet", lambda: with_keys(closed(), KEY), lambda it: it.add_key(replace(KEY, remote="10.0.0.0/16")), "EEXIST"),
    ("unknown algorithm", None, lambda _: make_key(algorithm="hmac(abc)"), "ENOENT"),
    ("no such algorithm", None, lambda _: ao.TrafficKeys("rot13", [[1]]), "ENOENT"),
    ("MAC of 17 bytes", closed, lambda it: it.add_key(make_key(mac_length=17)), "EMSGSIZE"),
    ("MAC over the digest", None, lambda _: make_key(algorithm="aes-128-cmac-96", mac_length=17), "EINVAL"),
    ("established without TCP-AO", unsigned, lambda it: it.add_key(KEY), "EISCONN"),
]  # fmt: skip

DELETE_KEY = [
    ("no keys at all", closed, lambda it: it.delete_key(100, 200), "ENOENT"),
    ("IDs", lambda: with_keys(closed(), KEY), lambda it: it.delete_key(100, 201), "ENOENT"),
    ("address", lambda: with_keys(closed(), KEY), lambda it: it.delete_key(100, 200, peer="10.0.0.3"), "ENOENT"),
    ("prefix", lambda: with_keys(closed(), KEY), lambda it: it.delete_key(100, 200, peer="10.0.0.0/24"), "ENOENT"),
    ("any address", lambda: with_keys(closed(), KEY), lambda it: it.delete_key(100, 200, peer=None), "ENOENT"),
    ("VRF", lambda: with_keys(closed(), KEY), lambda it: it.delete_key(100, 200, vrf=3), "ENOENT"),
    ("new current not found", established, lambda it: it.delete_key(5, 6, current=77), "ENOENT"),
    ("new rnext not found", established, lambda it: it.delete_key(5, 6, rnext=77), "ENOENT"),
    ("replaced by itself", established, lambda it: it.delete_key(5, 6, current=5), "ENOENT"),
    ("no such TCP-MD5 key", closed, lambda it: it.delete_key(peer="10.0.0.2"), "ENOENT"),
    ("set_current while listening",
     lambda: with_keys(listening(), make_key()), lambda it: it.delete_key(100, 200, current=100), "EINVAL"),
    ("set_rnext while listening",
     lambda: with_keys(listening(), make_key()), lambda it: it.delete_key(100, 200, rnext=200), "EINVAL"),
    ("asynchronous, closed", lambda: with_keys(closed(), KEY), lambda it: it.delete_key(100, 200, asynchronous=True), "EINVAL"),
    ("asynchronous, established", established, lambda it: it.delete_key(5, 6, asynchronous=True), "EINVAL"),
    ("an ID that is none", lambda: with_keys(closed(), KEY), lambda it: it.delete_key(100, 256), "EINVAL"),
    ("a peer that is none", lambda: with_keys(closed(), KEY), lambda it: it.delete_key(100, 200, peer="x"), "EINVAL"),
    ("two keys with those IDs",
     lambda: with_keys(listening(), make_key(remote="10.0.0.1"), make_key(remote="10.0.0.3")), lambda it: it.delete_key(100, 200), "EINVAL"),
    ("current, no replacement",
     lambda: with_keys(closed(), KEY, set_current=True), lambda it: it.delete_key(100, 200), "EBUSY"),
    ("rnext, no replacement", lambda: with_keys(closed(), KEY, set_rnext=True), lambda it: it.delete_key(100, 200), "EBUSY"),
    ("current and rnext of a connection", established, lambda it: it.delete_key(100, 200), "EBUSY"),
    ("only current replaced", established, lambda it: it.delete_key(100, 200, current=5), "EBUSY"),
    ("only rnext replaced", established, lambda it: it.delete_key(100, 200, rnext=6), "EBUSY"),
    ("established without TCP-AO", unsigned, lambda it: it.delete_key(100, 200), "EISCONN"),
]  # fmt: skip

SET_INFO = [
    ("current while listening", lambda: with_keys(listening(), make_key()), lambda it: it.set_info(current=100), "EINVAL"),
    ("rnext while listening", lambda: with_keys(listening(), make_key()), lambda it: it.set_info(rnext=200), "EINVAL"),
    ("reserved value of a flag", closed, lambda it: it.set_info(ao_required=2), "EINVAL"),
    ("reserved value of an ID", lambda: with_keys(closed(), KEY), lambda it: it.set_info(current=256), "EINVAL"),
    ("counters that are none", closed, lambda it: it.set_info(counters=5), "EINVAL"),
    ("no such current", lambda: with_keys(closed(), KEY), lambda it: it.set_info(current=200), "ENOENT"),
    ("no such rnext", lambda: with_keys(closed(), KEY), lambda it: it.set_info(rnext=100), "ENOENT"),
    ("no keys", closed, lambda it: it.set_info(current=100), "ENOENT"),
    ("required beside TCP-MD5", lambda: with_keys(closed(), MD5), lambda it: it.set_info(ao_required=True), "EKEYREJECTED"),
    ("established without TCP-AO", unsigned, lambda it: it.set_info(accept_icmps=True), "EISCONN"),
    ("info without TCP-AO", closed, lambda it: it.info(), "ENOENT"),
    ("info on an unsigned connection", unsigned, lambda it: it.info(), "ENOENT"),
]  # fmt: skip

GET_KEYS = [
    ("all and current", established, lambda it: it.get_keys(get_all=True, is_current=True), "EINVAL"),
    ("all and rnext", established, lambda it: it.get_keys(get_all=True, is_rnext=True), "EINVAL"),
    ("all and address", established, lambda it: it.get_keys(get_all=True, peer="10.0.0.2"), "EINVAL"),
    ("all and SendID", established, lambda it: it.get_keys(get_all=True, send_id=1), "EINVAL"),
    ("current and address", established, lambda it: it.get_keys(is_current=True, peer="10.0.0.2"), "EINVAL"),
    ("current and SendID", established, lambda it: it.get_keys(is_current=True, send_id=100), "EINVAL"),
    ("rnext and RecvID", established, lambda it: it.get_keys(is_rnext=True, recv_id=200), "EINVAL"),
    ("rnext and VRF", established, lambda it: it.get_keys(is_rnext=True, vrf=0), "EINVAL"),
    ("an ID that is none", established, lambda it: it.get_keys(send_id=-1), "EINVAL"),
    ("no TCP-AO here", closed, lambda it: it.get_keys(), "ENOENT"),
    ("no TCP-AO on the connection", unsigned, lambda it: it.get_keys(), "ENOENT"),
]  # fmt: skip


def in_repair(endpoint):
    endpoint.repair_mode = True
    return endpoint


STATE = ao.RepairState(1, 2)
REPAIR = [
    ("get, not in repair mode", established, lambda it: it.repair_state(), "EPERM"),
    ("set, not in repair mode", established, lambda it: it.repair(STATE), "EPERM"),
    ("a listener", None, lambda _: in_repair(listening()), "EPERM"),
    ("get, no TCP-AO here", lambda: in_repair(unsigned()), lambda it: it.repair_state(), "ENOENT"),
    ("set, no TCP-AO here", lambda: in_repair(closed()), lambda it: it.repair(STATE), "ENOENT"),
    ("not a state", lambda: in_repair(established()), lambda it: it.repair((1, 2, 0, 0)), "EINVAL"),
    ("an ISN that is none", lambda: in_repair(established()), lambda it: it.repair(ao.RepairState(1 << 32, 2)), "EINVAL"),
    ("a SEQ that is none", lambda: in_repair(established()), lambda it: it.repair(replace(STATE, rcv_nxt=-1)), "EINVAL"),
]  # fmt: skip


def both_kinds():
    """The kinds of key that no add_key lets stand together, by way of a key for any VRF."""
    endpoint = with_keys(closed(), md5_key(remote="10.0.0.2", vrf=5), make_key(vrf=0))
    endpoint._keys.add(MD5)
    return endpoint


CONNECT = [
    ("no key for the peer", lambda: with_keys(closed(), KEY), lambda it: it.connect(("10.0.0.3", 179)), "EKEYREJECTED"),
    ("required, no key",
     lambda: ao.Connection(CLIENT, policy=ao.Policy.linux(ao_required=True)), lambda it: it.connect(SERVER), "EKEYREJECTED"),
    ("required, no key, RFC 5925",
     lambda: ao.Connection(CLIENT, policy=ao.Policy.rfc5925(ao_required=True)), lambda it: it.connect(SERVER), "EKEYREJECTED"),
    ("TCP-AO and TCP-MD5 for the peer", both_kinds, lambda it: it.connect(SERVER), "EKEYREJECTED"),
    ("twice", established, lambda it: it.connect(SERVER), "EISCONN"),
    ("signed before connect", closed, lambda it: it.sign(End(None, CLIENT, SERVER, 1).packet(SYN)), "ENOTCONN"),
    ("no handshake to sign for",
     listening, lambda it: it.sign(End(None, SERVER, CLIENT, 1).packet(ACK)), "ENOTCONN"),
]  # fmt: skip


def rows(*tables):
    return [
        pytest.param(make, call, number, id=f"{name}: {row}")
        for name, table in tables
        for row, make, call, number in table
    ]


def snapshot(endpoint):
    keys = [(entry.key, entry.good, entry.bad) for entry in getattr(endpoint, "_keys", ())]
    return keys, getattr(endpoint, "state", None), repr(getattr(endpoint, "_ao", None))


@pytest.mark.parametrize(
    ("make", "call", "number"),
    rows(
        ("add_key", ADD_KEY),
        ("delete_key", DELETE_KEY),
        ("set_info", SET_INFO),
        ("get_keys", GET_KEYS),
        ("repair", REPAIR),
        ("connect", CONNECT),
    ),
)
def test_refused_with_linux_errno_and_nothing_changed(make, call, number):
    endpoint = make() if make else None
    before = snapshot(endpoint)
    with pytest.raises(ao.TcpAoError) as caught:
        call(endpoint)
    assert caught.value.errno == LINUX_ERRNO[number]
    assert "a secret" not in str(caught.value) and "md5 secret" not in str(caught.value)
    assert snapshot(endpoint) == before


def test_the_errno_are_this_platforms_too():
    for name, number in LINUX_ERRNO.items():
        assert getattr(errno, name) == number, name
