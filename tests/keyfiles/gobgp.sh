# keys and a neighbor of gobgpd
gobgp keychain add fabric \
  --key '0,10,hmac-sha-1-96,Zmlyc3Qgc2VjcmV0' \
  --key '1,11,aes-128-cmac-96,c2Vjb25kIHNlY3JldA==,exclude-tcp-options' \
  --key '2,12,hmac-sha-256-96,dGhpcmQgc2VjcmV0'
gobgp neighbor add 192.0.2.2 as 65002 tcp-ao-keychain fabric tcp-ao-send-id 0
