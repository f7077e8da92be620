-- Run once on the coordinator and on each worker, after create-role.sql: the nodes sign in to each other (0) and to
-- themselves (-1) with the same passwords as everyone.
\set password `cat /run/secrets/database_password`
\set postgres_password `cat /run/secrets/postgres_password`
\connect fizzbuzz
CREATE EXTENSION citus;
INSERT INTO pg_dist_authinfo (nodeid, rolename, authinfo)
SELECT node, role, 'password=' || password
FROM (VALUES (0), (-1)) AS nodes (node),
    (VALUES ('fizzbuzz', :'password'), ('postgres', :'postgres_password')) AS roles (role, password);
