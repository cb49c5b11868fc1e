"""One agent replaces another; no query and no connection is lost, no held port is ever free.

1. The new one (``serve --takeover``) has its code loaded and its configuration checked, connects
   to RUN/takeover.sock and asks. What cannot work is refused here: nothing happened yet.
2. The old one stops accepting RPC connections, which from now on wait for the new one. Calls that
   change something may end (at most 10 s), all others are answered with ``unavailable``. It stops
   watching and closes the database. Its name server goes on answering.
3. The old one sends copies of its descriptors: listeners, sockets of names, held ports, and the
   locks of its directories. It keeps its own.
4. The new one adopts everything, answers names, accepts RPC, and gives its word.
5. The old one closes its copies, answers the queries it has taken, and ends with status 0.

If the new one dies, hangs or fails before its word, the old one begins anew in its own process
with the descriptors it kept, while its name server answers throughout. If the old one dies before
the descriptors are sent, the new one starts as after a crash, with those it got; later nobody
needs it. The point of no return is the word: who dies after it died as any agent does.
"""
