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
    /* In halves of a pixel; `beyond` is how far into cell `first` it has come, of `cell`. */
    int64_t cell = 2 * (int64_t)large, beyond = (int64_t)small - large;
    double scale = (double)whole / (double)cell;
    int first = 0;
    for (int at = 0; at < large; at++, beyond += 2 * (int64_t)small) {
        while (beyond >= cell)
            beyond -= cell, first++;
        int has_next = beyond >= 0 && first < small - 1;
        places[at].first = first < small - 1 ? first : small - 1;
        places[at].share = has_next ? (int)((double)beyond * scale + 0.5) : 0;
    }
}

/* The first of `large` pixels of each `count` groups of `cells` cells, and `large` at the end. */
static inline void place_starts(int *starts, const Between *places, int cells, int count, int large)
{
    for (int group = 0, at = 0; group < count; group++) {
        while (at < large && places[at].first < group * cells)
            at++;
        starts[group] = at;
    }
    starts[count] = large;
}

#endif
