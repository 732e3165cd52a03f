"""Routers' configurations, construct by construct: what keys they come to, and what is said.

Each is written for these tests from the system's public documentation.  Every one is also read in
the middle of a long configuration of the same system that is about anything else.
"""

import json
import os
import re
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner
from wire import ACK, SYN, pair, pcap

import tcpao_fast as ao
from tcpao_fast.cli.app import tcpao
from tcpao_fast.keys import files
from tcpao_fast.keys.obfuscation import type_7

UTC = timezone.utc
FIELD = Path(__file__).parents[1] / "field"
SEVEN = type_7(b"hidden", 5).decode()
NINE = "$9$aHGjqTz6uORmfORhSMWJGD"  # juniper


def md5(secret, remote, **fields):
    return {"algorithm": "tcp-md5", "secret": secret, "remote": remote, **fields}


def ao_key(secret, ids, remote=None, **fields):
    return {"algorithm": "hmac-sha-1-96", "secret": secret, "send_id": ids[0], "recv_id": ids[1],
            "remote": remote, "exclude_options": False, **fields}  # fmt: skip


#: system, what it shows, the configuration, the keys, words of the notes
CASES = [
    # -- Cisco IOS, IOS XE ----------------------------------------------------------------------
    ("cisco_xe", "VRFs with the same neighbor", """
router bgp 65000
 neighbor 10.0.0.2 remote-as 65001
 neighbor 10.0.0.2 password global
 address-family ipv4 vrf RED
  neighbor 10.0.0.2 remote-as 65001
  neighbor 10.0.0.2 password redpw
 exit-address-family
 address-family ipv4 vrf BLUE
  neighbor 10.0.0.2 password bluepw
""", [md5(b"global", "10.0.0.2"), md5(b"redpw", "10.0.0.2", vrf="RED"),
      md5(b"bluepw", "10.0.0.2", vrf="BLUE")], []),
    ("cisco_xe", "peer-session templates, in depth, and a policy after them", """
router bgp 65000
 template peer-session DEEP
  password 0 fromdeep
 exit-peer-session
 template peer-session OUTER
  inherit peer-session DEEP
 exit-peer-session
 template peer-policy POL
  prefix-list X in
 exit-peer-policy
 neighbor 10.0.0.2 remote-as 65001
 neighbor 10.0.0.2 inherit peer-session OUTER
 neighbor 10.0.0.2 inherit peer-policy POL
""", [md5(b"fromdeep", "10.0.0.2")], []),
    ("cisco_xe", "a listen range, a group, and what a neighbor says itself", f"""
router bgp 65000
 bgp listen range 10.1.0.0/16 peer-group DYN
 neighbor DYN peer-group
 neighbor DYN password 7 {SEVEN}
 neighbor 10.0.0.3 peer-group DYN
 neighbor 10.0.0.3 password own
""", [md5(b"hidden", "10.1.0.0/16"), md5(b"own", "10.0.0.3")], ["type 7 are read"]),
    ("cisco_xe", "LDP and MSDP have sessions, OSPF and the console have not", """
mpls ldp neighbor 10.0.0.9 password 0 ldppw
mpls ldp neighbor vrf RED 10.0.0.9 password redldp
ip msdp password peer 10.0.0.8 0 msdppw
interface Gi1
 ip ospf message-digest-key 1 md5 ospfpw
router bgp 65000
 neighbor 10.0.0.2 remote-as 65001
line con 0
 password console
""", [md5(b"ldppw", "10.0.0.9"), md5(b"redldp", "10.0.0.9", vrf="RED"),
      md5(b"msdppw", "10.0.0.8")], []),
    ("cisco_xe", "lost indentation", """
router bgp 65000
neighbor 10.0.0.2 remote-as 65001
neighbor 10.0.0.2 password flat
line con 0
password console
""", [md5(b"flat", "10.0.0.2")], []),
    ("cisco_xe", "prompts", """
R1(config)#key chain KC tcp
R1(config-keychain-tcp)#key 1
R1(config-keychain-tcp-key)#send-id 1
R1(config-keychain-tcp-key)#recv-id 2
R1(config-keychain-tcp-key)#cryptographic-algorithm hmac-sha-1
R1(config-keychain-tcp-key)#key-string aosecret
R1(config-keychain-tcp-key)#include-tcp-options
R1(config)#router bgp 65000
R1(config-router)#neighbor 10.0.0.2 ao KC include-tcp-options
""", [ao_key(b"aosecret", (1, 2), "10.0.0.2")], []),
    ("cisco_xe", "the clock's zone", """
clock timezone CET 1 0
key chain KC tcp
 key 1
  send-id 1
  recv-id 2
  cryptographic-algorithm hmac-sha-1
  key-string aosecret
  include-tcp-options
  send-lifetime local 01:00:00 Jan 1 2026 infinite
router bgp 65000
 neighbor 10.0.0.2 ao KC include-tcp-options
""", [ao_key(b"aosecret", (1, 2), "10.0.0.2", send_lifetime="2026-01-01T01:00:00+01:00")], []),
    ("cisco_xe", "NX-OS: names of algorithms as it spells them", """
feature bgp
key chain AO tcp
  key 10
    send-id 1
    recv-id 2
    key-string 0 aosecret
    cryptographic-algorithm HMAC-SHA-1-96
  key 20
    send-id 3
    recv-id 4
    key-string 7 @SEVEN@
    cryptographic-algorithm AES_128_CMAC
router bgp 65000
  neighbor 10.0.0.2
    remote-as 65001
    ao AO
""".replace("@SEVEN@", SEVEN), [
      ao_key(b"aosecret", (1, 2), "10.0.0.2", exclude_options=True),
      ao_key(b"hidden", (3, 4), "10.0.0.2", algorithm="aes-128-cmac-96", exclude_options=True),
    ], ["type 7"]),
    ("cisco_xe", "NX-OS: what show running-config bgp prints", """
router bgp 65000
  template peer P
    password 0 tplpw
  neighbor 10.0.0.2
    password 3 9125d59c18a9b015
  neighbor 10.0.0.3
    inherit peer P
""", [md5(b"tplpw", "10.0.0.3")], ["encrypted (type 3)"]),
    ("cisco_xe", "NX-OS: VRFs, templates, a prefix", """
feature bgp
router bgp 65000
  template peer-session SES
    password 3 9125d59c18a9b015
  template peer TEN
    password tenant
  neighbor 10.0.0.2
    inherit peer TEN
    remote-as 65001
  neighbor 10.0.0.3
    inherit peer-session SES
  vrf RED
    neighbor 10.9.0.0/24
      inherit peer TEN
""", [md5(b"tenant", "10.0.0.2"), md5(b"tenant", "10.9.0.0/24", vrf="RED")],
     ["encrypted (type 3)"]),
    # -- Cisco IOS XR ---------------------------------------------------------------------------
    ("cisco_xr", "groups of all kinds, VRFs, inheritance that is disabled", f"""
router bgp 65000
 neighbor-group OUTER
  use session-group SG
 !
 session-group SG
  password encrypted {SEVEN}
 !
 neighbor 10.0.0.2
  remote-as 65001
  use neighbor-group OUTER
 !
 neighbor 10.0.0.3
  use session-group SG
  password inheritance-disable
 !
 vrf RED
  neighbor 10.0.0.2
   password clear redpw
  !
 !
!
""", [md5(b"hidden", "10.0.0.2"), md5(b"redpw", "10.0.0.2", vrf="RED")], ["type 7 are read"]),
    ("cisco_xr", "its own spelling of the algorithm, tolerance of another chain", """
key chain OTHER
 accept-tolerance 9999
 key 1
  key-string clear x
!
key chain KC
 key 1
  accept-lifetime 00:00:00 january 01 2026 infinite
  key-string clear aosecret
  cryptographic-algorithm HMAC-SHA-1-96
!
tcp ao
 keychain KC
  key 1 SendID 1 ReceiveID 2
 !
!
router bgp 65000
 neighbor 10.0.0.2
  ao KC include-tcp-options enable
""", [ao_key(b"aosecret", (1, 2), "10.0.0.2")], ["OTHER key 1 has no SendID"]),
    ("cisco_xr", "one line each", """
key chain KC key 1 key-string clear aosecret
key chain KC key 1 cryptographic-algorithm HMAC-SHA1-96
tcp ao keychain KC key 1 SendID 1 ReceiveID 2
router bgp 65000 neighbor 10.0.0.2 remote-as 65001
router bgp 65000 neighbor 10.0.0.2 ao KC include-tcp-options enable
router bgp 65000 vrf RED neighbor 10.0.0.2 password clear redpw
""", [md5(b"redpw", "10.0.0.2", vrf="RED"), ao_key(b"aosecret", (1, 2), "10.0.0.2")], []),
    ("cisco_xr", "LDP and MSDP", """
mpls ldp
 neighbor
  10.0.0.9:0 password clear ldppw
 !
!
router msdp
 peer 10.0.0.8
  password clear msdppw
!
""", [md5(b"ldppw", "10.0.0.9"), md5(b"msdppw", "10.0.0.8")], []),
    ("cisco_xr", "RPKI and PCEP", """
!! IOS XR
router bgp 65000
 rpki server 10.0.0.7
  transport tcp port 323
  password clear rpkipw
 !
!
pce
 peer ipv4 10.0.0.6
  password clear pcepw
 !
!
""", [md5(b"rpkipw", "10.0.0.7"), md5(b"pcepw", "10.0.0.6")], []),
    # -- FRR --------------------------------------------------------------------------------------
    ("frr", "VRFs and peer groups; the chain of OSPF", """
frr version 10.1
key chain OSPF
 key 1
  key-string x
  cryptographic-algorithm hmac-sha-256
interface eth0
 ip ospf authentication key-chain OSPF
router bgp 65000
 neighbor PG peer-group
 neighbor PG password grouppw
 neighbor 10.0.0.2 peer-group PG
 bgp listen range 10.1.0.0/16 peer-group PG
router bgp 65000 vrf RED
 neighbor 10.0.0.2 password it's
mpls ldp
 neighbor 10.0.0.9 password ldppw
""", [md5(b"grouppw", "10.0.0.2"), md5(b"grouppw", "10.1.0.0/16"),
      md5(b"it's", "10.0.0.2", vrf="RED"), md5(b"ldppw", "10.0.0.9")],
     ["another protocol's"]),
    # -- Arista EOS -------------------------------------------------------------------------------
    ("arista", "shared-secret profiles, groups, VRFs", """
management security
   session shared-secret profile P
      secret 7 0 aosecret receive-lifetime infinite transmit-lifetime infinite
      secret 8 second infinite
      secret 9 7 $1c$zXHy2/5IOz6JEc5qRNYMBA== receive-lifetime infinite transmit-lifetime infinite
router bgp 65000
   neighbor PG peer group
   neighbor PG password shared-secret profile P algorithm hmac-sha1-96
   neighbor 10.0.0.2 peer group PG
   vrf RED
      neighbor 10.0.0.3 password 0 redpw
      neighbor 10.0.0.4 password 7 $1c$abc==
""", [md5(b"redpw", "10.0.0.3", vrf="RED"), ao_key(b"aosecret", (7, 7), "10.0.0.2"),
      ao_key(b"second", (8, 8), "10.0.0.2")], ["Arista's type 7"]),
    # -- AOS-CX -----------------------------------------------------------------------------------
    ("aos_cx", "plaintext, ciphertext, a VRF", """
router bgp 65000
    neighbor 10.0.0.2 remote-as 65001
    neighbor 10.0.0.2 password plaintext clearpw
    neighbor 10.0.0.3 password ciphertext AQBapZ
    vrf RED
        neighbor 10.0.0.2 password plaintext redpw
""", [md5(b"clearpw", "10.0.0.2"), md5(b"redpw", "10.0.0.2", vrf="RED")], ["(ciphertext)"]),
    # -- Huawei VRP -------------------------------------------------------------------------------
    ("huawei", "keychain, tcp ao, groups, VPN instances, LDP", """
keychain KC mode absolute
 receive-tolerance 10
 key-id 1
  algorithm hmac-sha1-12
  key-string plain aosecret
  send-time utc 00:00 2026-01-01 to 23:59 2026-12-31
 key-id 2
  algorithm hmac-sha1-12
  key-string cipher %^%#abc%^%#
#
tcp ao AO
 binding keychain KC
 key-id 1
  send-id 10 receive-id 20
 key-id 2
  send-id 11 receive-id 21
#
bgp 65000
 group PG external
 peer PG password simple grouppw
 peer 10.0.0.2 as-number 65001
 peer 10.0.0.2 tcp-ao policy AO
 peer 10.0.0.3 group PG
 ipv4-family vpn-instance RED
  peer 10.0.0.2 password simple redpw
#
mpls ldp
 md5-password plain 10.0.0.9 ldppw
""", [md5(b"redpw", "10.0.0.2", vrf="RED"), md5(b"grouppw", "10.0.0.3"),
      md5(b"ldppw", "10.0.0.9"),
      ao_key(b"aosecret", (10, 20), "10.0.0.2", send_lifetime="2026-01-01T00:00:00+00:00")],
     ["(cipher)"]),
    # -- Junos ------------------------------------------------------------------------------------
    ("junos", "instances, groups of one name in two, what is deactivated", f"""
set protocols bgp group G authentication-key "{NINE}"
set protocols bgp group G neighbor 10.0.0.2
set protocols bgp group G neighbor 10.0.0.3 authentication-key "has # inside"
set routing-instances RED protocols bgp group G authentication-key redpw
set routing-instances RED protocols bgp group G neighbor 10.0.0.2
set protocols bgp group OFF neighbor 10.0.0.4 authentication-key off
deactivate protocols bgp group OFF
set protocols ospf area 0 interface ge-0/0/0 authentication simple-password ospf
set protocols ldp session 10.0.0.9 authentication-key ldppw
set protocols msdp peer 10.0.0.8 authentication-key msdppw
""", [md5(b"juniper", "10.0.0.2"), md5(b"has # inside", "10.0.0.3"),
      md5(b"redpw", "10.0.0.2", vrf="RED"), md5(b"ldppw", "10.0.0.9"),
      md5(b"msdppw", "10.0.0.8")], ["$9$ are read"]),
    ("junos", "groups that are applied, with wildcards; inactive parts", """
groups {
    KEYS {
        protocols {
            bgp {
                group <EXT-*> {
                    authentication-key wildpw;
                }
            }
        }
    }
}
apply-groups KEYS;
protocols {
    bgp {
        group EXT-1 {
            neighbor 10.0.0.2;
        }
        group INT {
            neighbor 10.0.0.3;
        }
        inactive: group EXT-2 {
            neighbor 10.0.0.4;
        }
        group EXT-3 {
            allow [ 10.1.0.0/16 10.2.0.0/16 ];
        }
    }
}
""", [md5(b"wildpw", "10.0.0.2"), md5(b"wildpw", "10.1.0.0/16"), md5(b"wildpw", "10.2.0.0/16")],
     []),
    ("junos", "a part of a configuration", """
group ext {
    neighbor 10.0.0.2 {
        peer-as 65002;
        authentication-key "partpw"; ## SECRET-DATA
    }
    neighbor 10.0.0.3 {
        authentication-algorithm ao;
        authentication-key-chain KC;
    }
}
key-chain KC {
    key 1 {
        secret aosecret;
        algorithm ao;
        ao-attribute {
            send-id 1;
            recv-id 2;
            tcp-ao-option enabled;
            cryptographic-algorithm hmac-sha-1-96;
        }
    }
}
""", [md5(b"partpw", "10.0.0.2"), ao_key(b"aosecret", (1, 2), "10.0.0.3")], []),
    ("junos", "a chain that is used for TCP-MD5", """
set security authentication-key-chains key-chain KC key 0 secret first
set security authentication-key-chains key-chain KC key 0 start-time "2026-1-1.00:00:00 +0000"
set security authentication-key-chains key-chain KC key 1 secret second
set security authentication-key-chains key-chain KC key 1 start-time "2026-6-1.00:00:00 +0000"
set protocols bgp group G authentication-algorithm md5
set protocols bgp group G authentication-key-chain KC
set protocols bgp group G neighbor 10.0.0.2
""", [md5(b"first", "10.0.0.2", send_lifetime="2026-01-01T00:00:00+00:00"),
      md5(b"second", "10.0.0.2", send_lifetime="2026-06-01T00:00:00+00:00")], []),
    ("junos", "start times in the system's zone", """
set system time-zone Europe/Berlin
set security authentication-key-chains key-chain KC key 0 secret aosecret
set security authentication-key-chains key-chain KC key 0 start-time 2026-1-1.01:00
set security authentication-key-chains key-chain KC key 0 algorithm ao
set security authentication-key-chains key-chain KC key 0 ao-attribute send-id 1
set security authentication-key-chains key-chain KC key 0 ao-attribute recv-id 2
set security authentication-key-chains key-chain KC key 0 ao-attribute tcp-ao-option enabled
set protocols bgp group G neighbor 10.0.0.2 authentication-key-chain KC
""", [ao_key(b"aosecret", (1, 2), "10.0.0.2", send_lifetime="2026-01-01T01:00:00+01:00")], []),
    # -- Nokia SR OS ------------------------------------------------------------------------------
    ("nokia", "a tree: send and receive entries, groups, a service", """
configure {
    system {
        security {
            keychains {
                keychain "KC" {
                    tcp-option-number {
                        receive tcp-ao
                        send tcp-ao
                    }
                    receive {
                        entry 9 {
                            authentication-key "aosecret"
                            algorithm hmac-sha-1-96
                        }
                    }
                    send {
                        entry 2 {
                            authentication-key "aosecret"
                            algorithm hmac-sha-1-96
                            begin-time 2026-01-01T00:00:00.0Z
                        }
                    }
                }
            }
        }
    }
    router "Base" {
        bgp {
            group "EXT" {
                authentication-keychain "KC"
            }
            neighbor "10.0.0.2" {
                group "EXT"
                peer-as 65001
            }
            neighbor "10.0.0.3" {
                authentication-key "xyz" hash2
            }
        }
    }
    service {
        vprn "RED" {
            bgp {
                neighbor "10.0.0.2" {
                    authentication-key "redpw"
                }
            }
        }
    }
}
""", [md5(b"redpw", "10.0.0.2", vrf="RED"),
      ao_key(b"aosecret", (2, 9), "10.0.0.2", send_lifetime="2026-01-01T00:00:00+00:00",
             reading="options covered"),
      ao_key(b"aosecret", (2, 9), "10.0.0.2", send_lifetime="2026-01-01T00:00:00+00:00",
             reading="options left out", exclude_options=True)], ["(hash2)", "both are tried"]),
    ("nokia", "flat", """
/configure system security keychains keychain "K 1" bidirectional entry 5 authentication-key aokey
/configure system security keychains keychain "K 1" bidirectional entry 5 algorithm aes-128-cmac-96
/configure router "Base" bgp neighbor 10.0.0.2 authentication-keychain "K 1"
""", [ao_key(b"aokey", (5, 5), "10.0.0.2", algorithm="aes-128-cmac-96",
             reading="options covered"),
      ao_key(b"aokey", (5, 5), "10.0.0.2", algorithm="aes-128-cmac-96",
             reading="options left out", exclude_options=True)],
     ["both are tried", "says no tcp-option-number tcp-ao"]),
    ("nokia", "the classic CLI", """
# TiMOS-C-20.10.R1
exit all
configure
#--------------------------------------------------
echo "System Security Configuration"
#--------------------------------------------------
    system
        security
            keychain "K 1"
                direction
                    uni
                        receive
                            entry 9 key "ao secret" algorithm hmac-sha-1-96
                                begin-time 2026/01/01 00:00:00 UTC
                            exit
                        exit
                        send
                            entry 2 key "ao secret" algorithm hmac-sha-1-96
                                begin-time 2026/02/01 00:00:00 UTC
                            exit
                        exit
                    exit
                exit
                tcp-option-number
                    send tcp-ao
                    receive tcp-ao
                exit
                no shutdown
            exit
        exit
    exit
#--------------------------------------------------
echo "BGP Configuration"
#--------------------------------------------------
    router Base
        bgp
            group "peers"
                auth-keychain "K 1"
                neighbor 10.0.0.2
                    peer-as 65002
                exit
                neighbor 10.0.0.3
                    authentication-key "md5pw"
                exit
                neighbor 10.0.0.4
                    authentication-key "Wm3" hash2
                exit
            exit
        exit
    exit
    service
        vprn 10 name "RED" customer 1 create
            bgp
                group "ce"
                    authentication-key "redpw"
                    neighbor 10.0.0.2
                    exit
                exit
            exit
        exit
    exit
exit all
""", [ao_key(b"ao secret", (2, 9), "10.0.0.2", reading=reading, exclude_options=out,
             send_lifetime="2026-02-01T00:00:00+00:00")
      for reading, out in (("options covered", False), ("options left out", True))]
     + [md5(b"md5pw", "10.0.0.3"), md5(b"redpw", "10.0.0.2", vrf="RED")],
     ["both are tried", "encrypted (hash2)"]),
    # -- BIRD -------------------------------------------------------------------------------------
    ("bird", "constants, numbers, strings as they are, no algorithm, VRF", r"""
define SECRET = "from \n a constant";
define KEY_ID = 0x10;
protocol bgp a {
	vrf "RED";
	local 10.0.0.1 port 1179 as 65000;
	neighbor 10.0.0.2 port 1179 as 65001;
	authentication ao;
	keys { key { id KEY_ID; secret SECRET; algorithm hmac sha1; }; };
}
protocol bgp b {
	neighbor 10.0.0.3 as 65001;
	password "back\slash";
}
protocol bgp c {
	neighbor 10.0.0.4 as 65001;
	authentication ao;
	keys { key { id 1; secret 00112233445566778899aabbccddeeff; }; };
}
protocol rpki r { remote 10.0.0.7; authentication md5; password "rpkipw"; }
""", [ao_key(b"from \\n a constant", (16, 16), "10.0.0.2", local="10.0.0.1", vrf="RED"),
      md5(b"back\\slash", "10.0.0.3"),
      ao_key(bytes.fromhex("00112233445566778899aabbccddeeff"), (1, 1), "10.0.0.4",
             reading="hmac sha1"),
      ao_key(bytes.fromhex("00112233445566778899aabbccddeeff"), (1, 1), "10.0.0.4",
             algorithm="aes-128-cmac-96", reading="cmac aes128"),
      md5(b"rpkipw", "10.0.0.7")], ["states no algorithm"]),
    # -- OpenBGPD ---------------------------------------------------------------------------------
    ("openbgpd", "groups, macros, keys in hexadecimal, prefixes", """
AS 65000
peerpw="macropw"
group "upstreams" {
	tcp md5sig password grouppw
	neighbor 10.0.0.2 {
		remote-as 65001
		local-address 10.0.0.1
	}
	neighbor 10.0.0.3 {
		tcp md5sig key deadbeef
	}
}
neighbor 10.1.0.0/24 {
	tcp md5sig password $peerpw
}
""", [md5(b"grouppw", "10.0.0.2", local="10.0.0.1"), md5(bytes.fromhex("deadbeef"), "10.0.0.3"),
      md5(b"macropw", "10.1.0.0/24")], []),
    # -- ExaBGP -----------------------------------------------------------------------------------
    ("exabgp", "templates, base64, tcp-ao both ways", """
template {
    neighbor T {
        md5-password "templatepw";
    }
}
neighbor 10.0.0.2 {
    inherit T;
    router-id 10.0.0.1;
    local-address 10.0.0.1;
    peer-as 65001;
}
neighbor 10.0.0.3 {
    peer-as 65001;
    md5-password 'YmFzZQ==';
    md5-base64 true;
}
neighbor 10.0.0.4 {
    peer-as 65001;
    tcp-ao {
        keyid 7;
        algorithm hmac-sha-1-96;
        password aosecret;
    }
}
neighbor 10.0.0.5 {
    peer-as 65001;
    tcp-ao-keyid 8;
    tcp-ao-algorithm aes-128-cmac-96;
    tcp-ao-password "other";
}
""", [md5(b"templatepw", "10.0.0.2", local="10.0.0.1"), md5(b"base", "10.0.0.3"),
      ao_key(b"aosecret", (7, 7), "10.0.0.4"),
      ao_key(b"other", (8, 8), "10.0.0.5", algorithm="aes-128-cmac-96")], []),
    ("exabgp", "one line each",
     "template { neighbor t { md5-password tpl; } }\nneighbor 10.0.0.2 { inherit t; peer-as 2; }\n",
     [md5(b"tpl", "10.0.0.2")], []),
    # -- VyOS -------------------------------------------------------------------------------------
    ("vyos", "set lines: groups, VRFs, ranges", """
set protocols bgp system-as 65000
set protocols bgp peer-group PG password 'group pw'
set protocols bgp neighbor 10.0.0.2 peer-group PG
set protocols bgp listen range 10.1.0.0/16 peer-group PG
set vrf name RED protocols bgp neighbor 10.0.0.2 password redpw
""", [md5(b"group pw", "10.0.0.2"), md5(b"group pw", "10.1.0.0/16"),
      md5(b"redpw", "10.0.0.2", vrf="RED")], []),
    ("vyos", "config.boot", """
protocols {
    bgp 65000 {
        neighbor 10.0.0.2 {
            password "bootpw"
            update-source 10.0.0.1
        }
    }
}
// vyos-config-version: "bgp@5"
""", [md5(b"bootpw", "10.0.0.2", local="10.0.0.1")], []),
    ("vyos", "as show configuration has it", """
protocols {
    bgp {
        neighbor 10.0.0.2 {
            password "pw1"
        }
        neighbor 10.0.0.3 {
            peer-group "G"
        }
        peer-group G {
            password "gpw"
        }
        system-as "65001"
    }
}
""", [md5(b"pw1", "10.0.0.2"), md5(b"gpw", "10.0.0.3")], []),
    # -- RouterOS ---------------------------------------------------------------------------------
    ("routeros", "7 and 6, continued lines, what is disabled", """
# 2026-01-01 by RouterOS 7.16
/routing bgp connection
add as=65000 local.address=10.0.0.1 .role=ebgp name=a remote.address=10.0.0.2/32 .as=65001 \\
    tcp-md5-key="sp ace" vrf=RED
add disabled=yes name=b remote.address=10.0.0.3 tcp-md5-key=off
/routing bgp peer
add name=c remote-address=10.0.0.4 tcp-md5-key=\\
    six update-source=lo0
/ppp secret
add name=x password=ppp
""", [md5(b"sp ace", "10.0.0.2", local="10.0.0.1", vrf="RED"), md5(b"six", "10.0.0.4")],
     ["is disabled"]),
    ("routeros", "templates", """
/routing bgp template
set default as=65001 tcp-md5-key=tplpw
add name=other tcp-md5-key=otherpw
/routing/bgp/connection
add name=p1 remote.address=10.0.0.2/32 templates=default
add name=p2 remote.address=10.0.0.3 templates=other,default
add name=p3 remote.address=10.0.0.4 templates=default tcp-md5-key=own
add name=p4 remote.address=10.0.0.5 templates=default tcp-md5-key=""
""", [md5(b"tplpw", "10.0.0.2"), md5(b"otherpw", "10.0.0.3"), md5(b"own", "10.0.0.4")], []),
    # -- FortiOS ----------------------------------------------------------------------------------
    ("fortios", "key chains, groups, ranges, what is deleted", """
config router key-chain
    edit "AO"
        config key
            edit "1"
                set send-lifetime 00:00:00 01 02 2026 2147483646
                set accept-lifetime 00:00:00 01 02 2026 2147483646
                set key-string "aose\\"cret"
                set algorithm cmac-aes128
            next
            edit 2
                set key-string other
            next
        end
    next
    edit "RIP"
        config key
            edit 9
                set key-string rippw
                set algorithm hmac-sha1
            next
        end
    next
end
config router bgp
    set as 65001
    config neighbor
        edit "10.0.0.2"
            set auth-options "AO"
            set remote-as 65002
        next
        edit "10.0.0.3"
            set password plainpw
            set description "two
lines, and an end
end"
        next
        edit "10.0.0.4"
            set password ENC AbCd==
        next
        edit "10.0.0.5"
            set password gone
        next
        delete "10.0.0.5"
        edit "2001:db8::2"
            set neighbor-group "G"
        next
    end
    config neighbor-group
        edit "G"
            set password grouppw
        next
    end
    config neighbor-range
        edit 1
            set prefix 10.1.0.0 255.255.0.0
            set neighbor-group "G"
        next
    end
    config neighbor-range6
        edit 1
            set prefix6 2001:db8:1::/48
            set neighbor-group "G"
        next
    end
end
""", [ao_key(b'aose"cret', (1, 1), "10.0.0.2", algorithm="aes-128-cmac-96",
             reading=reading, exclude_options=out,
             send_lifetime="2026-02-01T00:00:00+00:00")
      for reading, out in (("options covered", False), ("options left out", True))]
     + [md5(b"plainpw", "10.0.0.3"), md5(b"grouppw", "2001:db8::2"),
        md5(b"grouppw", "10.1.0.0/16"), md5(b"grouppw", "2001:db8:1::/48")],
     ["key chain AO key 2): cryptographic-algorithm md5: how it is used for TCP-AO is not known",
      "key chain RIP: no neighbor names it", "encrypted (ENC)", "both readings are tried"]),
    ("fortios", "virtual domains", """
#config-version=FGT60F-7.4.4-FW:opmode=0:vdom=1
config vdom
edit root
next
edit RED
next
end
config global
config system global
    set hostname "fw"
end
end
config vdom
edit root
config router bgp
    config neighbor
        edit "10.0.0.2"
            set password rootpw
        next
    end
end
end
config vdom
edit RED
config router bgp
    config neighbor
        edit "10.0.0.2"
            set password redpw
        next
    end
end
end
""", [md5(b"rootpw", "10.0.0.2"), md5(b"redpw", "10.0.0.2", vrf="RED")], []),
    ("fortios", "at a prompt, without indentation", """
FGT # config router bgp
FGT (bgp) # config neighbor
FGT (neighbor) # edit 10.0.0.2
FGT (10.0.0.2) # set password one
FGT (10.0.0.2) # unset password
FGT (10.0.0.2) # set password two
FGT (10.0.0.2) # next
FGT (neighbor) # end
FGT (bgp) # end
""", [md5(b"two", "10.0.0.2")], []),
    # -- GoBGP ------------------------------------------------------------------------------------
    ("gobgp", "TOML: key chains, groups, ranges", """
[global.config]
  as = 65000
[[keychains]]
  [keychains.config]
    name = "fabric"
  [[keychains.keys]]
    [keychains.keys.config]
      key-id = 0
      receive-id = 10
      crypto-algorithm = "hmac_sha_1_96"
      secret-key = "YW9zZWNyZXQ="
[[peer-groups]]
  [peer-groups.config]
    peer-group-name = "pg"
    auth-password = "grouppw"
[[peer-groups]]
  [peer-groups.config]
    peer-group-name = "ao"
  [peer-groups.tcp-ao.config]
    keychain = "fabric"
[[neighbors]]
  [neighbors.config]
    neighbor-address = "10.0.0.2"
    peer-group = "pg"
[[neighbors]]
  [neighbors.config]
    neighbor-address = "10.0.0.3"
    peer-group = "ao"
[[dynamic-neighbors]]
  [dynamic-neighbors.config]
    prefix = "10.1.0.0/16"
    peer-group = "ao"
""", [md5(b"grouppw", "10.0.0.2"), ao_key(b"aosecret", (0, 10), "10.0.0.3"),
      ao_key(b"aosecret", (0, 10), "10.1.0.0/16")], []),
    ("gobgp", "YAML", """
global:
  config:
    as: 65000
neighbors:
  - config:
      neighbor-address: 10.0.0.2
      auth-password: "yamlpw"
""", [md5(b"yamlpw", "10.0.0.2")], []),
    ("gobgp", "command lines with updates and deletions, in a script", """
#!/bin/sh
# it's a script
echo "it's fine"
gobgp keychain add fabric --key '0,10,hmac-sha-1-96,b25l' --key '1,11,hmac-sha-1-96,dHdv'
gobgp keychain update fabric --add-key '2,12,hmac-sha-1-96,dGhyZWU=' --delete-key '0,10'
gobgp neighbor add 10.0.0.2 as 65001 \\
    tcp-ao-keychain fabric tcp-ao-preferred-send-id 1
gobgp neighbor add 10.0.0.3 as 65001 tcp-ao-keychain fabric
gobgp neighbor del 10.0.0.3
""", [ao_key(b"two", (1, 11), "10.0.0.2"), ao_key(b"three", (2, 12), "10.0.0.2")], []),
    # -- OpenConfig -------------------------------------------------------------------------------
    ("openconfig", "instances, groups", """
{"openconfig-network-instance:network-instances": {"network-instance": [
 {"name": "default", "protocols": {"protocol": [{"bgp": {
   "peer-groups": {"peer-group": [{"peer-group-name": "pg",
     "config": {"auth-password": "grouppw"}}]},
   "neighbors": {"neighbor": [{"neighbor-address": "10.0.0.2",
     "config": {"peer-group": "pg"}}]}}}]}},
 {"name": "RED", "protocols": {"protocol": [{"bgp": {
   "neighbors": {"neighbor": [{"neighbor-address": "10.0.0.2",
     "config": {"auth-password": "redpw"}}]}}}]}}]}}
""", [md5(b"grouppw", "10.0.0.2"), md5(b"redpw", "10.0.0.2", vrf="RED")], []),
    # -- rustbgpd ---------------------------------------------------------------------------------
    ("rustbgpd", "one key, several, groups, ranges", """
[global]
asn = 65000
[peer_groups.secure]
md5_password = "grouppw"
[[neighbors]]
address = "10.0.0.2"
remote_asn = 65001
tcp_ao = { key = "aosecret", send_id = 7, recv_id = 9, algorithm = "hmac(sha1)" }
[[neighbors]]
address = "10.0.0.3"
remote_asn = 65001
peer_group = "secure"
[[dynamic_neighbors]]
prefix = "10.1.0.0/16"
tcp_ao = [{ key = "one", send_id = 1, recv_id = 1, algorithm = "hmac(sha1)" },
          { key = "two", send_id = 2, recv_id = 2, algorithm = "cmac(aes128)" }]
""", [ao_key(b"aosecret", (7, 9), "10.0.0.2"), ao_key(b"one", (1, 1), "10.1.0.0/16"),
      ao_key(b"two", (2, 2), "10.1.0.0/16", algorithm="aes-128-cmac-96"),
      md5(b"grouppw", "10.0.0.3")], []),
    # -- zebra-rs ---------------------------------------------------------------------------------
    ("zebra_rs", "set lines", """
set key-chains key-chain KC key 1 crypto-algorithm hmac-sha-1
set key-chains key-chain KC key 1 key-string keystring aosecret
set key-chains key-chain KC key 1 send-id 1
set key-chains key-chain KC key 1 recv-id 2
set router bgp neighbor 10.0.0.2 tcp-ao key-chain KC
set router bgp neighbor 10.0.0.2 tcp-ao include-tcp-options false
set router bgp neighbor 10.0.0.3 tcp-md5 password clearpw
set router bgp neighbor 10.0.0.4 tcp-md5 encoding encrypted
set router bgp neighbor 10.0.0.4 tcp-md5 password hiddenpw
""", [md5(b"clearpw", "10.0.0.3"),
      ao_key(b"aosecret", (1, 2), "10.0.0.2", exclude_options=True)], ["(encrypted)"]),
    # -- RFC 8177 ---------------------------------------------------------------------------------
    ("rfc8177", "XML in a reply of NETCONF", """
<rpc-reply xmlns="urn:ietf:params:xml:ns:netconf:base:1.0"><data>
 <key-chains xmlns="urn:ietf:params:xml:ns:yang:ietf-key-chain"><key-chain><name>KC</name>
  <key><key-id>1</key-id>
   <crypto-algorithm>hmac-sha-1-12</crypto-algorithm>
   <key-string><keystring>aosecret</keystring></key-string>
   <authentication xmlns="urn:ietf:params:xml:ns:yang:ietf-tcp"><ao>
    <enable-ao>true</enable-ao><send-id>1</send-id><recv-id>2</recv-id>
    <include-tcp-options>true</include-tcp-options></ao></authentication>
  </key></key-chain></key-chains></data></rpc-reply>
""", [ao_key(b"aosecret", (1, 2))], []),
    ("rfc8177", "an envelope of RESTCONF", """
{"data": {"ietf-key-chain:key-chains": {"key-chain": [{"name": "KC", "key": [{"key-id": "1",
 "crypto-algorithm": "hmac-sha-1-12", "key-string": {"keystring": "aosecret"},
 "send-id": 1, "recv-id": 2}]}]}}}
""", [ao_key(b"aosecret", (1, 2))], []),
]  # fmt: skip
NAMES = [f"{form}: {what}" for form, what, *_ in CASES]

