/* A matte's regions and its past: compositing/islands.py, held_objects.py and smoothing.py say what and why.
 *
 * Masks are rows of bytes without gaps, 0 or SET. A region is a set of runs: stretches of set bytes in a row, joined
 * where they touch from row to row. There are few of them in a matte, so nothing here looks at single pixels twice.
 */
#include "arrays.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned char Byte;

enum { SET = 255, MOST_PIXELS = 1 << 28 };

INLINED int larger(int one, int other) { return one > other ? one : other; }
INLINED int smaller(int one, int other) { return one < other ? one : other; }

/* ---- masks ---- */

FOR_EACH_PROCESSOR static void mask_above(Byte *restrict mask, const Array *matte, float level)
{
    for (int y = 0; y < matte->height; y++) {
        const float *restrict row = row_of(matte, y);
        for (int x = 0; x < matte->width; x++)
            mask[x] = row[x] > level ? SET : 0;
        mask += matte->width;
    }
}

FOR_EACH_PROCESSOR static void take_away(Byte *restrict mask, const Byte *restrict other, size_t count)
{
    for (size_t index = 0; index < count; index++)
        mask[index] &= (Byte)~other[index];
}

INLINED void and_row(Byte *restrict row, const Byte *restrict other, int count)
{
    for (int x = 0; x < count; x++)
        row[x] &= other[x];
}

INLINED void or_row(Byte *restrict row, const Byte *restrict other, int count)
{
    for (int x = 0; x < count; x++)
        row[x] |= other[x];
}

/* How far a disc of OpenCV's (MORPH_ELLIPSE) reaches to either side in the row `dy` from its middle. */
static int disc_reach(int radius, int dy)
{
    return radius ? (int)lrint(radius * sqrt((double)(radius * radius - dy * dy) / ((double)radius * radius))) : 0;
}

/* What the disc fits into, wherever it is set down; outside of the mask it may lie as it likes. */
FOR_EACH_PROCESSOR static void erode(Byte *out, const Byte *mask, int height, int width, int radius)
{
    for (int y = 0; y < height; y++, out += width) {
        memset(out, SET, width);
        for (int dy = larger(-radius, -y); dy <= smaller(radius, height - 1 - y); dy++) {
            const Byte *row = mask + (size_t)(y + dy) * width;
            and_row(out, row, width);
            for (int dx = 1; dx <= smaller(disc_reach(radius, dy), width - 1); dx++) {
                and_row(out, row + dx, width - dx);
                and_row(out + dx, row, width - dx);
            }
        }
    }
}

/* What the disc covers, set down on every byte that is set. */
FOR_EACH_PROCESSOR static void dilate(Byte *out, const Byte *mask, int height, int width, int radius)
{
    for (int y = 0; y < height; y++, out += width) {
        memset(out, 0, width);
        for (int dy = larger(-radius, -y); dy <= smaller(radius, height - 1 - y); dy++) {
            const Byte *row = mask + (size_t)(y + dy) * width;
            or_row(out, row, width);
            for (int dx = 1; dx <= smaller(disc_reach(radius, dy), width - 1); dx++) {
                or_row(out, row + dx, width - dx);
                or_row(out + dx, row, width - dx);
            }
        }
    }
}

/* ---- regions ---- */

typedef struct {
    int row, begin, end; /* columns [begin, end) */
    int parent;          /* towards the first run of its region, which is its own */
    int next;            /* of its region, -1 after the last; set by chain_runs */
} Run;

/* How many runs a mask has at most. */
static size_t most_runs(int height, int width) { return (size_t)height * (width / 2 + 1); }

static int root_of(Run *runs, int index)
{
    while (runs[index].parent != index)
        index = runs[index].parent = runs[runs[index].parent].parent;
    return index;
}

static void join(Run *runs, int one, int other)
{
    one = root_of(runs, one), other = root_of(runs, other);
    runs[larger(one, other)].parent = smaller(one, other);
}

/* Finds the runs of bytes that are `value`, 0 or SET, and joins those of one region; `corner` is 1 where bytes that
 * touch at a corner are of one region, else 0. Returns: their number. Afterwards root_of names a run's region. */
