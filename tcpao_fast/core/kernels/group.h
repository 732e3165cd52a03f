/* LANES messages of any lengths side by side: how far all can go together, and who has ended.
 *
 * Included once by each kernel that works in lanes, after it has defined LANES.
 */
#include "lanes.h"

typedef struct {
    tcpao_lane lanes[LANES];
    const uint8_t *at[LANES]; /* where each lane reads; one that has ended reads along with another */
    uint32_t live;            /* bit i: lane i has blocks left */
    uint32_t together;        /* blocks that all live lanes can take */
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

/* Begin with 1 to LANES messages. */
static inline void group_start(lane_group *group, const tcpao_message *const *messages, size_t count)
{
    group->live = (uint32_t)((1ull << count) - 1);
    for (size_t i = 0; i < count; i++)
        lane_start(&group->lanes[i], messages[i]);
    group_arrange(group);
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
