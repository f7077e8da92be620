-- Run once by the postgres image, as its superuser, when the volume is empty: the service's role owns its database and
-- may do nothing else.
\set password `cat /run/secrets/database_password`
CREATE ROLE fizzbuzz LOGIN PASSWORD :'password';
CREATE DATABASE fizzbuzz OWNER fizzbuzz;
