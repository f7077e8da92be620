-- Make the superuser "fizzbuzz", the first role of clusters that earlier versions created, an ordinary role that owns
-- its database. The first role of a cluster can't be demoted, but it can be renamed.
\set ON_ERROR_STOP on
SELECT rolsuper FROM pg_roles WHERE rolname = 'fizzbuzz' \gset
\if :rolsuper
SELECT 'CREATE DATABASE fizzbuzz' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'fizzbuzz') \gexec
\connect fizzbuzz
SELECT coalesce(rolpassword, '') AS password FROM pg_authid WHERE rolname = 'fizzbuzz' \gset
BEGIN;
CREATE ROLE fizzbuzz_demotion SUPERUSER;
SET SESSION AUTHORIZATION fizzbuzz_demotion;
ALTER ROLE fizzbuzz RENAME TO postgres;
ALTER ROLE postgres PASSWORD NULL;
CREATE ROLE fizzbuzz LOGIN;
-- Keep its password, if it has one.
SELECT format('ALTER ROLE fizzbuzz PASSWORD %L', :'password') WHERE :'password' <> '' \gexec
ALTER DATABASE fizzbuzz OWNER TO fizzbuzz;
DO $$
DECLARE
    each regclass;
BEGIN
    FOR each IN
        SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO fizzbuzz', each);
    END LOOP;
END $$;
RESET SESSION AUTHORIZATION;
DROP ROLE fizzbuzz_demotion;
COMMIT;
\endif
