/* Linear enlargement between cell centres, as cv2.INTER_LINEAR places them: where between two cells a pixel lies. */
#ifndef EDGE_DEEPLAB_ENLARGING_H
#define EDGE_DEEPLAB_ENLARGING_H

#include <stdint.h>

/* A pixel takes `share` of cell `first` + 1, of the `whole` it was placed with, and the rest of cell `first`. */
typedef struct {
    int first, share;
} Between;

/* For each of `large` pixels over `small` cells. Share is 0 where there is no next cell. */
static inline void place_between(Between *places, int small, int large, int whole)
{
    for (int at = 0; at < large; at++) {
        int64_t halves = (int64_t)(2 * at + 1) * small - large, cell = 2 * (int64_t)large;
        int64_t first = halves > 0 ? halves / cell : 0;
        int64_t share = halves > 0 ? (halves % cell * whole + large) / cell : 0;
        if (first >= small - 1)
            first = small - 1, share = 0;
        places[at].first = (int)first, places[at].share = (int)share;
    }
}

#endif
