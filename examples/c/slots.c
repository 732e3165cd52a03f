/* A ring of fixed slots, as AF_XDP and DPDK have them (a UMEM of frames): packets are signed where
 * they are, go round, are verified and stripped where they are, and come out as they went in.
 *
 *     python -m tcpao_fast build-library /tmp/lib
 *     cc -O2 slots.c $(PKG_CONFIG_PATH=/tmp/lib pkg-config --cflags --libs tcpao_fast)
 *     ./a.out keys.toml
 *
 * keys.toml has a key for 10.0.0.1 and 10.0.0.2 (or for any address).
 */
#include "tcpao_fast.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 1024, SLOT_BYTES = 2048, HEADROOM = 256, PAYLOAD = 1000 };

static uint8_t umem[SLOTS][SLOT_BYTES];
static uint8_t before[SLOTS][SLOT_BYTES];
static uint8_t *data[SLOTS];
static size_t length[SLOTS];
static tcpao_result result[SLOTS];

static uint16_t checksum(const uint8_t *bytes, size_t size, uint32_t sum)
{
    for (size_t i = 0; i + 1 < size; i += 2)
        sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
    if (size % 2)
        sum += (uint32_t)bytes[size - 1] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* A raw IPv4 packet of a connection: its SYN, its SYN-ACK, its ACK, then data. */
static size_t write_packet(uint8_t *at, int number)
{
    static const uint8_t client[4] = {10, 0, 0, 1}, server[4] = {10, 0, 0, 2};
    int from_server = number == 1;
    uint32_t seq = from_server ? 5000 : number == 0 ? 1000 : 1001 + (number > 2 ? number - 3 : 0) * PAYLOAD;
    uint32_t ack = number == 0 ? 0 : from_server ? 1001 : 5001;
    size_t payload = number > 2 ? PAYLOAD : 0, size = 40 + payload;
    uint8_t *tcp = at + 20;
    memset(at, 0, size);
    at[0] = 0x45;
    at[2] = (uint8_t)(size >> 8), at[3] = (uint8_t)size;
    at[8] = 64, at[9] = 6;
    memcpy(at + 12, from_server ? server : client, 4);
    memcpy(at + 16, from_server ? client : server, 4);
    uint16_t sum = checksum(at, 20, 0);
    at[10] = (uint8_t)(sum >> 8), at[11] = (uint8_t)sum;
    *(uint16_t *)tcp = htons(from_server ? 179 : 40000);
    *(uint16_t *)(tcp + 2) = htons(from_server ? 40000 : 179);
    *(uint32_t *)(tcp + 4) = htonl(seq);
    *(uint32_t *)(tcp + 8) = htonl(ack);
    tcp[12] = 5 << 4;
    tcp[13] = number == 0 ? 2 : from_server ? 18 : 16;
    for (size_t i = 0; i < payload; i++)
        tcp[20 + i] = (uint8_t)(i * number);
    uint32_t pseudo = 6 + (uint32_t)(20 + payload) + 2 * 10 * 256 + 1 + 2;
    sum = checksum(tcp, 20 + payload, pseudo);
    tcp[16] = (uint8_t)(sum >> 8), tcp[17] = (uint8_t)sum;
    return size;
}

static void fail(const char *what)
{
    fprintf(stderr, "slots: %s: %s\n", what, tcpao_error_text());
    exit(1);
}

int main(int argc, char **argv)
{
    tcpao_engine *here, *there;
    tcpao_options options = TCPAO_OPTIONS;
    size_t signed_ones = 0, good = 0, same = 0, payloads_moved = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: slots KEYS\n");
        return 2;
    }
    if (tcpao_start() || tcpao_open(argv[1], 0, &here) || tcpao_open(argv[1], 0, &there))
        fail(argv[1]);
    for (int i = 0; i < SLOTS; i++) {
        data[i] = umem[i] + HEADROOM;
        length[i] = write_packet(data[i], i);
        memcpy(before[i], data[i], length[i]);
    }
    options.linktype = 101;
    options.headroom = HEADROOM;
    if (tcpao_sign(here, data, length, SLOTS, &options, result))
        fail("sign");
    for (int i = 0; i < SLOTS; i++) {
        signed_ones += result[i].outcome == TCPAO_SIGNED;
        payloads_moved += i > 2 && data[i] + length[i] != umem[i] + HEADROOM + 40 + PAYLOAD;
    }
    options.headroom = 0;
    if (tcpao_verify_and_strip(there, data, length, SLOTS, &options, result))
        fail("verify_and_strip");
    for (int i = 0; i < SLOTS; i++) {
        good += result[i].verdict == TCPAO_GOOD && result[i].outcome == TCPAO_STRIPPED;
        same += data[i] == umem[i] + HEADROOM && memcmp(data[i], before[i], length[i]) == 0;
    }
    printf("signed %zu, good %zu, as before %zu, payloads moved %zu\n", signed_ones, good, same,
           payloads_moved);
    if (tcpao_close(here) || tcpao_close(there))
        fail("close");
    return 0;
}
