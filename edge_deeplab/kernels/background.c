/* The blurred background at low resolution: compositing/blur.py, BackgroundBlur, says what is computed and why. */
#include "arrays.h"
#include "strips.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Blue, green and red times a weight, and the weight. */
typedef float Cell __attribute__((vector_size(16)));
typedef int Numbers __attribute__((vector_size(16)));
typedef unsigned char Bytes __attribute__((vector_size(4)));

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BYTE_SHIFTS (Numbers){0, 8, 16, 24}
#else
#define BYTE_SHIFTS (Numbers){24, 16, 8, 0}
#endif

enum {
    LANES = 4,
    MARGIN_CELLS = 1,
    FILL_STEP = 4,
    MOST_LEVELS = 24,
    ROWS_A_STRIP = 12,
};

INLINED int larger(int one, int other) { return one > other ? one : other; }
INLINED int smaller(int one, int other) { return one < other ? one : other; }

typedef struct {
    Cell *cells;
    int height, width;
} Level;

/* ---- cells of one size to cells of another ---- */

/* The source cells under one target cell: their mean is head * first + body * (those between) + tail * last. */
typedef struct {
    int first, last;
    float head, body, tail;
} Span;

/* As cv2.INTER_AREA: every source cell counts by what of it the target cell covers. */
static void area_spans(Span *spans, int target, int source)
{
    double scale = (double)source / target;
    for (int index = 0; index < target; index++) {
        double from = index * scale, to = from + scale < source ? from + scale : source;
        int first = (int)from, last = smaller((int)ceil(to - 1e-3) - 1, source - 1);
        if (first + 1 - from < 1e-3 && first < last)
            first++;
        last = larger(first, last);
        double head = (first + 1 < to ? first + 1 : to) - (first > from ? first : from);
        double tail = (to < last + 1 ? to : last + 1) - last;
        double whole = first == last ? head : head + tail + (last - first - 1);
        spans[index] = (Span){first, last, (float)(head / whole), (float)(1 / whole), (float)(tail / whole)};
    }
}

INLINED float share_of(const Span *span, int index)
{
    return index == span->first ? span->head : index == span->last ? span->tail : span->body;
}

/* Two source cells between which a target cell's centre lies, and the share of the second. */
typedef struct {
    int low, high;
    float share;
} Between;

/* As cv2.INTER_LINEAR: half-pixel centres, borders replicated. */
static void linear_steps(Between *steps, int target, int source)
{
    double scale = (double)source / target;
    for (int index = 0; index < target; index++) {
        double centre = (index + 0.5) * scale - 0.5;
        int low = (int)floor(centre);
        float share = (float)(centre - low);
        if (low < 0 || low >= source - 1) {
            low = low < 0 ? 0 : source - 1;
            share = 0;
        }
        steps[index] = (Between){low, smaller(low + 1, source - 1), share};
    }
}

/* total += share * row */
INLINED void add_share(Cell *total, const Cell *row, float share, int width)
{
    float *restrict sum = (float *)total;
    const float *restrict from = (const float *)row;
    for (int index = 0; index < LANES * width; index++)
        sum[index] += share * from[index];
}

INLINED void shrink_row(Cell *restrict target, const Cell *restrict row, const Span *spans, int width)
{
    for (int x = 0; x < width; x++) {
        Span span = spans[x];
        Cell sum = span.head * row[span.first];
        for (int from = span.first + 1; from < span.last; from++)
            sum += span.body * row[from];
        if (span.last > span.first)
            sum += span.tail * row[span.last];
        target[x] = sum;
    }
}

/* One row of an enlarged map of cells; `mixed` is a row of the small map to work in. */
INLINED void enlarge_row(
    Cell *restrict target, const Level *map, Cell *restrict mixed, Between row, const Between *columns, int width)
{
    const Cell *low = map->cells + (size_t)row.low * map->width, *high = map->cells + (size_t)row.high * map->width;
    for (int x = 0; x < map->width; x++)
        mixed[x] = low[x] + row.share * (high[x] - low[x]);
    for (int x = 0; x < width; x++) {
        Cell left = mixed[columns[x].low], right = mixed[columns[x].high];
        target[x] = left + columns[x].share * (right - left);
    }
}

