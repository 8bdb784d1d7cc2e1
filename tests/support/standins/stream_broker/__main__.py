"""Stand-in for stream_broker: ready at once, answers everything with 200."""

from standin import main

main("stream_broker")
