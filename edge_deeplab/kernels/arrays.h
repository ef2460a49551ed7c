/* numpy arrays as rows in memory, checked before any loop runs; and what every loop is compiled with. */
#ifndef EDGE_DEEPLAB_ARRAYS_H
#define EDGE_DEEPLAB_ARRAYS_H

#define Py_LIMITED_API 0x030B0000 /* buffers are in it since 3.11 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

/* A loop marked so is compiled twice where the system can choose between the two when it loads the module: for AVX2,
 * and for any processor of its kind. Both give the same bits: nothing here may fuse a product into a sum. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GLIBC__) && !defined(EDGE_DEEPLAB_ONE_CLONE) && \
    (defined(__clang__) ? __clang_major__ >= 15 : __GNUC__ >= 9)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

/* Compiled into whoever calls it, so for the caller's processor. */
#if defined(__GNUC__)
#define INLINED static inline __attribute__((always_inline))
#else
#define INLINED static inline
#endif

/* Rows of `width` elements of `channels` values, `stride` bytes from row to row; the values of a row without gaps. */
typedef struct {
    Py_buffer view; /* view.obj is NULL while nothing is held */
    unsigned char *data;
    int height, width, channels;
    Py_ssize_t stride;
} Array;

/* Fills `array` from a numpy array of (height, width) or, where channels > 1, (height, width, channels); its size is at
 * least 1 x 1. `type` is 'B' for uint8, 'f' for float32, 'H' for uint16, 'i' for int32.
 * Returns 0 with an exception set (ValueError, TypeError, BufferError) where it is something else. */
int take_array(Array *array, PyObject *from, const char *name, char type, int channels, int is_written);

/* Gives back what take_array took, if it did. */
void give_array(Array *array);

/* Sets ValueError and returns 0 where the array is not of that size. */
int check_size(const Array *array, const char *name, int height, int width);

INLINED void *row_of(const Array *array, int y) { return array->data + array->stride * y; }

#endif
