-- One row per night and category: how many pictures there were, how many could not be scored, and
-- how many are flagged. In: `runs`, a glob of outputs. Nothing is lost: scored + failed = pictures.
-- Where a row does not say whether it is flagged, the threshold of its run and category does.
WITH thresholds AS (
  SELECT run_id, category, any_value(threshold) AS threshold_of_run
  FROM read_parquet(getvariable('runs') || '/thresholds/**/*.parquet', hive_partitioning = true, union_by_name = true)
  GROUP BY ALL
), scores AS (
  SELECT run_date, category, coalesce(is_anomalous, score > threshold_of_run) AS flagged, score, ms_infer
  FROM read_parquet(getvariable('runs') || '/scores/**/*.parquet', hive_partitioning = true, union_by_name = true)
  LEFT JOIN thresholds USING (run_id, category)
), failures AS (
  SELECT run_date, category
  FROM read_parquet(getvariable('runs') || '/failures/**/*.parquet', hive_partitioning = true, union_by_name = true)
), scored AS (
  SELECT run_date, category, count(*) AS scored, count(*) FILTER (flagged) AS anomalous,
         median(score) AS median_score, quantile_cont(score, 0.99) AS p99_score, avg(ms_infer) AS ms_infer
  FROM scores GROUP BY ALL
), failed AS (
  SELECT run_date, category, count(*) AS failed FROM failures GROUP BY ALL
)
SELECT run_date, category,
       coalesce(scored, 0) + coalesce(failed, 0) AS pictures,
       coalesce(scored, 0) AS scored, coalesce(failed, 0) AS failed, coalesce(anomalous, 0) AS anomalous,
       round(anomalous / scored, 4) AS anomalous_share, median_score, p99_score, ms_infer
FROM scored FULL JOIN failed USING (run_date, category)
ORDER BY run_date, category;
