/* Sums of squares and the Python that this was compiled against. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyObject *sum_of_squares(PyObject *self, PyObject *arg)
{
    (void)self;
    long long limit = PyLong_AsLongLong(arg);
    if (limit == -1 && PyErr_Occurred()) {
        return NULL;
    }
    long long sum = 0;
    for (long long i = 1; i <= limit; i++) {
        sum += i * i;
    }
    return PyLong_FromLongLong(sum);
}

static PyMethodDef methods[] = {
    {"sum_of_squares", sum_of_squares, METH_O, "Sum of the squares of 1 to n."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_native", NULL, -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void)
{
    PyObject *made = PyModule_Create(&module);
    if (made != NULL && PyModule_AddStringConstant(made, "compiled_for", PY_VERSION) < 0) {
        Py_DECREF(made);
        return NULL;
    }
    return made;
}
