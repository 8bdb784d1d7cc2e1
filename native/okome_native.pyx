# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""A token's walk through a broker in machine code, where nothing about it is special.

Two shortcuts, and no state of their own but for a piece of a chunk that is not whole yet.
Both work on the very objects of `stream_broker`, whose Python does the same:

    Intake   an engine's read -> events in the window and the log
             (`EngineConnection.data_received` down to `LiveJob.stored`)
    Outlet   events of the window -> a frame on the client's connection (`Pump._pump`)

A shortcut takes all of a read, or nothing: whatever it does not know it hands back before
it has changed anything, and the Python path does it. After either way every object is the
same, and so is each byte that was written; tests/native holds both against each other.

Fields are read and written where they stand in their objects (`__slots__`), which a
`Layout` asks their classes for. So a field that is renamed there is missed here at once,
by an AttributeError as the broker starts.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_Append, PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.string cimport memchr, memcmp, memcpy

cdef extern from *:
    """
    #include "structmember.h"

    static Py_ssize_t okome_offset(PyObject *member)
    {
        PyMemberDef *def;
        if (Py_TYPE(member) != &PyMemberDescr_Type)
            return -1;
        def = ((PyMemberDescrObject *)member)->d_member;
        return def->type == T_OBJECT_EX && def->flags == 0 ? def->offset : -1;
    }
    """
    Py_ssize_t okome_offset(object member)

# Events of one read, or of one frame: more than any buffer of ours holds.
cdef enum:
    MANY = 512
    # A chunk that is not whole waits here if it is no longer than this.
    CARRY_MAX = 4096
    DIGITS_MAX = 18
    SIZE_DIGITS_MAX = 6

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


cdef inline object _get(object holder, Py_ssize_t offset):
    cdef PyObject* found = (<PyObject**> (<char*> <void*> holder + offset))[0]
    if found is NULL:
        raise AttributeError("a field is not set yet")
    return <object> found


cdef inline void _set(object holder, Py_ssize_t offset, object value):
    cdef PyObject** place = <PyObject**> (<char*> <void*> holder + offset)
    cdef PyObject* before = place[0]
    Py_INCREF(value)
    place[0] = <PyObject*> value
    Py_XDECREF(before)


cdef inline void _add(object holder, Py_ssize_t offset, long long more):
    _set(holder, offset, <long long> _get(holder, offset) + more)


