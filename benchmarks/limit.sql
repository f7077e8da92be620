\set number case when random(1, 100) <= :hot then 7 else random(1, 1000000) end
INSERT INTO fizzbuzz_submission (number) VALUES (:number) RETURNING id, created_at;
