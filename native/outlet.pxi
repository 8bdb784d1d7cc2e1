# Events of the window -> a frame on the client's connection.

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

    def give(self, list events not None):
        """`Pump.give`: writes events of the log as one frame. Returns False where that is to be
        done by the view, and nothing has been written."""
        cdef Layout layout = self.layout
        cdef Py_ssize_t count = PyList_GET_SIZE(events)
        cdef bytes frame
        if _get(self.pump, layout.pump_over) is not None or not self._begun():
            return False
        frame = self._frame(events, 0, &count)
        if frame is None or count < PyList_GET_SIZE(events):
            return False
        self.write(frame)
        _set(self.pump, layout.pump_wrote_at, <double> self.time())
        _set(self.pump, layout.pump_cursor,
             _get(<object> PyList_GET_ITEM(events, count - 1), layout.event_seq))
        return True

    cdef bint _begun(self) except -1:
        """Are all blocks as the events have them? The first of the log's view has a word more."""
        return self.head is not None or _get(self.view, self.layout.view_begun)

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
            if start >= 0 and self._begun():
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
        # What pieces point into: a block is made by Python, which may do anything meanwhile.
        cdef list held = []
        if most <= 0:
            return None
        count[0] = most
        for at in range(most):
            event = <object> PyList_GET_ITEM(events, start + at)
            name = _get(event, layout.event_name)
            if name is not TOKEN and name != TOKEN:
                return None
            its = self._piece(event, &layout.pieces[at], held)
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

    cdef Py_ssize_t _piece(self, object event, Piece* piece, list held) except? -1:
        """Where the text of an event stands, and how long its block will be. -1 if nowhere."""
        cdef Layout layout = self.layout
        cdef bytes data
        cdef object block
        cdef long long seq
        if self.head is None:
            block = _get(event, layout.event_block)
            if block is None:
                block = event.block
            held.append(block)
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