/* ---- the blur ---- */

typedef struct {
    const Array *bgr, *alpha, *ramp, *taps;
    Array *blurred;
    float fill_weight;
    int keeps_all;             /* the person fills the frame: no background to take, and none to show */
    atomic_int has_kept;       /* whether any cell was background */
    atomic_int is_out_of_memory;
    Span *rows, *columns;      /* of a blurred cell in bgr's cells */
    int *sources_y, *sources_x; /* the pixel of alpha that "nearest" picks for each of bgr's cells */
    Between *fill_rows, *fill_columns;
    Level weighted, spread;    /* before the Gaussian, and under it along the rows */
    Level fills[MOST_LEVELS];
    int fill_count;
} Blur;

INLINED void keep_larger(unsigned char *restrict target, const unsigned char *restrict other, int count)
{
    for (int index = 0; index < count; index++)
        target[index] = target[index] > other[index] ? target[index] : other[index];
}

/* The largest alpha of each cell of a row and of MARGIN_CELLS around it, over the whole of each cell.
 * row, window: of alpha's width; picked, largest: of bgr's. */
INLINED void largest_in_row(
    const Blur *blur, int y, unsigned char *row, unsigned char *window, unsigned char *picked, unsigned char *largest)
{
    const Array *alpha = blur->alpha;
    int height = blur->bgr->height, width = blur->bgr->width, have = alpha->width;
    /* Two cells and one pixel around the pixel that "nearest" picks cover the whole cell. */
    int reach_y = (alpha->height + height - 1) / height, reach_x = (have + width - 1) / width;
    int from = larger(blur->sources_y[larger(y - MARGIN_CELLS, 0)] - reach_y, 0);
    int to = smaller(blur->sources_y[smaller(y + MARGIN_CELLS, height - 1)] + reach_y, alpha->height - 1);
    memcpy(row, row_of(alpha, from), have);
    for (int source = from + 1; source <= to; source++)
        keep_larger(row, row_of(alpha, source), have);
    memcpy(window, row, have);
    for (int shift = 1; shift <= reach_x && shift < have; shift++) {
        keep_larger(window, row + shift, have - shift);
        keep_larger(window + shift, row, have - shift);
    }
    for (int x = 0; x < width; x++)
        picked[x] = window[blur->sources_x[x]];
    memcpy(largest, picked, width);
    for (int shift = 1; shift <= MARGIN_CELLS && shift < width; shift++) {
        keep_larger(largest, picked + shift, width - shift);
        keep_larger(largest + shift, picked, width - shift);
    }
}

/* Three bytes as a cell; the fourth is read too and its lane is arbitrary. */
INLINED Cell cell_of(const unsigned char *bytes)
{
    int word; /* gcc 12 takes a vector of four bytes apart one by one, and this in one go */
    memcpy(&word, bytes, sizeof word);
    return __builtin_convertvector(((Numbers){word, word, word, word} >> BYTE_SHIFTS) & 255, Cell);
}

/* Colour times keep, and keep, of a row. Returns: whether anything is kept. */
INLINED int weigh_row(
    Cell *restrict row, const unsigned char *restrict bgr, const unsigned char *restrict largest,
    const float *restrict ramp, int width)
{
    unsigned char last[4] = {0};
    float most = ramp[largest[width - 1]];
    memcpy(last, bgr + 3 * (width - 1), 3); /* no fourth byte behind it is ours to read */
    row[width - 1] = most * cell_of(last);
    row[width - 1][3] = most;
    for (int x = 0; x < width - 1; x++) {
        float keep = ramp[largest[x]];
        Cell cell = keep * cell_of(bgr + 3 * x);
        cell[3] = keep;
        row[x] = cell;
        most = keep > most ? keep : most;
    }
    return most > 0;
}