#: Configuration of each system that has nothing to do with TCP's keys; before and behind the cases.
UNRELATED = {
    "cisco_xe": """
hostname R1
enable secret 5 $1$abcd
username admin password 0 notakey
key chain EIGRP
 key 1
  key-string eigrppw
interface Loopback0
 ip address 192.0.2.1 255.255.255.255
 ip authentication key-chain eigrp 1 EIGRP
router ospf 1
 area 0 authentication message-digest
snmp-server community public RO
banner motd ^
----->>> Keep out! <<<
R1# is not yours
^
line vty 0 4
 password vtypw
""",
    "frr": "hostname r1\npassword zebra\ninterface eth0\n ip ospf authentication-key ospfpw\n"
    "router ospf\n area 0 authentication\nline vty\n",
    "junos": "set system host-name r1\nset system root-authentication encrypted-password x\n"
    "set protocols ospf area 0 interface lo0 authentication md5 1 key ospfkey\n"
    "set snmp community public\n",
    "bird": "router id 192.0.2.1;\nprotocol device { }\nprotocol ospf v2 o { area 0 { interface "
    '"eth0" { authentication cryptographic; password "ospfpw"; }; }; }\n',
    "vyos": "set system login user vyos authentication plaintext-password pw\n"
    "set protocols ospf area 0 authentication md5\n",
    "zebra_rs": "set system hostname r1\nset router ospf area 0\n",
    "openbgpd": "# bgpd.conf\nrouter-id 192.0.2.1\nnetwork 192.0.2.0/24\n",
    "routeros": "/interface bridge\nadd name=b1\n/ip ipsec identity\nadd peer=p secret=notakey\n",
    "fortios": """
config system admin
    edit "admin"
        set password ENC SH2abc
    next
end
config router ospf
    config area
        edit 0.0.0.0
            set authentication text
        next
    end
end
config vpn certificate local
    edit "x"
        set comments "it's
next
end"
    next
end
""",
    "exabgp": "process p {\n    run /bin/true;\n    encoder text;\n}\n",
    "gobgp": "",
    "rustbgpd": "",
}  # fmt: skip
for _same in ("cisco_xr", "arista", "aos_cx", "huawei"):
    UNRELATED[_same] = UNRELATED["cisco_xe"].replace(" ip auth", " description auth")


