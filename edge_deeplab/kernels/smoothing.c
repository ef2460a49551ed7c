/* A matte mixed with its past in one pass: compositing/smoothing.py, MatteSmoother, says what is computed and why. */
#include "arrays.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LEVELS = 256, MOST_RADIUS = 4096 };

typedef struct {
    const Array *matte, *gray;
    Array *state, *before;
    float strength, certain_share;
    float motion_from, motion_range, noise_factor, noise_limit;
    int radius; /* of the window in which motion is measured, which is a square */
} Smoothing;

/* The change of every pixel, and `before` brought up to date. Returns: the median of the change. */
FOR_EACH_PROCESSOR static int take_change(const Smoothing *job, unsigned char *restrict change)
{
    int height = job->gray->height, width = job->gray->width, counts[LEVELS] = {0};
    for (int y = 0; y < height; y++, change += width) {
        const unsigned char *restrict gray = row_of(job->gray, y);
        unsigned char *restrict before = row_of(job->before, y);
        for (int x = 0; x < width; x++) {
            change[x] = gray[x] > before[x] ? gray[x] - before[x] : before[x] - gray[x];
            before[x] = gray[x];
        }
        for (int x = 0; x < width; x++)
            counts[change[x]]++;
    }
    int median = 0;
    for (long long below = counts[0]; 2 * below < (long long)height * width; below += counts[++median])
        ;
    return median;
}

/* Mirrored at the borders, the pixel on them not doubled, as OpenCV's windows are by default. */
static int mirrored(int index, int size)
{
    int period = size > 1 ? 2 * (size - 1) : 1;
    index = abs(index) % period;
    return index < size ? index : period - index;
}

FOR_EACH_PROCESSOR static void mix(
    const Smoothing *job, const unsigned char *change, int median, int *restrict columns, int *restrict sums)
{
    int height = job->gray->height, width = job->gray->width, radius = job->radius;
    float noise = (float)median < job->noise_limit ? (float)median : job->noise_limit;
    float calm_below = job->motion_from + job->noise_factor * noise;
    float mean = 1.0f / ((2 * radius + 1) * (2 * radius + 1)), share = 2.0f * (1.0f - job->certain_share);
    float per_level = -1.0f / job->motion_range;
    int *restrict inner = columns + radius;
    for (int y = 0; y < height; y++) {
        memset(inner, 0, sizeof(int) * width);
        for (int dy = -radius; dy <= radius; dy++) {
            const unsigned char *restrict row = change + (size_t)mirrored(y + dy, height) * width;
            for (int x = 0; x < width; x++)
                inner[x] += row[x];
        }
        for (int x = 1; x <= radius; x++) {
            inner[-x] = inner[mirrored(-x, width)];
            inner[width - 1 + x] = inner[mirrored(width - 1 + x, width)];
        }
        memset(sums, 0, sizeof(int) * width);
        for (int dx = 0; dx <= 2 * radius; dx++)
            for (int x = 0; x < width; x++)
                sums[x] += columns[x + dx];
        const float *restrict matte = row_of(job->matte, y);
        float *restrict state = row_of(job->state, y);
        for (int x = 0; x < width; x++) {
            float still = (sums[x] * mean - calm_below) * per_level + 1.0f;
            still = still < 0.0f ? 0.0f : still > 1.0f ? 1.0f : still;
            float weight = still * (1.0f - share * fabsf(matte[x] - 0.5f)) * job->strength;
            float mixed = (state[x] - matte[x]) * weight + matte[x];
            state[x] = mixed < 0.0f ? 0.0f : mixed > 1.0f ? 1.0f : mixed;
        }
    }
}

/* Returns: 0 where memory is short. */
static int smooth_all(const Smoothing *job)
{
    int height = job->gray->height, width = job->gray->width, is_done = 0;
    unsigned char *change = malloc((size_t)height * width);
    int *columns = malloc(sizeof(int) * (2 * (size_t)width + 2 * (size_t)job->radius));
    if (change && columns) {
        int median = take_change(job, change);
        mix(job, change, median, columns, columns + width + 2 * job->radius);
        is_done = 1;
    }
    free(change);
    free(columns);
    return is_done;
}

PyObject *smooth(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *objects[4];
    Smoothing job;
    if (!PyArg_ParseTuple(arguments, "OOOOffffffi", &objects[0], &objects[1], &objects[2], &objects[3], &job.strength,
                          &job.certain_share, &job.motion_from, &job.motion_range, &job.noise_factor,
                          &job.noise_limit, &job.radius))
        return NULL;
    Array state = {0}, before = {0}, matte = {0}, gray = {0};
    int is_done = -1;
    if (job.radius < 0 || job.radius > MOST_RADIUS) {
        PyErr_Format(PyExc_ValueError, "radius must be in 0..%d; came %d", MOST_RADIUS, job.radius);
    } else if (take_array(&state, objects[0], "state", 'f', 1, 1) &&
               take_array(&before, objects[1], "before", 'B', 1, 1) &&
               take_array(&matte, objects[2], "matte", 'f', 1, 0) &&
               take_array(&gray, objects[3], "gray", 'B', 1, 0) &&
               check_size(&before, "before", state.height, state.width) &&
               check_size(&matte, "matte", state.height, state.width) &&
               check_size(&gray, "gray", state.height, state.width)) {
        job.state = &state, job.before = &before, job.matte = &matte, job.gray = &gray;
        Py_BEGIN_ALLOW_THREADS
        is_done = smooth_all(&job);
        Py_END_ALLOW_THREADS
    }
    give_array(&state);
    give_array(&before);
    give_array(&matte);
    give_array(&gray);
    if (is_done < 0)
        return NULL;
    return is_done ? Py_NewRef(Py_None) : PyErr_NoMemory();
}
