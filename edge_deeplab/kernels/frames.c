/* Frames on their way to the model and its answer on its way back: imaging/resize.py and runtime/ say what and why.
 * The table at the end is of all that works at low resolution, background.c, mattes.c and smoothing.c included. */
#include "arrays.h"

PyObject *blur_background(PyObject *module, PyObject *arguments);
PyObject *held_regions(PyObject *module, PyObject *arguments);
PyObject *shrink(PyObject *module, PyObject *arguments);
PyObject *small_islands(PyObject *module, PyObject *arguments);
PyObject *smooth(PyObject *module, PyObject *arguments);

PyMethodDef frames_methods[] = {
    {"blur_background", blur_background, METH_VARARGS,
     "blur_background(low_bgr, alpha, ramp, taps, blurred, fill_weight, threads)"},
    {"held_regions", held_regions, METH_VARARGS,
     "held_regions(matte, regions, certain, half_seen, rim_px, hole_mean): whether there is one"},
    {"shrink", shrink, METH_VARARGS, "shrink(picture, small, threads)"},
    {"small_islands", small_islands, METH_VARARGS,
     "small_islands(matte, small, certain, least_share, bridge_px, reach_px): whether there is one"},
    {"smooth", smooth, METH_VARARGS,
     "smooth(state, before, matte, gray, strength, certain_share, motion_from, motion_range, noise_factor, "
     "noise_limit, radius): state and before are brought up to date"},
    {NULL, NULL, 0, NULL},
};
