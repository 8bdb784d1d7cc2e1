# Gaps between chunks, as `stream_broker/measures.py` counts them.

cdef inline int _count_gap(Layout layout, object gaps, double at) except -1:
    """`ChunkGaps`' hot path: see there."""
    cdef double since = <double> _get(gaps, layout.since)
    cdef double gap = at - since
    _set(gaps, layout.since, at)
    if <double> _get(gaps, layout.low) < gap <= <double> _get(gaps, layout.high):
        _add(gaps, layout.run, 1)
    elif gap <= layout.stall:
        _turn(layout, gaps, gap)
    else:
        gaps.turn(gap)
    return 0


cdef int _turn(Layout layout, object gaps, double gap) except -1:
    """`ChunkGaps.turn`, where the gap is none that is looked at for itself."""
    cdef object spread = _get(gaps, layout.gaps_spread)
    cdef list counts = <list> _get(spread, layout.spread_counts)
    cdef tuple bounds = <tuple> _get(spread, layout.spread_bounds)
    cdef Py_ssize_t most = PyTuple_GET_SIZE(bounds)
    cdef Py_ssize_t bucket = <Py_ssize_t> _get(gaps, layout.gaps_bucket)
    counts[bucket] = <long long> counts[bucket] + <long long> _get(gaps, layout.run)
    bucket = 0
    while bucket < most and <double> <object> PyTuple_GET_ITEM(bounds, bucket) < gap:
        bucket += 1
    _set(gaps, layout.gaps_bucket, bucket)
    _set(gaps, layout.run, 1)
    _set(gaps, layout.low, <object> PyTuple_GET_ITEM(_get(spread, layout.spread_lows), bucket))
    _set(gaps, layout.high, <object> PyTuple_GET_ITEM(_get(spread, layout.spread_highs), bucket))
    return 0
