/* An extension, compiled by tests/capi for a newer interface than the one that is installed. */
#include "tcpao_fast.h"

static PyMethodDef methods[] = {{NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "version", NULL, -1, methods,
                                    NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_version(void)
{
    tcpao_engine *engine;
    if (tcpao_open("keys", 0, &engine) != TCPAO_EIMPORT) {
        PyErr_SetString(PyExc_AssertionError, "a function works before tcpao_import()");
        return NULL;
    }
    if (tcpao_import() < 0)
        return NULL;
    return PyModule_Create(&module);
}