static int find_runs(Run *runs, const Byte *mask, int height, int width, int value, int corner)
{
    int count = 0, above = 0; /* `above` is the first run of the row before */
    for (int y = 0; y < height; y++, mask += width) {
        int first = count;
        for (int x = 0; x < width;) {
            const Byte *begin = memchr(mask + x, value, width - x);
            if (!begin)
                break;
            const Byte *end = memchr(begin, SET - value, width - (begin - mask));
            Run run = {y, (int)(begin - mask), end ? (int)(end - mask) : width, count, -1};
            runs[count] = run;
            while (above < first && runs[above].end + corner <= run.begin)
                above++;
            for (int other = above; other < first && runs[other].begin < run.end + corner; other++)
                join(runs, other, count);
            count++;
            x = run.end;
        }
        above = first;
    }
    return count;
}

/* Chains the runs of each region, from its first one on. */
static void chain_runs(Run *runs, int count)
{
    for (int index = count - 1; index >= 0; index--) {
        int root = root_of(runs, index);
        if (root != index) {
            runs[index].next = runs[root].next;
            runs[root].next = index;
        }
    }
}

static void fill_run(Byte *mask, int width, const Run *run)
{
    memset(mask + (size_t)run->row * width + run->begin, SET, run->end - run->begin);
}

/* Whether the runs of a mask of the matte's size can be counted; sets ValueError where not. */
static int check_pixels(const Array *matte)
{
    if ((long long)matte->height * matte->width <= MOST_PIXELS)
        return 1;
    PyErr_Format(PyExc_ValueError, "matte must have at most %d pixels; came %d x %d", MOST_PIXELS, matte->height,
                 matte->width);
    return 0;
}

/* What the disc covers, set down on every byte of a run. */
static void spread_run(Byte *mask, int height, int width, const Run *run, const int *reach, int radius)
{
    for (int dy = larger(-radius, -run->row); dy <= smaller(radius, height - 1 - run->row); dy++) {
        int side = reach[abs(dy)], begin = larger(run->begin - side, 0), end = smaller(run->end + side, width);
        memset(mask + (size_t)(run->row + dy) * width + begin, SET, end - begin);
    }
}

/* ---- small_islands ---- */

/* Returns: 1 where there are small islands, 0 where there are none, -1 where memory is short. */
static int find_islands(
    const Array *matte, const Array *small, float certain, double least_share, int bridge_px, int reach_px)
{
    int height = matte->height, width = matte->width, found = -1;
    size_t size = (size_t)height * width;
    Byte *above = malloc(2 * size);
    Run *runs = malloc(sizeof(Run) * most_runs(height, width));
    int *areas = calloc(most_runs(height, width), sizeof(int)), *reach = malloc(sizeof(int) * (reach_px + 1));
    if (above && runs && areas && reach) {
        Byte *cores = above + size;
        mask_above(above, matte, certain);
        erode(cores, above, height, width, bridge_px);
        int count = find_runs(runs, cores, height, width, SET, 1), largest = 0;
        for (int index = 0; index < count; index++) {
            int root = root_of(runs, index);
            areas[root] += runs[index].end - runs[index].begin;
            largest = larger(largest, areas[root]);
        }
        found = 0;
        for (int index = 0; index < count && !found; index++)
            found = areas[root_of(runs, index)] < least_share * largest;
        if (found) { /* the small ones with their rims, less the rims of the others */
            Byte *small_ones = above, *others = cores;
            for (int dy = 0; dy <= reach_px; dy++)
                reach[dy] = disc_reach(reach_px, dy);
            memset(above, 0, 2 * size);
            for (int index = 0; index < count; index++) {
                int is_small = areas[root_of(runs, index)] < least_share * largest;
                spread_run(is_small ? small_ones : others, height, width, &runs[index], reach, reach_px);
            }
            take_away(small_ones, others, size);
            for (int y = 0; y < height; y++)
                memcpy(row_of(small, y), small_ones + (size_t)y * width, width);
        }
    }
    free(above);
    free(runs);
    free(areas);
    free(reach);
    return found;
}

