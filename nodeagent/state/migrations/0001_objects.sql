-- One row an object. The value is msgpack; only the agent's model reads it.
CREATE TABLE objects (
  key      TEXT    PRIMARY KEY,
  value    BLOB    NOT NULL,
  revision INTEGER NOT NULL
) WITHOUT ROWID;

-- The revision of the whole store: the n-th commit that ever succeeded.
CREATE TABLE store (
  only     INTEGER PRIMARY KEY CHECK (only = 1),
  revision INTEGER NOT NULL
);
INSERT INTO store VALUES (1, 0);
