-- What went wrong, how often, with an example. In: `runs`, a glob of outputs.
SELECT run_date, code, stage, count(*) AS pictures, min(uri) AS example, any_value(message) AS message
FROM read_parquet(getvariable('runs') || '/failures/**/*.parquet', hive_partitioning = true, union_by_name = true)
GROUP BY run_date, code, stage
ORDER BY run_date, pictures DESC, code;
