# Finding the texts in a read.

cdef class Form:
    """What the chunks of an answer have in common: `head`, a text, and `tail`; behind it
    `moving`, whose numbers move, where that is not None. See `engines/template.py`."""

    cdef bytes head, tail, moving
    cdef Py_ssize_t line_max

    def __init__(self, bytes head not None, bytes tail not None, bytes moving, Py_ssize_t line_max):
        self.head, self.tail, self.moving, self.line_max = head, tail, moving, line_max

    cdef Py_ssize_t scan(
        self, const char* at, const char* end, Piece* pieces, const char** rest
    ) noexcept:
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
                at = self._event(at, stop, &pieces[count])
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
