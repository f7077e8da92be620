-- Run on the coordinator at each start; what is there already stays.
SELECT citus_set_coordinator_host('citus');
SELECT citus_add_node('citus-worker-1', 5432);
SELECT citus_add_node('citus-worker-2', 5432);
