"""State follows what TCP accepts, not whatever verifies (`tcp_validate_incoming`, `tcp_ack`)."""

import pytest
from ends import ACK, CLIENT, FIN, PSH, RST, SERVER, SYN, End, connected, exchange, make_key

import tcpao_fast as ao
from tcpao_fast import State, Verdict


class TestReset:
    """RFC 9293 section 3.10.7.4, RFC 5961 section 3.2; Linux's ``tcp_validate_incoming``."""

    def test_at_rcv_nxt(self):
        a, b = connected()
        exchange(a, b)
        assert b.receive(a.send(RST | ACK)).verdict is Verdict.good
        assert b.endpoint.state is State.CLOSED

    @pytest.mark.parametrize("away", [1, 10, 500])
    def test_inside_of_the_window_a_challenge_ack(self, away):
        a, b = connected()
        exchange(a, b)
        b.send(ACK)  # which offers a window of 1,024 bytes
        outcome = b.receive(a.send(RST | ACK, position=a.next + away))
        assert outcome.verdict is Verdict.good and b.endpoint.state is State.ESTABLISHED
        # the challenge ACK is signed, and the peer takes it
        assert a.endpoint.state is State.CLOSED  # it believes that it is gone
        assert b.send(ACK)

    @pytest.mark.parametrize("away", [-101, -1, 1025, 1 << 20, 1 << 30])
    def test_outside_of_the_window_nothing(self, away):
        a, b = connected()
        exchange(a, b)
        b.send(ACK)
        outcome = b.receive(a.send(RST | ACK, position=a.next + away))
        assert outcome.verdict in (Verdict.good, Verdict.bad_mac)
        assert b.endpoint.state is State.ESTABLISHED

    @pytest.mark.parametrize(("back", "state"), [(0, "CLOSED"), (1, "CLOSED"), (2, "CLOSE_WAIT")])
    def test_behind_a_fin(self, back, state):
        """``tcp_reset_check``: some stacks reset at their FIN."""
        a, b = connected()
        exchange(a, b)
        b.receive(a.send(FIN | ACK))
        b.receive(a.send(RST | ACK, position=a.next - back))
        assert b.endpoint.state is State[state]

    @pytest.mark.parametrize(("flags", "state"), [(RST, "SYN_SENT"), (RST | ACK, "CLOSED")])
    def test_of_a_syn(self, flags, state):
        """``tcp_rcv_synsent_state_process``: a RST counts only with an ACK of the SYN."""
        client = ao.Connection(("10.0.0.1", 40000))
        listener = ao.Listener(("10.0.0.2", 179))
        client.add_key(make_key())
        listener.add_key(make_key().mirrored())
        client.connect(("10.0.0.2", 179), isn=1000)
        a = End(client, ("10.0.0.1", 40000), ("10.0.0.2", 179), 1000)
        b = End(listener, a.there, a.here, 5000)
        b.receive(a.send(SYN))
        b.send(SYN | ACK)  # is lost
        a.receive(b.send(flags, position=5000))
        assert client.state is State[state]


class TestLostData:
    def test_a_fin_behind_a_gap_waits(self):
        """``tcp_data_queue_ofo``: the state moves once the FIN is in order."""
        a, b = connected()
        lost = a.packet(ACK | PSH, b"x" * 100)
        a.endpoint.sign(lost)
        fin = a.send(FIN | ACK)
        assert b.receive(fin).accepted
        assert b.endpoint.state is State.ESTABLISHED
        assert a.receive(b.send(FIN | ACK)).accepted
        assert b.endpoint.state is State.FIN_WAIT_1
        # it is sent again: now the FIN counts, and our ACK of both is signed
        again = a.send(ACK | PSH, b"x" * 100, position=a.next - 101)
        assert b.receive(again).accepted
        assert b.endpoint.state is State.TIME_WAIT
        assert b.send(ACK)

    def test_what_our_side_acknowledges_has_come(self):
        """The TCP above may know of segments that did not pass here."""
        a, b = connected()
        a.packet(ACK | PSH, b"x" * 100)  # never seen by `process`
        b.expected = (b.expected + 100) & 0xFFFFFFFF
        b.send(ACK)
        assert b.receive(a.send(RST | ACK)).accepted
        assert b.endpoint.state is State.CLOSED

    def test_rcv_sne_steps_with_rcv_nxt(self):
        """``tcp_ao_rcv_sne_update``: not for a segment beyond the wrap while one before it is missing."""
        events = []
        a, b = connected(isns=(0xFFFFFFF0, 5000))
        b.endpoint.trace = ao.Tracer(callback=events.append)
        first = a.send(ACK | PSH, b"x" * 10)
        second = a.send(ACK | PSH, b"y" * 30)
        assert b.receive(second).verdict is Verdict.good
        assert not [one for one in events if one.name == "tcp_ao_rcv_sne_update"]
        assert b.receive(first).verdict is Verdict.good
        (step,) = [one for one in events if one.name == "tcp_ao_rcv_sne_update"]
        assert step.sne == 1