/* Two pairs of rows at a time, so that the sum is read and written half as often. */
INLINED void add_pairs(
    float *restrict sum, const float *one, const float *other, float tap, const float *further_one,
    const float *further_other, float further_tap, int count)
{
    for (int index = 0; index < count; index++)
        sum[index] += tap * (one[index] + other[index]) + further_tap * (further_one[index] + further_other[index]);
}

/* target = taps[0] * middle + taps[1] * (those one cell away) + ...; `padded` has `reach` more cells on either side. */
INLINED void spread_row(
    Cell *target, const Cell *row, int width, const float *restrict taps, int reach, Cell *restrict padded)
{
    memcpy(padded + reach, row, sizeof(Cell) * width);
    for (int x = 0; x < reach; x++) {
        padded[x] = row[0];
        padded[reach + width + x] = row[width - 1];
    }
    float *restrict sum = (float *)target;
    const float *restrict middle = (const float *)(padded + reach);
    for (int index = 0; index < LANES * width; index++)
        sum[index] = taps[0] * middle[index];
    for (int shift = 1; shift <= reach; shift += 2) {
        int last = smaller(shift + 1, reach);
        add_pairs(sum, middle - LANES * shift, middle + LANES * shift, taps[shift], middle - LANES * last,
                  middle + LANES * last, last > shift ? taps[last] : 0, LANES * width);
    }
}

FOR_EACH_PROCESSOR static void weigh_strip(void *job, int top, int bottom)
{
    Blur *blur = job;
    int width = blur->bgr->width, have = blur->alpha->width, blurred_width = blur->weighted.width;
    int reach = blur->taps->width / 2;
    const float *ramp = row_of(blur->ramp, 0), *taps = (const float *)row_of(blur->taps, 0) + reach;
    Cell *row = aligned_alloc(sizeof(Cell), sizeof(Cell) * (2 * (size_t)width + blurred_width + 2 * (size_t)reach));
    unsigned char *bytes = malloc(2 * ((size_t)have + width));
    if (row && bytes) {
        Cell *total = row + width, *padded = total + width;
        unsigned char *picked = bytes + 2 * (size_t)have, *largest = picked + width;
        int has_kept = 0;
        for (int y = top; y < bottom; y++) {
            Span span = blur->rows[y];
            memset(total, 0, sizeof(Cell) * width);
            for (int from = span.first; from <= span.last; from++) {
                if (blur->keeps_all)
                    memset(largest, 0, width);
                else
                    largest_in_row(blur, from, bytes, bytes + have, picked, largest);
                has_kept |= weigh_row(row, row_of(blur->bgr, from), largest, ramp, width);
                add_share(total, row, share_of(&span, from), width);
            }
            Cell *weighted = blur->weighted.cells + (size_t)y * blurred_width;
            shrink_row(weighted, total, blur->columns, blurred_width);
            spread_row(blur->spread.cells + (size_t)y * blurred_width, weighted, blurred_width, taps, reach, padded);
        }
        if (has_kept)
            atomic_store(&blur->has_kept, 1);
    } else {
        atomic_store(&blur->is_out_of_memory, 1);
    }
    free(row);
    free(bytes);
}

/* As push_pull: the cells at ever coarser scales, then each scale filled up from the next coarser one.
 * row, mixed: of the widest level's width and more; rows, columns: of its longer side. */