cdef class Layout:
    """Where fields stand. `types` has the classes by the names below; `overhead` is
    `events.OVERHEAD`, `frame_bytes` is `pump.FRAME_BYTES`, `decode` and `encode` take and
    give JSON strings.

    Raises AttributeError for a field that is no slot of its class, KeyError for a class.
    """

    cdef Py_ssize_t relay_state, relay_seq, relay_bytes, relay_room, relay_ts, relay_stamp
    cdef Py_ssize_t tally_chunks
    cdef Py_ssize_t gaps_first, gaps_last, gaps_list, gaps_zeros
    cdef Py_ssize_t window_events, window_before, window_bytes, window_limit, window_room
    cdef Py_ssize_t window_listeners, window_gate, window_last, window_durable, window_shown
    cdef Py_ssize_t window_ended, window_moved, window_failure, window_unwritten
    cdef Py_ssize_t room_each, share_held, backlog_least
    cdef Py_ssize_t live_released, live_paused
    cdef Py_ssize_t log_bytes, job_events, job_bytes, state_seq
    cdef Py_ssize_t since, low, high, run
    cdef Py_ssize_t parser_proven, parser_counted
    cdef Py_ssize_t event_seq, event_name, event_data, event_block
    cdef Py_ssize_t pump_window, pump_cursor, pump_delivery, pump_wrote_at
    cdef Py_ssize_t connection_full, view_begun
    cdef object event
    cdef object decode
    cdef object encode
    cdef Py_ssize_t overhead, frame_bytes
    # Of one read or one frame at a time; nothing is called while they count.
    cdef Piece pieces[MANY]

    def __init__(self, dict types not None, *, int overhead, int frame_bytes, decode, encode):
        def at(str owner, str field):
            cdef Py_ssize_t offset = okome_offset(getattr(types[owner], field))
            if offset < 0:
                raise AttributeError(f"{owner}.{field} is no slot")
            return offset

        self.relay_state = at("Relay", "state")
        self.relay_seq = at("Relay", "last_seq")
        self.relay_bytes = at("Relay", "_bytes")
        self.relay_room = at("Relay", "_room")
        self.relay_ts = at("Relay", "_ts")
        self.relay_stamp = at("Relay", "_stamp")
        self.tally_chunks = at("Tally", "chunks")
        self.gaps_first = at("Gaps", "first")
        self.gaps_last = at("Gaps", "last")
        self.gaps_list = at("Gaps", "_gaps")
        self.gaps_zeros = at("Gaps", "_zeros")
        self.window_events = at("Window", "_events")
        self.window_before = at("Window", "_before")
        self.window_bytes = at("Window", "_bytes")
        self.window_limit = at("Window", "_limit")
        self.window_room = at("Window", "_room")
        self.window_listeners = at("Window", "_listeners")
        self.window_gate = at("Window", "gate")
        self.window_last = at("Window", "last")
        self.window_durable = at("Window", "durable")
        self.window_shown = at("Window", "shown")
        self.window_ended = at("Window", "ended")
        self.window_moved = at("Window", "moved")
        self.window_failure = at("Window", "failure")
        self.window_unwritten = at("Window", "unwritten")
        self.room_each = at("Room", "each")
        self.share_held = at("Share", "_held")
        self.backlog_least = at("Backlog", "least")
        self.live_released = at("LiveJob", "_released")
        self.live_paused = at("LiveJob", "_paused")
        self.log_bytes = at("MemoryLog", "_bytes")
        self.job_events = at("MemoryJob", "events")
        self.job_bytes = at("MemoryJob", "bytes")
        self.state_seq = at("JobState", "last_seq")
        self.since = at("ChunkGaps", "since")
        self.low = at("ChunkGaps", "low")
        self.high = at("ChunkGaps", "high")
        self.run = at("ChunkGaps", "run")
        self.parser_proven = at("OpenAIParser", "_proven")
        self.parser_counted = at("OpenAIParser", "_counted")
        self.event_seq = at("Event", "seq")
        self.event_name = at("Event", "name")
        self.event_data = at("Event", "data")
        self.event_block = at("Event", "_block")
        self.pump_window = at("Pump", "_window")
        self.pump_cursor = at("Pump", "cursor")
        self.pump_delivery = at("Pump", "delivery")
        self.pump_wrote_at = at("Pump", "_wrote_at")
        self.connection_full = at("StreamConnection", "full")
        self.view_begun = at("NativeView", "_begun")
        self.event = types["Event"]
        self.decode, self.encode = decode, encode
        self.overhead, self.frame_bytes = overhead, frame_bytes


cdef inline int _hex(char digit) noexcept nogil:
    if c"0" <= digit <= c"9":
        return digit - c"0"
    if c"a" <= digit <= c"f":
        return digit - c"a" + 10
    if c"A" <= digit <= c"F":
        return digit - c"A" + 10
    return -1


cdef inline bint _same(const char* at, const char* end, const char* what, Py_ssize_t size) noexcept nogil:
    return end - at >= size and memcmp(at, what, size) == 0


cdef inline char* _put(char* out, const char* what, Py_ssize_t size) noexcept nogil:
    memcpy(out, what, size)
    return out + size


cdef inline char* _put_bytes(char* out, bytes what) noexcept:
    return _put(out, PyBytes_AS_STRING(what), PyBytes_GET_SIZE(what))


cdef inline Py_ssize_t _width(long long number) noexcept nogil:
    cdef Py_ssize_t width = 1
    while number >= 10:
        number //= 10
        width += 1
    return width


cdef inline char* _put_number(char* out, long long number, Py_ssize_t width) noexcept nogil:
    cdef Py_ssize_t at
    for at in range(width - 1, -1, -1):
        out[at] = c"0" + <char> (number % 10)
        number //= 10
    return out + width


