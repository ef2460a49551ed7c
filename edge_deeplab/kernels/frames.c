#include "arrays.h"

PyMethodDef frames_methods[] = {{NULL, NULL, 0, NULL}};
