# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""A token's walk through a broker in machine code, where nothing about it is special.

Two shortcuts, and no state of their own but for a piece of a chunk that is not whole yet.
Both work on the very objects of `stream_broker`, whose Python does the same:

    Intake   an engine's read -> events in the window and the log
             (`EngineConnection.data_received` down to `LiveJob.stored`)
    Outlet   events of the window -> a frame on the client's connection (`Pump._pump`)

A shortcut takes all of a read, or nothing: whatever it does not know it hands back before
it has changed anything, and the Python path does it. After either way every object is the
same, and so is each byte that was written; tests/stream_broker/test_native.py holds both against each other.

Fields are read and written where they stand in their objects (`__slots__`), which a
`Layout` asks their classes for. So a field that is renamed there is missed here at once, as
the broker starts, which then goes on without this.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_Append, PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.string cimport memchr, memcmp, memcpy

# Events of one read, or of one frame: more than any buffer of ours holds.
cdef enum:
    MANY = 512
    # A chunk that is not whole waits here if it is no longer than this.
    CARRY_MAX = 4096
    DIGITS_MAX = 18
    SIZE_DIGITS_MAX = 6

# As in stream_broker/native.py: raised where fields come to mean something else.
FITS = 4

cdef str TOKEN = "token"
cdef str OPEN = "open"
cdef bytes BEFORE_TEXT = b',"token":'
cdef bytes BEFORE_TIME = b',"ts":'
cdef long long MICROS_MAX = (1 << 32) - 1


# A text within a read, or the text of an event.
cdef struct Piece:
    const char* text
    Py_ssize_t size
    # The event's block, without the blank line.
    const char* block
    Py_ssize_t block_size
    # Its JSON can be taken as it is.
    bint plain


include "fields.pxi"
include "bytes.pxi"
include "form.pxi"
include "gaps.pxi"
include "intake.pxi"
include "outlet.pxi"