cdef inline int _count_gap(Layout layout, object gaps, double at) except -1:
    """`_Gaps`' hot path: see there."""
    cdef double since = <double> _get(gaps, layout.since)
    cdef double gap = at - since
    _set(gaps, layout.since, at)
    if <double> _get(gaps, layout.low) < gap <= <double> _get(gaps, layout.high):
        _add(gaps, layout.run, 1)
    else:
        gaps.turn(gap)
    return 0


cdef class Intake:
    """Takes the reads of one engine's answer while they are whole chunks of nothing but text.

    `live` is the job, `writer` its log's writer, `parser` and `hearing` are the engine
    stream's; `memory` and `job` are the log and the job in it where the writer stores at
    once and nobody else could have the job, else None.
    """

    cdef Layout layout
    cdef object live, relay, tally, gaps, window, share, backlog, room, clock, writer
    cdef object parser, hearing, memory, job, state
    cdef bytes prefix
    cdef bytes head, tail, moving
    cdef bytes carry
    cdef Py_ssize_t line_max

    def __init__(self, Layout layout not None, live, writer, parser, hearing, memory, job):
        self.layout = layout
        self.live, self.writer, self.parser, self.hearing = live, writer, parser, hearing
        self.relay, self.window, self.clock = live.relay, live.window, live._clock
        self.share = live._share
        self.backlog = self.share._backlog
        self.tally, self.gaps = self.relay.tally, self.relay.gaps
        self.prefix = self.relay._encoder._prefix
        self.room = self.window._room
        self.memory, self.job = memory, job
        self.state = None if job is None else job.state
        self.line_max = parser._events._limit

    def arm(self, bytes head not None, bytes tail not None, bytes moving):
        """What follows are chunks of `head`, a text, and `tail`; behind it `moving`, whose
        numbers move, where that is not None. Between them nothing is left over."""
        self.head, self.tail, self.moving, self.carry = head, tail, moving, None

    def take(self, bytes data not None, double at):
        """Takes a read that came `at` (monotonic). Returns None when it did; else what is to
        be parsed: the read, and before it what was carried."""
        cdef bytes whole = data if self.carry is None else self.carry + data
        cdef const char* begin = PyBytes_AS_STRING(whole)
        cdef const char* end = begin + PyBytes_GET_SIZE(whole)
        cdef const char* rest = end
        cdef Py_ssize_t count, size = 0
        cdef double now = 0.0
        cdef bytes stamp = None
        cdef list events = None
        self.carry = None
        count = self._scan(begin, end, &rest)
        if count < 0 or (count and not self._goes_on()):
            return whole
        if count:
            now, stamp = self._time()
            events = self._events(count, stamp, &size)
            if events is None:
                return whole
        if rest < end:
            self.carry = PyBytes_FromStringAndSize(rest, end - rest)
        if count:
            self._say(events, size, now, stamp, at)
        return None

    cdef Py_ssize_t _scan(self, const char* at, const char* end, const char** rest) noexcept:
        """Finds the texts of a read. Returns how many; -1 where something is not as it should
        be. `rest` is where a chunk begins that is not whole, or the end."""
        cdef Py_ssize_t count = 0, size, left
        cdef const char* begin
        cdef const char* stop
        cdef int digits, value
        while at < end:
            begin, size, digits = at, 0, 0
            while at < end and digits <= SIZE_DIGITS_MAX:
                value = _hex(at[0])
                if value < 0:
                    break
                size = size * 16 + value
                digits += 1
                at += 1
            if digits > SIZE_DIGITS_MAX:
                return -1
            if end - at < 2:
                if at < end and (digits == 0 or at[0] != c"\r"):
                    return -1
                rest[0] = begin
                return count
            if size == 0 or at[0] != c"\r" or at[1] != c"\n":
                return -1
            at += 2
            left = end - at
            if left < size + 2:
                if not self._may_become(at, left if left < size else size):
                    return -1
                rest[0] = begin
                return count if end - begin <= CARRY_MAX else -1
            stop = at + size
            if stop[0] != c"\r" or stop[1] != c"\n":
                return -1
            while at < stop:
                if count == MANY:
                    return -1
                at = self._event(at, stop, &self.layout.pieces[count])
                if at is NULL:
                    return -1
                count += 1
            at = stop + 2
        rest[0] = end
        return count

    cdef bint _may_become(self, const char* at, Py_ssize_t size) noexcept:
        """Is this the beginning of an event that fits? Never where an event ends in it: that
        one must not wait."""
        cdef Py_ssize_t head = PyBytes_GET_SIZE(self.head)
        if size > self.line_max or memchr(at, c"\n", size) is not NULL:
            return False
        return memcmp(at, PyBytes_AS_STRING(self.head), head if head < size else size) == 0

    cdef const char* _event(self, const char* at, const char* stop, Piece* piece) noexcept:
        """One event with its blank line; where it ends, NULL where it does not fit."""
        cdef Py_ssize_t tail = PyBytes_GET_SIZE(self.tail)
        cdef unsigned char byte
        if not _same(at, stop, PyBytes_AS_STRING(self.head), PyBytes_GET_SIZE(self.head)):
            return NULL
        piece.block = at
        at += PyBytes_GET_SIZE(self.head)
        piece.text, piece.plain = at, True
        while True:
            if at >= stop:
                return NULL
            byte = <unsigned char> at[0]
            if byte == c'"':
                break
            if byte < 0x20:
                return NULL
            if byte == c"\\":
                at += 1
                # What is written in the same way again; all other escapes are not.
                if at >= stop or at[0] not in b'"\\bfnrt':
                    piece.plain = False
            elif byte >= 0x7F:
                piece.plain = False
            at += 1
        piece.size = at - piece.text
        if piece.size == 0 or not _same(at, stop, PyBytes_AS_STRING(self.tail), tail):
            return NULL
        at += tail
        if self.moving is not None:
            at = self._moved(at, stop)
            if at is NULL:
                return NULL
        piece.block_size = at - piece.block
        if stop - at < 2 or at[0] != c"\n" or at[1] != c"\n":
            return NULL
        return at + 2 if piece.block_size <= self.line_max else NULL

    cdef const char* _moved(self, const char* at, const char* stop) noexcept:
        """Behind the tail: `moving`, where any number may stand for each 0."""
        cdef const char* form = PyBytes_AS_STRING(self.moving)
        cdef const char* end = form + PyBytes_GET_SIZE(self.moving)
        cdef int digits
        while form < end:
            if form[0] == c"0":
                digits = 0
                while at < stop and c"0" <= at[0] <= c"9":
                    digits += 1
                    at += 1
                if digits == 0 or digits > DIGITS_MAX:
                    return NULL
            elif at >= stop or at[0] != form[0]:
                return NULL
            else:
                at += 1
            form += 1
        return at

    cdef bint _goes_on(self) except -1:
        """Is the job one that more can be said of, and are its numbers in order?"""
        cdef Layout layout = self.layout
        if _get(self.live, layout.live_released) or _get(self.relay, layout.relay_state) != OPEN:
            return False
        return <long long> _get(self.window, layout.window_last) == <long long> _get(
            self.relay, layout.relay_seq
        )

    cdef tuple _time(self):
        """`Relay._set_time`, without setting it: `ts`, and how it is written."""
        cdef long long micros = <long long> (<double> self.clock() * 1e6 + 0.5)
        cdef double ts = micros / 1e6
        cdef char out[32]
        cdef char* end
        if not ts > <double> _get(self.relay, self.layout.relay_ts):
            return _get(self.relay, self.layout.relay_ts), _get(self.relay, self.layout.relay_stamp)
        end = _put_number(out, micros // 1000000, _width(micros // 1000000))
        end[0] = c"."
        end = _put_number(end + 1, micros % 1000000, 6)
        return ts, PyBytes_FromStringAndSize(out, end - out)

    cdef list _events(self, Py_ssize_t count, bytes stamp, Py_ssize_t* size):
        """The events of the pieces, and what they count; None where one cannot be made here."""
        cdef Layout layout = self.layout
        cdef long long seq = <long long> _get(self.relay, layout.relay_seq)
        cdef list events = []
        cdef Piece* piece
        cdef bytes data
        cdef Py_ssize_t at
        size[0] = 0
        for at in range(count):
            piece = &layout.pieces[at]
            seq += 1
            if piece.plain:
                data = self._data(seq, piece.text - 1, piece.size + 2, stamp)
            else:
                data = self._recoded(seq, piece, stamp)
                if data is None:
                    return None
            size[0] += PyBytes_GET_SIZE(data) + layout.overhead
            events.append(layout.event(seq, TOKEN, data))
        if <long long> _get(self.relay, layout.relay_bytes) + size[0] > <long long> _get(
            self.relay, layout.relay_room
        ):
            return None
        return events

    cdef bytes _recoded(self, long long seq, Piece* piece, bytes stamp):
        """Of a text that is written otherwise than its engine wrote it; None if it is none."""
        cdef bytes json
        try:
            json = self.layout.encode(
                self.layout.decode(PyBytes_FromStringAndSize(piece.text - 1, piece.size + 2))
            )
        except ValueError:
            return None
        return self._data(seq, PyBytes_AS_STRING(json), PyBytes_GET_SIZE(json), stamp)

    cdef bytes _data(self, long long seq, const char* json, Py_ssize_t size, bytes stamp):
        """`EventEncoder.tokens`, for one."""
        cdef Py_ssize_t width = _width(seq)
        cdef bytes data = PyBytes_FromStringAndSize(
            NULL,
            PyBytes_GET_SIZE(self.prefix) + width + PyBytes_GET_SIZE(BEFORE_TEXT) + size
            + PyBytes_GET_SIZE(BEFORE_TIME) + PyBytes_GET_SIZE(stamp) + 1,
        )
        cdef char* out = _put_bytes(PyBytes_AS_STRING(data), self.prefix)
        out = _put_number(out, seq, width)
        out = _put(_put_bytes(out, BEFORE_TEXT), json, size)
        out = _put_bytes(_put_bytes(out, BEFORE_TIME), stamp)
        out[0] = c"}"
        return data

    cdef int _say(self, list events, Py_ssize_t size, double ts, bytes stamp, double at) except -1:
        """Everything has been seen to fit: from here on nothing is handed back."""
        cdef Layout layout = self.layout
        cdef Py_ssize_t count = PyList_GET_SIZE(events)
        cdef Piece* last = &layout.pieces[count - 1]
        _set(self.parser, layout.parser_proven, True)
        if self.moving is not None:
            _set(self.parser, layout.parser_counted,
                 PyBytes_FromStringAndSize(last.block, last.block_size))
        if self.hearing is not None:
            _count_gap(layout, self.hearing, at)
        _set(self.relay, layout.relay_ts, ts)
        _set(self.relay, layout.relay_stamp, stamp)
        _add(self.relay, layout.relay_bytes, size)
        self._count_times(ts, count)
        _add(self.tally, layout.tally_chunks, count)
        _add(self.relay, layout.relay_seq, count)
        if self.job is None:
            self.live._emit(events)
        else:
            self._keep(events, size)
        return 0

    cdef int _count_times(self, double ts, Py_ssize_t count) except -1:
        """`Gaps.add`."""
        cdef Layout layout = self.layout
        cdef object gaps = self.gaps
        cdef object before = _get(gaps, layout.gaps_last)
        cdef long long gap
        if before is not None and <double> before == ts:
            _add(gaps, layout.gaps_zeros, count)
            return 0
        if count > 1:
            _add(gaps, layout.gaps_zeros, count - 1)
        _set(gaps, layout.gaps_last, ts)
        if before is None:
            _set(gaps, layout.gaps_first, ts)
            return 0
        gap = <long long> ((ts - <double> before) * 1e6 + 0.5)
        _get(gaps, layout.gaps_list).append(gap if gap < MICROS_MAX else MICROS_MAX)
        return 0

    cdef int _keep(self, list events, Py_ssize_t size) except -1:
        """`LiveJob._emit` and what follows, for a log that stores at once."""
        cdef Layout layout = self.layout
        cdef object window = self.window
        cdef long long last = <long long> _get(self.relay, layout.relay_seq)
        cdef long long unwritten
        _get(window, layout.window_events).extend(events)
        _set(window, layout.window_last, last)
        _add(window, layout.window_bytes, size)
        _add(window, layout.window_unwritten, size)
        unwritten = <long long> _get(window, layout.window_unwritten)
        if (
            unwritten > <long long> _get(self.backlog, layout.backlog_least)
            or <long long> _get(self.share, layout.share_held)
        ):
            self.live._pause_if_full()
        if <long long> _get(self.state, layout.state_seq) + PyList_GET_SIZE(events) != last:
            self.writer.add(self.live, events)
            return 0
        _get(self.job, layout.job_events).extend(events)
        _add(self.job, layout.job_bytes, size)
        _add(self.memory, layout.log_bytes, size)
        _set(self.state, layout.state_seq, last)
        self._advance(window, last)
        if <long long> _get(self.share, layout.share_held) or _get(self.live, layout.live_paused):
            self.live._go_on_if_taken()
        if _get(window, layout.window_ended):
            self.live._finish()
        return 0

    cdef int _advance(self, object window, long long last) except -1:
        """`Window.advance` and `Window.show`, up to all that there is."""
        cdef Layout layout = self.layout
        cdef object gate
        cdef tuple listeners
        cdef Py_ssize_t at
        cdef long long most, held
        _set(window, layout.window_unwritten, 0)
        _set(window, layout.window_durable, last)
        gate = _get(window, layout.window_gate)
        if gate is not None:
            gate()
            return 0
        _set(window, layout.window_shown, last)
        listeners = _get(window, layout.window_listeners)
        for at in range(PyTuple_GET_SIZE(listeners)):
            listener = <object> PyTuple_GET_ITEM(listeners, at)
            if type(listener) is Outlet:
                (<Outlet> listener).drain()
            else:
                listener()
        most = <long long> _get(window, layout.window_limit)
        held = <long long> _get(window, layout.window_bytes)
        if _get(window, layout.window_ended):
            if last == <long long> _get(window, layout.window_last):
                window._shrink(most // 8)
        elif held > <long long> _get(self.room, layout.room_each) or held > most:
            window._shrink(min(<long long> _get(self.room, layout.room_each), most) // 2)
        return 0


cdef class Outlet:
    """Writes tokens of a window to one viewer: what its pump would do, called in its place.

    `head` and `tail` stand around the text in a block of the OpenAI view; without them blocks
    are those of the log as it is, which `view` has begun. `write` takes a frame, `time` gives
    the loop's time.
    """

    cdef Layout layout
    cdef object pump, view, connection, write, time
    cdef bytes head, tail

    def __init__(self, Layout layout not None, pump, view, connection, write, time,
                 bytes head, bytes tail):
        self.layout = layout
        self.pump, self.view, self.connection = pump, view, connection
        self.write, self.time = write, time
        self.head, self.tail = head, tail

    def __call__(self):
        """See Listener."""
        self.drain()

    cdef int drain(self) except -1:
        """`Pump._pump`: writes frames until the connection is full, or all is written."""
        cdef Layout layout = self.layout
        cdef object pump = self.pump
        cdef object window = _get(pump, layout.pump_window)
        cdef long long cursor, shown, start
        cdef Py_ssize_t count
        cdef bytes frame
        if window is None:
            return 0
        while not _get(self.connection, layout.connection_full):
            cursor = <long long> _get(pump, layout.pump_cursor)
            shown = <long long> _get(window, layout.window_shown)
            if cursor >= shown:
                if (
                    _get(window, layout.window_ended)
                    or _get(window, layout.window_moved)
                    or _get(window, layout.window_failure) is not None
                ):
                    pump._pump()
                return 0
            start = cursor - <long long> _get(window, layout.window_before)
            frame = None
            count = 0
            if start >= 0 and (self.head is not None or _get(self.view, layout.view_begun)):
                count = shown - cursor
                frame = self._frame(_get(window, layout.window_events), start, &count)
            if frame is None:
                pump._pump()
                return 0
            _set(pump, layout.pump_cursor, cursor + count)
            self.write(frame)
            self._note(pump)
        pump._note_full()
        return 0

    cdef int _note(self, object pump) except -1:
        """That tokens were written, and when."""
        cdef double now = <double> self.time()
        cdef object delivery
        _set(pump, self.layout.pump_wrote_at, now)
        delivery = _get(pump, self.layout.pump_delivery)
        if delivery is not None:
            _count_gap(self.layout, delivery, now)
        return 0

    cdef bytes _frame(self, list events, Py_ssize_t start, Py_ssize_t* count):
        """A chunk of up to `count` events' blocks, as many as one frame has; sets how many.
        None where one is no token."""
        cdef Layout layout = self.layout
        cdef Py_ssize_t left = layout.frame_bytes, size = 0, at, its
        cdef Py_ssize_t most = min(count[0], PyList_GET_SIZE(events) - start, <Py_ssize_t> MANY)
        cdef object event, name
        cdef bytes frame
        cdef char* out
        if most <= 0:
            return None
        count[0] = most
        for at in range(most):
            event = <object> PyList_GET_ITEM(events, start + at)
            name = _get(event, layout.event_name)
            if name is not TOKEN and name != TOKEN:
                return None
            its = self._piece(event, &layout.pieces[at])
            if its < 0:
                return None
            size += its
            # As `Window.read` has it: one event always, and no more than the bound.
            if count[0] > 1:
                left -= PyBytes_GET_SIZE(<bytes> _get(event, layout.event_data)) + layout.overhead
                if left <= 0:
                    count[0] = at + 1
                    break
        frame = PyBytes_FromStringAndSize(NULL, _hex_width(size) + 2 + size + 2)
        out = _put_hex(PyBytes_AS_STRING(frame), size, _hex_width(size))
        out = _put(out, b"\r\n", 2)
        for at in range(count[0]):
            out = self._block(out, <object> PyList_GET_ITEM(events, start + at), &layout.pieces[at])
        _put(out, b"\r\n", 2)
        return frame

    cdef Py_ssize_t _piece(self, object event, Piece* piece) except? -1:
        """Where the text of an event stands, and how long its block will be. -1 if nowhere."""
        cdef Layout layout = self.layout
        cdef bytes data
        cdef object block
        cdef long long seq
        if self.head is None:
            block = _get(event, layout.event_block)
            if block is None:
                block = event.block
            piece.text, piece.size = PyBytes_AS_STRING(block), PyBytes_GET_SIZE(block)
            return piece.size
        data = _get(event, layout.event_data)
        seq = <long long> _get(event, layout.event_seq)
        if not _find_text(data, piece):
            return -1
        return (
            4 + _width(seq) + 1 + PyBytes_GET_SIZE(self.head) + piece.size
            + PyBytes_GET_SIZE(self.tail)
        )

    cdef char* _block(self, char* out, object event, Piece* piece) except NULL:
        cdef long long seq
        if self.head is None:
            return _put(out, piece.text, piece.size)
        seq = <long long> _get(event, self.layout.event_seq)
        out = _put_number(_put(out, b"id: ", 4), seq, _width(seq))
        out = _put_bytes(_put(out, b"\n", 1), self.head)
        return _put_bytes(_put(out, piece.text, piece.size), self.tail)


cdef bint _find_text(bytes data, Piece* piece) noexcept:
    """`events.token_json`: between the first `"token":` and the last `,"ts":`."""
    cdef const char* begin = PyBytes_AS_STRING(data)
    cdef const char* end = begin + PyBytes_GET_SIZE(data)
    cdef const char* at = begin
    while True:
        at = <const char*> memchr(at, c"t", end - at)
        if at is NULL or end - at < 7:
            return False
        if at > begin and (at - 1)[0] == c'"' and memcmp(at, b'token":', 7) == 0:
            break
        at += 1
    piece.text = at + 7
    at = end - 6
    while at > piece.text:
        if at[0] == c"," and memcmp(at, b',"ts":', 6) == 0:
            piece.size = at - piece.text
            return True
        at -= 1
    return False


cdef inline Py_ssize_t _hex_width(Py_ssize_t number) noexcept nogil:
    cdef Py_ssize_t width = 1
    while number >= 16:
        number >>= 4
        width += 1
    return width


cdef inline char* _put_hex(char* out, Py_ssize_t number, Py_ssize_t width) noexcept nogil:
    cdef Py_ssize_t at
    for at in range(width - 1, -1, -1):
        out[at] = b"0123456789abcdef"[number & 15]
        number >>= 4
    return out + width
