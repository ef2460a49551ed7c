/* What islands.py drops and held_objects.py raises of a matte, faded in and out over time, in one pass each. */
#include "arrays.h"

#include <stdlib.h>
#include <string.h>

typedef unsigned char Byte;

/* An array that may be left out. Returns: 0 with an exception set where it does not fit. */
static int take_mask(Array *mask, PyObject *from, const char *name, const Array *like)
{
    return from == Py_None ||
           (take_array(mask, from, name, 'B', 1, 0) && check_size(mask, name, like->height, like->width));
}

/* ---- fade_out ---- */

FOR_EACH_PROCESSOR static float fade_out_all(
    const Array *matte, const Array *small, Array *dropped, Array *kept, float calm)
{
    int height = matte->height, width = matte->width;
    float most = 0, fresh = 1.0f - calm;
    for (int y = 0; y < height; y++) {
        const float *restrict level = row_of(matte, y);
        float *restrict gone = row_of(dropped, y), *restrict out = row_of(kept, y);
        const Byte *restrict is_small = small->data ? row_of(small, y) : NULL;
        for (int x = 0; x < width; x++)
            gone[x] *= calm;
        for (int x = 0; is_small && x < width; x++)
            gone[x] += is_small[x] ? fresh : 0.0f;
        for (int x = 0; x < width; x++) {
            out[x] = level[x] * (1.0f - gone[x]);
            most = gone[x] > most ? gone[x] : most;
        }
    }
    return most;
}

PyObject *fade_out(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *objects[4], *result = NULL;
    float calm, most;
    if (!PyArg_ParseTuple(arguments, "OOOOf", &objects[0], &objects[1], &objects[2], &objects[3], &calm))
        return NULL;
    Array matte = {0}, small = {0}, dropped = {0}, kept = {0};
    if (take_array(&matte, objects[0], "matte", 'f', 1, 0) && take_mask(&small, objects[1], "small", &matte) &&
        take_array(&dropped, objects[2], "dropped", 'f', 1, 1) &&
        check_size(&dropped, "dropped", matte.height, matte.width) &&
        take_array(&kept, objects[3], "kept", 'f', 1, 1) && check_size(&kept, "kept", matte.height, matte.width)) {
        Py_BEGIN_ALLOW_THREADS
        most = fade_out_all(&matte, &small, &dropped, &kept, calm);
        Py_END_ALLOW_THREADS
        result = PyFloat_FromDouble(most);
    }
    give_array(&matte);
    give_array(&small);
    give_array(&dropped);
    give_array(&kept);
    return result;
}

/* ---- lift ---- */

typedef struct {
    const Array *matte, *regions;
    Array *raised, *kept;
    int left, top, wide, high; /* the window in which anything is raised */
    float weight, opaque, support;
} Lift;

/* Mirrored at the window's borders, the pixel on them not doubled, as OpenCV's windows are by default. */
INLINED int mirrored(int index, int size)
{
    return size == 1 ? 0 : index < 0 ? -index : index < size ? index : 2 * (size - 1) - index;
}

/* How many of the three pixels of a window's column are set, for every column and, mirrored, one more at either end. */
INLINED void count_columns(const Lift *job, int y, Byte *restrict counts)
{
    int wide = job->wide;
    const Byte *restrict rows[3];
    for (int dy = 0; dy < 3; dy++)
        rows[dy] = (const Byte *)row_of(job->regions, job->top + mirrored(y + dy - 1, job->high)) + job->left;
    for (int x = 0; x < wide; x++)
        counts[1 + x] = (Byte)((rows[0][x] != 0) + (rows[1][x] != 0) + (rows[2][x] != 0));
    counts[0] = counts[1 + mirrored(-1, wide)];
    counts[wide + 1] = counts[1 + mirrored(wide, wide)];
}

FOR_EACH_PROCESSOR static float lift_all(const Lift *job, Byte *restrict counts)
{
    float most = 0, past = 1.0f - job->weight, per_support = 1.0f / job->support;
    float shares[10]; /* what so many of nine add: the mean in whole levels of 255, as OpenCV's blur rounds it */
    for (int count = 0; count < 10; count++)
        shares[count] = job->weight / 255.0f * (float)((510 * count + 9) / 18);
    for (int y = 0; y < job->matte->height; y++)
        memcpy(row_of(job->kept, y), row_of(job->matte, y), sizeof(float) * job->matte->width);
    for (int y = 0; y < job->high; y++) {
        float *restrict raised = (float *)row_of(job->raised, job->top + y) + job->left;
        float *restrict kept = (float *)row_of(job->kept, job->top + y) + job->left;
        for (int x = 0; x < job->wide; x++)
            raised[x] *= past;
        if (job->regions->data) {
            count_columns(job, y, counts);
            for (int x = 0; x < job->wide; x++)
                raised[x] += shares[counts[x] + counts[x + 1] + counts[x + 2]];
        }
        for (int x = 0; x < job->wide; x++) {
            float missing = job->opaque > kept[x] ? job->opaque - kept[x] : 0.0f, seen = kept[x] * per_support;
            most = raised[x] > most ? raised[x] : most;
            kept[x] += missing * raised[x] * (seen < 1.0f ? seen : 1.0f);
        }
    }
    return most;
}

PyObject *lift(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *objects[4], *result = NULL;
    Lift job;
    Byte *counts = NULL;
    if (!PyArg_ParseTuple(arguments, "OOOO(iiii)fff", &objects[0], &objects[1], &objects[2], &objects[3], &job.left,
                          &job.top, &job.wide, &job.high, &job.weight, &job.opaque, &job.support))
        return NULL;
    Array matte = {0}, regions = {0}, raised = {0}, kept = {0};
    if (take_array(&matte, objects[0], "matte", 'f', 1, 0) && take_mask(&regions, objects[1], "regions", &matte) &&
        take_array(&raised, objects[2], "raised", 'f', 1, 1) &&
        check_size(&raised, "raised", matte.height, matte.width) &&
        take_array(&kept, objects[3], "kept", 'f', 1, 1) && check_size(&kept, "kept", matte.height, matte.width)) {
        if (job.left < 0 || job.top < 0 || job.wide < 1 || job.high < 1 || job.wide > matte.width - job.left ||
            job.high > matte.height - job.top) {
            PyErr_SetString(PyExc_ValueError, "the box must lie within the matte");
        } else if (!(counts = malloc((size_t)job.wide + 2))) {
            PyErr_NoMemory();
        } else {
            float most;
            job.matte = &matte, job.regions = &regions, job.raised = &raised, job.kept = &kept;
            Py_BEGIN_ALLOW_THREADS
            most = lift_all(&job, counts);
            Py_END_ALLOW_THREADS
            result = PyFloat_FromDouble(most);
        }
    }
    free(counts);
    give_array(&matte);
    give_array(&regions);
    give_array(&raised);
    give_array(&kept);
    return result;
}
