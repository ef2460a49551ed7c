/* edge_deeplab.kernels._native: the functions of compose.c and frames.c as one module. */
#include "arrays.h"

extern PyMethodDef compose_methods[];
extern PyMethodDef frames_methods[];

static int fill(PyObject *module)
{
    return PyModule_AddFunctions(module, compose_methods) || PyModule_AddFunctions(module, frames_methods) ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)fill}, {0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "_native", .m_doc = "Loops over pixels, compiled.", .m_slots = slots};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&module); }
