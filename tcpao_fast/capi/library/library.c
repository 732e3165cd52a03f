/* libtcpao_fast: the C interface for programs that know nothing of Python.
 *
 * The stages' memory belongs to Python objects, so there is an interpreter behind this; packets do
 * not pass through it. It is started by tcpao_start(), with the Python that tcpao_fast is installed
 * for (TCPAO_PYTHON, or the environment's TCPAO_FAST_PYTHON), and then waits.
 */
#include <Python.h>

#define TCPAO_LIBRARY
#pragma GCC visibility push(default)
#include "tcpao_fast.h"
#pragma GCC visibility pop

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const tcpao_table *table = NULL; /* set once, by tcpao_start() */
static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;
static char why[512] = "tcpao_start() was not called";

static void note_python_error(void)
{
    PyObject *kind, *value, *trace;
    PyErr_Fetch(&kind, &value, &trace);
    PyErr_NormalizeException(&kind, &value, &trace);
    PyObject *text = value != NULL ? PyObject_Str(value) : NULL;
    const char *said = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    strncpy(why, said != NULL ? said : "Python could not be started", sizeof why - 1);
    Py_XDECREF(text);
    Py_XDECREF(kind);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    PyErr_Clear();
}

static int start_python(void)
{
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0; /* they are the program's */
    config.parse_argv = 0;
    const char *python = getenv("TCPAO_FAST_PYTHON");
    PyStatus status = PyConfig_SetBytesString(&config, &config.program_name,
                                              python != NULL && *python ? python : TCPAO_PYTHON);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) {
        strncpy(why, status.err_msg != NULL ? status.err_msg : "Python could not be started",
                sizeof why - 1);
        return -1;
    }
    return 0;
}

static int import_table(void)
{
    PyObject *module = PyImport_ImportModule("tcpao_fast.capi.table");
    const tcpao_table *found = NULL;
    if (module != NULL)
        found = (const tcpao_table *)PyCapsule_Import("tcpao_fast.capi.table._C_API", 0);
    Py_XDECREF(module);
    if (found == NULL) {
        note_python_error();
        return TCPAO_EIMPORT;
    }
    if (found->major != TCPAO_API_MAJOR || (int)found->minor < TCPAO_API_MINOR) {
        snprintf(why, sizeof why, "tcpao_fast has C interface %u.%u; the library was built for %d.%d",
                 found->major, found->minor, TCPAO_API_MAJOR, TCPAO_API_MINOR);
        return TCPAO_EVERSION;
    }
    table = found;
    return TCPAO_OK;
}

int tcpao_start(void)
{
    int code = TCPAO_OK;
    pthread_mutex_lock(&starting);
    if (table == NULL) {
        if (Py_IsInitialized()) {
            PyGILState_STATE state = PyGILState_Ensure();
            code = import_table();
            PyGILState_Release(state);
        } else if (start_python() < 0) {
            code = TCPAO_EIMPORT;
        } else {
            code = import_table();
            PyEval_SaveThread(); /* whoever needs the GIL takes it */
        }
    }
    pthread_mutex_unlock(&starting);
    return code;
}

#define ASK(name, ...) (table == NULL ? TCPAO_EIMPORT : table->name(__VA_ARGS__))

int tcpao_open(const char *key_file, uint32_t max_connections, tcpao_engine **engine)
{
    return ASK(open, key_file, max_connections, engine);
}

int tcpao_close(tcpao_engine *engine)
{
    return ASK(close, engine);
}

int tcpao_update(tcpao_engine *engine, const char *key_file)
{
    return ASK(update, engine, key_file);
}

int tcpao_save(tcpao_engine *engine, const char *path)
{
    return ASK(save, engine, path);
}

int tcpao_load(tcpao_engine *engine, const char *path)
{
    return ASK(load, engine, path);
}

int tcpao_counts(tcpao_engine *engine, uint64_t counts[TCPAO_VERDICTS])
{
    return ASK(counts, engine, counts);
}

int tcpao_verify(tcpao_engine *engine, const uint8_t *const *data, const size_t *length,
                 size_t count, const tcpao_options *options, tcpao_result *results)
{
    return ASK(verify, engine, data, length, count, options, results);
}

int tcpao_verify_iov(tcpao_engine *engine, const struct iovec *packets, size_t count,
                     const tcpao_options *options, tcpao_result *results)
{
    return ASK(verify_iov, engine, packets, count, options, results);
}

#define WRITING(name)                                                                              \
    int tcpao_##name(tcpao_engine *engine, uint8_t **data, size_t *length, size_t count,           \
                     const tcpao_options *options, tcpao_result *results)                          \
    {                                                                                              \
        return ASK(name, engine, data, length, count, options, results);                           \
    }                                                                                              \
    int tcpao_##name##_iov(tcpao_engine *engine, struct iovec *packets, size_t count,              \
                           const tcpao_options *options, tcpao_result *results)                    \
    {                                                                                              \
        return ASK(name##_iov, engine, packets, count, options, results);                          \
    }

WRITING(sign)
WRITING(strip)
WRITING(verify_and_strip)

const char *tcpao_error_text(void)
{
    return table == NULL ? why : table->error_text();
}
