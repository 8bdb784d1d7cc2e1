# Numbers and bytes as they are written.

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