def wanted(fields):
    fields = dict(fields)
    if isinstance(fields.get("send_lifetime"), str):
        fields["send_lifetime"] = (datetime.fromisoformat(fields["send_lifetime"]), None)
    return ao.MasterKey(**fields)


def found(chain):
    """The keys without what a test does not say: names, MAC lengths, the ends of lifetimes."""
    return [
        replace(
            key, name=None, form=None, accept_lifetime=None,
            mac_length=None if key.is_tcp_md5 else 12,
            send_lifetime=key.send_lifetime and (key.send_lifetime[0], None),
        )
        for key in chain
    ]  # fmt: skip


def load(tmp_path, text, form=None, name="router.conf"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return ao.load_keys(path, form)


def same_keys(chain, keys):
    order = repr
    listed = sorted(found(chain), key=order)
    assert listed == sorted((wanted(key) for key in keys), key=order)
    assert [key.secret for key in listed] == [
        key.secret for key in sorted((wanted(key) for key in keys), key=order)
    ]


@pytest.mark.parametrize(("form", "what", "text", "keys", "notes"), CASES, ids=NAMES)
class TestConstructs:
    def test_the_keys(self, form, what, text, keys, notes, tmp_path):
        chain = load(tmp_path, text)
        same_keys(chain, keys)
        assert {key.form for key in chain} == {form}
        said = "\n".join(chain.notes)
        for note in notes:
            assert note in said, said

    def test_within_a_long_configuration(self, form, what, text, keys, notes, tmp_path):
        other = UNRELATED.get(form, "")
        if not other or ("set " in other and "{" in text):
            other = ""
        if "lost indentation" in what or "prompts" in what:
            prompt = "R1(config)#" if "prompts" in what else ""
            other = "".join(f"{prompt}{line.strip()}\n" for line in other.splitlines())
        text = text.strip("\n") + "\n"
        same_keys(load(tmp_path, other * 3 + text, form), keys)
        same_keys(load(tmp_path, text + other * 3, form), keys)
        same_keys(load(tmp_path, other + text + other, form), keys)

    def test_as_files_are(self, form, what, text, keys, notes, tmp_path):
        """Line ends of other systems, a byte order mark, tabs, blanks at the end."""
        same_keys(load(tmp_path, text.replace("\n", "\r\n"), form), keys)
        same_keys(load(tmp_path, b"\xef\xbb\xbf" + text.encode()), keys)
        same_keys(load(tmp_path, text.replace("\n", "  \n").replace("\\  \n", "\\\n"), form), keys)
        if form not in ("rfc8177", "openconfig", "rustbgpd", "gobgp"):
            latin = "! größer\n" if form not in ("bird", "openbgpd", "exabgp") else "# größer\n"
            if form not in ("junos", "vyos", "nokia", "zebra_rs", "routeros", "fortios"):
                same_keys(load(tmp_path, latin.encode("latin-1") + text.encode(), form), keys)

    def test_secrets_are_in_no_message(self, form, what, text, keys, notes, tmp_path):
        chain = load(tmp_path, text)
        said = "\n".join(chain.notes) + repr(chain)
        for key in chain:
            if len(key.secret) > 3 and key.secret.isalnum():
                assert key.secret.decode() not in said.split()

    def test_mangled_it_is_read_or_refused(self, form, what, text, keys, notes, tmp_path):
        words = ["", "x", "7", "-1", "99999", "ö", '"', "'", "{", "}", ";", "#", "<removed>", "["]
        for seed in range(40):
            chance = Random(seed)
            lines = text.splitlines(keepends=True)
            for _ in range(chance.randint(1, 4)):
                at = chance.randrange(len(lines))
                parts = lines[at].split(" ")
                parts[chance.randrange(len(parts))] = chance.choice(words)
                lines[at] = chance.choice([" ".join(parts), "", lines[at] * 2])
            try:
                load(tmp_path, "".join(lines), form)
            except ao.KeyFileError as error:
                assert "Error" not in str(error), error


#: Noon of a January day, where the system's clock is an hour ahead of UTC.
ZONES = {
    "cisco_xe": """
clock timezone CET 1 0
key chain K tcp
 key 1
  send-id 1
  recv-id 1
  key-string x
  cryptographic-algorithm hmac-sha-1
  send-lifetime 12:00:00 Jan 10 2026 infinite
""",
    "cisco_xr": """
clock timezone CET Europe/Paris
key chain K
 key 1
  key-string clear x
  cryptographic-algorithm HMAC-SHA1-96
  send-lifetime 12:00:00 january 10 2026 infinite
tcp ao
 keychain K
  key 1 SendID 1 ReceiveID 1
router bgp 1
 neighbor 10.0.0.2
  ao K include-tcp-options enable
""",
    "arista": """
clock timezone Europe/Paris
management security
   session shared-secret profile P
      secret 1 0 x transmit-lifetime 2026-01-10 12:00:00 infinite local-time
router bgp 65000
   neighbor 10.0.0.2 password shared-secret profile P algorithm hmac-sha1-96
""",
    "huawei": """
clock timezone CET add 01:00:00
keychain K mode absolute
 key-id 1
  algorithm hmac-sha1-12
  algorithm aes-128-cmac-96
  key-string plain x
  send-time 12:00 2026-01-10 to 12:00 2027-01-10
tcp ao A
 binding keychain K
 key-id 1
  send-id 1 receive-id 1
bgp 1
 peer 10.0.0.2 tcp-ao policy A
""",
    "fortios": """
config system global
    set timezone "Europe/Paris"
end
config router key-chain
    edit K
        config key
            edit 1
                set key-string x
                set algorithm hmac-sha1
                set send-lifetime 12:00:00 10 01 2026 infinite
            next
        end
    next
end
config router bgp
    config neighbor
        edit 10.0.0.2
            set auth-options K
        next
    end
end
""",
}


@pytest.mark.parametrize("form", ZONES)
def test_lifetimes_are_in_the_zone_of_the_systems_clock(form, tmp_path):
    chain = load(tmp_path, ZONES[form], form)
    assert {key.send_lifetime[0] for key in chain} == {datetime(2026, 1, 10, 11, tzinfo=UTC)}
    assert not any("UTC" in note for note in chain.notes)


REMOVED = {
    "fortios": "config router bgp\nconfig neighbor\nedit 10.0.0.2\nset password <removed>\n",
    "cisco_xe": "router bgp 1\n neighbor 10.0.0.2 password <removed>\n",
    "cisco_xr": "router bgp 1\n neighbor 10.0.0.2\n  password clear <removed>\n",
    "arista": "router bgp 1\n   neighbor 10.0.0.2 password 7 <removed>\n",
    "vyos": "set protocols bgp neighbor 10.0.0.2 password '<removed>'\n",
    "frr": "router bgp 1\n neighbor 10.0.0.2 password <removed>\n",
    "junos": 'set protocols bgp group G neighbor 10.0.0.2 authentication-key "<removed>"\n',
}


@pytest.mark.parametrize("instead", ["<removed>", "*****"])
@pytest.mark.parametrize("form", REMOVED)
def test_a_secret_that_was_taken_out_is_refused_by_name(form, instead, tmp_path):
    with pytest.raises(ao.KeyFileError, match=rf"encrypted \(({re.escape(instead)}|Arista)"):
        load(tmp_path, REMOVED[form].replace("<removed>", instead), form)


def test_a_secret_in_the_place_of_a_number_is_in_no_message(tmp_path):
    with pytest.raises(ao.KeyFileError) as caught:
        load(tmp_path, "gobgp keychain add fabric --key 'hunter22,1,2,hmac-sha-1-96'\n", "gobgp")
    assert "SENDID,RECVID" in str(caught.value)
    assert "hunter22" not in str(caught.value)


def test_one_secret_that_cannot_be_read_costs_one_key(tmp_path):
    chain = load(
        tmp_path,
        "router bgp 1\n neighbor 10.0.0.2 password 6 gHiJkL\n neighbor 10.0.0.3 password clear\n",
        "cisco_xe",
    )
    assert [key.secret for key in chain] == [b"clear"]
    assert any("encrypted (type 6)" in note and "left out" in note for note in chain.notes)


def test_groups_that_lead_to_each_other(tmp_path):
    """In circles, and by two ways at each of many levels."""
    lines = ["router bgp 1", " template peer-session T0", "  inherit peer-session T99"]
    for level in range(1, 100):
        lines += [f" template peer-session T{level}"]
        lines += [f"  inherit peer-session T{level - 1}", f"  inherit peer-session T{level - 1}"]
    lines += [" template peer-session T50", "  password deep", " neighbor 10.0.0.2 remote-as 2",
              " neighbor 10.0.0.2 inherit peer-session T99"]  # fmt: skip
    same_keys(load(tmp_path, "\n".join(lines), "cisco_xe"), [md5(b"deep", "10.0.0.2")])


def test_a_group_with_an_address_of_the_other_ip_version(tmp_path):
    text = (
        "set protocols bgp group G local-address 10.0.0.1\n"
        "set protocols bgp group G authentication-key pw\n"
        "set protocols bgp group G neighbor 10.0.0.2\n"
        "set protocols bgp group G neighbor 2001:db8::2\n"
    )
    same_keys(load(tmp_path, text),
              [md5(b"pw", "10.0.0.2", local="10.0.0.1"), md5(b"pw", "2001:db8::2")])  # fmt: skip


def test_bird_includes(tmp_path):
    (tmp_path / "peers").mkdir()
    (tmp_path / "peers" / "a.conf").write_text(
        "protocol bgp a { neighbor 10.0.0.2 as 1; password SECRET; }\n"
    )
    chain = load(
        tmp_path,
        'define SECRET = "included";\ninclude "peers/*.conf";\ninclude "none.conf";\n'
        "protocol bgp b { }\n",
    )
    same_keys(chain, [md5(b"included", "10.0.0.2")])
    assert any("no such file" in note for note in chain.notes)


def test_what_is_nearly_a_native_file(tmp_path):
    for text, meant in (
        ('[[keys]]\nalgorithm = "hmac-sha-1-96"\n', r"did you mean key\?"),
        ('[[key]]\nalgorithm = "hmac-sha1-96"\nsecret = "x"\nsend_id = 1\nrecv_id = 2\n',
         r"did you mean hmac-sha-1-96\?"),
        ('[[key]]\nalgorithm = "hmac-sha-1-96"\nsecret = "x"\nsendid = 1\nrecv_id = 2\n',
         r"did you mean send_id\?"),
    ):  # fmt: skip
        with pytest.raises(ao.KeyFileError, match=meant):
            load(tmp_path, text)


def test_an_unknown_format_says_what_was_tried(tmp_path):
    with pytest.raises(ao.KeyFileError, match=r"no other known format .tried rfc8177, .*junos"):
        load(tmp_path, "once upon a time\nthere was a file\n")


def test_what_was_seen_and_left_out_is_said_where_nothing_is_left(tmp_path):
    with pytest.raises(ao.KeyFileError, match=r"has no key .*another protocol's"):
        load(
            tmp_path,
            "key chain A\n key 1\n  key-string x\n  cryptographic-algorithm hmac-sha-256\n"
            "interface e\n ip ospf authentication key-chain A\n",
        )


def test_200_000_set_lines_in_three_seconds(tmp_path):
    """Of which one in two hundred is about keys."""
    lines = []
    for number in range(1000):
        address = f"10.0.{number >> 8}.{number & 255}"
        group = f"set protocols bgp group G{number % 50} neighbor {address}"
        lines += [f"{group} peer-as {64512 + number}", f"{group} authentication-key s{number}"]
        lines += [
            f"set interfaces xe-0/0/{number} unit {unit} family inet address 10.1.0.{unit}/31"
            for unit in range(198)
        ]
    text = "\n".join(lines)
    began = time.process_time()
    chain = load(tmp_path, text)
    assert len(chain) == 1000
    print(f"{len(lines)} lines in {time.process_time() - began:.2f} s of CPU")


class TestOnCaptures:
    """The keys of such files against captures: which one fits is found, and named."""

    def verify(self, tmp_path, capture, text):
        path = tmp_path / "router.cfg"
        path.write_text(text)
        path.chmod(0o600)
        runner = CliRunner(env={"COLUMNS": "200"})
        return runner.invoke(tcpao, ["verify", str(capture), "-k", str(path)])

    def test_one_neighbor_in_two_vrfs(self, tmp_path):
        run = self.verify(
            tmp_path,
            FIELD / "vrfred.pcap",
            "router bgp 1\n neighbor 10.0.0.2 password global\n"
            " address-family ipv4 vrf RED\n  neighbor 10.0.0.2 password redpw\n",
        )
        assert run.exit_code == 0, run.output
        assert "md5_good  11" in run.stdout
        assert "vrf RED" in run.stdout, run.stdout

    @pytest.mark.parametrize("excluded", [False, True])
    def test_include_tcp_options_of_the_neighbor_alone(self, excluded, tmp_path):
        fields = {"local": "10.0.0.1", "remote": "10.0.0.2", "exclude_options": excluded}
        key = wanted(ao_key(b"aosecret", (5, 6)) | fields)
        a, b = pair(key)
        mss = bytes([2, 4, 5, 0xB4])
        packets = [a.send(SYN, options=mss), b.send(SYN | ACK, options=mss), a.send(ACK)]
        packets += [a.send(ACK, b"data", options=mss), b.send(ACK, b"data", options=mss)]
        pcap(tmp_path / "a.pcap", packets)
        run = self.verify(
            tmp_path,
            tmp_path / "a.pcap",
            "key chain KC tcp\n key 1\n  send-id 5\n  recv-id 6\n  key-string aosecret\n"
            "  cryptographic-algorithm hmac-sha-1\n"
            "router bgp 1\n neighbor 10.0.0.2 ao KC include-tcp-options\n",
        )
        assert run.exit_code == 0, run.output
        assert ("options left out" if excluded else "options covered") in run.stdout
        assert "both readings are tried" in run.stderr

    def test_notes_are_in_the_json(self, tmp_path):
        path = tmp_path / "router.cfg"
        path.write_text(f"router bgp 1\n neighbor 10.0.0.2 password 7 {SEVEN}\n")
        path.chmod(0o600)
        for command in (
            ["verify", str(FIELD / "md5ok.pcap"), "-k", str(path), "--json"],
            ["keys", "check", str(path), "--json"],
            ["keys", "show", str(path), "--json", "--from", "cisco_xe"],
        ):
            run = CliRunner().invoke(tcpao, command)
            assert "type 7 are read" in str(json.loads(run.stdout)["notes"])
            assert "tcpao: note: " in run.stderr and "hidden" not in run.stderr


class TestMasterKey:
    """Type 6 and $8$ with the router's own key."""

    def files(self):
        secrets = pytest.importorskip("network_secret", reason="needs Python 3.11")
        from network_secret import cisco_type6, juniper8

        assert secrets
        six = cisco_type6.encrypt("aosecret", "master")
        eight = juniper8.encrypt("aosecret", "master")
        return {
            "type 6": f"router bgp 1\n neighbor 10.0.0.2 password 6 {six}\n",
            "XR's": f"!! IOS XR\nrouter bgp 1\n neighbor 10.0.0.2\n  password 6 {six}\n",
            "$8$": f'set protocols bgp group G neighbor 10.0.0.2 authentication-key "{eight}"\n',
        }

    def test_read(self, tmp_path):
        for kind, text in self.files().items():
            path = tmp_path / "router.cfg"
            path.write_text(text)
            same_keys(ao.load_keys(path, master_key="master"), [md5(b"aosecret", "10.0.0.2")])
            with pytest.raises(ao.KeyFileError, match="does not open the secret"):
                ao.load_keys(path, master_key="another")
            with pytest.raises(ao.KeyFileError, match="encrypted"):
                ao.load_keys(path)
            assert kind

    def test_from_the_environment(self, tmp_path):
        path = tmp_path / "router.cfg"
        path.write_text(self.files()["$8$"])
        path.chmod(0o600)
        command = ["keys", "show", str(path), "--master-key-env", "ROUTER_KEY"]
        run = CliRunner(env={"ROUTER_KEY": "master"}).invoke(tcpao, command)
        assert run.exit_code == 0 and "8 bytes" in run.stdout, run.output
        run = CliRunner(env={"ROUTER_KEY": None}).invoke(tcpao, command)
        assert run.exit_code == 2 and "ROUTER_KEY is not set" in run.output
        out = tmp_path / "keys.toml"
        command = ["keys", "convert", str(path), str(out), "--master-key-env", "ROUTER_KEY"]
        assert CliRunner(env={"ROUTER_KEY": "master"}).invoke(tcpao, command).exit_code == 0
        same_keys(ao.load_keys(out), [md5(b"aosecret", "10.0.0.2")])


def test_the_table_in_the_docs_has_every_construct_and_format():
    page = Path(__file__).parents[2] / "docs" / "routers.md"
    if not page.exists():
        pytest.skip("the tests run away from the checkout: there is no docs/routers.md")
    text = page.read_text()
    said = set(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|$", text, re.MULTILINE))
    assert said == {(form, what) for form, what, *_ in CASES}
    formats = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (yes|no) \| ", text, re.MULTILINE))
    assert list(formats) == list(files.FORMATS[1:])
    assert {form for form, is_written in formats.items() if is_written == "yes"} == set(
        files.WRITTEN[1:]
    )


def test_bird_includes_neither_devices_nor_itself_for_ever(tmp_path):
    (tmp_path / "bird.conf").write_text(
        'include "/dev/zero";\ninclude "bird.conf";\nprotocol bgp a { neighbor 10.0.0.2; }\n'
    )
    with pytest.raises(ao.KeyFileError, match=r"files are included|nested too deeply"):
        ao.load_keys(tmp_path / "bird.conf")
    os.mkfifo(tmp_path / "fifo")
    chain = load(
        tmp_path, 'include "fifo";\nprotocol bgp a { neighbor 10.0.0.2; password "x"; }\n', "bird"
    )
    assert len(chain) == 1 and any("is no file" in note for note in chain.notes)
