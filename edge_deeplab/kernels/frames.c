/* Frames on their way to the model and its answer on its way back: imaging/resize.py and runtime/ say what and why.
 * The table at the end is of all that works at low resolution, background.c and mattes.c included. */
#include "arrays.h"

PyObject *blur_background(PyObject *module, PyObject *arguments);

PyMethodDef frames_methods[] = {
    {"blur_background", blur_background, METH_VARARGS,
     "blur_background(low_bgr, alpha, ramp, taps, blurred, fill_weight, threads)"},
    {NULL, NULL, 0, NULL},
};
