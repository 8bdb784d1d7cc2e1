# An engine's read -> events in the window and the log.

cdef inline int _extend(list kept, list events) except -1:
    cdef Py_ssize_t at
    for at in range(PyList_GET_SIZE(events)):
        PyList_Append(kept, <object> PyList_GET_ITEM(events, at))
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
    cdef Form form
    cdef bytes carry
    cdef Py_ssize_t line_max
    # How much of a chunk that is not whole this keeps.
    cdef readonly Py_ssize_t carry_max
    # While it stands in for an engine's connection.
    cdef object connection, now
    cdef Py_ssize_t turn_bytes

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
        self.carry_max = min(self.line_max, CARRY_MAX)

    def arm(self, bytes head not None, bytes tail not None, bytes moving):
        """What follows are chunks of `head`, a text, and `tail`; behind it `moving`, whose
        numbers move, where that is not None. Between them nothing is left over."""
        self.form, self.carry = Form(head, tail, moving, self.line_max), None

    def stand_in(self, connection not None):
        """See `Shortcut`."""
        self.connection, self.now = connection, connection.clock
        self.turn_bytes = connection.turn_bytes
        return self

    def data_received(self, bytes data not None):
        """`EngineConnection.data_received`, in its place."""
        cdef object connection = self.connection
        cdef object at = self.now()
        cdef bytes left
        _set(connection, self.layout.connection_heard, at)
        if PyBytes_GET_SIZE(data) >= self.turn_bytes:
            connection.end_turn()
        left = self.take(data, <double> at)
        if left is not None:
            connection.parse_on(left)

    def eof_received(self):
        """See asyncio.Protocol."""
        return self.connection.eof_received()

    def connection_lost(self, error):
        """See asyncio.Protocol."""
        self.connection.connection_lost(error)

    def pause_writing(self):
        """See asyncio.Protocol."""
        self.connection.pause_writing()

    def resume_writing(self):
        """See asyncio.Protocol."""
        self.connection.resume_writing()

    cpdef bytes take(self, bytes data, double at):
        """Takes a read that came `at` (monotonic). Returns None when it did; else what is to
        be parsed: the read, and before it what was carried."""
        cdef bytes whole = data if self.carry is None else self.carry + data
        cdef const char* begin = PyBytes_AS_STRING(whole)
        cdef const char* end = begin + PyBytes_GET_SIZE(whole)
        cdef const char* rest = end
        cdef Py_ssize_t count, size = 0
        cdef double ts = 0.0
        cdef bytes stamp = None
        cdef list events = None
        self.carry = None
        count = self.form.scan(begin, end, self.layout.pieces, &rest)
        if count < 0 or (count and not self._goes_on()):
            return whole
        if count:
            stamp = self._time(&ts)
            events = self._events(count, stamp, &size)
            if events is None:
                return whole
        if rest < end:
            self.carry = PyBytes_FromStringAndSize(rest, end - rest)
        if count:
            self._say(events, size, ts, stamp, at)
        return None

    cdef bint _goes_on(self) except -1:
        """Is the job one that more can be said of, and are its numbers in order?"""
        cdef Layout layout = self.layout
        if _get(self.live, layout.live_released) or _get(self.relay, layout.relay_state) != OPEN:
            return False
        return <long long> _get(self.window, layout.window_last) == <long long> _get(
            self.relay, layout.relay_seq
        )

    cdef bytes _time(self, double* ts):
        """`Relay._set_time`, without setting it: `ts`, and how it is written."""
        cdef long long micros = <long long> (<double> self.clock() * 1e6 + 0.5)
        cdef double before = <double> _get(self.relay, self.layout.relay_ts)
        cdef char out[32]
        cdef char* end
        ts[0] = micros / 1e6
        if not ts[0] > before:
            ts[0] = before
            return _get(self.relay, self.layout.relay_stamp)
        end = _put_number(out, micros // 1000000, _width(micros // 1000000))
        end[0] = c"."
        end = _put_number(end + 1, micros % 1000000, 6)
        return PyBytes_FromStringAndSize(out, end - out)

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
        cdef object newest
        _set(self.parser, layout.parser_proven, True)
        if self.form.moving is not None:
            _set(self.parser, layout.parser_counted,
                 PyBytes_FromStringAndSize(last.block, last.block_size))
        if self.hearing is not None:
            _count_gap(layout, self.hearing, at)
        _set(self.relay, layout.relay_ts, ts)
        _set(self.relay, layout.relay_stamp, stamp)
        _add(self.relay, layout.relay_bytes, size)
        self._count_times(ts, count)
        _add(self.tally, layout.tally_chunks, count)
        newest = _get(<object> PyList_GET_ITEM(events, count - 1), layout.event_seq)
        _set(self.relay, layout.relay_seq, newest)
        self._emit(events, size, newest)
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

    cdef int _emit(self, list events, Py_ssize_t size, object newest) except -1:
        """`LiveJob._emit`."""
        cdef Layout layout = self.layout
        cdef object window = self.window
        cdef long long unwritten = <long long> _get(window, layout.window_unwritten) + size
        _extend(<list> _get(window, layout.window_events), events)
        _set(window, layout.window_last, newest)
        _add(window, layout.window_bytes, size)
        _set(window, layout.window_unwritten, unwritten)
        if (
            unwritten > <long long> _get(self.backlog, layout.backlog_least)
            or <long long> _get(self.share, layout.share_held)
        ):
            self.live._pause_if_full()
        if self._stores_at_once(PyList_GET_SIZE(events), <long long> newest):
            self._store(events, size, newest)
        else:
            self.writer.add(self.live, events)
        return 0

    cdef bint _stores_at_once(self, Py_ssize_t count, long long last) except -1:
        if self.job is None:
            return False
        return <long long> _get(self.state, self.layout.state_seq) + count == last

    cdef int _store(self, list events, Py_ssize_t size, object newest) except -1:
        """`MemoryLog.extend` and `LiveJob.stored`."""
        cdef Layout layout = self.layout
        cdef object window = self.window
        _extend(<list> _get(self.job, layout.job_events), events)
        _add(self.job, layout.job_bytes, size)
        _add(self.memory, layout.log_bytes, size)
        _set(self.state, layout.state_seq, newest)
        self._advance(window, newest)
        if <long long> _get(self.share, layout.share_held) or _get(self.live, layout.live_paused):
            self.live._go_on_if_taken()
        if _get(window, layout.window_ended):
            self.live._finish()
        return 0

    cdef int _advance(self, object window, object newest) except -1:
        """`Window.advance` and `Window.show`, up to all that there is."""
        cdef Layout layout = self.layout
        cdef object gate
        cdef tuple listeners
        cdef Py_ssize_t at
        cdef long long most, held
        _set(window, layout.window_unwritten, 0)
        _set(window, layout.window_durable, newest)
        gate = _get(window, layout.window_gate)
        if gate is not None:
            gate()
            return 0
        _set(window, layout.window_shown, newest)
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
            if newest == _get(window, layout.window_last):
                self._shrink(window, most // 8)
        elif held > <long long> _get(self.room, layout.room_each) or held > most:
            self._shrink(window, min(<long long> _get(self.room, layout.room_each), most) // 2)
        return 0

    cdef int _shrink(self, object window, long long target) except -1:
        """`Window._shrink`."""
        cdef Layout layout = self.layout
        cdef list events = <list> _get(window, layout.window_events)
        cdef long long left = <long long> _get(window, layout.window_bytes)
        cdef long long most = <long long> _get(window, layout.window_shown) - <long long> _get(
            window, layout.window_before
        ) - 1
        cdef Py_ssize_t drop = 0
        cdef object event
        while drop < most and left > target:
            event = <object> PyList_GET_ITEM(events, drop)
            left -= PyBytes_GET_SIZE(<bytes> _get(event, layout.event_data)) + layout.overhead
            _set(event, layout.event_block, None)
            drop += 1
        _set(window, layout.window_bytes, left)
        del events[:drop]
        _add(window, layout.window_before, drop)
        return 0
