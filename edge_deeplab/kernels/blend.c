/* The blend, at the picture's own resolution: compositing/blending.py says what is computed and why. */
#include "arrays.h"
#include "enlarging.h"
#include "strips.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef enum { PLAIN, CLEAN, WITHIN } Kind;

/* Cells of alpha that are looked at together; a run of them is person, background or edge. */
enum { BLOCK = 8, STRIP_ROWS = 48 };
enum { WHOLE_SHARE = 256 }; /* so that a byte's products with a share and the rest sum up in 16 bits */
enum { IS_BACKGROUND = 0, IS_EDGE = 1, IS_PERSON = 2 };

/* Four values of one pixel, the last of no meaning. Every compiler that has a use for this file has these vectors. */
typedef uint16_t Four __attribute__((vector_size(8)));

/* A picture that stands behind, of the frame's size or smaller. Then `rows` says between which of its rows a row of the
 * frame lies; the columns of the frame from starts[x] to starts[x + 1] take their share of its column x + 1. */
typedef struct {
    Array picture;
    int is_small;
    Between *rows;
    int *starts;
    Four *shares;
} Behind;

typedef struct {
    Array frame, alpha, out;
    Behind background, behind;
    Kind kind;
    Between *alpha_rows, *alpha_columns;
    int *block_starts; /* the first column of the frame of each block, and the width at the end */
    int blocks;
    atomic_int lacks_memory;
} Blend;

/* A small picture's rows at the frame's width, times 256; the last two are kept. */
typedef struct {
    const Behind *of;
    uint16_t *wide, *rows[2];
    int held[2];
} Rows;

/* Columns [left, right) of one class. */
typedef struct {
    int class, left, right, block;
} Run;

/* What one thread works with. Of two rows of alpha: what each block is, and its values enlarged, three times a pixel
 * and times 256, where they have been asked for. */
typedef struct {
    Rows background, behind;
    uint8_t *classes[2], *has_block[2], *edges;
    uint16_t *alpha[2];
    int held[2];
    uint8_t *weights, *background_bytes, *behind_bytes, *mixed;
    Run *runs;
    int run_count, runs_from, runs_over_two;
} Bench;

/* A product of two bytes over 255, rounded; in 16 bits, so that twice as many fit a register. */
INLINED uint16_t in_255ths(int product)
{
    uint16_t sum = (uint16_t)(product + 128);
    return (uint16_t)(sum + (sum >> 8)) >> 8;
}

FOR_EACH_PROCESSOR static void widen(const uint8_t *restrict from, uint16_t *restrict into, int count)
{
    for (int at = 0; at < count; at++)
        into[at] = from[at];
}

/* upper and lower: shares of the two rows, 65535 together. */
FOR_EACH_PROCESSOR static void between_rows(
    const uint16_t *restrict above, const uint16_t *restrict below, uint16_t upper, uint16_t lower,
    uint8_t *restrict into, int count)
{
    for (int at = 0; at < count; at++) {
        uint16_t one = (uint16_t)((uint32_t)above[at] * upper >> 16);
        uint16_t other = (uint16_t)((uint32_t)below[at] * lower >> 16);
        into[at] = (uint8_t)((uint16_t)(one + other + 129) >> 8); /* 129: what the two cuts took, and a half */
    }
}

INLINED void enlarge_between(
    const uint16_t *above, const uint16_t *below, int share, uint8_t *into, int left, int right)
{
    uint16_t lower = (uint16_t)(share * 65535 / WHOLE_SHARE);
    between_rows(above + 3 * left, below + 3 * left, (uint16_t)(65535 - lower), lower, into, 3 * (right - left));
}

static const uint16_t *enlarged_row(Rows *rows, int number)
{
    uint16_t *row = rows->rows[number & 1];
    if (rows->held[number & 1] == number)
        return row;
    rows->held[number & 1] = number;
    const Array *picture = &rows->of->picture;
    int values = 3 * picture->width;
    widen(row_of(picture, number), rows->wide, values);
    for (int at = 0; at < 6; at++) /* one pixel beyond the last, and the fourth value of that */
        rows->wide[values + at] = rows->wide[values - 3 + at % 3];
    const int *starts = rows->of->starts;
    const Four *shares = rows->of->shares;
    for (int cell = 0; cell < picture->width; cell++) {
        Four here, next;
        memcpy(&here, rows->wide + 3 * cell, sizeof here);
        memcpy(&next, rows->wide + 3 * cell + 3, sizeof next);
        next -= here, here <<= 8; /* of WHOLE_SHARE, modulo 65536 */
        for (int x = starts[cell]; x < starts[cell + 1]; x++) {
            Four pixel = here + next * shares[x];
            memcpy(row + 3 * x, &pixel, sizeof pixel); /* the fourth is overwritten by the next pixel */
        }
    }
    return row;
}

