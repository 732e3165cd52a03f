/* LANES messages of any lengths side by side: how far all can go together, and who has ended.
 *
 * Included once by each kernel that works in lanes, after it has defined LANES.
 */
#include "lanes.h"
#include "prefetch.h"

enum {
    WORTH_PREFETCHING = 4, /* blocks at a time */
    PREFETCHED = 1024      /* bytes of a piece; behind them the hardware has seen the streams */
};

typedef struct {
    tcpao_lane lanes[LANES];
    const uint8_t *at[LANES]; /* where each lane reads; one that has ended reads along with another */
    uint32_t live;            /* bit i: lane i has blocks left */
    uint32_t together;        /* blocks that all live lanes can take */
    const uint8_t *next[LANES]; /* the middle of each message of the next group, or NULL */
} lane_group;

/* Find `at` and `together`. */
static inline void group_arrange(lane_group *group)
{
    const uint8_t *any = NULL;

    group->together = UINT32_MAX;
    for (int i = 0; i < LANES; i++) {
        if (!(group->live >> i & 1))
            continue;
        any = group->at[i] = group->lanes[i].at;
        if (group->lanes[i].left < group->together)
            group->together = group->lanes[i].left;
    }
    for (int i = 0; i < LANES; i++)
        if (!(group->live >> i & 1))
            group->at[i] = any;
}

/* Begin with the first messages of `count`, up to LANES. */
static inline void group_start(lane_group *group, const tcpao_message *const *messages, size_t count)
{
    for (size_t i = 0; i < LANES; i++) /* a piece without blocks is nowhere */
        group->next[i] = LANES + i < count && messages[LANES + i]->blocks[1]
                             ? messages[LANES + i]->piece[1]
                             : NULL;
    if (count > LANES)
        count = LANES;
    group->live = (uint32_t)((1ull << count) - 1);
    for (size_t i = 0; i < count; i++)
        lane_start(&group->lanes[i], messages[i]);
    group_arrange(group);
}

/* The blocks of `count` messages, up to LANES, that have one piece each and are alike, with padding
 * or without, as bare ACKs are: they need no lanes that change pieces.  0 where they are not; `at`
 * is where each is read, in lanes beyond them the first. */
static inline uint32_t group_alike(const tcpao_message *const *messages, size_t count,
                                   const uint8_t *at[LANES])
{
    const uint32_t blocks = messages[0]->blocks[0], padded = messages[0]->padded;
    uint32_t other = 0;

    for (size_t i = 0; i < LANES; i++) {
        const tcpao_message *message = messages[i < count ? i : 0];
        at[i] = message->piece[0];
        other |= (message->blocks[0] ^ blocks) | message->blocks[1] | message->blocks[2] |
                 (message->padded ^ padded);
    }
    return other ? 0 : blocks;
}

/* Where the next group's lanes will read: to be asked for, block by block, while this group's long
 * pieces are worked on, as so many streams at once are more than the hardware looks ahead for. */
static inline const uint8_t *const *group_ahead(const lane_group *group)
{
    return group->together >= WORTH_PREFETCHING && group->next[0] ? group->next : NULL;
}

static inline void lanes_prefetch(const uint8_t *const ahead[LANES], size_t offset)
{
    if (offset >= PREFETCHED)
        return;
    for (int i = 0; i < LANES; i++)
        if (ahead[i])
            tcpao_prefetch(ahead[i] + offset);
}

/* Which lanes end with the next `together` blocks. */
static inline uint32_t group_ending(const lane_group *group)
{
    uint32_t ending = 0;

    for (int i = 0; i < LANES; i++) {
        const tcpao_lane *lane = &group->lanes[i];
        if (group->live >> i & 1 && lane->left == group->together && lane_in_last_piece(lane))
            ending |= 1u << i;
    }
    return ending;
}

/* All lanes took `together` blocks: go on.  Returns which lanes have ended with that. */
static inline uint32_t group_step(lane_group *group, size_t block_bytes)
{
    const uint32_t taken = group->together;
    uint32_t ended = 0;

    for (int i = 0; i < LANES; i++) {
        tcpao_lane *lane = &group->lanes[i];
        if (!(group->live >> i & 1))
            continue;
        lane->at += block_bytes * taken;
        lane->left -= taken;
        if (lane->left == 0 && !lane_next_piece(lane))
            ended |= 1u << i;
    }
    group->live &= ~ended;
    if (group->live)
        group_arrange(group);
    return ended;
}
