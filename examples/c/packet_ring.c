/* Verifies what an interface receives, out of an AF_PACKET ring (TPACKET_V3): no packet is copied.
 *
 *     python -m tcpao_fast build-library /tmp/lib
 *     cc -O2 packet_ring.c $(PKG_CONFIG_PATH=/tmp/lib pkg-config --cflags --libs tcpao_fast)
 *     ./a.out eth0 keys.toml 10        # interface, keys, seconds; root, or CAP_NET_RAW
 *
 * The kernel fills blocks of packets and hands over whole ones; each is verified with one call.
 */
#include "tcpao_fast.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BLOCKS = 16, BLOCK_BYTES = 1 << 20, FRAME_BYTES = 2048, MOST = BLOCK_BYTES / 64 };

static const uint8_t *data[MOST];
static size_t length[MOST];
static int64_t timestamp[MOST];
static int64_t on_wire[MOST];
static int32_t vlan[MOST];
static tcpao_result result[MOST];

static uint8_t *open_ring(const char *name, int *out)
{
    int version = TPACKET_V3, fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    struct tpacket_req3 wanted = {.tp_block_size = BLOCK_BYTES,
                                  .tp_block_nr = BLOCKS,
                                  .tp_frame_size = FRAME_BYTES,
                                  .tp_frame_nr = BLOCKS * (BLOCK_BYTES / FRAME_BYTES),
                                  .tp_retire_blk_tov = 10};
    struct sockaddr_ll where = {.sll_family = AF_PACKET,
                                .sll_protocol = htons(ETH_P_ALL),
                                .sll_ifindex = (int)if_nametoindex(name)};
    if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) < 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &wanted, sizeof wanted) < 0)
        return NULL;
    uint8_t *ring = mmap(NULL, (size_t)BLOCKS * BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (ring == MAP_FAILED || bind(fd, (struct sockaddr *)&where, sizeof where) < 0)
        return NULL;
    *out = fd;
    return ring;
}

static int verify_block(tcpao_engine *engine, struct tpacket_block_desc *block)
{
    size_t count = block->hdr.bh1.num_pkts;
    uint8_t *at = (uint8_t *)block + block->hdr.bh1.offset_to_first_pkt;
    for (size_t i = 0; i < count && i < MOST; i++) {
        struct tpacket3_hdr *packet = (struct tpacket3_hdr *)at;
        data[i] = at + packet->tp_mac;
        length[i] = packet->tp_snaplen;
        on_wire[i] = packet->tp_len;
        timestamp[i] = packet->tp_sec * 1000000000LL + packet->tp_nsec;
        vlan[i] = packet->tp_status & TP_STATUS_VLAN_VALID ? (int32_t)packet->hv1.tp_vlan_tci : -1;
        at += packet->tp_next_offset;
    }
    tcpao_options options = TCPAO_OPTIONS;
    options.flags = TCPAO_KEEP_FRAGMENTS;
    options.timestamps = timestamp;
    options.wire_lengths = on_wire;
    options.vlan = vlan;
    return tcpao_verify(engine, data, length, count < MOST ? count : MOST, &options, result);
}

int main(int argc, char **argv)
{
    tcpao_engine *engine;
    int fd;
    if (argc != 4) {
        fprintf(stderr, "usage: packet_ring INTERFACE KEYS SECONDS\n");
        return 2;
    }
    if (tcpao_start() || tcpao_open(argv[2], 0, &engine)) {
        fprintf(stderr, "packet_ring: %s\n", tcpao_error_text());
        return 2;
    }
    uint8_t *ring = open_ring(argv[1], &fd);
    if (ring == NULL) {
        fprintf(stderr, "packet_ring: %s: %s\n", argv[1], strerror(errno));
        return 2;
    }
    printf("ready\n");
    fflush(stdout);
    time_t end = time(NULL) + atoi(argv[3]);
    for (unsigned at = 0; time(NULL) < end;) {
        struct tpacket_block_desc *block =
            (struct tpacket_block_desc *)(ring + (size_t)at * BLOCK_BYTES);
        if (!(__atomic_load_n(&block->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) {
            struct pollfd ready = {.fd = fd, .events = POLLIN};
            poll(&ready, 1, 100);
            continue;
        }
        if (verify_block(engine, block)) {
            fprintf(stderr, "packet_ring: %s\n", tcpao_error_text());
            return 2;
        }
        __atomic_store_n(&block->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
        at = (at + 1) % BLOCKS;
    }
    struct tpacket_stats_v3 stats;
    socklen_t size = sizeof stats;
    getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size);
    uint64_t counts[TCPAO_VERDICTS];
    tcpao_counts(engine, counts);
    printf("good %llu, bad_mac %llu, unsigned %llu, dropped by the kernel %u\n",
           (unsigned long long)counts[TCPAO_GOOD], (unsigned long long)counts[TCPAO_BAD_MAC],
           (unsigned long long)(counts[TCPAO_UNSIGNED] + counts[TCPAO_AO_REQUIRED]),
           stats.tp_drops);
    return tcpao_close(engine);
}