/* Columns [left, right) of row y of what stands behind: where they lie, or where they have been enlarged to. */
static const uint8_t *behind_span(Rows *rows, int y, int left, int right, uint8_t *into)
{
    const Behind *of = rows->of;
    if (!of->is_small)
        return (const uint8_t *)row_of(&of->picture, y) + 3 * left;
    Between place = of->rows[y];
    const uint16_t *above = enlarged_row(rows, place.first);
    const uint16_t *below = place.share ? enlarged_row(rows, place.first + 1) : above;
    enlarge_between(above, below, place.share, into, left, right);
    return into;
}

/* Whether a cell is neither 0 nor 255, or not as the next one is; `width` cells and one more. */
FOR_EACH_PROCESSOR static void mark_edges(const uint8_t *restrict cells, uint8_t *restrict edges, int width)
{
    for (int x = 0; x < width; x++)
        edges[x] = ((uint8_t)(cells[x] + 1) > 1) | (cells[x] != cells[x + 1]);
}

/* Whether each block of a row of alpha, and the cell after it, is all 0, all 255, or an edge. */
static const uint8_t *classes_of(const Blend *blend, Bench *bench, int number)
{
    uint8_t *classes = bench->classes[number & 1], *edges = bench->edges;
    if (bench->held[number & 1] == number)
        return classes;
    bench->held[number & 1] = number;
    memset(bench->has_block[number & 1], 0, (size_t)blend->blocks);
    const uint8_t *row = row_of(&blend->alpha, number);
    int width = blend->alpha.width;
    mark_edges(row, edges, width - 1);
    edges[width - 1] = (uint8_t)(row[width - 1] + 1) > 1;
    memset(edges + width, 0, BLOCK); /* the last block may reach beyond */
    for (int block = 0; block < blend->blocks; block++) {
        uint64_t eight;
        memcpy(&eight, edges + block * BLOCK, sizeof eight);
        classes[block] = eight ? IS_EDGE : row[block * BLOCK] ? IS_PERSON : IS_BACKGROUND;
    }
    return classes;
}

/* The runs of columns in the rows that lie between row `first` of alpha and the next, or in row `first` alone. */
static void find_runs(const Blend *blend, Bench *bench, int first, int is_over_two)
{
    if (bench->runs_from == first && bench->runs_over_two == is_over_two)
        return;
    bench->runs_from = first, bench->runs_over_two = is_over_two, bench->run_count = 0;
    const uint8_t *above = classes_of(blend, bench, first);
    const uint8_t *below = is_over_two ? classes_of(blend, bench, first + 1) : above;
    Run *run = NULL;
    for (int block = 0; block < blend->blocks; block++) {
        int left = blend->block_starts[block], right = blend->block_starts[block + 1];
        int class = above[block] == below[block] ? above[block] : IS_EDGE;
        if (left == right)
            continue;
        if (!run || run->class != class) {
            run = bench->runs + bench->run_count++;
            run->class = class, run->left = left, run->block = block;
        }
        run->right = right;
    }
}

/* Row `number` of alpha at the frame's width; only columns [left, right), from `block` on, hold something. */
static const uint16_t *enlarged_alpha(
    const Blend *blend, Bench *bench, int number, int block, int left, int right)
{
    uint16_t *row = bench->alpha[number & 1];
    uint8_t *has_block = bench->has_block[number & 1];
    const uint8_t *levels = row_of(&blend->alpha, number);
    const Between *columns = blend->alpha_columns;
    for (int x = left; x < right; x = blend->block_starts[++block]) {
        if (has_block[block])
            continue;
        has_block[block] = 1;
        int end = blend->block_starts[block + 1];
        uint16_t after = row[3 * end]; /* the next block may have been here */
        for (; x < end; x++) {
            const uint8_t *cell = levels + columns[x].first;
            int share = columns[x].share, next = share ? cell[1] : 0;
            Four pixel = (Four){0} + (uint16_t)(cell[0] * (WHOLE_SHARE - share) + next * share);
            memcpy(row + 3 * x, &pixel, sizeof pixel); /* the fourth is overwritten by the next pixel */
        }
        row[3 * end] = after;
    }
    return row;
}

FOR_EACH_PROCESSOR static void mix_plain(
    const uint8_t *restrict frame, const uint8_t *restrict background, const uint8_t *restrict weights,
    uint8_t *restrict mixed, int count)
{
    for (int at = 0; at < count; at++) {
        uint16_t own = in_255ths(frame[at] * weights[at]);
        uint16_t sum = (uint16_t)(own + in_255ths(background[at] * (255 - weights[at])));
        mixed[at] = (uint8_t)(sum < 255 ? sum : 255);
    }
}