PyObject *small_islands(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *from, *into;
    float certain;
    double least_share;
    int bridge_px, reach_px, found = -2;
    if (!PyArg_ParseTuple(arguments, "OOfdii", &from, &into, &certain, &least_share, &bridge_px, &reach_px))
        return NULL;
    Array matte = {0}, small = {0};
    if (take_array(&matte, from, "matte", 'f', 1, 0) && check_pixels(&matte) &&
        take_array(&small, into, "small", 'B', 1, 1) &&
        check_size(&small, "small", matte.height, matte.width)) {
        Py_BEGIN_ALLOW_THREADS
        found = find_islands(&matte, &small, certain, least_share, smaller(larger(bridge_px, 0), 99),
                             smaller(larger(reach_px, 0), 9999));
        Py_END_ALLOW_THREADS
    }
    give_array(&matte);
    give_array(&small);
    return found == -2 ? NULL : found == -1 ? PyErr_NoMemory() : PyBool_FromLong(found);
}

/* ---- held_regions ---- */

typedef struct {
    const Array *matte;
    int height, width;
    Byte *person, *regions, *work, *half_seen;
    Run *runs, *local_runs;
} Held;

static int is_any_set(const Byte *row, int begin, int end)
{
    return begin < end && memchr(row + begin, SET, end - begin) != NULL;
}

/* Whether a run lies beside a set byte of the mask; corners do not count. */
static int touches(const Byte *mask, int height, int width, const Run *run)
{
    const Byte *row = mask + (size_t)run->row * width;
    return is_any_set(row, larger(run->begin - 1, 0), smaller(run->end + 1, width)) ||
           (run->row > 0 && is_any_set(row - width, run->begin, run->end)) ||
           (run->row < height - 1 && is_any_set(row + width, run->begin, run->end));
}

/* Marks the half seen regions that are joined to the person. Returns: whether there is one. */
static int mark_joined(const Held *held)
{
    int count = find_runs(held->runs, held->half_seen, held->height, held->width, SET, 0), is_any = 0;
    Run *runs = held->runs;
    for (int index = 0; index < count; index++) {
        Run *root = &runs[root_of(runs, index)];
        if (root->row >= 0 && touches(held->person, held->height, held->width, &runs[index]))
            root->row = -1 - root->row; /* says so of its whole region */
    }
    for (int index = 0; index < count; index++) {
        if (runs[root_of(runs, index)].row >= 0)
            continue;
        Run run = runs[index];
        run.row = run.row < 0 ? -1 - run.row : run.row;
        fill_run(held->regions, held->width, &run);
        is_any = 1;
    }
    return is_any;
}

/* Fills the hole that begins with the run `first`, if the matte's mean in it is above `least_mean`. What it encloses
 * and is not the person belongs to it. Returns: whether it was filled. */
static int fill_hole(const Held *held, int first, double least_mean)
{
    const Run *runs = held->runs;
    int left = held->width, right = 0, top = runs[first].row, bottom = top;
    for (int index = first; index >= 0; index = runs[index].next) {
        left = smaller(left, runs[index].begin), right = larger(right, runs[index].end);
        bottom = runs[index].row;
    }
    /* Around it, with one more pixel on every side: what cannot be reached there from outside is enclosed. */
    int wide = right - left + 2, high = bottom - top + 3;
    Byte *around = held->work;
    memset(around, SET, (size_t)wide * high);
    for (int index = first; index >= 0; index = runs[index].next)
        memset(around + (size_t)(runs[index].row - top + 1) * wide + runs[index].begin - left + 1, 0,
               runs[index].end - runs[index].begin);
    int parts = find_runs(held->local_runs, around, high, wide, SET, 1);
    for (int index = 0; index < parts; index++) {
        const Run *run = &held->local_runs[index];
        if (root_of(held->local_runs, index) != 0)
            memset(around + (size_t)run->row * wide + run->begin, 0, run->end - run->begin);
    }
    double sum = 0;
    int pixels = 0;
    for (int y = top; y <= bottom; y++) {
        Byte *out = around + (size_t)(y - top + 1) * wide + 1;
        const float *matte = row_of(held->matte, y);
        or_row(out, held->person + (size_t)y * held->width + left, right - left);
        for (int x = left; x < right; x++)
            if (!out[x - left])
                sum += matte[x], pixels++;
    }
    if (!(sum > least_mean * pixels))
        return 0;
    for (int y = top; y <= bottom; y++) {
        const Byte *out = around + (size_t)(y - top + 1) * wide + 1;
        Byte *regions = held->regions + (size_t)y * held->width + left;
        for (int x = 0; x < right - left; x++)
            regions[x] |= (Byte)~out[x];
    }
    return 1;
}

