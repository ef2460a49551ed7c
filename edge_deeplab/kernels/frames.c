/* The model's answer on its way back to a matte, and the table of all that works at low resolution: background.c,
 * fading.c, mattes.c, resizing.c and smoothing.c hold the rest of it. */
#include "arrays.h"

#include <stdlib.h>

PyObject *blur_background(PyObject *module, PyObject *arguments);
PyObject *fade_out(PyObject *module, PyObject *arguments);
PyObject *held_regions(PyObject *module, PyObject *arguments);
PyObject *lift(PyObject *module, PyObject *arguments);
PyObject *shrink(PyObject *module, PyObject *arguments);
PyObject *small_islands(PyObject *module, PyObject *arguments);
PyObject *smooth(PyObject *module, PyObject *arguments);

enum { LARGEST = 255 * 16 }; /* of a difference of two bytes times the 16 shares of an enlargement by two */

/* A matte of twice the size: the difference of a model's two logits, enlarged in whole numbers, looked up in a table of
 * what each sixteenth of a step means: runtime/class_maps.py, EnlargingReader. */
typedef struct {
    const Array *logits, *table;
    Array *matte;
    int person; /* the channel that is the person's */
    unsigned char flip; /* 0x80 for logits with a sign */
} Decoding;

FOR_EACH_PROCESSOR static void decode_all(const Decoding *job, short *restrict mixed)
{
    int height = job->logits->height, width = job->logits->width;
    const float *restrict table = (const float *)row_of(job->table, 0) + LARGEST;
    for (int y = 0; y < 2 * height; y++) {
        int near = y / 2, far = y % 2 ? near + 1 : near - 1;
        far = far < 0 ? 0 : far < height ? far : height - 1;
        const unsigned char *restrict near_row = row_of(job->logits, near);
        const unsigned char *restrict far_row = row_of(job->logits, far);
        int person = job->person, other = 1 - person;
        for (int x = 0; x < width; x++) {
            int here = (near_row[2 * x + person] ^ job->flip) - (near_row[2 * x + other] ^ job->flip);
            int there = (far_row[2 * x + person] ^ job->flip) - (far_row[2 * x + other] ^ job->flip);
            mixed[1 + x] = (short)(3 * here + there);
        }
        mixed[0] = mixed[1];
        mixed[width + 1] = mixed[width];
        float *restrict matte = row_of(job->matte, y);
        for (int x = 0; x < width; x++) {
            matte[2 * x] = table[3 * mixed[1 + x] + mixed[x]];
            matte[2 * x + 1] = table[3 * mixed[1 + x] + mixed[2 + x]];
        }
    }
}

static PyObject *decode_twice_as_large(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *objects[3], *result = NULL;
    int person, is_signed;
    if (!PyArg_ParseTuple(arguments, "OOOip", &objects[0], &objects[1], &objects[2], &person, &is_signed))
        return NULL;
    Array logits = {0}, table = {0}, matte = {0};
    short *mixed = NULL;
    if (take_array(&logits, objects[0], "logits", 'B', 2, 0) && take_array(&table, objects[1], "table", 'f', 1, 0) &&
        take_array(&matte, objects[2], "matte", 'f', 1, 1) && check_size(&table, "table", 1, 2 * LARGEST + 1) &&
        check_size(&matte, "matte", 2 * logits.height, 2 * logits.width)) {
        mixed = malloc(sizeof(short) * ((size_t)logits.width + 2));
        Decoding job = {&logits, &table, &matte, person, is_signed ? 0x80 : 0};
        if (person != 0 && person != 1) {
            PyErr_Format(PyExc_ValueError, "person must be 0 or 1; came %d", person);
        } else if (!mixed) {
            PyErr_NoMemory();
        } else {
            Py_BEGIN_ALLOW_THREADS
            decode_all(&job, mixed);
            Py_END_ALLOW_THREADS
            result = Py_NewRef(Py_None);
        }
    }
    free(mixed);
    give_array(&logits);
    give_array(&table);
    give_array(&matte);
    return result;
}

PyMethodDef frames_methods[] = {
    {"blur_background", blur_background, METH_VARARGS,
     "blur_background(low_bgr, alpha, ramp, taps, blurred, fill_weight, threads)"},
    {"decode_twice_as_large", decode_twice_as_large, METH_VARARGS,
     "decode_twice_as_large(logits, table, matte, person, is_signed)"},
    {"fade_out", fade_out, METH_VARARGS,
     "fade_out(matte, small, dropped, kept, calm): the most that is dropped anywhere; small may be None"},
    {"held_regions", held_regions, METH_VARARGS,
     "held_regions(matte, regions, certain, half_seen, rim_px, hole_mean): whether there is one"},
    {"lift", lift, METH_VARARGS,
     "lift(matte, regions, raised, kept, box, weight, opaque, support): the most raised; regions may be None"},
    {"shrink", shrink, METH_VARARGS, "shrink(picture, small, threads)"},
    {"small_islands", small_islands, METH_VARARGS,
     "small_islands(matte, small, certain, least_share, bridge_px, reach_px): whether there is one"},
    {"smooth", smooth, METH_VARARGS,
     "smooth(state, before, matte, gray, strength, certain_share, motion_from, motion_range, noise_factor, "
     "noise_limit, radius): state and before are brought up to date"},
    {NULL, NULL, 0, NULL},
};