/* `behind` may be `background`. */
FOR_EACH_PROCESSOR static void mix_clean(
    const uint8_t *restrict frame, const uint8_t *restrict behind, const uint8_t *restrict background,
    const uint8_t *restrict weights, uint8_t *restrict mixed, int count)
{
    for (int at = 0; at < count; at++) {
        uint16_t weight = weights[at], rest = (uint16_t)(255 - weight);
        uint16_t hidden = in_255ths(behind[at] * rest), own = frame[at];
        own = own > hidden ? (uint16_t)(own - hidden) : 0;
        own = own < weight ? own : weight;
        uint16_t sum = (uint16_t)(own + in_255ths(background[at] * rest));
        mixed[at] = (uint8_t)(sum < 255 ? sum : 255);
    }
}

static void blend_run(const Blend *blend, Bench *bench, const Run *run, int y)
{
    int left = run->left, right = run->right, count = 3 * (right - left);
    const uint8_t *frame = (const uint8_t *)row_of(&blend->frame, y) + 3 * left;
    uint8_t *out = (uint8_t *)row_of(&blend->out, y) + 3 * left;
    if (run->class == IS_PERSON) {
        if (out != frame)
            memcpy(out, frame, (size_t)count);
        return;
    }
    if (run->class == IS_BACKGROUND) {
        const uint8_t *shown = behind_span(&bench->background, y, left, right, out);
        if (out != shown)
            memcpy(out, shown, (size_t)count);
        return;
    }
    Between place = blend->alpha_rows[y];
    const uint16_t *above = enlarged_alpha(blend, bench, place.first, run->block, left, right), *below = above;
    if (place.share)
        below = enlarged_alpha(blend, bench, place.first + 1, run->block, left, right);
    enlarge_between(above, below, place.share, bench->weights, left, right);
    const uint8_t *shown = behind_span(&bench->background, y, left, right, bench->background_bytes);
    /* By way of `mixed`: out may be the frame or the background. */
    if (blend->kind == PLAIN) {
        mix_plain(frame, shown, bench->weights, bench->mixed, count);
    } else {
        const uint8_t *behind = shown;
        if (blend->kind == CLEAN)
            behind = behind_span(&bench->behind, y, left, right, bench->behind_bytes);
        mix_clean(frame, behind, shown, bench->weights, bench->mixed, count);
    }
    memcpy(out, bench->mixed, (size_t)count);
}

static void blend_strip(const Blend *blend, Bench *bench, int top, int bottom)
{
    for (int y = top; y < bottom; y++) {
        find_runs(blend, bench, blend->alpha_rows[y].first, blend->alpha_rows[y].share > 0);
        for (int at = 0; at < bench->run_count; at++)
            blend_run(blend, bench, bench->runs + at, y);
    }
}

static int make_rows(Rows *rows, const Behind *of, int width)
{
    rows->of = of;
    rows->held[0] = rows->held[1] = -1;
    if (!of->is_small)
        return 1;
    rows->wide = malloc(sizeof(uint16_t) * (size_t)(3 * of->picture.width + 6));
    for (int at = 0; at < 2; at++)
        rows->rows[at] = malloc(sizeof(uint16_t) * (size_t)(3 * width + 1));
    return rows->wide && rows->rows[0] && rows->rows[1];
}

static void free_rows(Rows *rows)
{
    free(rows->wide);
    free(rows->rows[0]);
    free(rows->rows[1]);
}

static void blend_rows(void *job, int top, int bottom)
{
    Blend *blend = job;
    Bench bench = {.held = {-1, -1}, .runs_from = -1};
    size_t row = 3 * (size_t)blend->frame.width, blocks = (size_t)blend->blocks;
    uint8_t *bytes = malloc(4 * row + 4 * blocks + (blocks + 1) * BLOCK);
    uint16_t *alpha = calloc(2 * row + 2, sizeof *alpha);
    bench.runs = malloc(blocks * sizeof *bench.runs);
    int has_rows = make_rows(&bench.background, &blend->background, blend->frame.width);
    has_rows &= blend->kind != CLEAN || make_rows(&bench.behind, &blend->behind, blend->frame.width);
    if (bytes && alpha && bench.runs && has_rows) {
        bench.weights = bytes, bench.background_bytes = bytes + row, bench.behind_bytes = bytes + 2 * row;
        bench.mixed = bytes + 3 * row;
        for (size_t at = 0; at < 2; at++) {
            bench.alpha[at] = alpha + at * (row + 1);
            bench.classes[at] = bytes + 4 * row + at * blocks;
            bench.has_block[at] = bytes + 4 * row + (2 + at) * blocks;
        }
        bench.edges = bytes + 4 * row + 4 * blocks;
        blend_strip(blend, &bench, top, bottom);
    } else
        atomic_store(&blend->lacks_memory, 1);
    free(bytes);
    free(alpha);
    free(bench.runs);
    free_rows(&bench.background);
    free_rows(&bench.behind);
}

