"""Room for all the files that a process may have open, made before it serves."""

from __future__ import annotations

import fcntl
import os
import resource


def make_room(files: int) -> None:
    """Lets this process open so many files, or as many as its hard limit allows, without a
    pause. Called while it has one thread.

    Linux enlarges a process's table of open files when that is full, and in a process with
    threads it first waits until every core has been through the scheduler (`expand_fdtable`):
    15 to 35 ms, measured, in which nothing moved, at the 256th, 512th and 1,024th file of a
    broker. The table never shrinks, so it is made as large as it will be: 8 bytes a file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        files = min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    with open(os.devnull) as any_file:
        os.close(fcntl.fcntl(any_file, fcntl.F_DUPFD_CLOEXEC, files - 1))