FOR_EACH_PROCESSOR static void fill_far(Blur *blur, Cell *row, Cell *mixed, Span *rows, Span *columns)
{
    const Level *source = &blur->weighted;
    for (const Level *level = blur->fills; level < blur->fills + blur->fill_count; source = level++) {
        area_spans(rows, level->height, source->height);
        area_spans(columns, level->width, source->width);
        for (int y = 0; y < level->height; y++) {
            memset(row, 0, sizeof(Cell) * source->width);
            for (int from = rows[y].first; from <= rows[y].last; from++)
                add_share(row, source->cells + (size_t)from * source->width, share_of(&rows[y], from), source->width);
            shrink_row(level->cells + (size_t)y * level->width, row, columns, level->width);
        }
    }
    const Level *coarse = &blur->fills[blur->fill_count - 1];
    float weight = coarse->cells[0][3];
    coarse->cells[0] /= weight > 1e-6f ? weight : 1e-6f;
    for (; coarse > blur->fills; coarse--) {
        const Level *level = coarse - 1;
        linear_steps(blur->fill_rows, level->height, coarse->height);
        linear_steps(blur->fill_columns, level->width, coarse->width);
        for (int y = 0; y < level->height; y++) {
            Cell *cells = level->cells + (size_t)y * level->width;
            enlarge_row(row, coarse, mixed, blur->fill_rows[y], blur->fill_columns, level->width);
            for (int x = 0; x < level->width; x++)
                cells[x] += (1 - cells[x][3]) * row[x];
        }
    }
    linear_steps(blur->fill_rows, blur->weighted.height, blur->fills->height);
    linear_steps(blur->fill_columns, blur->weighted.width, blur->fills->width);
}

/* A row of what is spread along the rows, the outermost ones going on for ever. */
INLINED const float *lanes_of(const Blur *blur, int y)
{
    const Level *spread = &blur->spread;
    return (const float *)(spread->cells + (size_t)smaller(larger(y, 0), spread->height - 1) * spread->width);
}

/* The Gaussian down the columns, the far fill behind it, and the division by the weight. */
FOR_EACH_PROCESSOR static void finish_strip(void *job, int top, int bottom)
{
    Blur *blur = job;
    int width = blur->spread.width, reach = blur->taps->width / 2;
    const float *taps = (const float *)row_of(blur->taps, 0) + reach;
    const Cell *cells = blur->spread.cells;
    Cell *total = aligned_alloc(sizeof(Cell), sizeof(Cell) * 3 * (size_t)width);
    if (!total) {
        atomic_store(&blur->is_out_of_memory, 1);
        return;
    }
    Cell *far = total + width, *mixed = far + width;
    float *restrict sum = (float *)total;
    for (int y = top; y < bottom; y++) {
        memset(total, 0, sizeof(Cell) * width);
        add_share(total, cells + (size_t)y * width, taps[0], width);
        for (int shift = 1; shift <= reach; shift += 2) {
            int last = smaller(shift + 1, reach);
            add_pairs(sum, lanes_of(blur, y - shift), lanes_of(blur, y + shift), taps[shift], lanes_of(blur, y - last),
                      lanes_of(blur, y + last), last > shift ? taps[last] : 0, LANES * width);
        }
        enlarge_row(far, blur->fills, mixed, blur->fill_rows[y], blur->fill_columns, width);
        unsigned char *blurred = row_of(blur->blurred, y);
        for (int x = 0; x < width; x++) {
            float scale = 1 / (total[x][3] + blur->fill_weight);
            Cell levels = (total[x] + blur->fill_weight * far[x]) * scale + 0.5f; /* a mean of levels: 255.5 at most */
            Bytes pixel = __builtin_convertvector(__builtin_convertvector(levels, Numbers), Bytes);
            memcpy(blurred + 3 * x, &pixel, x + 1 < width ? 4 : 3); /* the fourth is written over by the next pixel */
        }
    }
    free(total);
}

/* Lays the levels of the far fill into memory, if there is any. Returns: how many cells they have together. */
static size_t lay_fills(Blur *blur, Cell *memory)
{
    size_t used = 0;
    int height = blur->weighted.height, width = blur->weighted.width;
    for (blur->fill_count = 0; blur->fill_count == 0 || height > 1 || width > 1; blur->fill_count++) {
        height = larger(height / FILL_STEP, 1), width = larger(width / FILL_STEP, 1);
        blur->fills[blur->fill_count] = (Level){memory ? memory + used : NULL, height, width};
        used += (size_t)height * width;
    }
    return used;
}