/* Takes one picture of those that stand behind; it may be smaller than the frame. */
static int take_behind(Behind *behind, PyObject *from, const char *name, const Array *frame)
{
    if (!take_array(&behind->picture, from, name, 'B', 3, 0))
        return 0;
    int height = behind->picture.height, width = behind->picture.width;
    behind->is_small = height != frame->height || width != frame->width;
    if (!behind->is_small)
        return 1;
    Between *columns = malloc(sizeof *columns * (size_t)frame->width);
    behind->rows = malloc(sizeof(Between) * (size_t)frame->height);
    behind->starts = malloc(sizeof(int) * ((size_t)width + 1));
    behind->shares = malloc(sizeof(Four) * (size_t)frame->width);
    if (!columns || !behind->rows || !behind->starts || !behind->shares) {
        free(columns);
        PyErr_NoMemory();
        return 0;
    }
    place_between(behind->rows, height, frame->height, WHOLE_SHARE);
    place_between(columns, width, frame->width, WHOLE_SHARE);
    place_starts(behind->starts, columns, 1, width, frame->width);
    for (int x = 0; x < frame->width; x++)
        behind->shares[x] = (Four){0} + (uint16_t)columns[x].share;
    free(columns);
    return 1;
}

static void give_behind(Behind *behind)
{
    give_array(&behind->picture);
    free(behind->rows);
    free(behind->starts);
    free(behind->shares);
}

/* Where the blocks of alpha begin in the frame. */
static int place_alpha(Blend *blend)
{
    const Array *frame = &blend->frame, *alpha = &blend->alpha;
    blend->blocks = (alpha->width + BLOCK - 1) / BLOCK;
    blend->alpha_rows = malloc(sizeof(Between) * (size_t)frame->height);
    blend->alpha_columns = malloc(sizeof(Between) * (size_t)frame->width);
    blend->block_starts = malloc(sizeof(int) * ((size_t)blend->blocks + 1));
    if (!blend->alpha_rows || !blend->alpha_columns || !blend->block_starts) {
        PyErr_NoMemory();
        return 0;
    }
    place_between(blend->alpha_rows, alpha->height, frame->height, WHOLE_SHARE);
    place_between(blend->alpha_columns, alpha->width, frame->width, WHOLE_SHARE);
    place_starts(blend->block_starts, blend->alpha_columns, BLOCK, blend->blocks, frame->width);
    return 1;
}

PyObject *blend(PyObject *self, PyObject *args)
{
    PyObject *frame, *background, *alpha, *out, *behind;
    int kind, threads, is_done = 0;
    Blend job;
    (void)self;
    memset(&job, 0, sizeof job);
    if (!PyArg_ParseTuple(args, "OOOOOii", &frame, &background, &alpha, &out, &behind, &kind, &threads))
        return NULL;
    if (kind < PLAIN || kind > WITHIN)
        return PyErr_Format(PyExc_ValueError, "kind must be 0, 1 or 2; came %d", kind);
    job.kind = (Kind)kind;
    if (take_array(&job.frame, frame, "frame", 'B', 3, 0) && take_array(&job.alpha, alpha, "alpha", 'B', 1, 0) &&
        take_array(&job.out, out, "out", 'B', 3, 1) &&
        check_size(&job.out, "out", job.frame.height, job.frame.width) &&
        take_behind(&job.background, background, "background", &job.frame) &&
        (job.kind != CLEAN || take_behind(&job.behind, behind, "behind", &job.frame)) && place_alpha(&job)) {
        Py_BEGIN_ALLOW_THREADS;
        in_strips(blend_rows, &job, job.frame.height, STRIP_ROWS, threads);
        Py_END_ALLOW_THREADS;
        if (atomic_load(&job.lacks_memory))
            PyErr_NoMemory();
        else
            is_done = 1;
    }
    give_array(&job.frame);
    give_array(&job.alpha);
    give_array(&job.out);
    give_behind(&job.background);
    give_behind(&job.behind);
    free(job.alpha_rows);
    free(job.alpha_columns);
    free(job.block_starts);
    if (!is_done)
        return NULL;
    Py_RETURN_NONE;
}
