/* edge_deeplab.kernels._native: the functions of blend.c, guided.c and frames.c as one module. */
#include "arrays.h"

PyObject *blend(PyObject *self, PyObject *args);
PyObject *guided_levels(PyObject *self, PyObject *args);

static PyMethodDef full_size_methods[] = {
    {"blend", blend, METH_VARARGS,
     "blend(frame, background, alpha, out, behind, kind, threads): out is written; kind is 0 plain, 1 clean, 2 within"},
    {"guided_levels", guided_levels, METH_VARARGS,
     "guided_levels(matte, low_bgr, high_bgr, curve, models, levels, radius, epsilon, contrast, threads): levels are "
     "written"},
    {NULL, NULL, 0, NULL},
};
extern PyMethodDef frames_methods[];

static int fill(PyObject *module)
{
    return PyModule_AddFunctions(module, full_size_methods) || PyModule_AddFunctions(module, frames_methods) ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)fill}, {0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "_native", .m_doc = "Loops over pixels, compiled.", .m_slots = slots};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&module); }
