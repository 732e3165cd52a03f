"""A socket's keys in step with a chain: on twins of Linux's sockets, and on real ones."""

import asyncio
import socket
import time
from datetime import datetime, timedelta, timezone

import pytest
from ends import ACK, CLIENT, SERVER, End, make_key
from netns import in_namespace

import tcpao_fast as ao
from tcpao_fast.endpoint import sockets
from tcpao_fast.linux import follow

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def at(minutes):
    return START + timedelta(minutes=minutes)


class Clock:
    minutes = 0.0

    def __call__(self):
        return at(self.minutes)


def chains():
    """Three keys, each sent for ten minutes and accepted for five more on both sides; as the client
    and as the server have them."""
    keys = [
        make_key(
            10 + i, 20 + i, secret=b"secret %d" % i, local=CLIENT[0], remote=SERVER[0],
            send_lifetime=(at(10 * i), at(10 * i + 10)),
            accept_lifetime=(at(10 * i - 5), at(10 * i + 15)),
        )
        for i in range(3)
    ]  # fmt: skip
    return keys, [key.mirrored() for key in keys]


def ends(clock):
    """Both ends of a connection, connected under the first key, each with its follower."""
    ours, theirs = chains()
    client, listener = ao.Connection(CLIENT), ao.Listener(SERVER)
    following = follow(client, ours, local=CLIENT, remote=SERVER, clock=clock)
    following.step()
    other = follow(listener, theirs, local=SERVER, clock=clock)
    other.step()
    client.connect(SERVER, isn=1000)
    a, b = End(client, CLIENT, SERVER, 1000), End(listener, SERVER, CLIENT, 5000)
    for sender, receiver, flags in ((a, b, 2), (b, a, 18), (a, b, ACK)):
        assert receiver.receive(sender.send(flags)).accepted
    b.endpoint = listener.accept()
    return a, b, following, follow(b.endpoint, theirs, local=SERVER, remote=CLIENT, clock=clock)


def test_rotation_on_both_sides():
    """Minute by minute: nothing is ever refused, and both sides end with the last key."""
    clock = Clock()
    a, b, one, other = ends(clock)
    used = set()
    for half in range(0, 58):
        clock.minutes = half / 2
        for follower in (one, other) if half % 2 else (other, one):
            assert follower.step() <= 60
            assert follower.problem is None
        for sender, receiver in ((a, b), (b, a)):
            outcome = receiver.receive(sender.send(ACK, b"x" * 10))
            assert outcome.accepted, (clock.minutes, outcome)
            used.add((sender is a, sender.endpoint.info().current))
    assert used == {(True, 10), (True, 11), (True, 12), (False, 20), (False, 21), (False, 22)}
    # the old ones are gone; the last stays, though its lifetimes end too
    for follower in (one, other):
        assert [key.send_id % 10 for key in follower.keys] == [2]
    clock.minutes = 1000
    for follower in (one, other):
        follower.step()
        assert [key.send_id % 10 for key in follower.keys] == [2]
    assert b.receive(a.send(ACK, b"on and on")).accepted


def test_what_is_due_next():
    clock = Clock()
    *_, one, _ = ends(clock)
    clock.minutes = 4.5
    assert 29 < one.step() <= 30.1  # the second key is accepted from minute 5 on
    clock.minutes = 4
    assert one.step() == 60


def test_another_chain():
    clock = Clock()
    a, b, one, other = ends(clock)
    keys, mirrored = chains()
    fresh = make_key(77, 78, secret=b"fresh", local=CLIENT[0], remote=SERVER[0])
    one.update([keys[0], fresh])
    other.update([mirrored[0], fresh.mirrored()])
    one.step(), other.step()
    assert {key.send_id for key in one.keys} == {10, 77}
    assert b.receive(a.send(ACK, b"x")).accepted
    one.update([fresh])
    one.step()
    assert [key.send_id for key in one.keys] == [77] and one.problem is None
    assert b.receive(a.send(ACK, b"x")).accepted


def test_a_thread_does_it():
    now = datetime.now(timezone.utc)
    soon = now + timedelta(seconds=0.4)
    first = make_key(1, 2, secret=b"a", remote=SERVER[0], send_lifetime=(None, soon),
                     accept_lifetime=(None, soon))  # fmt: skip
    second = make_key(3, 4, secret=b"b", remote=SERVER[0], send_lifetime=(soon, None),
                      accept_lifetime=(soon, None))  # fmt: skip
    for run in (_with_thread, _with_asyncio):
        client = ao.Connection(CLIENT)
        before = {key.key.send_id for key in run(client, [first, second])}
        assert before <= {1, 3}
        assert [key.key.send_id for key in client.get_keys()] == [3]


