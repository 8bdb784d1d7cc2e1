# Fields where they stand in their objects.

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
    `events.OVERHEAD`, `frame_bytes` is `pump.FRAME_BYTES`, `stall` is `measures.STALL_S`;
    `decode` and `encode` take and give JSON strings.

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
    cdef Py_ssize_t since, low, high, run, gaps_bucket, gaps_spread
    cdef Py_ssize_t spread_bounds, spread_counts, spread_lows, spread_highs
    cdef Py_ssize_t parser_proven, parser_counted
    cdef Py_ssize_t event_seq, event_name, event_data, event_block
    cdef Py_ssize_t pump_window, pump_cursor, pump_delivery, pump_wrote_at, pump_over
    cdef Py_ssize_t connection_full, connection_heard, view_begun
    cdef object event
    cdef object decode
    cdef object encode
    cdef Py_ssize_t overhead, frame_bytes
    cdef double stall
    # Of one read or one frame at a time; nothing is called while they count.
    cdef Piece pieces[MANY]

    def __init__(self, dict types not None, *, int overhead, int frame_bytes, double stall,
                 decode, encode):
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
        self.gaps_bucket = at("ChunkGaps", "_bucket")
        self.gaps_spread = at("ChunkGaps", "_spread")
        self.spread_bounds = at("Spread", "bounds")
        self.spread_counts = at("Spread", "counts")
        self.spread_lows = at("Spread", "lows")
        self.spread_highs = at("Spread", "highs")
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
        self.pump_over = at("Pump", "over")
        self.connection_full = at("StreamConnection", "full")
        self.connection_heard = at("EngineConnection", "heard_at")
        self.view_begun = at("NativeView", "_begun")
        self.event = types["Event"]
        self.decode, self.encode = decode, encode
        self.overhead, self.frame_bytes, self.stall = overhead, frame_bytes, stall
