/* Pictures made smaller, bit for bit as cv2.resize with INTER_LINEAR makes them: imaging/resize.py says why so.
 *
 * Its arithmetic on bytes: weights of 11 bits; along a row, products of 19 bits cut to 15; down the columns, the high
 * halves of products of 31 bits. A picture halved on both sides is the rounded mean of 2 x 2 pixels instead.
 */
#include "arrays.h"
#include "strips.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { CHANNELS = 3, ONE = 2048, ROWS_A_STRIP = 16 };

/* Two source pixels and the weight of the second, the first having the rest of ONE. */
typedef struct {
    int first, second, weight;
} Taps;

typedef struct {
    const Array *from;
    Array *into;
    Taps *rows, *columns;
    short *weights; /* of the columns' second pixels, for every channel: times -32 */
    atomic_int is_out_of_memory;
} Resize;

static void find_taps(Taps *taps, int target, int source)
{
    double scale = 1 / ((double)target / source);
    for (int index = 0; index < target; index++) {
        float centre = (float)((index + 0.5) * scale - 0.5);
        int low = (int)floorf(centre);
        int second = low + 1 < 0 ? 0 : low + 1 < source ? low + 1 : source - 1;
        taps[index] = (Taps){low < 0 ? 0 : low < source ? low : source - 1, second, (int)lrintf((centre - low) * ONE)};
    }
}

/* Names the nearer pixel first: then no weight is above ONE / 2, which fits into what shrink_row makes of it. */
static void put_nearer_first(Taps *taps, int count)
{
    for (int index = 0; index < count; index++)
        if (taps[index].weight > ONE / 2)
            taps[index] = (Taps){taps[index].second, taps[index].first, ONE - taps[index].weight};
}

/* A source row at the target's width. `padded` holds a row of the source, `nearer` and `farther` one of the target, and
 * a byte more each.
 *
 * (nearer * (ONE - weight) + farther * weight) >> 4 in numbers of 16 bits: nearer * 128 and the high half of
 * (nearer - farther) * 128 times weight * -32, rounded down as a whole either way. */
INLINED void shrink_row(
    short *restrict target, const unsigned char *row, unsigned char *restrict padded, unsigned char *restrict nearer,
    unsigned char *restrict farther, const Resize *resize)
{
    int width = resize->into->width;
    const Taps *restrict columns = resize->columns;
    const short *restrict weights = resize->weights;
    memcpy(padded, row, CHANNELS * (size_t)resize->from->width);
    for (int x = 0; x < width; x++) { /* four bytes at once: the fourth is written over by the next pixel */
        memcpy(nearer + CHANNELS * x, padded + CHANNELS * columns[x].first, 4);
        memcpy(farther + CHANNELS * x, padded + CHANNELS * columns[x].second, 4);
    }
    for (int index = 0; index < CHANNELS * width; index++) {
        short change = (short)((nearer[index] - farther[index]) * 128);
        target[index] = (short)(nearer[index] * 128 + (short)((change * weights[index]) >> 16));
    }
}

FOR_EACH_PROCESSOR static void resize_strip(void *job, int top, int bottom)
{
    Resize *resize = job;
    int count = CHANNELS * resize->into->width, from_count = CHANNELS * resize->from->width;
    short *shorts = malloc(sizeof(short) * 2 * (size_t)count);
    unsigned char *bytes = calloc(2 * (size_t)count + from_count + 3, 1);
    if (!shorts || !bytes) {
        atomic_store(&resize->is_out_of_memory, 1);
        free(shorts);
        free(bytes);
        return;
    }
    unsigned char *nearer = bytes, *farther = nearer + count + 1, *padded = farther + count + 1;
    short *rows[2] = {shorts, shorts + count};
    int held[2] = {-1, -1}; /* which source rows they are */
    for (int y = top; y < bottom; y++) {
        Taps taps = resize->rows[y];
        if (held[1] == taps.first) { /* the second of the row before is the first of this one */
            short *row = rows[0];
            rows[0] = rows[1], rows[1] = row;
            held[1] = held[0], held[0] = taps.first;
        }
        int wanted[2] = {taps.first, taps.second};
        for (int index = 0; index < 2; index++) {
            if (held[index] != wanted[index])
                shrink_row(rows[index], row_of(resize->from, wanted[index]), padded, nearer, farther, resize);
            held[index] = wanted[index];
        }
        const short *restrict first = rows[0], *restrict second = rows[1];
        short first_weight = (short)(ONE - taps.weight), second_weight = (short)taps.weight;
        unsigned char *restrict out = row_of(resize->into, y);
        for (int index = 0; index < count; index++) {
            short one = (short)((first[index] * first_weight) >> 16);
            short other = (short)((second[index] * second_weight) >> 16);
            out[index] = (unsigned char)((short)(one + other + 2) >> 2);
        }
    }
    free(shorts);
    free(bytes);
}