def _with_thread(client, chain):
    with follow(client, chain, local=CLIENT, remote=SERVER):
        keys = client.get_keys()
        time.sleep(1.0)
    return keys


def _with_asyncio(client, chain):
    async def main():
        async with follow(client, chain, local=CLIENT, remote=SERVER):
            keys = client.get_keys()
            await asyncio.sleep(1.2)
        return keys

    return asyncio.run(main())


def test_without_an_address():
    with pytest.raises(ao.InvalidArgumentError, match="local is needed"):
        follow(ao.Connection(CLIENT), [])


def test_tcp_md5_on_real_sockets():
    """The kernel has one TCP-MD5 key a peer: the one that may be used is it."""
    in_namespace(tcp_md5_on_real_sockets)


def tcp_md5_on_real_sockets():
    clock = Clock()
    keys = [
        ao.MasterKey(
            algorithm="tcp-md5", secret=b"md5 %d" % i, remote="127.0.0.1",
            send_lifetime=(at(10 * i), at(10 * i + 10)),
            accept_lifetime=(at(10 * i), at(10 * i + 10)),
        )
        for i in range(2)
    ]  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.settimeout(5)
        try:
            one = follow(server, keys, clock=clock)
            one.step()
        except ao.KernelSupportError as error:
            pytest.skip(str(error))
        if isinstance(one.problem, ao.KernelSupportError):
            pytest.skip(str(one.problem))
        address = server.getsockname()
        other = follow(client, keys, local=("127.0.0.1", 1), remote=address, clock=clock)
        other.step()
        client.connect(address)
        accepted, _ = server.accept()
        with accepted:
            third = follow(accepted, keys, clock=clock)
            third.step()
            for minutes in (5, 15, 15):
                clock.minutes = minutes
                for follower in (one, other, third):
                    follower.step()
                    assert follower.problem is None
                client.sendall(b"hello")
                assert accepted.recv(5) == b"hello"


@pytest.mark.skipif(
    not sockets.has_tcp_ao(),
    reason="this kernel has no TCP-AO; tests/kernel/run runs this file in one that has",
)
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_tcp_ao_on_real_sockets(address):
    """Rotation on a kernel's own connection, both ends of it."""
    in_namespace(lambda: tcp_ao_on_real_sockets(address))


def tcp_ao_on_real_sockets(address):
    clock = Clock()
    ours, _ = chains()
    ours = [
        ao.MasterKey(
            algorithm=key.algorithm, secret=key.secret, send_id=key.send_id, recv_id=key.recv_id,
            remote=address, send_lifetime=key.send_lifetime, accept_lifetime=key.accept_lifetime,
        )
        for key in ours
    ]  # fmt: skip
    theirs = [key.mirrored() for key in ours]
    theirs = [
        ao.MasterKey(
            algorithm=key.algorithm, secret=key.secret, send_id=key.send_id, recv_id=key.recv_id,
            remote=address, send_lifetime=key.send_lifetime, accept_lifetime=key.accept_lifetime,
        )
        for key in theirs
    ]  # fmt: skip
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        socket.create_server((address, 0), family=family) as server,
        socket.socket(family) as client,
    ):
        client.settimeout(10)
        one = follow(server, theirs, clock=clock)
        one.step()
        name = server.getsockname()[:2]
        other = follow(client, ours, local=(address, 1), remote=name, clock=clock)
        other.step()
        assert one.problem is None and other.problem is None
        client.connect(name)
        accepted, _ = server.accept()
        accepted.settimeout(10)
        with accepted:
            third = follow(accepted, theirs, clock=clock)
            used = set()
            for half in range(0, 56):
                clock.minutes = half / 2
                for follower in (one, other, third):
                    follower.step()
                    assert follower.problem is None, (clock.minutes, follower.problem)
                for sender, receiver in ((client, accepted), (accepted, client)):
                    sender.sendall(b"hello")
                    assert receiver.recv(5) == b"hello"
                used.add(sockets.info(client).current)
            assert used == {10, 11, 12}
            assert len(sockets.get_keys(client)) == 1