/* Returns: 0 where memory is short. */
static int blur_all(Blur *blur, int threads)
{
    int height = blur->bgr->height, width = blur->bgr->width, is_done = 0;
    size_t longest = (size_t)larger(height, width), count = (size_t)blur->weighted.height * blur->weighted.width;
    size_t needed = 2 * count + 2 * (size_t)width + lay_fills(blur, NULL);
    Cell *cells = aligned_alloc(sizeof(Cell), sizeof(Cell) * needed);
    Span *spans = malloc(sizeof(Span) * 4 * longest);
    Between *steps = malloc(sizeof(Between) * 2 * longest);
    int *sources = malloc(sizeof(int) * 2 * longest);
    if (cells && spans && steps && sources) {
        Cell *row = cells + 2 * count, *mixed = row + width;
        blur->weighted.cells = cells, blur->spread.cells = cells + count;
        lay_fills(blur, mixed + width);
        blur->rows = spans, blur->columns = spans + longest;
        blur->fill_rows = steps, blur->fill_columns = steps + longest;
        blur->sources_y = sources, blur->sources_x = sources + longest;
        area_spans(blur->rows, blur->weighted.height, height);
        area_spans(blur->columns, blur->weighted.width, width);
        double step_y = 1 / ((double)height / blur->alpha->height), step_x = 1 / ((double)width / blur->alpha->width);
        for (int y = 0; y < height; y++) /* rounded as OpenCV rounds it */
            blur->sources_y[y] = smaller((int)(y * step_y), blur->alpha->height - 1);
        for (int x = 0; x < width; x++)
            blur->sources_x[x] = smaller((int)(x * step_x), blur->alpha->width - 1);
        in_strips(weigh_strip, blur, blur->weighted.height, ROWS_A_STRIP, threads);
        if (!atomic_load(&blur->has_kept) && !atomic_load(&blur->is_out_of_memory)) {
            blur->keeps_all = 1;
            in_strips(weigh_strip, blur, blur->weighted.height, ROWS_A_STRIP, threads);
        }
        fill_far(blur, row, mixed, spans + 2 * longest, spans + 3 * longest);
        in_strips(finish_strip, blur, blur->weighted.height, ROWS_A_STRIP, threads);
        is_done = !atomic_load(&blur->is_out_of_memory);
    }
    free(cells);
    free(spans);
    free(steps);
    free(sources);
    return is_done;
}

PyObject *blur_background(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *objects[5];
    float fill_weight;
    int threads;
    if (!PyArg_ParseTuple(arguments, "OOOOOfi", &objects[0], &objects[1], &objects[2], &objects[3], &objects[4],
                          &fill_weight, &threads))
        return NULL;
    Array bgr = {0}, alpha = {0}, ramp = {0}, taps = {0}, blurred = {0};
    PyObject *result = NULL;
    if (!take_array(&bgr, objects[0], "low_bgr", 'B', 3, 0) || !take_array(&alpha, objects[1], "alpha", 'B', 1, 0) ||
        !take_array(&ramp, objects[2], "ramp", 'f', 1, 0) || !take_array(&taps, objects[3], "taps", 'f', 1, 0) ||
        !take_array(&blurred, objects[4], "blurred", 'B', 3, 1) || !check_size(&ramp, "ramp", 1, 256) ||
        !check_size(&taps, "taps", 1, taps.width | 1))
        goto done;
    if (alpha.height < bgr.height || alpha.width < bgr.width || blurred.height > bgr.height ||
        blurred.width > bgr.width || !(fill_weight > 0)) {
        PyErr_SetString(PyExc_ValueError, "alpha must be as large as low_bgr, blurred no larger, fill_weight above 0");
        goto done;
    }
    Blur blur = {.bgr = &bgr, .alpha = &alpha, .ramp = &ramp, .taps = &taps, .blurred = &blurred,
                 .fill_weight = fill_weight, .weighted = {NULL, blurred.height, blurred.width},
                 .spread = {NULL, blurred.height, blurred.width}};
    int is_done;
    Py_BEGIN_ALLOW_THREADS
    is_done = blur_all(&blur, threads);
    Py_END_ALLOW_THREADS
    result = is_done ? Py_NewRef(Py_None) : PyErr_NoMemory();
done:
    give_array(&bgr);
    give_array(&alpha);
    give_array(&ramp);
    give_array(&taps);
    give_array(&blurred);
    return result;
}
