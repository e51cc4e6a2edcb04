-- Which descriptions win on images that are flagged, and how often. In: `runs`, a glob of outputs.
WITH thresholds AS (
  SELECT run_id, category, any_value(threshold) AS threshold_of_run
  FROM read_parquet(getvariable('runs') || '/thresholds/**/*.parquet', hive_partitioning = true, union_by_name = true)
  GROUP BY ALL
)
SELECT category, top_description, count(*) AS pictures,
       round(count(*) / sum(count(*)) OVER (PARTITION BY category), 4) AS share,
       avg(top_similarity) AS similarity
FROM read_parquet(getvariable('runs') || '/scores/**/*.parquet', hive_partitioning = true, union_by_name = true)
LEFT JOIN thresholds USING (run_id, category)
WHERE coalesce(is_anomalous, score > threshold_of_run) AND top_description IS NOT NULL
GROUP BY category, top_description
ORDER BY category, pictures DESC, top_description;
