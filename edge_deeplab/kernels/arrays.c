#include "arrays.h"

#include <limits.h>
#include <string.h>

/* Sides up to which no product of a side, three channels and a small factor leaves an int; kernels.LONGEST_SIDE. */
enum { LONGEST_SIDE = 1 << 16 };

int take_array(Array *array, PyObject *from, const char *name, char type, int channels, int is_written)
{
    Py_buffer *view = &array->view;
    Py_ssize_t item = type == 'B' ? 1 : type == 'H' ? 2 : 4;
    int dimensions = channels > 1 ? 3 : 2;
    memset(array, 0, sizeof *array);
    if (PyObject_GetBuffer(from, view, is_written ? PyBUF_RECORDS : PyBUF_RECORDS_RO))
        return 0;
    const char *format = view->format ? view->format : "B";
    if (view->itemsize != item || format[0] != type || format[1]) {
        PyErr_Format(PyExc_TypeError, "%s must hold '%c'; came '%s'", name, type, format);
        goto refused;
    }
    if (view->ndim != dimensions || (channels > 1 && view->shape[2] != channels)) {
        PyErr_Format(PyExc_ValueError, "%s must have %d dimensions, %d channels; came %d dimensions", name, dimensions,
                     channels, view->ndim);
        goto refused;
    }
    Py_ssize_t height = view->shape[0], width = view->shape[1];
    if (height < 1 || width < 1 || height > LONGEST_SIDE || width > LONGEST_SIDE) {
        PyErr_Format(PyExc_ValueError, "%s must have 1 to %d rows and columns; came %zd x %zd", name, LONGEST_SIDE,
                     height, width);
        goto refused;
    }
    /* The stride of a dimension of one element says nothing. */
    if ((channels > 1 && view->strides[2] != item) || (width > 1 && view->strides[1] != item * channels)) {
        PyErr_Format(PyExc_ValueError, "%s must have rows without gaps", name);
        goto refused;
    }
    array->data = view->buf;
    array->height = (int)height, array->width = (int)width, array->channels = channels;
    array->stride = view->strides[0];
    if (item > 1 && (((uintptr_t)view->buf | (uintptr_t)array->stride) & (uintptr_t)(item - 1))) {
        PyErr_Format(PyExc_ValueError, "%s must be aligned to its values", name);
        goto refused;
    }
    return 1;
refused:
    PyBuffer_Release(view);
    memset(array, 0, sizeof *array);
    return 0;
}

void give_array(Array *array)
{
    if (array->view.obj)
        PyBuffer_Release(&array->view);
}

int check_size(const Array *array, const char *name, int height, int width)
{
    if (array->height == height && array->width == width)
        return 1;
    PyErr_Format(PyExc_ValueError, "%s must be %d x %d; came %d x %d", name, height, width, array->height,
                 array->width);
    return 0;
}