/* Marks the holes inside the person that are worth it. Returns: whether there is one. */
static int mark_holes(const Held *held, double least_mean)
{
    Run *runs = held->runs;
    int count = find_runs(runs, held->person, held->height, held->width, 0, 0), is_any = 0;
    chain_runs(runs, count);
    for (int first = 0; first < count; first++) {
        if (runs[first].parent != first)
            continue;
        int is_open = 0; /* to the outside */
        for (int index = first; index >= 0 && !is_open; index = runs[index].next)
            is_open = runs[index].row == 0 || runs[index].row == held->height - 1 || runs[index].begin == 0 ||
                      runs[index].end == held->width;
        if (!is_open)
            is_any |= fill_hole(held, first, least_mean);
    }
    return is_any;
}

/* Returns: 1 where there is something held, 0 where there is nothing, -1 where memory is short. */
static int find_held(
    const Array *matte, const Array *regions, float certain, float half_seen, int rim_px, double hole_mean)
{
    int height = matte->height, width = matte->width, is_any = -1;
    size_t size = (size_t)height * width, runs = most_runs(height + 2, width + 2);
    Byte *masks = malloc(3 * size + (size_t)(height + 2) * (width + 2));
    Held held = {.matte = matte, .height = height, .width = width};
    held.runs = malloc(sizeof(Run) * 2 * runs);
    if (masks && held.runs) {
        held.local_runs = held.runs + runs;
        held.person = masks, held.regions = masks + size;
        held.half_seen = masks + 2 * size, held.work = masks + 3 * size;
        mask_above(held.person, matte, certain);
        mask_above(held.half_seen, matte, half_seen);
        take_away(held.half_seen, held.person, size);
        erode(held.work, held.half_seen, height, width, rim_px);
        dilate(held.half_seen, held.work, height, width, rim_px);
        memset(held.regions, 0, size);
        is_any = mark_joined(&held);
        for (int y = 0; is_any && y < height; y++)
            or_row(held.person + (size_t)y * width, held.regions + (size_t)y * width, width);
        is_any |= mark_holes(&held, hole_mean);
        for (int y = 0; is_any && y < height; y++)
            memcpy(row_of(regions, y), held.regions + (size_t)y * width, width);
    }
    free(masks);
    free(held.runs);
    return is_any;
}

PyObject *held_regions(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *from, *into;
    float certain, half_seen;
    double hole_mean;
    int rim_px, is_any = -2;
    if (!PyArg_ParseTuple(arguments, "OOffid", &from, &into, &certain, &half_seen, &rim_px, &hole_mean))
        return NULL;
    Array matte = {0}, regions = {0};
    if (take_array(&matte, from, "matte", 'f', 1, 0) && check_pixels(&matte) &&
        take_array(&regions, into, "regions", 'B', 1, 1) &&
        check_size(&regions, "regions", matte.height, matte.width)) {
        Py_BEGIN_ALLOW_THREADS
        is_any = find_held(&matte, &regions, certain, half_seen, smaller(larger(rim_px, 0), 999), hole_mean);
        Py_END_ALLOW_THREADS
    }
    give_array(&matte);
    give_array(&regions);
    return is_any == -2 ? NULL : is_any == -1 ? PyErr_NoMemory() : PyBool_FromLong(is_any);
}