class TestAcknowledgments:
    def test_far_off_they_do_not_close(self):
        """LAST-ACK ends with an ACK of the FIN in a segment that is in order, and no other."""
        a, b = connected()
        b.receive(a.send(FIN | ACK))
        b.send(FIN | ACK)
        assert b.endpoint.state is State.LAST_ACK
        a.expected = b.next
        far = a.send(ACK, position=a.next + (1 << 29), ack=b.next)
        assert b.receive(far).accepted and b.endpoint.state is State.LAST_ACK
        assert b.receive(a.send(ACK, ack=b.next)).accepted
        assert b.endpoint.state is State.CLOSED

    def test_of_what_was_never_sent(self):
        a, b = connected()
        assert b.receive(a.send(FIN | ACK, ack=b.next + 1000)).accepted
        assert b.endpoint.state is State.ESTABLISHED

    def test_late_by_the_syn_alone(self):
        """``tcp_ack``: only the side that opened has had an ACK of its SYN's number."""
        a, b = connected()
        for sender, receiver, closes in ((b, a, True), (a, b, False)):
            fin = sender.send(FIN | ACK, ack=sender.expected - 1)
            assert receiver.receive(fin).accepted
            assert (receiver.endpoint.state is State.CLOSE_WAIT) == closes

    def test_a_rst_that_answers_a_wrong_one_ends_no_opening(self):
        """RFC 9293 section 3.10.7.3: the connection stays SYN-RECEIVED."""
        a = ao.Connection(CLIENT)
        a.add_key(make_key())
        a.connect(SERVER, isn=1000)
        end = End(a, CLIENT, SERVER, 1000)
        end.send(SYN)
        other = ao.Connection(SERVER)
        other.add_key(make_key().mirrored())
        other.connect(CLIENT, isn=5000)
        end.receive(End(other, SERVER, CLIENT, 5000).send(SYN))
        assert a.state is State.SYN_RECEIVED
        end.send(RST, position=1 << 20)
        assert a.state is State.SYN_RECEIVED
        end.send(RST | ACK)
        assert a.state is State.CLOSED

    def test_data_of_a_syn_ack_comes_again(self):
        """``tcp_rcv_synsent_state_process`` takes the SYN alone, until TCP acknowledges more."""
        listener, a = ao.Listener(SERVER), ao.Connection(CLIENT)
        a.add_key(make_key())
        listener.add_key(make_key().mirrored())
        a.connect(SERVER, isn=1000)
        client, server = End(a, CLIENT, SERVER, 1000), End(listener, SERVER, CLIENT, 5000)
        server.receive(client.send(SYN))
        assert client.receive(server.send(SYN | ACK, b"early")).accepted
        assert a._rcv.position == 5001
        client.send(ACK, ack=5006)
        assert a._rcv.position == 5006


