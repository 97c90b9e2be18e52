-- A table that there is already gets a column. 0 is below every fencing number.
ALTER TABLE account ADD COLUMN fence BIGINT NOT NULL DEFAULT 0;

-- For what is no single row: inserts, deletes, several rows at a time. A row for each lock.
CREATE TABLE fence (lock TEXT PRIMARY KEY, fence BIGINT NOT NULL);
