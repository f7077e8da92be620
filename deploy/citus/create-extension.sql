-- Run once on the coordinator and on each worker, after create-role.sql.
\connect fizzbuzz
CREATE EXTENSION citus;