class TestRotation:
    def keys(self):
        return make_key(), make_key(5, 6, secret=b"second")

    def test_a_syn_ack_sent_again_moves_current_key(self):
        """``tcp_inbound_ao_hash``: on an established connection only a SYN without ACK does not."""
        one, two = self.keys()
        a, b = connected(one, more=[two])
        before = a.endpoint.info().current
        b.endpoint.set_info(rnext={100: 5, 5: 100}[b.endpoint.info().rnext])
        again = b.endpoint.sign(b.packet(SYN | ACK, position=b.isn, ack=a.isn + 1))
        assert a.receive(again).verdict is Verdict.good
        assert a.endpoint.info().current != before

    def test_a_syn_sent_again_does_not(self):
        one, two = self.keys()
        a, b = connected(one, more=[two])
        before = b.endpoint.info().current
        a.endpoint.set_info(rnext={200: 6, 6: 200}[a.endpoint.info().rnext])
        again = a.endpoint.sign(a.packet(SYN, position=a.isn))
        assert b.receive(again).verdict is Verdict.good
        assert b.endpoint.info().current == before


class TestNewerKernels:
    """``tcp_ao_find_algo``: from 7.2 on four algorithms, and ENOENT for all else."""

    @pytest.mark.parametrize("number", [0, 1])
    @pytest.mark.parametrize(
        ("algorithm", "secret", "newest"),
        [
            ("hmac-sha-1-96", b"any length", True),
            ("hmac(sha256)", b"any length", True),
            ("aes-128-cmac-96", b"any length", True),
            ("cmac(aes)", b"0123456789abcdef", True),
            ("cmac(aes)", b"0123456789abcdef01234567", False),
            ("hmac(sha512)", b"any length", False),
            ("hmac(md5)", b"any length", False),
            ("hmac-sha256-128", b"any length", False),
        ],
    )
    def test_algorithms(self, algorithm, secret, newest, number):
        key = make_key(algorithm=algorithm, secret=secret)
        for policy, takes in (
            (ao.Policy(), newest),
            (ao.Policy.linux(7, 2), newest),
            (ao.Policy.linux(7, 1), True),
            (ao.Policy.linux(6, 12), True),
            (ao.Policy.rfc5925(), True),
        ):
            end = (ao.Connection, ao.Listener)[number](("10.0.0.1", 179), policy=policy)
            if takes:
                end.add_key(key)
                continue
            with pytest.raises(ao.UnknownAlgorithmError) as refused:
                end.add_key(key)
            assert refused.value.errno == 2


class TestDualStack:
    """A listener of ``::`` is for IPv4 too; a key without an address is an IPv6 key there."""

    def listener(self, policy=None):
        listener = ao.Listener(("::", 179), policy=policy)
        if policy is None:
            with pytest.warns(UserWarning, match="IPv4 peers may be unsigned"):
                listener.add_key(make_key().mirrored())
        else:
            listener.add_key(make_key().mirrored())
        return listener

    def syn(self, here, there):
        return End(None, here, there, 1000).packet(SYN)

    def test_as_in_linux(self):
        listener = self.listener()
        four = listener.process(self.syn(("10.0.0.1", 40000), ("10.0.0.2", 179)))
        assert four.accepted and four.verdict is Verdict.unsigned
        six = listener.process(self.syn(("fd00::1", 40000), ("fd00::2", 179)))
        assert six.verdict is Verdict.ao_required

    def test_as_in_the_rfc(self):
        listener = self.listener(ao.Policy.rfc5925())
        four = listener.process(self.syn(("10.0.0.1", 40000), ("10.0.0.2", 179)))
        assert four.verdict is Verdict.ao_required

    def test_a_key_for_all_of_ipv4(self):
        listener = ao.Listener(("::", 179))
        listener.add_key(make_key(remote="0.0.0.0/0"))
        four = listener.process(self.syn(("10.0.0.1", 40000), ("10.0.0.2", 179)))
        assert four.verdict is Verdict.ao_required


def test_a_listener_cannot_be_repaired():
    listener = ao.Listener(("10.0.0.2", 179))
    for call in (listener.repair_state, lambda: listener.repair(ao.RepairState(1, 2, 0, 0))):
        with pytest.raises(ao.RepairModeError) as refused:
            call()
        assert refused.value.errno == 1


def test_a_tcp_md5_key_for_another_peer_of_a_connection():
    """Linux takes it, and never uses it."""
    a, b = connected(ao.MasterKey(algorithm="tcp-md5", secret=b"x"))
    a.endpoint.add_key(ao.MasterKey(algorithm="tcp-md5", secret=b"y", remote="10.9.9.9"))
    assert exchange(a, b).verdict is Verdict.md5_good and exchange(b, a).accepted
