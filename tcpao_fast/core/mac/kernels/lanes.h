/* A message as its lane reads it, piece by piece. */
#ifndef TCPAO_LANES_H
#define TCPAO_LANES_H

#include "kernels.h"

typedef struct {
    const tcpao_message *message;
    const uint8_t *at;
    uint32_t left; /* blocks in the current piece */
    int piece;
} tcpao_lane;

/* Go on to the next piece that has blocks; returns 0 at the end of the message. */
static inline int lane_next_piece(tcpao_lane *lane)
{
    while (lane->left == 0) {
        if (++lane->piece == 3)
            return 0;
        lane->at = lane->message->piece[lane->piece];
        lane->left = lane->message->blocks[lane->piece];
    }
    return 1;
}

/* Whether the current piece is the last one with blocks. */
static inline int lane_in_last_piece(const tcpao_lane *lane)
{
    for (int piece = lane->piece + 1; piece < 3; piece++)
        if (lane->message->blocks[piece])
            return 0;
    return 1;
}

static inline void lane_start(tcpao_lane *lane, const tcpao_message *message)
{
    lane->message = message;
    lane->piece = -1;
    lane->left = 0;
    lane_next_piece(lane);
}

#endif
