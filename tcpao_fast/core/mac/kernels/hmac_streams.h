/* HMAC (RFC 2104) with cached midstates, two messages side by side: while one instruction of a hash
 * waits for its result, the other message's runs.
 *
 * Included once by each kernel with SHA instructions, after the definitions that hmac_keys.h asks
 * for and
 *   hash_state     the state in registers
 *   hash_load      hash_state (const uint8_t *midstate)
 *   hash_save      void (hash_state, uint32_t words[HASH_WORDS])
 *   hash_one       void (hash_state *, const uint8_t *blocks, uint32_t count)
 *   hash_two       the same for two states and two runs of blocks
 */
#include "hmac_keys.h"
#include "lanes.h"

typedef struct {
    tcpao_lane lane;
    hash_state state;
    int outer;         /* the inner hash is done, `block` is what is left */
    uint8_t block[64];
} hmac_stream;

static void stream_start(hmac_stream *stream, const tcpao_message *message)
{
    stream->state = hash_load(message->key);
    stream->outer = 0;
    lane_start(&stream->lane, message);
}

/* Nothing is left in the current piece: go on to the next, then to the outer hash.  Returns 0 when
 * the MAC is written. */
static int stream_goes_on(hmac_stream *stream)
{
    const tcpao_message *message = stream->lane.message;
    uint32_t words[HASH_WORDS];

    if (!stream->outer && lane_next_piece(&stream->lane))
        return 1;
    hash_save(stream->state, words);
    if (!stream->outer) {
        hash_outer_block(words, stream->block);
        stream->state = hash_load(message->key + HASH_BYTES);
        stream->lane.at = stream->block;
        stream->lane.left = 1;
        stream->outer = 1;
        return 1;
    }
    for (int i = 0; i < HASH_WORDS; i++)
        store32_be(message->mac + 4 * i, words[i]);
    return 0;
}

static void hmac_many(const tcpao_message *const *messages, size_t count)
{
    hmac_stream streams[2];
    size_t next = 0;
    int running = 0;

    while (running < 2 && next < count)
        stream_start(&streams[running++], messages[next++]);
    while (running == 2) {
        tcpao_lane *a = &streams[0].lane, *b = &streams[1].lane;
        const uint32_t together = a->left < b->left ? a->left : b->left;
        hash_two(&streams[0].state, &streams[1].state, a->at, b->at, together);
        for (int i = 0; i < 2; i++) {
            tcpao_lane *lane = &streams[i].lane;
            lane->at += (size_t)64 * together;
            lane->left -= together;
            if (lane->left || stream_goes_on(&streams[i]))
                continue;
            if (next < count) {
                stream_start(&streams[i], messages[next++]);
            } else {
                running--;
                if (i == 0) {
                    /* the other one goes on alone, after its own step of this round */
                    lane = &streams[1].lane;
                    lane->at += (size_t)64 * together;
                    lane->left -= together;
                    if (!lane->left && !stream_goes_on(&streams[1]))
                        running--;
                    streams[0] = streams[1];
                    if (streams[0].outer)
                        streams[0].lane.at = streams[0].block;
                }
                break;
            }
        }
    }
    while (running == 1) {
        tcpao_lane *lane = &streams[0].lane;
        hash_one(&streams[0].state, lane->at, lane->left);
        lane->left = 0;
        running = stream_goes_on(&streams[0]);
    }
}