FOR_EACH_PROCESSOR static void halve_strip(void *job, int top, int bottom)
{
    Resize *resize = job;
    int count = CHANNELS * resize->into->width;
    unsigned short *restrict columns = malloc(sizeof(short) * (3 * (size_t)count + 2));
    if (!columns) {
        atomic_store(&resize->is_out_of_memory, 1);
        return;
    }
    unsigned short *restrict sums = columns + 2 * count + 1;
    columns[2 * count] = 0; /* read with the last pixel, and not used */
    for (int y = top; y < bottom; y++) {
        const unsigned char *above = row_of(resize->from, 2 * y), *below = row_of(resize->from, 2 * y + 1);
        unsigned char *restrict out = row_of(resize->into, y);
        for (int index = 0; index < 2 * count; index++)
            columns[index] = (unsigned short)(above[index] + below[index]);
        for (int x = 0; x < count; x += CHANNELS) { /* four sums in one number; the fourth is written over next */
            uint64_t left, right;
            memcpy(&left, columns + 2 * x, sizeof left);
            memcpy(&right, columns + 2 * x + CHANNELS, sizeof right);
            left += right;
            memcpy(sums + x, &left, sizeof left);
        }
        for (int index = 0; index < count; index++)
            out[index] = (unsigned char)((unsigned short)(sums[index] + 2) >> 2);
    }
    free(columns);
}

/* Returns: 0 where memory is short. */
static int resize_all(Resize *resize, int threads)
{
    int height = resize->into->height, width = resize->into->width;
    if (resize->from->height == 2 * height && resize->from->width == 2 * width) {
        in_strips(halve_strip, resize, height, ROWS_A_STRIP, threads);
    } else {
        resize->rows = malloc(sizeof(Taps) * height);
        resize->columns = malloc(sizeof(Taps) * width);
        resize->weights = malloc(sizeof(short) * CHANNELS * width);
        if (resize->rows && resize->columns && resize->weights) {
            find_taps(resize->rows, height, resize->from->height);
            find_taps(resize->columns, width, resize->from->width);
            put_nearer_first(resize->columns, width);
            for (int index = 0; index < CHANNELS * width; index++)
                resize->weights[index] = (short)(-32 * resize->columns[index / CHANNELS].weight);
            in_strips(resize_strip, resize, height, ROWS_A_STRIP, threads);
        } else {
            atomic_store(&resize->is_out_of_memory, 1);
        }
        free(resize->rows);
        free(resize->columns);
        free(resize->weights);
    }
    return !atomic_load(&resize->is_out_of_memory);
}

PyObject *shrink(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *source, *target;
    int threads, is_done = -1;
    if (!PyArg_ParseTuple(arguments, "OOi", &source, &target, &threads))
        return NULL;
    Array from = {0}, into = {0};
    if (take_array(&from, source, "picture", 'B', CHANNELS, 0) &&
        take_array(&into, target, "small", 'B', CHANNELS, 1)) {
        if (into.height > from.height || into.width > from.width) {
            PyErr_Format(PyExc_ValueError, "small must be no larger than the picture; came %d x %d for %d x %d",
                         into.height, into.width, from.height, from.width);
        } else {
            Resize resize = {.from = &from, .into = &into};
            Py_BEGIN_ALLOW_THREADS
            is_done = resize_all(&resize, threads);
            Py_END_ALLOW_THREADS
        }
    }
    give_array(&from);
    give_array(&into);
    if (is_done < 0)
        return NULL;
    return is_done ? Py_NewRef(Py_None) : PyErr_NoMemory();
}
